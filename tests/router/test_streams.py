"""Who is listened to, and which of what they say is taken."""

import logging
from dataclasses import dataclass, field

import pytest

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Arrival, Bye, Hello, Stored
from auditline.workers.router.inflow import Inflow
from auditline.workers.router.streams import MOST_STRANGERS, Streams

EPOCH = "e" * 16


@dataclass
class Taken:
    """A stream that keeps the numbers of its batches."""

    inflow: Inflow
    numbers: list[int] = field(default_factory=list)

    def take(self, batch: Batch) -> None:
        self.inflow.end(self.inflow.begin(batch.number, 0), 0, {})
        self.numbers.append(batch.number)


@dataclass
class Opened:
    """Opens streams, and keeps them."""

    streams: list[Taken] = field(default_factory=list)

    def __call__(self, hello: Hello) -> Taken:
        self.streams.append(Taken(Inflow(hello.source, hello.epoch, hello.done_number, hello.last_number)))
        return self.streams[-1]


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def streams(opened: Opened) -> Streams:
    return Streams(["audit", "fim-etc"], opened)


def hello(source: str = "fim-etc", *, epoch: str = EPOCH, done: int = 0, last: int = 0, peer: bytes = b"p") -> Hello:
    return Hello(peer, 1, source, epoch, done, last, b"")


def arrival(
    number: int, source: str = "fim-etc", *, epoch: str = EPOCH, stored: int = 0, peer: bytes = b"p"
) -> Arrival:
    return Arrival(peer, source, epoch, stored, Batch(number, BatchKind.FILE, b"", b""))


def put_out(stream: Taken, number: int) -> None:
    """Give the batch *number* a line of its own number, which is safe."""
    state = next(state for state in stream.inflow.undone if state.number == number)
    stream.inflow.note_sequence(state, number)
    stream.inflow.advance(number)


def test_a_source_that_nobody_has_named_is_told_and_not_listened_to(
    streams: Streams, opened: Opened, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        inflow = streams.greet(hello("fim-\x1b[31m"))
    streams.take(arrival(1, "fim-\x1b[31m"))

    assert (inflow, opened.streams) == (None, [])
    assert "unknown source 'fim-\\x1b[31m'" in caplog.text


def test_a_watcher_that_greets_before_it_is_named_is_greeted_then(streams: Streams):
    streams.greet(hello("fim-new", peer=b"old"))
    streams.greet(hello("fim-new", peer=b"new"))

    first, again = streams.name(["fim-etc", "fim-new"]), streams.name(["fim-new"])

    assert ([each.peer for each in first], again) == ([b"new"], [])
    assert streams.greet(first[0]) is not None


def test_of_strangers_not_more_are_kept_than_there_is_room_for(streams: Streams):
    names = [f"fim-{number}" for number in range(MOST_STRANGERS + 10)]
    for name in names:
        streams.greet(hello(name))

    assert len(streams.name(names)) == MOST_STRANGERS


def test_all_have_greeted_when_those_have_that_were_named_later_too(streams: Streams):
    streams.greet(hello("audit"))
    early = streams.have_all_greeted(set())
    streams.greet(hello("fim-etc"))
    all_planned = streams.have_all_greeted(set())
    streams.name(["fim-new"])

    assert (early, all_planned, streams.have_all_greeted(set())) == (False, True, False)
    assert streams.have_all_greeted({"fim-new"})


@pytest.mark.parametrize(
    ("arrivals", "taken"),
    [
        ([arrival(1), arrival(2)], [1, 2]),
        ([arrival(2), arrival(1), arrival(1)], [1]),
        ([arrival(1, epoch="f" * 16)], []),
        ([arrival(1, peer=b"q")], []),
        ([arrival(1, "audit")], []),
    ],
)
def test_only_the_next_batch_of_whoever_greeted_last_is_taken(
    streams: Streams, opened: Opened, arrivals: list[Arrival], taken: list[int]
):
    streams.greet(hello())

    for each in arrivals:
        streams.take(each)

    assert opened.streams[0].numbers == taken


def test_a_producer_that_greets_again_goes_on_and_one_with_a_new_epoch_begins_anew(streams: Streams, opened: Opened):
    streams.greet(hello())
    streams.take(arrival(1))

    same = streams.greet(hello(peer=b"q"))
    streams.take(arrival(2, peer=b"q"))
    anew = streams.greet(hello(epoch="f" * 16))

    assert [stream.numbers for stream in opened.streams] == [[1, 2], []]
    assert (same, anew) == (opened.streams[0].inflow, opened.streams[1].inflow)


@pytest.mark.parametrize(
    ("message", "first_left"),
    [
        (Stored(b"p", "fim-etc", EPOCH, 2), 3),
        (Stored(b"q", "fim-etc", EPOCH, 2), 1),
        (Stored(b"p", "fim-etc", "f" * 16, 2), 1),
        (Stored(b"p", "audit", EPOCH, 2), 1),
        (Stored(b"p", "fim-other", EPOCH, 2), 1),
        (Stored(b"p", "fim-etc", EPOCH, 3), None),
    ],
)
def test_what_a_producer_has_stored_will_not_come_again(
    streams: Streams, opened: Opened, message: Stored, first_left: int | None
):
    streams.greet(hello())
    for number in (1, 2, 3):
        streams.take(arrival(number))
        put_out(opened.streams[0], number)

    streams.confirm(message)

    assert opened.streams[0].inflow.first_unconfirmed == first_left


def test_a_greeting_says_what_is_stored_too(streams: Streams, opened: Opened):
    streams.greet(hello())
    streams.take(arrival(1))
    put_out(opened.streams[0], 1)

    streams.greet(hello(done=1, last=1))

    assert opened.streams[0].inflow.first_unconfirmed is None


def test_resends_are_over_when_all_have_come_that_there_were(streams: Streams):
    streams.greet(hello("audit"))
    streams.greet(hello("fim-etc", done=4, last=6))
    streams.take(arrival(5))
    before = streams.are_resends_over(set())

    streams.take(arrival(6))

    assert (before, streams.are_resends_over(set())) == (False, True)


def test_all_is_in_when_each_has_said_bye_and_its_last_batch_is_there(streams: Streams):
    streams.greet(hello())
    streams.take(arrival(1))
    streams.take_leave(Bye(b"p", "fim-etc", 2))
    before = streams.is_all_in(set())

    streams.take(arrival(2))

    assert (before, streams.is_all_in(set())) == (False, True)
    assert streams.leaving_peers == [b"p"]


def test_a_bye_is_answered_once_when_the_last_batch_is_done_and_its_producer_has_stored_that(
    streams: Streams, opened: Opened
):
    streams.greet(hello())
    streams.take(arrival(1))
    streams.take_leave(Bye(b"p", "fim-etc", 1))
    answered = [streams.take_settled_peers()]

    opened.streams[0].inflow.advance(0)
    answered.append(streams.take_settled_peers())
    streams.confirm(Stored(b"p", "fim-etc", EPOCH, 1))
    answered += [streams.take_settled_peers(), streams.take_settled_peers()]

    assert answered == [[], [], [b"p"], []]
    assert (streams.leaving_peers, streams.have_all_greeted({"audit"}), streams.is_all_in(set())) == ([], True, True)


def test_who_was_given_up_is_not_waited_for(streams: Streams):
    streams.greet(hello())

    assert (streams.is_all_in(set()), streams.is_all_in({"fim-etc"})) == (False, True)


def test_a_bye_is_forgotten_when_its_producer_is_started_again(streams: Streams):
    streams.greet(hello())
    streams.take_leave(Bye(b"p", "fim-etc", 0))

    streams.greet(hello())

    assert (streams.leaving_peers, streams.is_all_in(set())) == ([], False)
