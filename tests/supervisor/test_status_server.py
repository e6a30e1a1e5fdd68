"""Whoever asks for the status, and however: the supervisor's loop goes on."""

import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from auditline.workers.common.status_question import QUESTION
from auditline.workers.supervisor import status_server
from auditline.workers.supervisor.status_server import MOST_CLIENTS, StatusServer

LARGE = b"x" * 4 * 1024**2
"""More than a socket's buffer takes."""


class Loop:
    """The server, in a loop like the supervisor's."""

    def __init__(self, folder) -> None:
        self.path = folder / "status.sock"
        self.answer = b"{}"
        self.asked = 0
        self.longest_seconds = 0.0
        self.server = StatusServer(self.path, None, self._describe)

    def _describe(self) -> bytes:
        self.asked += 1
        if not self.answer:
            raise RuntimeError("out of order")
        return self.answer

    def turn(self) -> None:
        poller = select.poll()
        self.server.register(poller)
        ready = {descriptor for descriptor, _ in poller.poll(10)}
        began = time.monotonic()
        self.server.serve(ready)
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)

    def turn_until(self, is_reached) -> None:
        deadline = time.monotonic() + 10
        while not is_reached():
            assert time.monotonic() < deadline, "it did not come true in time"
            self.turn()

    def read_all(self, client: socket.socket) -> bytes:
        """Return what the client is sent until its connection ends."""
        received = bytearray()
        client.setblocking(False)

        def has_ended() -> bool:
            try:
                while data := client.recv(65536):
                    received.extend(data)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            return True

        self.turn_until(has_ended)
        return bytes(received)


@pytest.fixture
def loop(tmp_path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    loop.server.close()


@pytest.fixture
def connect(loop) -> Iterator[Callable[..., socket.socket]]:
    with ExitStack() as opened:

        def connect(sent: bytes = b"") -> socket.socket:
            client = opened.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(loop.path))
            client.sendall(sent)
            return client

        yield connect


def test_who_asks_is_answered(loop, connect):
    client = connect(QUESTION)

    assert loop.read_all(client) == b"{}"


def test_a_question_may_come_in_pieces(loop, connect):
    client = connect(QUESTION[:3])
    loop.turn()
    client.sendall(QUESTION[3:])

    assert loop.read_all(client) == b"{}"


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n", b"\0" * 50_000, QUESTION + QUESTION], ids=["http", "much", "two"]
)
def test_who_sends_anything_else_is_dropped_without_an_answer(loop, connect, sent):
    client = connect(sent)

    assert loop.read_all(client) == b""
    assert loop.asked == 0


def test_who_says_nothing_is_dropped_in_time(loop, connect, monkeypatch):
    monkeypatch.setattr(status_server, "PATIENCE_SECONDS", 0.2)
    client = connect()

    assert loop.read_all(client) == b""
    assert loop.server.seconds_until_due is None


def test_who_does_not_read_holds_nobody_up_and_is_dropped(loop, connect, monkeypatch):
    monkeypatch.setattr(status_server, "PATIENCE_SECONDS", 0.5)
    loop.answer = LARGE
    connect(QUESTION)
    other = connect(QUESTION)

    answer = loop.read_all(other)

    assert answer == LARGE
    loop.turn_until(lambda: loop.server.seconds_until_due is None)


def test_a_large_answer_arrives_whole(loop, connect):
    loop.answer = LARGE

    assert loop.read_all(connect(QUESTION)) == LARGE


def test_silent_ones_keep_nobody_from_being_answered_for_long(loop, connect, monkeypatch):
    monkeypatch.setattr(status_server, "PATIENCE_SECONDS", 0.2)
    for _ in range(MOST_CLIENTS + 2):
        connect()

    assert loop.read_all(connect(QUESTION)) == b"{}"


def test_many_who_ask_at_once_get_one_answer_that_is_made_once(loop, connect, monkeypatch):
    monkeypatch.setattr(status_server, "SAME_ANSWER_SECONDS", 60.0)
    clients = [connect(QUESTION) for _ in range(MOST_CLIENTS)]

    answers = {loop.read_all(client) for client in clients}

    assert answers == {b"{}"}
    assert loop.asked == 1


def test_an_answer_that_cannot_be_made_is_none_and_the_next_one_can(loop, connect):
    loop.answer = b""
    first = loop.read_all(connect(QUESTION))
    loop.answer = b"{}"

    assert first == b""
    assert loop.read_all(connect(QUESTION)) == b"{}"


def test_the_socket_is_for_its_owner_and_group_and_goes_at_the_end(loop):
    mode = stat.S_IMODE(loop.path.stat().st_mode)
    loop.server.close()

    assert mode == 0o660
    assert not loop.path.exists()


def test_a_socket_that_a_killed_run_left_is_replaced(loop, tmp_path):
    left = StatusServer(tmp_path / "left.sock", None, lambda: b"")
    fresh = StatusServer(tmp_path / "left.sock", None, lambda: b"fresh")

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "left.sock"))

    fresh.close()
    left.close()


def test_where_no_socket_can_be_made_the_service_goes_on_without(tmp_path):
    server = StatusServer(tmp_path / "nowhere" / "status.sock", None, lambda: b"")

    server.register(select.poll())
    server.serve(set())
    server.close()


def test_no_descriptor_is_left_of_a_thousand_who_asked(loop, connect):
    before = len(os.listdir("/proc/self/fd"))

    for number in range(1000):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(loop.path))
            client.sendall(QUESTION[: number % 12])
            loop.turn()
    loop.turn_until(lambda: loop.server.seconds_until_due is None)

    assert len(os.listdir("/proc/self/fd")) == before
