"""The reader as a process of its own, on a socket that it inherits, with a router at the other end of the bus."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from auditline.workers.audit.netlink import MOST_RECORDS
from auditline.workers.common.batch import BatchKind
from auditline.workers.common.bus import Arrival, Bye, Hello, Hub, endpoint
from auditline.workers.common.counters import read_pages

READER = """
import functools, sys
from pathlib import Path
from auditline.workers.audit import worker
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import RunSettings, Settings, StateSettings

directory = Path(sys.argv[1])
# The test's records come from a process, not from the kernel.
worker.make_receiver = functools.partial(worker.make_receiver, kernel_only=False)
life = Life("audit", CounterPage.open(directory / "audit.page", []))
life.take_signals()
settings = Settings(state=StateSettings(directory=directory), run=RunSettings(directory=directory))
worker.run(life, settings, int(sys.argv[2]), False)
"""


class Router:
    """Takes what comes, each batch once, and says done to all of it."""

    def __init__(self, directory: Path) -> None:
        self._hub = Hub(endpoint(directory))
        self._last: dict[str, int] = {}
        self.serials: list[int] = []
        self.kinds: list[int] = []
        self.is_finished = False

    def serve(self, seconds: float) -> None:
        self._hub.wait([], [], seconds, takes_batches=True)
        while (message := self._hub.receive()) is not None:
            match message:
                case Hello():
                    self._hub.resume(message, self._last.get(message.epoch, message.done_number) + 1)
                case Arrival():
                    self._take(message)
                case Bye():
                    self._hub.end(message.peer)
                    self.is_finished = True

    def _take(self, arrival: Arrival) -> None:
        batch = arrival.batch
        if batch.number > self._last.get(arrival.epoch, 0):
            self._last[arrival.epoch] = batch.number
            self.kinds.append(batch.kind)
            if batch.kind == BatchKind.RECORDS:
                self.serials += [int(text.split(b":")[1][:-1]) for text in batch.payload.split(b"\0")]
        self._hub.done(arrival.peer, arrival.epoch, batch.number, b"")

    def close(self) -> None:
        self._hub.close()


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    opened = Router(tmp_path)
    yield opened
    opened.close()


class Readers:
    """Starts readers one after another on the same socket."""

    def __init__(self, directory: Path, data_socket: socket.socket) -> None:
        self._arguments = [sys.executable, "-c", READER, str(directory), str(data_socket.fileno())]
        self._fd = data_socket.fileno()
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self._arguments, pass_fds=[self._fd], stderr=subprocess.PIPE, text=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def replace(self) -> None:
        self.kill()
        self.process = self._start()


@pytest.fixture
def readers(tmp_path: Path, wire) -> Iterator[Readers]:
    started = Readers(tmp_path, wire.reader)
    yield started
    started.kill()


def send_patiently(wire, router: Router, serial: int) -> None:
    while True:
        try:
            wire.send(1300, b"audit(1.000:%d):" % serial)
        except BlockingIOError:
            router.serve(0.01)
        else:
            return


def serve_until(router: Router, is_so, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        router.serve(0.05)


def has_more_than(router: Router, records: int) -> bool:
    return len(router.serials) > records


def test_kill_9_of_a_reader_costs_at_most_the_batch_in_its_hands(readers, router, wire, tmp_path):
    kills, per_kill = 4, 5000
    for kill in range(kills):
        for serial in range(kill * per_kill, (kill + 1) * per_kill):
            send_patiently(wire, router, serial)
            if serial % 100 == 0:
                router.serve(0)
        serve_until(router, partial(has_more_than, router, len(router.serials)))
        readers.replace()
    send_patiently(wire, router, kills * per_kill)
    serve_until(router, lambda: router.serials[-1] == kills * per_kill)

    readers.process.send_signal(signal.SIGTERM)
    serve_until(router, lambda: router.is_finished)
    readers.process.wait(5)
    counters = read_pages(tmp_path)["audit"]

    missing = kills * per_kill + 1 - len(router.serials)
    assert router.serials == sorted(set(router.serials))
    assert 0 <= missing <= kills * MOST_RECORDS
    assert counters["records_received_total"] - len(router.serials) in range(missing + 1)
    assert readers.process.returncode == 0


def test_the_end_of_a_reader_hands_over_what_the_kernel_still_had(readers, router, wire):
    serve_until(router, lambda: router.kinds == [BatchKind.START])
    for serial in range(3000):
        send_patiently(wire, router, serial)

    readers.process.send_signal(signal.SIGTERM)
    serve_until(router, lambda: router.is_finished)

    assert readers.process.wait(5) == 0
    assert router.serials == list(range(3000))


def test_what_a_dead_router_has_not_taken_waits_in_the_journal(readers, wire, tmp_path):
    first = Router(tmp_path)
    serve_until(first, lambda: first.kinds == [BatchKind.START])
    first.close()
    for serial in range(1000):
        wire.send(1300, b"audit(1.000:%d):" % serial)

    second = Router(tmp_path)
    serve_until(second, lambda: len(second.serials) == 1000)
    second.close()

    assert second.serials == list(range(1000))


def test_a_second_reader_on_the_same_journal_says_so_and_ends(readers, router, wire, tmp_path):
    serve_until(router, lambda: router.kinds == [BatchKind.START])

    second = Readers(tmp_path, wire.reader)
    _, errors = second.process.communicate(timeout=10)

    assert f"BusyError: journal {tmp_path}/journal/audit is in use by another process" in errors
