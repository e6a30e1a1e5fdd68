"""The bus's sockets by themselves: one context per process, connections that come and go, and waiting for many."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from auditline.workers.common.batch import Batch
from auditline.workers.common.bus import Client, Connection, Producer, Server, Waiter, endpoint

WaitUntil = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"ipc://{tmp_path / 'a.sock'}"


@pytest.fixture
def server(path: str) -> Iterator[Server]:
    made = Server(path)
    yield made
    made.close()


@pytest.fixture
def client(path: str) -> Iterator[Client]:
    made = Client(path)
    yield made
    made.close(is_hasty=True)


def next_event(client: Client, wait_until: WaitUntil) -> Connection:
    found: list[Connection] = []

    def has_come() -> bool:
        event = client.next_event()
        found.extend([] if event is None else [event])
        return bool(found)

    wait_until(has_come)
    return found[0]


def count_threads() -> int:
    """Return how many threads this process has; a context has two."""
    return len(os.listdir("/proc/self/task"))


def test_all_sockets_of_a_process_share_a_context_that_goes_with_the_last(tmp_path: Path, wait_until: WaitUntil):
    counts = [count_threads()]
    servers = [Server(f"ipc://{tmp_path / name}") for name in ("a", "b", "c")]
    counts.append(count_threads())
    clients = [Client(f"ipc://{tmp_path / name}") for name in ("a", "b", "c")]
    counts.append(count_threads())

    for client in clients:
        client.close(is_hasty=True)
    for server in servers:
        server.close()

    assert [count - counts[0] for count in counts] == [0, 2, 2]
    wait_until(lambda: count_threads() == counts[0])


def test_closing_twice_is_closing_once(path: str, wait_until: WaitUntil):
    before = count_threads()
    first = Server(path)

    first.close()
    first.close()
    second = Server(path)
    second.close()

    wait_until(lambda: count_threads() == before)


def test_a_forked_process_has_a_context_of_its_own(server: Server, client: Client, tmp_path: Path, in_child):
    def talk_to_oneself() -> list[int]:
        other = Server(f"ipc://{tmp_path / 'other'}")
        peer = Client(f"ipc://{tmp_path / 'other'}")
        peer.send([b"hello"])
        Waiter().wait([other], [], 5)
        received = other.receive()
        peer.close(is_hasty=True)
        other.close()
        return [int(received is not None), os.getpid()]

    has_received, pid = in_child(talk_to_oneself)

    assert has_received == 1
    assert pid != os.getpid()


def test_messages_go_both_ways(server: Server, client: Client, wait_until: WaitUntil):
    client.send([b"a", b"", b"c"])
    wait_until(lambda: Waiter().wait([server], [], 0.1) is not None and server.socket.poll(0))
    received = server.receive()
    assert received is not None
    peer, frames = received

    is_sent = server.send(peer, [b"answer"])
    Waiter().wait([client], [], 5)

    assert (frames, is_sent) == ([b"a", b"", b"c"], True)
    assert server.receive() is None
    wait_until(lambda: client.socket.poll(0))
    assert client.receive() == [b"answer"]
    assert client.receive() is None


def test_a_client_tells_when_the_server_comes_and_goes(path: str, client: Client, wait_until: WaitUntil):
    first = Server(path)
    events = [next_event(client, wait_until)]
    first.close()
    events.append(next_event(client, wait_until))
    client.renew()
    second = Server(path)
    events.append(next_event(client, wait_until))
    second.close()

    assert events == [Connection.MADE, Connection.LOST, Connection.MADE]


def test_what_was_queued_for_a_lost_server_does_not_reach_the_next_one(
    path: str, client: Client, wait_until: WaitUntil
):
    first = Server(path)
    next_event(client, wait_until)
    first.close()
    next_event(client, wait_until)
    client.send([b"for the first"])

    client.renew()
    client.send([b"for the second"])
    second = Server(path)
    wait_until(lambda: second.socket.poll(100))
    received = second.receive()
    rest = second.receive()
    second.close()

    assert received is not None
    assert (received[1], rest) == ([b"for the second"], None)


def test_a_client_that_is_gone_cannot_be_sent_to(server: Server, path: str, wait_until: WaitUntil):
    client = Client(path)
    client.send([b"here"])
    wait_until(lambda: server.socket.poll(100))
    received = server.receive()
    assert received is not None

    client.close(is_hasty=True)

    wait_until(lambda: not server.send(received[0], [b"are you there"]))
    assert not server.send(b"nobody", [b"x"])


def test_a_client_that_nobody_serves_refuses_at_some_point(client: Client):
    sent = [client.send([b"x"]) for _ in range(1000)]

    assert True in sent
    assert sent[-1] is False


def test_what_a_hasty_leaver_has_sent_is_not_waited_for(path: str):
    client = Client(path)
    client.send([b"to nobody"])
    start = time.monotonic()

    client.close(is_hasty=True)

    assert time.monotonic() - start < 0.3


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_waiting_ends_with_whatever_comes_first(server: Server, client: Client, pipe: tuple[int, int]):
    reading, writing = pipe
    waiter = Waiter()
    empty = waiter.wait([server], [reading], 0)
    client.send([b"x"])
    start = time.monotonic()
    with_message = waiter.wait([server], [reading], 10)
    server.receive()
    os.write(writing, b"x")
    with_byte = waiter.wait([server], [reading], 10, [writing])

    assert time.monotonic() - start < 5
    assert (empty, with_message, with_byte) == (set(), set(), {reading, writing})


def test_waiting_for_a_client_ends_when_its_server_comes(path: str, client: Client):
    made: list[Server] = []

    def come() -> None:
        made.append(Server(path))

    threading.Timer(0.05, come).start()
    start = time.monotonic()
    Waiter().wait([client], [], 10)

    assert time.monotonic() - start < 5
    assert client.next_event() is Connection.MADE
    made[0].close()


def test_the_same_things_are_waited_for_without_new_preparations(
    server: Server, client: Client, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    made: list[zmq.Poller] = []

    class NotedPoller(zmq.Poller):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(zmq, "Poller", NotedPoller)
    waiter = Waiter()

    for _ in range(3):
        waiter.wait([server, client], [pipe[0]], 0)
    without_fd = waiter.wait([server, client], [], 0)
    os.write(pipe[1], b"x")
    with_fd = waiter.wait([server, client], [pipe[0]], 0)

    assert (without_fd, with_fd) == (set(), {pipe[0]})
    assert len(made) == 4  # with the waiter, and for each of three different sets


def test_a_client_that_was_renewed_is_waited_for_anew(path: str, client: Client, wait_until: WaitUntil):
    waiter = Waiter()
    first = Server(path)
    waiter.wait([client], [], 5)
    first.close()
    wait_until(lambda: client.next_event() is Connection.LOST)
    client.renew()

    second = Server(path)
    waiter.wait([client], [], 5)

    assert client.next_event() is Connection.MADE
    second.close()


class EmptyStore:
    """A producer's store with nothing in it."""

    source, epoch = "audit", "0123456789abcdef"
    done_number = last_number = 0
    done_state = b""

    def read(self, number: int) -> Batch:
        raise AssertionError(number)

    def forget(self, number: int, state: bytes) -> None:
        raise AssertionError(number, state)


def test_a_producer_waits_for_other_sockets_too(tmp_path: Path, server: Server, client: Client, pipe: tuple[int, int]):
    producer = Producer(endpoint(tmp_path), EmptyStore())
    client.send([b"x"])
    os.write(pipe[1], b"x")
    start = time.monotonic()

    with_both = producer.wait([pipe[0]], 10, also=[server])
    os.read(pipe[0], 1)
    with_socket = producer.wait([pipe[0]], 10, also=[server])

    producer.close()
    assert time.monotonic() - start < 5
    assert (with_both, with_socket) == ({pipe[0]}, set())
    assert server.socket.poll(1000)
