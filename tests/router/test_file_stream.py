"""Entries of a watcher become lines: in order, the same ones after a kill, and whatever is in them."""

import json
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.plugins.outputs.api import Line
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.file_entry import (
    Action,
    Coverage,
    Entry,
    FileChange,
    encode_entry,
    join_entries,
)
from auditline.workers.common.file_state import FileState
from auditline.workers.router.file_stream import FileStream
from auditline.workers.router.inflow import BatchState
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.file_event import FileRenderer
from auditline.workers.router.stream import Lines

HOST = ("0" * 16, "web1")
EPOCH = "e" * 16
STATE = FileState(0o100644, 0, 0, 1, 2, 3, 1, 10**18, 10**18, 10**18, 0, None, b"", "stable", 10**18)
CHANGE = FileChange(
    action="created", path=b"/etc/x", before=None, after=STATE, detected_by="event", time_ns=1_700_000_000_123_456_789
)
COVERAGE = Coverage(identity="ab-1", path=b"/etc", reason="restart", action="compared", start_ns=10**18)


def batch_of(number: int, entry: Entry) -> Batch:
    return Batch(number, BatchKind.FILE, b"", encode_entry(entry))


def joined(number: int, *encoded: bytes) -> Batch:
    return Batch(number, BatchKind.FILE, b"", join_entries(encoded))


def batches_of(payloads: Iterable[bytes]) -> list[Batch]:
    return [Batch(number, BatchKind.FILE, b"", payload) for number, payload in enumerate(payloads, 1)]


@dataclass
class Outbox:
    """A watcher's store: batches, and what the router said is done."""

    batches: list[Batch]
    done_number: int = 0
    done_states: list[bytes] = field(default_factory=list)

    def hello(self) -> Hello:
        return Hello(b"", 1, "fim-etc", EPOCH, self.done_number, len(self.batches), b"")


@dataclass
class Router:
    """The part of the router that this is about: one stream, and an output that keeps what it was given."""

    outbox: Outbox
    written: list[Line]
    safe: int = 0
    committed: list[BatchState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = Lines()
        self.stream = FileStream(self.outbox.hello(), self.lines, FileRenderer(NoNames()), HOST)

    def take_next(self) -> None:
        number = self.stream.inflow.received + 1
        if number <= len(self.outbox.batches):
            self.stream.take(self.outbox.batches[number - 1])
            self.written.extend(self.lines.take()["audit"])

    def acknowledge(self, count: int) -> None:
        """Say that *count* more lines are safe."""
        self.safe = min(self.safe + count, self.lines.sequence)
        finished = self.stream.inflow.advance(self.safe)
        if finished:
            self.committed += finished
            self.outbox.done_number = finished[-1].number
            self.outbox.done_states.append(self.stream.inflow.resume_state(finished[-1]))

    def finish(self) -> None:
        for _ in self.outbox.batches:
            self.take_next()
            self.acknowledge(self.lines.sequence)


def route(*batches: Batch) -> Router:
    router = Router(Outbox(list(batches)), [])
    router.finish()
    return router


def test_changes_and_gaps_come_out_in_order_and_are_counted_apart():
    router = route(batch_of(1, CHANGE), batch_of(2, COVERAGE), batch_of(3, replace(CHANGE, path=b"/etc/y")))

    documents = [json.loads(line.data) for line in router.written]
    assert [list(document["audit"]) for document in documents] == [["file"], ["coverage"], ["file"]]
    assert [document["event"]["id"] for document in documents] == [line.event_id for line in router.written]
    assert [(state.tally.file_changes, state.tally.coverages) for state in router.committed] == [(1, 0), (0, 1), (1, 0)]
    assert sum(state.tally.unparsed + state.tally.records for state in router.committed) == 0


def test_every_entry_of_a_batch_is_a_line_and_all_are_done_together():
    encoded = [encode_entry(CHANGE), encode_entry(COVERAGE), encode_entry(replace(CHANGE, path=b"/etc/y"))]
    router = Router(Outbox([joined(1, *encoded)]), [])
    router.take_next()

    router.acknowledge(2)
    before = router.outbox.done_number
    router.acknowledge(1)

    documents = [json.loads(line.data) for line in router.written]
    assert [list(document["audit"]) for document in documents] == [["file"], ["coverage"], ["file"]]
    assert (before, router.outbox.done_number) == (0, 1)
    assert [(state.tally.file_changes, state.tally.coverages) for state in router.committed] == [(2, 1)]


def test_a_damaged_entry_in_the_middle_of_a_batch_is_kept_and_harms_no_other():
    router = route(joined(1, encode_entry(CHANGE), b'{"change":', encode_entry(COVERAGE)), batch_of(2, CHANGE))

    documents = [json.loads(line.data) for line in router.written]
    assert [next(iter(document["audit"])) for document in documents] == ["file", "kernel", "coverage", "file"]
    assert documents[1]["audit"]["kernel"]["messages"] == ['{"change":']
    (tally, _) = (state.tally for state in router.committed)
    assert (tally.file_changes, tally.coverages, tally.unparsed) == (2, 1, 1)


def test_the_actor_of_the_change_before_is_told_also_behind_a_gap_and_not_behind_what_is_damaged():
    actor = {"pid": 7, "confidence": "exact"}
    same = encode_entry(replace(CHANGE, actor=actor), actor)
    batch = joined(1, encode_entry(replace(CHANGE, actor=actor)), same, encode_entry(COVERAGE), same, b"{", same)

    documents = [json.loads(line.data)["auditline"] for line in route(batch).written]

    assert [document.get("actor", {}).get("pid") for document in documents] == [7, 7, None, 7, None, None]


@pytest.mark.parametrize("action", ["initial_scan", "config_change"])
def test_what_is_told_alike_at_two_places_has_two_ids(action: Action):
    entry = replace(CHANGE, action=action)

    written = route(joined(1, encode_entry(entry), encode_entry(entry)), batch_of(2, entry)).written

    assert len({line.event_id for line in written}) == 3


def test_a_batch_is_done_when_its_line_is_safe_and_not_before():
    router = Router(Outbox([batch_of(1, CHANGE), batch_of(2, COVERAGE)]), [])
    router.take_next()
    router.take_next()

    router.acknowledge(0)
    before = router.outbox.done_number
    router.acknowledge(1)
    between = router.outbox.done_number
    router.acknowledge(1)

    assert (before, between, router.outbox.done_number) == (0, 1, 2)


def test_nothing_has_to_be_kept_for_a_resend():
    assert route(batch_of(1, CHANGE)).outbox.done_states == [b""]


DAMAGED = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b'{"change":{}}',
    b'{"change":null}',
    b'{"coverage":{"path":"/etc"}}',
    b'{"coverage":[]}',
    b'{"other":{}}',
    b'{"change":{},"coverage":{}}',
    b"[" * 100_000,
    b"\xff\xfe\0",
    encode_entry(CHANGE)[:-9],
    encode_entry(CHANGE).replace(b'"created"', b'"exploded"'),
    encode_entry(CHANGE).replace(b'"created"', b"7"),
    encode_entry(CHANGE).replace(b'"/etc/x"', b"null"),
    encode_entry(CHANGE).replace(b'"/etc/x"', b'"\\ud800"'),
    encode_entry(CHANGE).replace(b'"stable"', b"7"),
    encode_entry(CHANGE).replace(b"33188", b"-1"),
    encode_entry(CHANGE).replace(b"33188", b"1" + b"0" * 40),
    encode_entry(CHANGE).replace(b"33188", b"1" + b"0" * 9000),
    encode_entry(CHANGE).replace(b'"","stable"', b'"04ff","stable"'),
    encode_entry(CHANGE).replace(b'"","stable"', b'"ff","stable"'),
    encode_entry(CHANGE).replace(b'"time_ns":', b'"time_ns":"'[:-1] + b'[],"x":'),
    encode_entry(COVERAGE).replace(b'"ab-1"', b'"a\\"b"'),
    encode_entry(COVERAGE).replace(b'"detail":{}', b'"detail":{"a":Infinity}'),
    encode_entry(COVERAGE).replace(b'"detail":{}', b'"detail":{"a":' + b"[" * 500 + b"]" * 500 + b"}"),
    encode_entry(COVERAGE).replace(b'"restart"', b'"\\ud800"'),
]


@pytest.mark.parametrize("payload", DAMAGED, ids=range(len(DAMAGED)))
def test_an_entry_that_cannot_be_read_is_kept_as_it_is_and_harms_no_other(payload: bytes):
    router = route(*batches_of([payload]), batch_of(2, CHANGE))

    kept, after = (json.loads(line.data) for line in router.written)
    text = payload.decode("utf-8", "backslashreplace")[:8192]
    assert kept["audit"]["kernel"]["record_type"] == "unparsed"
    assert kept["audit"]["kernel"]["messages"] == [text]
    assert kept["audit"]["kernel"]["warnings"] == ["the entry of a watcher of files cannot be read"]
    assert kept["auditline"]["incomplete_reasons"] == ["unparsed"]
    assert after["audit"]["file"]["path"] == "/etc/x"
    assert [(state.tally.file_changes, state.tally.unparsed) for state in router.committed] == [(1, 1), (1, 0)]


def test_what_is_not_text_is_kept_byte_by_byte():
    (line,) = route(*batches_of([b'{"change":\xff'])).written

    assert b64decode(json.loads(line.data)["auditline"]["raw_base64"]) == b'{"change":\xff'


def test_an_entry_that_cannot_be_read_has_the_time_that_stands_in_it():
    damaged = encode_entry(CHANGE).replace(b'"created"', b'"exploded"')

    with_time, without = route(*batches_of([damaged, b"{"])).written

    assert json.loads(with_time.data)["@timestamp"] == "2023-11-14T22:13:20.123Z"
    assert json.loads(without.data)["@timestamp"] == "1970-01-01T00:00:00.000Z"


def test_equal_entries_that_cannot_be_read_are_two():
    one, other = route(*batches_of([b"{", b"{"])).written

    assert one.event_id != other.event_id


@pytest.mark.parametrize("kind", [BatchKind.RECORDS, BatchKind.IDLE, BatchKind.START, 99])
def test_a_batch_of_another_kind_is_no_entry_and_no_record(kind: int):
    batch = Batch(1, kind, b"\x14\x05", b"audit(1.000:1): ")

    router = route(batch, batch_of(2, CHANGE))

    assert [state.tally.unparsed for state in router.committed] == [1, 0]
    assert [state.tally.records for state in router.committed] == [0, 0]


@given(
    payload=st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_bytes_stop_the_stream(payload: bytes):
    router = route(*batches_of([payload]), batch_of(2, CHANGE))

    assert len(router.written) == len(payload.split(b"\n")) + 1
    assert [json.loads(line.data)["event"]["id"] for line in router.written] == [
        line.event_id for line in router.written
    ]
    assert router.outbox.done_number == 2


def changed_bytes(payload: bytes) -> st.SearchStrategy[bytes]:
    """Return *payload* with some of its bytes replaced."""
    places = st.dictionaries(st.integers(0, len(payload) - 1), st.integers(0, 255), max_size=3)
    return places.map(lambda new: bytes(new.get(place, byte) for place, byte in enumerate(payload)))


@given(payload=changed_bytes(encode_entry(CHANGE)) | changed_bytes(encode_entry(COVERAGE)))
def test_an_entry_with_flipped_bits_is_a_line_all_the_same(payload: bytes):
    router = route(*batches_of([payload]), batch_of(2, CHANGE))

    assert len([json.loads(line.data) for line in router.written]) == len(payload.split(b"\n")) + 1
    assert router.outbox.done_number == 2


entries = st.sampled_from([encode_entry(CHANGE), encode_entry(COVERAGE), b"{"]) | st.binary(max_size=8).map(
    lambda path: encode_entry(replace(CHANGE, path=path))
)
payloads = st.lists(st.lists(entries, min_size=1, max_size=4).map(join_entries), min_size=1, max_size=10)
steps = st.lists(
    st.just(("take", 0)) | st.tuples(st.just("acknowledge"), st.integers(0, 3)) | st.just(("kill", 0)), max_size=60
)


@settings(max_examples=200)
@given(payloads=payloads, taken=steps)
def test_over_kills_every_entry_comes_out_again_with_the_same_bytes_and_is_counted_once(
    payloads: list[bytes], taken: list[tuple[str, int]]
):
    whole = Router(Outbox(batches_of(payloads)), [])
    whole.finish()
    wanted = [line.data for line in whole.written]
    outbox, committed = Outbox(batches_of(payloads)), []
    written: list[Line] = []
    router = Router(outbox, written)

    for step, count in taken:
        if step == "take":
            router.take_next()
        elif step == "acknowledge":
            router.acknowledge(count)
        else:
            committed += router.committed
            router = Router(outbox, written)
    router.finish()
    committed += router.committed

    lines: dict[str, set[bytes]] = {}
    for line in written:
        lines.setdefault(line.event_id, set()).add(line.data)
    assert all(len(contents) == 1 for contents in lines.values())
    assert {line.data for line in written} == set(wanted)
    assert [state.number for state in committed] == list(range(1, len(payloads) + 1))
