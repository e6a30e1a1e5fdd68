"""A real Elasticsearch, started once for all tests of the folder; nothing stands in for it."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auditline.plugins.outputs.elasticsearch import cursor_path, spool_directory
from auditline.plugins.outputs.positions import read_position

EXISTING = "AUDITLINE_TEST_ELASTICSEARCH"
"""The environment's name for the URL of a server to be used instead."""
VERSION = "9.2.0"
SHA256 = "bf44938a0490ba2a303d39c9cb64b38963dd08c812ce93e10816e878585bcb6b"
ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
CENTRAL = "https://repo1.maven.org/maven2"
PLACE = f"org/elasticsearch/distribution/integ-test-zip/elasticsearch/{VERSION}/elasticsearch-{VERSION}.zip"
START_SECONDS = 240
"""It takes a quiet machine ten."""
_USER = 1999
"""Elasticsearch refuses to run as root; the user need not be known by name."""
_SETTINGS = """
path.data: {folder}/data
path.logs: {folder}/logs
http.host: 127.0.0.1
http.port: {port}
transport.host: 127.0.0.1
transport.port: {transport_port}
discovery.type: single-node
action.auto_create_index: "+logs-*"
"""
# It is there for few requests: with the first compiler alone it takes half the time to start.
_JVM_OPTIONS = ("-Xms512m", "-Xmx512m", "-XX:TieredStopAtLevel=1")
TEMPLATE = {
    "index_patterns": ["logs-auditline.*"],
    "data_stream": {},
    "priority": 250,
    "template": {
        "settings": {"number_of_replicas": 0, "refresh_interval": "1s"},
        "mappings": {"properties": {"n": {"type": "long"}, "event": {"properties": {"id": {"type": "keyword"}}}}},
    },
}
QUICK = {"retry_min_seconds": 0.1, "retry_max_seconds": 0.5, "bulk_documents": 500}
SENDER = """
import ast, logging, pathlib, sys
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import ElasticsearchSettings, Settings, StateSettings
from auditline.workers.elasticsearch.worker import run
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
life = Life("sender", CounterPage.open(pathlib.Path(sys.argv[1]) / "sender.page", ()))
life.take_signals()
settings = Settings(state=StateSettings(directory=pathlib.Path(sys.argv[1])))
run(life, settings, ElasticsearchSettings(name="es", **ast.literal_eval(sys.argv[2])))
"""


class Server:
    """Elasticsearch, wherever it runs."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None, authorization: str = "") -> None:
        self.url = url
        self._tls = tls
        self._headers = {"content-type": "application/json"}
        if authorization:
            self._headers["authorization"] = authorization

    def ask(self, method: str, path: str, body: object | None = None) -> Any:
        """Return what it answers, as JSON; a body that is a text is sent as it is."""
        data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, self._headers, method=method)
        with urllib.request.urlopen(request, timeout=30, context=self._tls) as response:
            return json.loads(response.read() or b"{}")

    def ids(self, stream: str) -> list[str]:
        """Return the ids of all documents of a data stream, or of all that match; those that are there twice twice."""
        self.ask("POST", f"/{stream}/_refresh")
        walk = self.ask("POST", f"/{stream}/_pit?keep_alive=5m")["id"]
        body: dict[str, Any] = {"size": 5000, "sort": ["_shard_doc"], "_source": False, "pit": {"id": walk}}
        found: list[str] = []
        while hits := self.ask("POST", "/_search", body)["hits"]["hits"]:
            found += [hit["_id"] for hit in hits]
            body["search_after"] = hits[-1]["sort"]
        self.ask("DELETE", "/_pit", {"id": walk})
        return found


class Existing(Server):
    """A server that somebody else has started: to be used, not to be ended."""

    def start(self) -> None:
        """It runs."""

    def kill(self) -> None:
        """Leave out the test that wants it."""
        pytest.skip(f"the server that {EXISTING} names is not ours to be killed")


class Node(Server):
    """A server with a folder of its own; its data outlive a kill."""

    def __init__(
        self,
        home: Path,
        java: Path,
        folder: Path,
        extra: str = "",
        tls: ssl.SSLContext | None = None,
        authorization: str = "",
    ) -> None:
        self.port = _free_port()
        url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        super().__init__(url, tls, authorization)
        self._home = home
        self._environment = {
            "ES_JAVA_HOME": str(java),
            "ES_PATH_CONF": str(folder / "config"),
            "ES_TMPDIR": str(folder / "tmp"),
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
        }
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(home / "config", folder / "config")
        (folder / "tmp").mkdir()
        settings = _SETTINGS.format(folder=folder, port=self.port, transport_port=_free_port())
        security = f"xpack.security.enabled: {'true' if tls else 'false'}\n"
        (folder / "config/elasticsearch.yml").write_text(settings + security + extra)
        options = (home / "config/jvm.options").read_text()
        kept = [line for line in options.splitlines() if "-Xlog" not in line and "jdk.incubator.vector" not in line]
        (folder / "config/jvm.options").write_text("\n".join([*kept, *_JVM_OPTIONS, ""]))

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self._home / "bin/elasticsearch")]
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{_USER}:{_USER}", str(self._folder)], check=True)
            command = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *command]
        log = (self._folder / "out.log").open("ab")
        self._process = subprocess.Popen(
            command, env=self._environment, stdout=log, stderr=log, start_new_session=True, cwd=self._folder
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "out.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "Elasticsearch did not answer in time"
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill the server as a power cut of the process would."""
        assert self._process is not None
        group = self._process.pid
        os.killpg(group, signal.SIGKILL)
        self._process.wait()
        self._process = None
        deadline = time.monotonic() + 60
        # Its last process has the lock on the data until it is gone.
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self.kill()

    def _answers(self) -> bool:
        try:
            self.ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
        except (OSError, urllib.error.URLError):
            return False
        return True


class Sending:
    """The segments of one output, and the process that sends them."""

    def __init__(self, node: Server, folder: Path) -> None:
        self.namespace = f"t{secrets.token_hex(4)}"
        self.stream = f"logs-auditline.audit-{self.namespace}"
        self.state = folder / "state"
        self.segments = spool_directory(self.state, "es", "audit")
        self.segments.mkdir(parents=True)
        self.settings = {"hosts": (node.url,), "namespace": self.namespace, "flush_seconds": 0.05, **QUICK}
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "sender.log"

    def write(self, first: int, last: int, *, counter: int = 1, **more: object) -> None:
        """Append events to a segment, as the router does."""
        with (self.segments / f"auditline-{counter:012}-{counter:08x}.jsonl").open("ab") as file:
            file.writelines(event(number, **more) for number in range(first, last))

    def start(self, **settings: object) -> None:
        """Start the process."""
        chosen = {**self.settings, **settings}
        command = [sys.executable, "-c", SENDER, str(self.state), repr(chosen)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the process."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=20)

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def is_done(self) -> bool:
        """Whether the cursor is at the end of the segments."""
        try:
            position, _ = read_position(cursor_path(self.state, "es", "audit"))
        except FileNotFoundError:
            return False
        newest = max(self.segments.iterdir())
        return position == (newest.name, newest.stat().st_size)

    def ids(self) -> list[str]:
        """Return the ids that the server has, sorted; those that it has twice twice."""
        return sorted(self._node.ids(self.stream)) if self.has_stream() else []

    def has_stream(self) -> bool:
        """Whether the server has the data stream."""
        return bool(self._node.ask("GET", f"/_resolve/index/{self.stream}*")["data_streams"])


def event(number: int, **more: object) -> bytes:
    """Return a line."""
    head = {"@timestamp": "2026-01-01T00:00:00.000Z", "event": {"id": f"h-{number:06}"}, "host": {"name": "n"}}
    return json.dumps({**head, "n": number, **more}, separators=(",", ":")).encode() + b"\n"


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder where the server's user may go: those of pytest are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="auditline-elasticsearch-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def elasticsearch_home(server_folder: Path) -> Path:
    """Where the distribution was unpacked."""
    with zipfile.ZipFile(_fetch(server_folder)) as archive:
        archive.extractall(server_folder)
    home = server_folder / f"elasticsearch-{VERSION}"
    for program in (home / "bin").iterdir():
        program.chmod(0o755)
    # Everybody may read it: the server runs as another user.
    subprocess.run(["chmod", "-R", "a+rX", str(home)], check=True)
    return home


@pytest.fixture(scope="session")
def java() -> Path:
    """A Java that is new enough."""
    named = os.environ.get("AUDITLINE_JAVA_HOME")
    for folder in [Path(named)] if named else sorted(Path("/usr/lib/jvm").glob("*"), reverse=True):
        release = folder / "release"
        if release.exists() and any(f'JAVA_VERSION="{major}' in release.read_text() for major in range(21, 40)):
            return folder
    pytest.skip("Elasticsearch needs Java 21 or newer, in /usr/lib/jvm or where AUDITLINE_JAVA_HOME says")


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[Server]:
    """One server for all tests, or the one that is named; each test uses a namespace of its own."""
    if url := os.environ.get(EXISTING):
        existing = Existing(url.rstrip("/"))
        existing.ask("PUT", "/_index_template/auditline-tests", TEMPLATE)
        yield existing
        return
    folder = server_folder / "node"
    folder.mkdir()
    made = Node(request.getfixturevalue("elasticsearch_home"), request.getfixturevalue("java"), folder)
    try:
        made.start()
        made.ask("PUT", "/_index_template/auditline-tests", TEMPLATE)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def make_node(elasticsearch_home: Path, java: Path) -> Callable[..., Node]:
    """Make a server that is not as the others are; whoever makes it stops it."""
    return partial(Node, elasticsearch_home, java)


@pytest.fixture(scope="session")
def make_sending() -> Callable[[Server, Path], Sending]:
    """Make a sender for another server."""
    return Sending


@pytest.fixture
def sending(node: Server, tmp_path: Path) -> Iterator[Sending]:
    """A sender, and what it sends, to a namespace that no other test uses."""
    made = Sending(node, tmp_path)
    yield made
    made.end()


def _fetch(folder: Path) -> Path:
    """Return the distribution: what Maven has of it on this machine, or a new copy in *folder*."""
    archive = Path.home() / ".m2/repository" / PLACE
    if not archive.exists():
        archive = folder / archive.name
        # Maven knows of mirrors and proxies; not everybody has it.
        problem = _fetch_with_maven(archive) and _download(archive)
        if problem:
            pytest.skip(f"Elasticsearch is not to be had here: {problem}")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest == SHA256, f"{archive} is another file than expected: {digest}"
    return archive


def _fetch_with_maven(archive: Path) -> str:
    """Return why it cannot; empty: it is there."""
    if shutil.which("mvn") is None:
        return "mvn is missing"
    command = ["mvn", "-B", "-q", "dependency:get", f"-Dartifact={ARTIFACT}", "-Dtransitive=false"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        shutil.copyfile(Path.home() / ".m2/repository" / PLACE, archive)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return ""


def _download(archive: Path) -> str:
    """Return why it cannot; empty: it is there."""
    try:
        with urllib.request.urlopen(f"{CENTRAL}/{PLACE}", timeout=60) as response, archive.open("wb") as file:
            shutil.copyfileobj(response, file)
    except OSError as error:
        return f"{CENTRAL}: {error}"
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
