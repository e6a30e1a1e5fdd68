"""Real netlink sockets that touch no kernel state: NETLINK_USERSOCK carries what processes send one another."""

import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from auditline.workers.audit.journal import Journal
from auditline.workers.audit.netlink import Receiver

NETLINK_USERSOCK = 2


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
