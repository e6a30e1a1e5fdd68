"""A server that is away for long: nobody waits for it, nobody needs more memory, and all arrives when it is back."""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

OPENER = Path(__file__).parents[2] / "integration" / "load" / "opener.py"
RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k outage"
FROM_KERNEL = f"[audit]\nrules = ['{RULE}']\nrules_files = []"
PER_SECOND = 2000
MEASURE_SECONDS = 5
GROWTH_BYTES = 8 << 20
"""What a process may have more at the end than after the first tenth: what it has room for, it fills."""
BULK_DOCUMENTS = 2000


@pytest.fixture
def open_names(tmp_path):
    """Have names opened that nobody may open, PER_SECOND of them each second."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    started: list[subprocess.Popen[bytes]] = []

    def begin(count):
        command = [sys.executable, "-S", str(OPENER), str(closed), "name", str(PER_SECOND), str(count)]
        started.append(subprocess.Popen(command, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def memory_over(service, seconds):
    """Return how much memory each process had, over so long a time, by title."""
    found: dict[str, list[int]] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(MEASURE_SECONDS)
        for title, resident in service.resident_bytes().items():
            found.setdefault(title, []).append(resident)
    return found


def growth(sizes):
    """Return how much larger the largest of the last tenth is than the largest of the first."""
    tenth = max(1, len(sizes) // 10)
    return max(sizes[-tenth:]) - max(sizes[:tenth])


def post_documents(node, stream, count):
    """Let a client that does nothing else post documents like ours; return how many a second the server took."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    document = node.ask("GET", f"/{stream}/_search?size=1")["hits"]["hits"][0]["_source"]
    line = json.dumps(document, separators=(",", ":"))
    headers = {"content-type": "application/x-ndjson"}
    seconds = 0.0
    for first in range(0, count, BULK_DOCUMENTS):
        numbers = range(first, first + BULK_DOCUMENTS)
        body = "".join(f'{{"create":{{"_id":"raw-{number}"}}}}\n{line}\n' for number in numbers)
        begun = time.monotonic()
        connection.request("PUT", f"/{stream}-raw/_bulk?filter_path=errors", body, headers)
        answer = json.loads(connection.getresponse().read())
        seconds += time.monotonic() - begun
        assert answer == {"errors": False}
    connection.close()
    return count / seconds


@pytest.mark.soak
@pytest.mark.kernel
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seconds", [600])
def test_a_long_outage_costs_disk_alone(kernel_audit, service, open_names, node, wait_until, seconds):
    service.start(subprocess.DEVNULL, FROM_KERNEL)
    wait_until(lambda: "audit rules of ours are loaded" in service.log.read_text(), 60)
    lost = kernel_audit.status().lost
    node.kill()

    opener = open_names(PER_SECOND * seconds)
    memory = memory_over(service, seconds)
    opener.wait(60)
    wait_until(lambda: len(service.written()) >= PER_SECOND * seconds, 120)
    node.start()
    before, begun = service.count("audit"), time.monotonic()
    wait_until(service.is_sent, 1200)
    rate = (service.count("audit") - before) / (time.monotonic() - begun)
    raw_rate = post_documents(node, service.stream("audit"), 100_000)
    sys.stdout.write(f"{before=} {rate=:.0f} {raw_rate=:.0f} {memory=}\n")

    assert kernel_audit.status().lost == lost
    assert {title: sizes for title, sizes in memory.items() if growth(sizes) > GROWTH_BYTES} == {}
    assert service.differences(60) == {}
    assert rate >= 0.8 * raw_rate
