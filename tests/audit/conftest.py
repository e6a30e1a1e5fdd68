"""Real netlink sockets that touch no kernel state: NETLINK_USERSOCK carries what processes send one another."""

import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from auditline.workers.audit.journal import Journal
from auditline.workers.audit.netlink import Receiver
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Arrival, Bye, Hello, Hub, endpoint

NETLINK_USERSOCK = 2

READER = """
import functools, sys
from pathlib import Path
from auditline.workers.audit import worker
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import RunSettings, Settings, StateSettings

directory = Path(sys.argv[1])
worker.make_receiver = functools.partial(worker.make_receiver, kernel_only=sys.argv[3] == "kernel")
life = Life("audit", CounterPage.open(directory / "audit.page", []))
life.take_signals()
settings = Settings(state=StateSettings(directory=directory), run=RunSettings(directory=directory))
worker.run(life, settings, int(sys.argv[2]), False)
"""
"""A reader's process: directory, descriptor, and whether only the kernel's records are taken."""


def netlink_message(record_type: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", len(payload), record_type, 0, 0, 0) + payload


@dataclass
class Wire:
    """A reader's socket and a sender that writes to it."""

    reader: socket.socket
    sender: socket.socket
    counts: "Counter[str]" = field(default_factory=Counter)
    address: tuple[int, int] | None = None
    receivers: list[Receiver] = field(default_factory=list)

    def receiver(self, kind: Callable[..., Receiver], *, kernel_only: bool = False) -> Receiver:
        self.receivers.append(kind(self.reader.fileno(), self.count, kernel_only=kernel_only))
        return self.receivers[-1]

    def count(self, name: str, amount: int) -> None:
        self.counts[name] += amount

    def send(self, record_type: int, payload: bytes) -> None:
        self.send_raw(netlink_message(record_type, payload))

    def send_raw(self, datagram: bytes) -> None:
        # A message to a group goes to the kernel too, which has no use for it and says so.
        with suppress(ConnectionRefusedError):
            self.sender.sendto(datagram, socket.MSG_DONTWAIT, self.address or self.reader.getsockname())


@pytest.fixture
def wire() -> Iterator[Wire]:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as reader,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as sender,
    ):
        reader.bind((0, 0))
        sender.bind((0, 0))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        wire = Wire(reader, sender)
        yield wire
        for receiver in wire.receivers:
            receiver.close()


@pytest.fixture
def group_wire() -> Iterator[Wire]:
    """As `wire`, but by multicast, where the kernel does not hold the sender up when the reader's buffer is full."""
    group = 1 << 20
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as reader,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as sender,
    ):
        reader.bind((0, group))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire = Wire(reader, sender, address=(0, group))
        yield wire
        for receiver in wire.receivers:
            receiver.close()


@pytest.fixture
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Opens journals in `tmp_path`, 16 MiB unless said otherwise, and closes them in the end."""
    opened: list[Journal] = []

    def open_one(
        max_bytes: int = 16 * 1024 * 1024,
        count: Callable[[str, int], None] = lambda _name, _amount: None,
        directory: Path = tmp_path,
    ) -> Journal:
        opened.append(Journal.open(directory, "audit", max_bytes, count))
        return opened[-1]

    yield open_one
    for journal in opened:
        journal.close()


class Router:
    """Takes what comes over the bus, each batch once, and says done to all of it."""

    def __init__(self, directory: Path) -> None:
        self._hub = Hub(endpoint(directory))
        self._last: dict[str, int] = {}
        self.kinds: list[int] = []
        self.payloads: list[bytes] = []
        self.is_finished = False

    @property
    def texts(self) -> list[bytes]:
        """All records' texts in order of arrival."""
        return [text for payload in self.payloads for text in payload.split(b"\0")]

    def has(self, text: bytes) -> bool:
        return any(text in payload for payload in reversed(self.payloads))

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

    def serve_until(self, is_so: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, "not in time"
            self.serve(0.05)

    def _take(self, arrival: Arrival) -> None:
        batch = arrival.batch
        if batch.number > self._last.get(arrival.epoch, 0):
            self._last[arrival.epoch] = batch.number
            self.kinds.append(batch.kind)
            if batch.kind == BatchKind.RECORDS:
                self.payloads.append(batch.payload)
        self._hub.done(arrival.peer, arrival.epoch, batch.number, b"")

    def close(self) -> None:
        self._hub.close()


@pytest.fixture
def open_router(tmp_path: Path) -> Iterator[Callable[[], Router]]:
    """Opens routers one after another; each takes the place of the one before."""
    opened: list[Router] = []

    def open_one() -> Router:
        if opened:
            opened.pop().close()
        opened.append(Router(tmp_path))
        return opened[-1]

    yield open_one
    for router in opened:
        router.close()


@pytest.fixture
def router(open_router: Callable[[], Router]) -> Router:
    return open_router()


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts reader processes that inherit a socket; kills in the end what is left of them."""
    started: list[subprocess.Popen[str]] = []

    def start(data_socket: socket.socket, records_of: str = "kernel") -> "subprocess.Popen[str]":
        fd = data_socket.fileno()
        arguments = [sys.executable, "-c", READER, str(tmp_path), str(fd), records_of]
        started.append(subprocess.Popen(arguments, pass_fds=[fd], stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


class StubSender:
    """A bus with nobody at the other end: keeps what it is offered."""

    def __init__(self) -> None:
        self.offered: list[Batch] = []
        self.is_greeted = True
        self.is_finished = False
        self.has_bye = False
        self.turns = 0

    def wait(self, fds: Sequence[int], timeout_seconds: float) -> set[int]:
        self.turns += 1
        poller = select.poll()
        for fd in fds:
            poller.register(fd, select.POLLIN)
        return {fd for fd, _ in poller.poll(timeout_seconds * 1000)}

    def pump(self) -> None:
        pass

    def offer(self, batch: Batch) -> None:
        self.offered.append(batch)

    def say_bye(self) -> None:
        self.has_bye = True
        self.is_finished = True


@pytest.fixture
def make_sender() -> type[StubSender]:
    """Makes a bus with nobody at the other end."""
    return StubSender
