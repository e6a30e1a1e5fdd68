"""Messages built from the tables of docs/bus.md are understood, and real ones can be taken apart with them."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from auditline.workers.common.actor_messages import (
    decode_answers,
    decode_questions,
    encode_answers,
    encode_questions,
)
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import (
    HIGH_WATER_MARK,
    PROTOCOL_VERSION,
    WINDOW_BATCHES,
    Arrival,
    Bye,
    Hello,
    Hub,
    Message,
    Producer,
    Questions,
    Stored,
    endpoint,
)
from auditline.workers.common.drift_entry import decode_drift, encode_drift
from auditline.workers.common.file_entry import Coverage, FileChange, decode_entry, encode_entry
from auditline.workers.router.audit_stream import AuditStream
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.stream import Lines

EPOCH = "00112233445566aa"
STATE = b'{"skip":{"audit(1.000:1":2}}'
MESSAGES = ("hello", "batch", "stored", "bye", "questions", "resume", "received", "done", "end", "answers")
PATIENCE_MILLISECONDS = 5000

Values = dict[str, Any]
Layout = Any
"""One message as its table says: see conftest.py."""


class MemoryStore:
    """A producer's store without a disk."""

    def __init__(self, batches: list[Batch], done_state: bytes = b"") -> None:
        self.source, self.epoch = "audit", EPOCH
        self.done_number, self.done_state = 0, done_state
        self._batches = {batch.number: batch for batch in batches}

    @property
    def last_number(self) -> int:
        return max(self._batches, default=self.done_number)

    def read(self, number: int) -> Batch:
        return self._batches[number]

    def forget(self, number: int, state: bytes) -> None:
        self.done_number, self.done_state = number, state


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/bus.md")


@pytest.fixture
def layouts(document: Any, make_layout: Callable[[Any], Layout]) -> dict[str, Layout]:
    return {name: make_layout(document.tables(name)[0]) for name in MESSAGES}


@pytest.fixture
def greeting() -> Values:
    return {"version": PROTOCOL_VERSION, "attempt": 7, "source": "audit", "epoch": EPOCH, "done": 3, "last": 9}


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(endpoint(tmp_path))
    yield made
    made.close()


@pytest.fixture
def raw_producer(context: Any, hub: Hub, tmp_path: Path) -> Any:  # the other end must be there
    socket = context.socket(zmq.DEALER)
    socket.connect(endpoint(tmp_path))
    return socket


@pytest.fixture
def raw_router(context: Any, tmp_path: Path) -> Any:
    socket = context.socket(zmq.ROUTER)
    socket.bind(endpoint(tmp_path))
    return socket


@pytest.fixture
def make_producer(raw_router: Any, tmp_path: Path) -> Iterator[Callable[[MemoryStore], Producer]]:
    made: list[Producer] = []

    def make(store: MemoryStore) -> Producer:
        made.append(Producer(endpoint(tmp_path), store))
        return made[-1]

    yield make
    for producer in made:
        producer.close()


def receive(socket: Any) -> list[bytes]:
    assert socket.poll(PATIENCE_MILLISECONDS), "nothing came"
    frames: list[bytes] = socket.recv_multipart()
    return frames


def receive_at(hub: Hub) -> Message | None:
    hub.wait([], [], PATIENCE_MILLISECONDS / 1000, takes_batches=True)
    return hub.receive()


def receive_from(producer: Producer, socket: Any) -> tuple[bytes, list[bytes]]:
    """Return the peer's address and the frames of the next message that *producer* sends."""
    for _ in range(PATIENCE_MILLISECONDS // 10):
        producer.wait([], 0.005)
        producer.pump()
        with suppress(zmq.Again):
            peer, *frames = socket.recv_multipart(zmq.NOBLOCK)
            return peer, frames
    raise AssertionError("nothing came")


def hear(producer: Producer, is_reached: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_MILLISECONDS // 10):
        producer.wait([], 0.01)
        producer.pump()
        if is_reached():
            return
    raise AssertionError("it did not come true")


def greet(hub: Hub, raw_producer: Any, layouts: dict[str, Layout], greeting: Values) -> Hello:
    raw_producer.send_multipart(layouts["hello"].encode({"greeting": greeting, "state": STATE}))
    hello = receive_at(hub)
    assert isinstance(hello, Hello)
    return hello


def test_hub_understands_a_hello_that_is_built_from_the_document(
    hub: Hub, raw_producer: Any, layouts: dict[str, Layout], greeting: Values
) -> None:
    hello = greet(hub, raw_producer, layouts, greeting)

    assert hello == Hello(hello.peer, 7, "audit", EPOCH, 3, 9, STATE)


def test_hub_understands_a_batch_that_is_built_from_the_document(
    hub: Hub, raw_producer: Any, layouts: dict[str, Layout]
) -> None:
    batch = {"number": 4, "stored_done": 3, "batch_kind": 0, "epoch": EPOCH, "source": "audit"}
    raw_producer.send_multipart(layouts["batch"].encode(batch | {"types": b"\x14\x05", "payload": b"audit(1.000:1): "}))

    arrival = receive_at(hub)

    assert isinstance(arrival, Arrival)
    assert arrival == Arrival(
        arrival.peer, "audit", EPOCH, 3, Batch(4, BatchKind.RECORDS, b"\x14\x05", b"audit(1.000:1): ")
    )


def test_hub_understands_a_stored_that_is_built_from_the_document(
    hub: Hub, raw_producer: Any, layouts: dict[str, Layout]
) -> None:
    raw_producer.send_multipart(layouts["stored"].encode({"epoch": EPOCH, "number": 9, "source": "fim-etc"}))

    stored = receive_at(hub)

    assert isinstance(stored, Stored)
    assert stored == Stored(stored.peer, "fim-etc", EPOCH, 9)


def test_hub_understands_a_bye_that_is_built_from_the_document(
    hub: Hub, raw_producer: Any, layouts: dict[str, Layout]
) -> None:
    raw_producer.send_multipart(layouts["bye"].encode({"last": 9, "source": "audit"}))

    bye = receive_at(hub)

    assert isinstance(bye, Bye)
    assert (bye.source, bye.last_number) == ("audit", 9)


def test_hub_understands_questions_that_are_built_from_the_document(
    hub: Hub, raw_producer: Any, layouts: dict[str, Layout]
) -> None:
    raw_producer.send_multipart(layouts["questions"].encode({"questions": b"[]", "source": "fim-etc"}))

    questions = receive_at(hub)

    assert isinstance(questions, Questions)
    assert questions == Questions(questions.peer, "fim-etc", b"[]")


def test_hub_answers_no_other_version(
    hub: Hub, raw_producer: Any, layouts: dict[str, Layout], greeting: Values
) -> None:
    other = {"greeting": greeting | {"version": PROTOCOL_VERSION + 1}, "state": b""}
    raw_producer.send_multipart(layouts["hello"].encode(other))
    raw_producer.send_multipart(layouts["bye"].encode({"last": 1, "source": "audit"}))

    first = receive_at(hub)

    assert isinstance(first, Bye)


def test_what_hub_says_has_the_document_s_layout(
    hub: Hub, raw_producer: Any, layouts: dict[str, Layout], greeting: Values
) -> None:
    hello = greet(hub, raw_producer, layouts, greeting)

    hub.resume(hello, 4)
    hub.received(hello.peer, EPOCH, 5)
    hub.done(hello.peer, EPOCH, 4, STATE)
    hub.end(hello.peer)
    hub.answer(hello.peer, b"[]")

    said = [layouts[name].decode(receive(raw_producer)) for name in ("resume", "received", "done", "end", "answers")]
    assert said == [
        {"kind": "S", "attempt": 7, "next": 4},
        {"kind": "R", "epoch": EPOCH, "number": 5},
        {"kind": "D", "epoch": EPOCH, "number": 4, "state": STATE},
        {"kind": "E"},
        {"kind": "A", "answers": b"[]"},
    ]


def test_producer_follows_answers_that_are_built_from_the_document(
    raw_router: Any, make_producer: Callable[[MemoryStore], Producer], layouts: dict[str, Layout]
) -> None:
    store = MemoryStore([Batch(1, BatchKind.RECORDS, b"\x14\x05", b"audit(1.000:1): ")])
    producer = make_producer(store)
    peer, frames = receive_from(producer, raw_router)
    attempt = layouts["hello"].decode(frames)["greeting"]["attempt"]

    raw_router.send_multipart([peer, *layouts["resume"].encode({"attempt": attempt, "next": 1})])
    _, batch = receive_from(producer, raw_router)
    producer.say_bye()
    _, bye = receive_from(producer, raw_router)
    raw_router.send_multipart([peer, *layouts["done"].encode({"epoch": EPOCH, "number": 1, "state": STATE})])
    raw_router.send_multipart([peer, *layouts["end"].encode({})])
    hear(producer, lambda: producer.is_finished)

    assert layouts["batch"].decode(batch)["number"] == 1
    assert layouts["bye"].decode(bye) == {"kind": "Y", "last": 1, "source": "audit"}
    assert (store.done_number, store.done_state) == (1, STATE)


def test_what_producer_says_first_has_the_document_s_layout(
    raw_router: Any, make_producer: Callable[[MemoryStore], Producer], layouts: dict[str, Layout], document: Any
) -> None:
    producer = make_producer(MemoryStore([], STATE))

    _, frames = receive_from(producer, raw_router)

    hello = layouts["hello"].decode(frames)
    keys = {row["key"].strip("`") for row in document.tables("hello")[1]}
    assert set(hello["greeting"]) == keys
    assert hello["greeting"]["version"] == PROTOCOL_VERSION
    assert hello["state"] == STATE


def test_window_opens_with_received(
    raw_router: Any, make_producer: Callable[[MemoryStore], Producer], layouts: dict[str, Layout]
) -> None:
    batches = [Batch(number, BatchKind.RECORDS, b"", b"") for number in range(1, WINDOW_BATCHES + 3)]
    producer = make_producer(MemoryStore(batches))
    peer, frames = receive_from(producer, raw_router)
    attempt = layouts["hello"].decode(frames)["greeting"]["attempt"]

    raw_router.send_multipart([peer, *layouts["resume"].encode({"attempt": attempt, "next": 1})])
    sent = [layouts["batch"].decode(receive_from(producer, raw_router)[1]) for _ in range(WINDOW_BATCHES)]
    producer.pump()
    is_full = not raw_router.poll(50)
    raw_router.send_multipart([peer, *layouts["received"].encode({"epoch": EPOCH, "number": 1})])
    _, frames = receive_from(producer, raw_router)

    assert [batch["number"] for batch in sent] == list(range(1, WINDOW_BATCHES + 1))
    assert is_full
    assert layouts["batch"].decode(frames)["number"] == WINDOW_BATCHES + 1


def test_resume_of_an_earlier_hello_is_ignored(
    raw_router: Any, make_producer: Callable[[MemoryStore], Producer], layouts: dict[str, Layout]
) -> None:
    producer = make_producer(MemoryStore([Batch(1, BatchKind.IDLE, b"", b"")]))
    peer, frames = receive_from(producer, raw_router)
    attempt = layouts["hello"].decode(frames)["greeting"]["attempt"]

    raw_router.send_multipart([peer, *layouts["resume"].encode({"attempt": attempt - 1, "next": 1})])
    producer.wait([], 1)
    producer.pump()

    assert not raw_router.poll(50)


def test_kinds_of_batches_are_the_document_s(document: Any) -> None:
    documented = {int(row["kind"]): row["name"].strip("`") for row in document.tables("batch")[1]}

    assert documented == {kind.value: kind.name for kind in BatchKind}


def json_examples(document: Any) -> list[Any]:
    return [json.loads(example.text) for example in document.examples if example.language == "json"]


def test_producer_asks_and_is_answered_with_the_document_s_layout(
    raw_router: Any, make_producer: Callable[[MemoryStore], Producer], layouts: dict[str, Layout]
) -> None:
    producer = make_producer(MemoryStore([]))
    peer, frames = receive_from(producer, raw_router)
    attempt = layouts["hello"].decode(frames)["greeting"]["attempt"]
    raw_router.send_multipart([peer, *layouts["resume"].encode({"attempt": attempt, "next": 1})])
    hear(producer, lambda: producer.is_greeted)

    is_sent = producer.ask(b"[1]")
    _, questions = receive_from(producer, raw_router)
    raw_router.send_multipart([peer, *layouts["answers"].encode({"answers": b"[2]"})])
    raw_router.send_multipart([peer, *layouts["end"].encode({})])
    hear(producer, lambda: producer.is_finished)
    answers = producer.take_answers()

    assert is_sent
    assert layouts["questions"].decode(questions) == {"kind": "Q", "questions": b"[1]", "source": "audit"}
    assert answers == [b"[2]"]
    assert producer.take_answers() == []


def test_nothing_is_asked_where_no_router_is(make_producer: Callable[[MemoryStore], Producer]) -> None:
    assert not make_producer(MemoryStore([])).ask(b"[]")


def test_questions_and_answers_are_the_document_s(document: Any) -> None:
    questions, answers = [example for example in json_examples(document) if isinstance(example, list)]

    assert json.loads(encode_questions(decode_questions(json.dumps(questions).encode()))) == questions
    assert json.loads(encode_answers(decode_answers(json.dumps(answers).encode()))) == answers


def test_entries_are_the_document_s(document: Any) -> None:
    objects = [example for example in json_examples(document) if isinstance(example, dict)]
    *examples, drift = [example for example in objects if "boot_id" not in example]

    entries = [decode_entry(json.dumps(example).encode()) for example in examples]

    assert json.loads(encode_drift(decode_drift(json.dumps(drift).encode()))) == drift
    assert [json.loads(encode_entry(entry)) for entry in entries] == examples
    assert [type(entry) for entry in entries] == [FileChange, Coverage]


def test_producer_says_with_the_document_s_layout_what_it_has_stored(
    raw_router: Any, make_producer: Callable[[MemoryStore], Producer], layouts: dict[str, Layout]
) -> None:
    producer = make_producer(MemoryStore([Batch(1, BatchKind.FILE, b"", b"{}")]))
    peer, frames = receive_from(producer, raw_router)
    attempt = layouts["hello"].decode(frames)["greeting"]["attempt"]

    raw_router.send_multipart([peer, *layouts["resume"].encode({"attempt": attempt, "next": 1})])
    receive_from(producer, raw_router)
    raw_router.send_multipart([peer, *layouts["done"].encode({"epoch": EPOCH, "number": 1, "state": b""})])
    _, stored = receive_from(producer, raw_router)

    assert layouts["stored"].decode(stored) == {"kind": "T", "epoch": EPOCH, "number": 1, "source": "audit"}


def test_state_has_the_document_s_keys_and_the_start_s_values(document: Any) -> None:
    start = next(example for example in json_examples(document) if "boot_id" in example)
    hello = Hello(b"", 1, "audit", EPOCH, 0, 0, b"")
    stream = AuditStream(hello, Lines(), [FragmentRenderer(NoNames())], ("0" * 16, "web1"), set())

    stream.take(Batch(1, BatchKind.START, b"", json.dumps(start).encode()))
    (finished,) = stream.inflow.advance(0)
    state = json.loads(stream.inflow.resume_state(finished))

    assert set(state) == {row["key"].strip("`") for row in document.table("The state")}
    assert {key: state[key] for key in start} == start


def test_limits_are_the_code_s(document: Any) -> None:
    options = {row["option"]: row for row in document.table("Sockets")}

    assert options["`SNDHWM` (messages)"]["producer"] == str(HIGH_WATER_MARK)
    assert options["`RCVHWM` (messages)"]["router"] == str(HIGH_WATER_MARK)
    assert f"At most {WINDOW_BATCHES} batches" in document.section("Sizes")
    assert HIGH_WATER_MARK == 4 * WINDOW_BATCHES
