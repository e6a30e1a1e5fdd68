"""The whole service before a real server: who writes events, who is killed, and what has arrived in the end."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from auditline.plugins.outputs.elasticsearch import KINDS, cursor_path, spool_directory
from auditline.plugins.outputs.positions import find_position

CONFIGURATION = """
[state]
directory = "{folder}/state"
[run]
directory = "{folder}/run"
{audit}
[fim]
watch = []
[health]
period_seconds = 3600
[outputs.stdout]
enabled = false
[outputs.segments]
enabled = {has_segments}
directory = "{folder}/segments"
keep_bytes = {most_bytes}
total_bytes = {most_bytes}
[outputs.elasticsearch]
hosts = ["{url}"]
namespace = "{namespace}"
flush_seconds = 0.2
retry_min_seconds = 0.1
retry_max_seconds = 1.0
"""
MOST_BYTES = 1 << 33
OUTPUT = "elasticsearch"
SENDER = f"sender {OUTPUT}"
ALL = "all"
FROM_STDIN = '[audit]\nsocket = "stdin"'
FIRST_SECOND = 1_700_000_000
LOGIN = b"type=USER_LOGIN msg=audit(%d.%03d:%d): pid=1 uid=0 auid=0 ses=1 msg='op=login acct=\"a\" res=success'\n"


def login(number: int) -> bytes:
    """Return a record that is an event by itself."""
    return LOGIN % (FIRST_SECOND + number // 1000, number % 1000, number)


def is_of_login(identity: str) -> bool:
    """Whether an event's id is that of such a record."""
    return identity.partition("-")[2].startswith(str(FIRST_SECOND)[:3])


class Writer:
    """Writes events into a pipe at an even rate, as slowly as they are taken."""

    def __init__(self, count: int, per_second: float) -> None:
        self.fd, self._write_fd = os.pipe()
        self._count, self._per_second = count, per_second
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until all have been written."""
        self._thread.join(600)
        assert not self._thread.is_alive()

    def close(self) -> None:
        """Write no more, and let go of the pipe, which ends a writer that nobody reads from."""
        self._is_over.set()
        os.close(self.fd)
        self._thread.join(10)
        os.close(self._write_fd)

    def _write(self) -> None:
        begun = time.monotonic()
        with suppress(BrokenPipeError):
            for first in range(0, self._count, 20):
                if self._is_over.wait(max(0.0, begun + first / self._per_second - time.monotonic())):
                    return
                self._write_all(b"".join(map(login, range(first, min(first + 20, self._count)))))

    def _write_all(self, text: bytes) -> None:
        while text:
            text = text[os.write(self._write_fd, text) :]


class Service:
    """`auditline run` with segments to compare with, over several starts."""

    def __init__(self, node: Any, folder: Path, wait_until: Callable[..., None]) -> None:
        self.folder = folder
        self.namespace = f"s{random.SystemRandom().randrange(1 << 32):08x}"
        self.log = folder / "service.log"
        self._node = node
        self._wait_until = wait_until
        self._process: subprocess.Popen[bytes] | None = None
        self._stdin = subprocess.DEVNULL
        self._positions: Counter[Path] = Counter()
        """How far each segment has been read."""
        self._written: set[str] = set()

    def stream(self, kind: str) -> str:
        """Return the name of a data stream."""
        return f"logs-auditline.{kind}-{self.namespace}"

    def start(self, stdin: int | None = None, audit: str = FROM_STDIN, *, has_segments: bool = True) -> None:
        """Start it, with what it read before unless something else is given, and wait for its sender."""
        if stdin is not None:
            self._stdin = stdin
            text = CONFIGURATION.format(
                folder=self.folder, audit=audit, url=self._node.url, namespace=self.namespace, most_bytes=MOST_BYTES,
                has_segments="true" if has_segments else "false",
            )  # fmt: skip
            (self.folder / "auditline.toml").write_text(text)
            (self.folder / "auditline.toml").chmod(0o644)
        command = [sys.executable, "-m", "auditline.workers.supervisor", "run"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--config", str(self.folder / "auditline.toml")], stdin=self._stdin, stderr=log
            )
        self._wait_until(lambda: self._find(SENDER), 60)

    def stop(self) -> None:
        """End it, which it must do well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(30) == 0, self.log.read_text()[-2000:]

    def hit(self, victim: str) -> None:
        """Kill the worker of that title, or stop the whole service and start it again."""
        if victim == ALL:
            self.stop()
            self.start()
            return
        self._wait_until(lambda: self._find(victim), 60)
        with suppress(psutil.NoSuchProcess, IndexError):
            self._find(victim)[0].kill()

    def end(self) -> None:
        """Kill what is left."""
        if self._process is not None and self._process.poll() is None:
            for process in (psutil.Process(self._process.pid), *self.workers()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()

    def workers(self) -> list[psutil.Process]:
        """Return its processes."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children(recursive=True)

    def resident_bytes(self) -> dict[str, int]:
        """Return how much memory each process has, by title."""
        assert self._process is not None
        found = {}
        for process in (psutil.Process(self._process.pid), *self.workers()):
            with suppress(psutil.NoSuchProcess):
                found[title_of(process)] = process.memory_info().rss
        return found

    def written(self) -> list[str]:
        """Return the ids in the segments, each once; a line that a kill left torn is skipped, as its readers do."""
        for path in (self.folder / "segments").glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._positions[path])
                lines = file.read().split(b"\n")[:-1]
            self._positions[path] += sum(len(line) + 1 for line in lines)
            self._written.update(json.loads(line)["event"]["id"] for line in lines)
        return sorted(self._written)

    def logins(self) -> int:
        """Return of how many records the segments have the event."""
        return sum(map(is_of_login, self.written()))

    def arrived(self) -> list[str]:
        """Return the ids that the server has, those that it has twice twice."""
        return sorted(self._node.ids(self.stream("*")))

    def count(self, kind: str = "*") -> int:
        """Return how many documents the server has; 0 while it cannot say."""
        with suppress(urllib.error.URLError):
            self._node.ask("POST", f"/{self.stream(kind)}/_refresh?ignore_unavailable=true")
            return int(self._node.ask("GET", f"/{self.stream(kind)}/_count?ignore_unavailable=true")["count"])
        return 0

    def is_sent(self) -> bool:
        """Whether the sender has an answer for all that is written."""
        state = self.folder / "state"
        return all(is_at_end(spool_directory(state, OUTPUT, kind), cursor_path(state, OUTPUT, kind)) for kind in KINDS)

    def differences(self, seconds: float) -> dict[str, list[str]]:
        """Return which ids the server lacks, and which it has without our having written them or more than once.

        What is wrong may be so for a while: the service writes an event when the server is there again.
        """
        deadline = time.monotonic() + seconds
        while True:
            arrived = Counter(self.arrived() if self.count() >= len(self.written()) or is_over(deadline) else ())
            written = set(self.written())
            found = {
                "missing": sorted(written - set(arrived)),
                "unknown": sorted(set(arrived) - written),
                "more than once": sorted(each for each, times in arrived.items() if times > 1),
            }
            if not any(found.values()) or is_over(deadline):
                return {what: ids for what, ids in found.items() if ids}
            time.sleep(0.5)

    def _find(self, title: str) -> list[psutil.Process]:
        return [process for process in self.workers() if title in title_of(process)]


def is_over(deadline: float) -> bool:
    return time.monotonic() >= deadline


def is_at_end(directory: Path, cursor: Path) -> bool:
    """Whether a cursor is at the end of a series; one that has nothing has no cursor."""
    newest = max(directory.iterdir(), default=None)
    return newest is None or find_position(cursor) == (newest.name, newest.stat().st_size)


def title_of(process: psutil.Process) -> str:
    """Return what a process calls itself; nothing if it has ended."""
    with suppress(psutil.Error):
        return (process.cmdline() or [""])[0].removeprefix("auditline: ")
    return ""


@pytest.fixture
def service(node: Any, tmp_path: Path, wait_until: Callable[..., None]) -> Iterator[Service]:
    """The service, not yet started."""
    made = Service(node, tmp_path, wait_until)
    yield made
    made.end()
    # Shown when the test fails.
    if made.log.exists():
        sys.stdout.write(made.log.read_text())


@pytest.fixture
def write() -> Iterator[Callable[[int, float], Writer]]:
    """Begin to write so many events, so many a second."""
    writers: list[Writer] = []

    def begin(count: int, per_second: float) -> Writer:
        writers.append(Writer(count, per_second))
        return writers[-1]

    yield begin
    for writer in writers:
        writer.close()


@pytest.fixture
def chance() -> random.Random:
    """Random moments; a failure shows the seed, and AUDITLINE_TEST_SEED gives the same ones again."""
    seed = int(os.environ.get("AUDITLINE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    sys.stdout.write(f"AUDITLINE_TEST_SEED={seed}\n")
    return random.Random(seed)
