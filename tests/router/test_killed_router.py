"""A router's process that is killed with undone entries of a watcher: the next one writes the same lines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.file_entry import Coverage, FileChange, encode_entry
from auditline.workers.common.file_state import state_of

ENTRIES = 40
ROUTER = """
import os, socket, sys
from dataclasses import replace
from pathlib import Path
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import AuditSettings, RunSettings, Settings, StateSettings
from auditline.workers.router.worker import run

folder = Path(sys.argv[1])
settings = replace(
    Settings(),
    audit=AuditSettings(enabled=False, resolve_ids=False),
    state=StateSettings(directory=folder / "state"),
    run=RunSettings(directory=folder / "run"),
)
feed, _supervisor = os.pipe()
names, _helper = socket.socketpair()
counters = CounterPage.open(folder / "run" / "counters" / "router.page", ())
run(Life("router", counters), settings, 1, feed, names.fileno(), ["fim-etc"])
"""


@dataclass
class Outbox:
    """A watcher's store in memory."""

    batches: list[Batch]
    source: str = "fim-etc"
    epoch: str = "e" * 16
    done_number: int = 0
    done_state: bytes = b""

    @property
    def last_number(self) -> int:
        return len(self.batches)

    def read(self, number: int) -> Batch:
        return self.batches[number - 1]

    def forget(self, number: int, state: bytes) -> None:
        self.done_number, self.done_state = number, state


def entries() -> list[Batch]:
    """Return changes with names of all kinds, and one gap."""
    state = state_of(os.stat("/"), checked_ns=time.time_ns())
    payloads = [encode_entry(Coverage(identity="ab-1", path=b"/etc", reason="restart", action="compared", start_ns=1))]
    for number in range(1, ENTRIES):
        path = b"/etc/%d\xff\n" % number
        change = FileChange(
            action="created", path=path, before=None, after=state, detected_by="event", time_ns=state.checked_ns
        )
        payloads.append(encode_entry(change))
    return [Batch(number, BatchKind.FILE, b"", payload) for number, payload in enumerate(payloads, 1)]


@contextmanager
def router_process(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", ROUTER, str(folder)], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def read_lines(process: "subprocess.Popen[bytes]", count: int) -> list[bytes]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def test_a_router_that_is_killed_with_undone_entries_is_followed_by_the_same_lines(
    tmp_path: Path, wait_until: Callable[..., None]
):
    (tmp_path / "run" / "counters").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    outbox = Outbox(entries())
    producer = Producer(endpoint(tmp_path / "run"), outbox)

    def is_done(number: int) -> bool:
        producer.wait([], 0.01)
        producer.pump()
        return outbox.done_number >= number

    with router_process(tmp_path) as first:
        wait_until(lambda: is_done(0) and producer._next > ENTRIES)
        early = read_lines(first, ENTRIES // 2)
        # Lines that were written together are done together.
        wait_until(lambda: is_done(ENTRIES // 4))
        known = outbox.done_number
        first.send_signal(signal.SIGKILL)
        early += read_lines(first, ENTRIES - len(early))
    with router_process(tmp_path) as second:
        wait_until(lambda: is_done(0) and producer.is_greeted)
        late = read_lines(second, ENTRIES - known)
        wait_until(lambda: is_done(ENTRIES))
    producer.close()

    assert early[known:] == late
    assert len({json.loads(line)["event"]["id"] for line in early}) == ENTRIES
