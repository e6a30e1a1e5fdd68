"""What sending to Elasticsearch costs, how fast it goes and how soon an event is there.

    python -m benchmarks.elasticsearch --url http://127.0.0.1:9200 [--documents N] [--rounds R]

The server is one for trials: data streams `logs-auditline.bench-audit-*` are made in it and deleted. Three ways to send
the same documents of 600 bytes, in turns: our sender, following segments; `elasticsearch.helpers.bulk`, given them as
dictionaries; and a plain HTTP client that posts bodies which were prepared before. CPU is of the sending process, from
its first request to its last. Then, for `--latency-events` events one at a time: from the moment at which it was
appended to a segment to the moment at which our cursor says that the server has it.
"""

import argparse
import ast
import http.client
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil

from auditline.plugins.outputs.elasticsearch import cursor_path, spool_directory
from auditline.plugins.outputs.positions import read_position

LINE_BYTES = 600
BULK_DOCUMENTS = 2000
LATENCIES = ((1.0, 1.5), (0.05, 0.15))
"""(flush_seconds, p99 wanted)."""
TEMPLATE = {
    "index_patterns": ["logs-auditline.bench-*"],
    "data_stream": {},
    "priority": 300,
    "template": {"settings": {"number_of_replicas": 0}, "mappings": {"dynamic": False}},
}
_SENDER = """
import ast, logging, pathlib, sys
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import ElasticsearchSettings, Settings, StateSettings
from auditline.workers.elasticsearch.worker import run
logging.basicConfig(level=logging.WARNING)
life = Life("sender", CounterPage.unshared(()))
life.take_signals()
settings = Settings(state=StateSettings(directory=pathlib.Path(sys.argv[1])))
run(life, settings, ElasticsearchSettings(name="es", **ast.literal_eval(sys.argv[2])))
"""
_HELPERS = """
import json, pathlib, sys, time
from elasticsearch import Elasticsearch, helpers
path, url, stream = sys.argv[1:]
documents = [json.loads(line) for line in pathlib.Path(path).read_bytes().splitlines()]
client = Elasticsearch(url)
actions = (
    {"_op_type": "create", "_index": stream, "_id": document["event"]["id"], "_source": document}
    for document in documents
)
wall, cpu = time.monotonic(), time.process_time()
helpers.bulk(client, actions, chunk_size=2000)
print([time.process_time() - cpu, time.monotonic() - wall])
"""


class Used(NamedTuple):
    """What sending took."""

    cpu_seconds: float
    seconds: float


class Cluster:
    """The server, asked without any client of ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._place = urlsplit(url).netloc

    def ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        """Return what it answers."""
        connection = http.client.HTTPConnection(self._place, timeout=120)
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read() or b"{}")
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {answer}")
        return answer

    def count(self, stream: str) -> int:
        """Return how many documents a data stream has."""
        self.ask("POST", f"/{stream}/_refresh")
        return int(self.ask("GET", f"/{stream}/_count")["count"])

    @contextmanager
    def stream(self, expected: int) -> Iterator[str]:
        """Give the name of a data stream of its own, look whether everything came to it, and delete it."""
        name = f"logs-auditline.bench-audit-{secrets.token_hex(4)}"
        yield name
        found = self.count(name)
        self.ask("DELETE", f"/_data_stream/{name}")
        if found != expected:
            raise SystemExit(f"{name}: {found} documents instead of {expected}")

    def post_bodies(self, bodies: list[bytes]) -> Used:
        """Post prepared bulk bodies over one connection."""
        connection = http.client.HTTPConnection(self._place, timeout=120)
        headers = {"content-type": "application/x-ndjson"}
        wall, cpu = time.monotonic(), time.process_time()
        for body in bodies:
            connection.request("PUT", "/_bulk?filter_path=errors", body, headers)
            answer = json.loads(connection.getresponse().read())
            if answer["errors"]:
                raise SystemExit("the server refused some documents")
        return Used(time.process_time() - cpu, time.monotonic() - wall)


class Sender:
    """Our process, and the segments that it follows."""

    def __init__(self, folder: Path, url: str, stream: str, **settings: object) -> None:
        self.state = folder / secrets.token_hex(4)
        self.segments = spool_directory(self.state, "es", "audit")
        self.segments.mkdir(parents=True)
        self._settings = {"hosts": (url,), "data_stream": stream.replace("audit-", "{kind}-"), **settings}
        self._cursor = cursor_path(self.state, "es", "audit")

    @contextmanager
    def running(self) -> Iterator["psutil.Process"]:
        """Run it for the length of the block."""
        command = [sys.executable, "-c", _SENDER, str(self.state), repr(self._settings)]
        with subprocess.Popen(command) as process:
            try:
                yield psutil.Process(process.pid)
            finally:
                process.terminate()

    def wait_for(self, offset: int, pause_seconds: float = 0.002) -> None:
        """Return when the server has everything before *offset* of the only segment."""
        while True:
            try:
                position, _ = read_position(self._cursor)
            except FileNotFoundError:
                position = None
            if position is not None and position.offset >= offset:
                return
            time.sleep(pause_seconds)


def make_lines(count: int) -> list[bytes]:
    """Return events as the router writes them."""
    lines = []
    for number in range(count):
        head = f'{{"@timestamp":"2026-01-01T00:00:00.000Z","event":{{"id":"h-{number:08}"}},"host":{{"name":"n"}}'
        fields = ",".join(f'"field{each}":"value {number} of {each}"' for each in range(12))
        body = f'{head},"audit":{{{fields}}},"pad":"'
        lines.append((body + "x" * (LINE_BYTES - len(body) - 3) + '"}\n').encode())
    return lines


def send_ours(cluster: Cluster, folder: Path, lines: list[bytes]) -> Used:
    """Send with our process; its start is not counted."""
    with cluster.stream(len(lines)) as stream:
        sender = Sender(folder, cluster.url, stream)
        segment = sender.segments / "auditline-000000000001-0badcafe.jsonl"
        size = sum(map(len, lines))
        first = b"".join(lines[:1])
        segment.write_bytes(first)
        with sender.running() as process:
            sender.wait_for(len(first))
            before, began = process.cpu_times(), time.monotonic()
            # Written whole before it is seen: the sender follows what is there.
            with segment.open("ab") as file:
                file.write(b"".join(lines[1:]))
            sender.wait_for(size, 0.01)
            seconds, after = time.monotonic() - began, process.cpu_times()
    return Used(after.user + after.system - before.user - before.system, seconds)


def send_with_helpers(cluster: Cluster, folder: Path, lines: list[bytes]) -> Used:
    """Send with the client's own helper."""
    path = folder / "documents"
    path.write_bytes(b"".join(lines))
    with cluster.stream(len(lines)) as stream:
        command = [sys.executable, "-c", _HELPERS, str(path), cluster.url, stream]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Used(*ast.literal_eval(done.stdout))


def send_raw(cluster: Cluster, lines: list[bytes]) -> Used:
    """Post bodies that were prepared before."""
    with cluster.stream(len(lines)) as stream:
        bodies = []
        for first in range(0, len(lines), BULK_DOCUMENTS):
            parts = []
            for line in lines[first : first + BULK_DOCUMENTS]:
                event_id = json.loads(line)["event"]["id"]
                parts += [b'{"create":{"_index":"%b","_id":"%b"}}\n' % (stream.encode(), event_id.encode()), line]
            bodies.append(b"".join(parts))
        return cluster.post_bodies(bodies)


def measure_latency(cluster: Cluster, folder: Path, flush_seconds: float, count: int) -> list[float]:
    """Return for each of *count* events, one at a time, after how many seconds the server had it."""
    lines = make_lines(count)
    with cluster.stream(count) as stream:
        sender = Sender(folder, cluster.url, stream, flush_seconds=flush_seconds)
        found, offset = [], 0
        with (
            (sender.segments / "auditline-000000000001-0badcafe.jsonl").open("ab", buffering=0) as file,
            sender.running(),
        ):
            for line in lines:
                began = time.monotonic()
                file.write(line)
                offset += len(line)
                sender.wait_for(offset)
                found.append(time.monotonic() - began)
    # The first one waits for the process to start and for the data stream to be made.
    return sorted(found[1:])


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-events", type=int, default=100)
    options = parser.parse_args()
    cluster = Cluster(options.url.rstrip("/"))
    cluster.ask("PUT", "/_index_template/auditline-bench", json.dumps(TEMPLATE).encode())
    lines = make_lines(options.documents)
    rounds: dict[str, list[Used]] = {"ours": [], "helpers.bulk": [], "prepared bodies": []}
    with tempfile.TemporaryDirectory(prefix="bench-es-") as scratch:
        folder = Path(scratch)
        for _ in range(options.rounds):
            rounds["ours"].append(send_ours(cluster, folder, lines))
            rounds["helpers.bulk"].append(send_with_helpers(cluster, folder, lines))
            rounds["prepared bodies"].append(send_raw(cluster, lines))
        report(rounds, options.documents)
        for flush_seconds, wanted in LATENCIES:
            found = measure_latency(cluster, folder, flush_seconds, options.latency_events)
            p50, p99 = statistics.median(found), found[int(len(found) * 0.99)]
            print(f"flush_seconds = {flush_seconds}: p50 {p50:.3f} s, p99 {p99:.3f} s (wanted: {wanted})")


def report(rounds: dict[str, list[Used]], documents: int) -> None:
    """Print CPU and rate of each way, and how they compare."""
    millions = documents / 1e6
    for name, used in rounds.items():
        cpu = " ".join(f"{each.cpu_seconds / millions:.2f}" for each in used)
        rate = " ".join(f"{documents / each.seconds:.0f}" for each in used)
        print(f"{name:16} CPU s per million documents: {cpu}   documents/s: {rate}")
    cpu_of = {name: statistics.median(each.cpu_seconds for each in used) for name, used in rounds.items()}
    seconds_of = {name: statistics.median(each.seconds for each in used) for name, used in rounds.items()}
    print(f"CPU, ours beside helpers.bulk: {cpu_of['ours'] / cpu_of['helpers.bulk']:.2f} (wanted: 0.3)")
    quickness = seconds_of["prepared bodies"] / seconds_of["ours"]
    print(f"documents/s, ours beside prepared bodies: {quickness:.2f} (wanted: 0.9)")


if __name__ == "__main__":
    main()
