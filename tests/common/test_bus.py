"""The bus between real processes: whoever is killed or stopped, every batch arrives, and strangers do no harm."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import (
    HIGH_WATER_MARK,
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    WINDOW_BATCHES,
    Arrival,
    Bye,
    Hello,
    Hub,
    Message,
    Producer,
    Stored,
    endpoint,
)

EPOCH = "0123456789abcdef"
WaitUntil = Callable[..., None]

ROUTER = """
import json, os, sys
from pathlib import Path
from auditline.workers.common.bus import Arrival, Bye, Hello, Hub, Stored, endpoint

directory, output = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
hub, received, peer = Hub(endpoint(directory)), 0, b""
print("ready", flush=True)
while True:
    hub.wait([], [], 1, takes_batches=True)
    while (message := hub.receive()) is not None:
        if isinstance(message, Hello):
            peer, received = message.peer, max(received, message.done_number)
            hub.resume(message, received + 1)
        elif isinstance(message, Bye):
            hub.end(message.peer)
        elif isinstance(message, Stored):
            pass
        elif message.peer == peer and message.batch.number == received + 1:
            received += 1
            os.write(output, b"%d %d %s\\n" % (received, message.stored_done, message.batch.payload))
            if received % 3 == 0:
                hub.done(message.peer, message.epoch, received, json.dumps({"at": received}).encode())
            else:
                hub.received(message.peer, message.epoch, received)
"""
"""A router's process that appends what comes to a file, and says done of every third batch."""

KEPT = 200
"""So many batches the reader keeps before it waits for some to be done."""
READER = """
import json, os, sys, time
from pathlib import Path
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Producer, endpoint


class FileStore:
    source, epoch = "audit", "0123456789abcdef"

    def __init__(self, path, last_number):
        self.path, self.last_number = path, last_number
        kept = json.loads(path.read_text()) if path.exists() else {"done": 0, "state": ""}
        self.done_number, self.done_state = kept["done"], kept["state"].encode()

    def read(self, number):
        return Batch(number, BatchKind.RECORDS, b"\\x14\\x05", b"batch-%d" % number)

    def forget(self, number, state):
        assert number <= self.last_number and json.loads(state) == {"at": number}
        self.done_number, self.done_state = number, state
        self.path.with_suffix(".new").write_text(json.dumps({"done": number, "state": state.decode()}))
        self.path.with_suffix(".new").rename(self.path)


directory, wanted, kept = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = FileStore(directory / "store.json", 0)
store.last_number = store.done_number
producer = Producer(endpoint(directory), store)
made = os.open(directory / "made", os.O_WRONLY | os.O_CREAT)
print("ready", flush=True)
while store.done_number < wanted:
    producer.wait([], 0.005)
    producer.pump()
    if store.last_number < wanted and store.last_number - store.done_number < kept:
        store.last_number += 1
        producer.offer(store.read(store.last_number))
        os.pwrite(made, b"%06d" % store.last_number, 0)
producer.say_bye()
while not producer.is_finished:
    producer.wait([], 0.1)
    producer.pump()
producer.close()
"""
"""A reader's process with a store in a file, which makes batches until *wanted* are done."""


class Bus:
    """A router's and a reader's process, and what arrived."""

    def __init__(self, directory: Path, wanted: int) -> None:
        self.directory, self.wanted = directory, wanted
        self.output = directory / "arrived"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        programs = {"router": (ROUTER, str(self.output)), "reader": (READER, str(self.wanted), str(KEPT))}
        for name in names:
            program, *arguments = programs[name]
            command = [sys.executable, "-c", program, str(self.directory), *arguments]
            process = self.processes[name] = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.stdout.close()

    def send(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def stop_for_a_while(self, name: str) -> None:
        self.send(name, signal.SIGSTOP)
        os.waitid(os.P_PID, self.processes[name].pid, os.WSTOPPED)

    def made(self) -> int:
        """How many batches the reader has made."""
        return int((self.directory / "made").read_bytes())

    def kill(self, name: str) -> None:
        self.send(name, signal.SIGKILL)
        self.processes[name].wait()

    def arrived(self) -> list[int]:
        return [int(line.split()[0]) for line in self.output.read_bytes().splitlines()] if self.output.exists() else []

    def wait_until_nothing_arrives(self) -> None:
        """What a stopped reader has made may lie in its own memory: there is no number to wait for."""
        seen = -1
        while seen != (seen := len(self.arrived())):
            time.sleep(0.2)

    def stored_done(self) -> int:
        store = self.directory / "store.json"
        return int(json.loads(store.read_text())["done"]) if store.exists() else 0

    def is_finished(self) -> bool:
        return self.processes["reader"].poll() == 0

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def make_bus(tmp_path: Path) -> Iterator[Callable[[int], Bus]]:
    made: list[Bus] = []

    def make(wanted: int) -> Bus:
        made.append(Bus(tmp_path, wanted))
        return made[-1]

    yield make
    for bus in made:
        bus.stop()


def first_arrivals(arrived: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(arrived))


@pytest.mark.parametrize("order", [("router", "reader"), ("reader", "router")])
def test_every_batch_arrives_once_and_in_order_whoever_starts_first(make_bus, wait_until: WaitUntil, order):
    bus = make_bus(300)

    bus.start(*order)

    wait_until(bus.is_finished, 20)
    assert bus.arrived() == list(range(1, 301))


@pytest.mark.parametrize("victims", [["router"], ["reader"], ["router", "reader"]])
def test_whoever_is_killed_at_whatever_moment_every_batch_arrives(make_bus, wait_until: WaitUntil, victims):
    bus = make_bus(1500)
    moments = random.Random(str(victims))
    bus.start("router", "reader")

    for round_number in range(8):
        before = len(bus.arrived())
        wait_until(lambda seen=before: len(bus.arrived()) > seen + moments.randrange(60) or bus.is_finished(), 20)
        if bus.is_finished():
            break
        victim = victims[round_number % len(victims)]
        bus.kill(victim)
        bus.start(victim)

    wait_until(bus.is_finished, 40)
    assert first_arrivals(bus.arrived()) == list(range(1, 1501))
    assert bus.stored_done() == 1500


def test_a_router_that_is_stopped_while_batches_gather_gets_them_later(make_bus, wait_until: WaitUntil):
    bus = make_bus(3 * KEPT)
    bus.start("router", "reader")
    wait_until(lambda: len(bus.arrived()) > 20)

    bus.stop_for_a_while("router")
    wait_until(lambda: bus.made() == bus.stored_done() + KEPT)
    stopped_at = len(bus.arrived())
    bus.send("router", signal.SIGCONT)

    wait_until(bus.is_finished, 20)
    assert stopped_at < KEPT
    assert bus.arrived() == list(range(1, 3 * KEPT + 1))


def test_a_reader_that_is_stopped_goes_on_where_it_was(make_bus, wait_until: WaitUntil):
    bus = make_bus(402)
    bus.start("router", "reader")
    wait_until(lambda: len(bus.arrived()) > 20)

    bus.stop_for_a_while("reader")
    bus.wait_until_nothing_arrives()
    bus.send("reader", signal.SIGCONT)

    wait_until(bus.is_finished, 20)
    assert bus.arrived() == list(range(1, 403))


@dataclass
class MemoryStore:
    """Batches in memory."""

    last_number: int = 0
    source: str = "audit"
    epoch: str = EPOCH
    done_number: int = 0
    done_state: bytes = b""
    forgotten: list[tuple[int, bytes]] = field(default_factory=list)

    def read(self, number: int) -> Batch:
        return Batch(number, BatchKind.RECORDS, b"\x14\x05", b"batch-%d" % number)

    def forget(self, number: int, state: bytes) -> None:
        self.done_number, self.done_state = number, state
        self.forgotten.append((number, state))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(endpoint(tmp_path))
    yield hub
    hub.close()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def producer(tmp_path: Path, hub: Hub, store: MemoryStore) -> Iterator[Producer]:
    producer = Producer(endpoint(tmp_path), store)
    yield producer
    producer.close()


@pytest.fixture
def stranger(tmp_path: Path, hub: Hub) -> Iterator["zmq.Socket[bytes]"]:
    """A socket of somebody who is none of ours."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint(tmp_path))
        yield socket


def take(hub: Hub, wait_until: WaitUntil, kind: type[Message], producer: Producer | None = None) -> Message:
    """Return the next message of a kind."""
    found: list[Message] = []

    def has_come() -> bool:
        if producer is not None:
            producer.wait([], 0)
            producer.pump()
        hub.wait([], [], 0.01, takes_batches=True)
        while not found and (message := hub.receive()) is not None:
            if isinstance(message, kind):
                found.append(message)
        return bool(found)

    wait_until(has_come)
    return found[0]


def take_all(hub: Hub, producer: Producer, seconds: float = 0.3) -> list[Message]:
    messages: list[Message] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        producer.wait([], 0.01)
        producer.pump()
        while (message := hub.receive()) is not None:
            messages.append(message)
    return messages


def test_a_greeting_says_what_is_kept(hub: Hub, store: MemoryStore, producer: Producer, wait_until):
    store.done_number, store.done_state, store.last_number = 5, b"what was known", 9

    hello = take(hub, wait_until, Hello, producer)

    assert isinstance(hello, Hello)
    assert (hello.source, hello.epoch, hello.done_number, hello.last_number) == ("audit", EPOCH, 5, 9)
    assert hello.state == b"what was known"


def test_nothing_is_sent_before_the_router_has_said_where_to_go_on(hub: Hub, store: MemoryStore, producer: Producer):
    store.last_number = 9

    messages = take_all(hub, producer)

    assert [type(message) for message in messages] == [Hello]
    assert not producer.is_greeted


def test_what_the_router_has_is_not_sent_again(hub: Hub, store: MemoryStore, producer: Producer, wait_until):
    store.last_number = 9
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)

    hub.resume(hello, 7)

    numbers = [message.batch.number for message in take_all(hub, producer) if isinstance(message, Arrival)]
    assert numbers == [7, 8, 9]


def test_no_more_than_the_window_is_under_way(hub: Hub, store: MemoryStore, producer: Producer, wait_until):
    store.last_number = 500
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)
    hub.resume(hello, 1)

    first = [message.batch.number for message in take_all(hub, producer) if isinstance(message, Arrival)]
    hub.received(hello.peer, EPOCH, 10)
    second = [message.batch.number for message in take_all(hub, producer) if isinstance(message, Arrival)]

    assert first == list(range(1, WINDOW_BATCHES + 1))
    assert second == list(range(WINDOW_BATCHES + 1, WINDOW_BATCHES + 11))
    assert WINDOW_BATCHES < HIGH_WATER_MARK / 2


def test_a_batch_that_is_next_in_line_is_sent_at_once(hub: Hub, store: MemoryStore, producer: Producer, wait_until):
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)
    hub.resume(hello, 1)
    take_all(hub, producer, 0.1)

    for number in (1, 2):
        store.last_number = number
        producer.offer(store.read(number))

    arrivals = [take(hub, wait_until, Arrival), take(hub, wait_until, Arrival)]
    assert [arrival.batch.number for arrival in arrivals if isinstance(arrival, Arrival)] == [1, 2]


def test_done_is_stored_once_and_never_goes_back(hub: Hub, store: MemoryStore, producer: Producer, wait_until):
    store.last_number = 9
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)
    hub.resume(hello, 1)

    for epoch, number in ((EPOCH, 3), (EPOCH, 3), (EPOCH, 2), ("f" * 16, 8), (EPOCH, 4)):
        hub.done(hello.peer, epoch, number, b"state %d" % number)
    take_all(hub, producer)

    assert store.forgotten == [(3, b"state 3"), (4, b"state 4")]


def test_what_was_stored_as_done_is_said_once_when_no_batch_says_it(
    hub: Hub, store: MemoryStore, producer: Producer, wait_until
):
    store.last_number = 9
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)
    hub.resume(hello, 1)
    take_all(hub, producer, 0.1)

    hub.done(hello.peer, EPOCH, 5, b"")
    first = take_all(hub, producer, 0.1)
    hub.done(hello.peer, EPOCH, 9, b"")
    store.last_number = 10
    second = take_all(hub, producer, 0.1)

    assert [(type(message), getattr(message, "number", None)) for message in first] == [(Stored, 5)]
    assert [(type(message), getattr(message, "stored_done", None)) for message in second] == [(Arrival, 9)]


def test_an_answer_to_an_older_greeting_is_none_to_this(hub: Hub, store: MemoryStore, producer: Producer, wait_until):
    store.last_number = 9
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)
    older = Hello(hello.peer, hello.attempt + 7, hello.source, hello.epoch, 0, 9, b"")

    hub.resume(older, 1)

    assert take_all(hub, producer) == []


def test_a_producer_says_bye_when_all_is_sent_and_is_finished_when_that_was_answered(
    hub: Hub, store: MemoryStore, producer: Producer, wait_until
):
    store.last_number = 3
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)
    producer.say_bye()
    early = [type(message) for message in take_all(hub, producer, 0.1)]
    hub.resume(hello, 1)
    messages = take_all(hub, producer)
    before = producer.is_finished

    hub.end(hello.peer)
    take_all(hub, producer, 0.1)

    assert early == []
    assert [type(message) for message in messages] == [Arrival, Arrival, Arrival, Bye]
    assert (before, producer.is_finished) == (False, True)


def frames_of_a_batch(header: bytes = b"") -> list[bytes]:
    return [b"B" + header, b"\x14\x05", b"text"]


HELLO = {"version": PROTOCOL_VERSION, "attempt": 1, "source": "audit", "epoch": EPOCH, "done": 0, "last": 0}
NO_NUMBERS: list[object] = [-1, 1 << 64, 1.5, "7", None, [], float("inf"), float("nan"), {"a": 1}]
STRANGE = [
    [b""],
    [b"x"],
    [b"", b"", b""],
    [b"H"],
    [b"H", b"{"],
    [b"H", b"{}", b""],
    [b"H", b"[" * 100_000, b""],
    [b"H", b"\xff\xfe", b""],
    [b"H", b"null", b""],
    [b"H", json.dumps(HELLO | {"version": 2}).encode(), b""],
    [b"H", json.dumps(HELLO).encode()],
    *([b"H", json.dumps(HELLO | {"attempt": value}).encode(), b""] for value in NO_NUMBERS),
    *([b"H", json.dumps(HELLO | {"done": value}).encode(), b""] for value in NO_NUMBERS),
    *([b"H", json.dumps(HELLO | {"last": value}).encode(), b""] for value in NO_NUMBERS),
    frames_of_a_batch(),
    frames_of_a_batch(b"\0" * 32),
    frames_of_a_batch(b"\0" * 17 + b"\xff" * 16 + b"audit"),
    frames_of_a_batch(b"\0" * 33 + b"\xff\xfe"),
    [b"B" + b"\0" * 33 + b"audit"],
    [b"B" + b"\0" * 33 + b"audit", b"\x14\x05"],
    [b"Y"],
    [b"Y", b"", b""],
    [b"Y", b"\0" * 8, b"\xff"],
    [b"Y", b"\0" * 9, b"audit"],
    [b"D", EPOCH.encode(), b"\0" * 8, b""],
    [b"H"] * 1000,
    [b"\0" * 1_000_000],
]  # fmt: skip


@pytest.mark.parametrize("frames", STRANGE, ids=range(len(STRANGE)))
def test_a_message_of_a_stranger_harms_nobody(
    hub: Hub, store: MemoryStore, producer: Producer, stranger: "zmq.Socket[bytes]", wait_until, frames: list[bytes]
):
    stranger.send_multipart(frames)
    stranger.send_multipart([b"Y", bytes(8), b"the stranger's last"])
    last = take(hub, wait_until, Bye)

    hello = take(hub, wait_until, Hello, producer)

    assert isinstance(last, Bye)
    assert isinstance(hello, Hello)
    assert (last.source, hello.source) == ("the stranger's last", "audit")


def test_whoever_sends_too_much_is_cut_off(hub: Hub, producer: Producer, stranger: "zmq.Socket[bytes]", wait_until):
    stranger.send(b"x" * (MAX_FRAME_BYTES + 1), copy=False)

    assert isinstance(take(hub, wait_until, Hello, producer), Hello)


def is_after_a_turn(producer: Producer, condition: Callable[[], bool]) -> bool:
    producer.wait([], 0.01)
    producer.pump()
    return condition()


def test_answers_that_make_no_sense_harm_no_producer(tmp_path: Path, wait_until):
    store = MemoryStore(last_number=2)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.LINGER, 0)
        router.bind(endpoint(tmp_path))
        producer = Producer(endpoint(tmp_path), store)
        wait_until(lambda: is_after_a_turn(producer, lambda: router.poll(0) > 0))
        peer, _, greeting, _ = router.recv_multipart()
        for frames in (
            [b""],
            [b"S"],
            [b"S", b"", b""],
            [b"D", b"\xff", b""],
            [b"D", EPOCH.encode(), bytes(8)],
            [b"R"],
            [b"?"],
        ):
            router.send_multipart([peer, *frames])
        attempt = json.loads(greeting)["attempt"].to_bytes(8, "little")

        router.send_multipart([peer, b"S", attempt, (1).to_bytes(8, "little")])

        wait_until(lambda: is_after_a_turn(producer, lambda: producer.is_greeted))
        producer.close()
    assert store.forgotten == []


def test_answers_to_a_producer_that_is_gone_are_no_error(hub: Hub, tmp_path: Path, store: MemoryStore, wait_until):
    producer = Producer(endpoint(tmp_path), store)
    hello = take(hub, wait_until, Hello, producer)
    assert isinstance(hello, Hello)
    producer.close()
    wait_until(lambda: hub.wait([], [], 0.01, takes_batches=True) is not None)

    for peer in (hello.peer, b"nobody", b"\0\0\0\0\0"):
        hub.resume(hello, 1)
        hub.received(peer, EPOCH, 1)
        hub.done(peer, EPOCH, 1, b"")
        hub.end(peer)

    assert hub.receive() is None


def test_waiting_wakes_for_descriptors_too(hub: Hub, producer: Producer):
    reading, writing = os.pipe()
    os.write(writing, b"x")

    assert hub.wait([reading], [writing], 5, takes_batches=False) == {reading, writing}
    assert producer.wait([reading], 5) == {reading}
    os.close(reading)
    os.close(writing)
