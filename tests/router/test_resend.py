"""Over kills of the router at any moment every event is out once, with one content."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.plugins.outputs.api import Line
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.router.audit_stream import AuditStream
from auditline.workers.router.decode import types
from auditline.workers.router.inflow import BatchState
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.stream import Lines

Record = tuple[int, str]
SYSCALL, PATH, CWD, EOE, USER_LOGIN = types.SYSCALL, types.PATH, types.CWD, types.EOE, 1112
T = 1_700_000_000
HOST = ("0" * 16, "host")
SYSCALL_BODY = (
    "arch=c000003e syscall=257 success=yes exit=3 a0=1 a1=2 a2=3 a3=4 items=1 ppid=1 pid=2 auid=0 uid=0 gid=0 euid=0"
    ' suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1 comm="cat" exe="/usr/bin/cat" key="k"'
)
BODIES = {
    SYSCALL: SYSCALL_BODY,
    PATH: 'item=0 name="f" inode=1 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL',
    CWD: 'cwd="/"',
    USER_LOGIN: "pid=1 uid=0 auid=0 ses=1 msg='op=login res=success'",
    EOE: "",
}


def records_batch(number: int, records: Sequence[Record]) -> Batch:
    kinds = b"".join(kind.to_bytes(2, "little") for kind, _ in records)
    return Batch(number, BatchKind.RECORDS, kinds, "\0".join(payload for _, payload in records).encode())


def start_batch(number: int, boot_id: str = "boot", mode: str = "unicast") -> Batch:
    return Batch(number, BatchKind.START, b"", json.dumps({"boot_id": boot_id, "mode": mode}).encode())


def idle_batch(number: int) -> Batch:
    return Batch(number, BatchKind.IDLE, b"", b"")


@dataclass
class Destination:
    """Keeps what it was given, unless it has that id already; as segments do."""

    written: dict[str, bytes] = field(default_factory=dict)
    conflicts: list[tuple[bytes, bytes]] = field(default_factory=list)
    waiting: list[Line] = field(default_factory=list)
    done_sequence: int = 0

    def write(self, lines: Iterable[Line]) -> None:
        self.waiting.extend(lines)

    def flush(self, count: int) -> None:
        for line in self.waiting[:count]:
            known = self.written.setdefault(line.event_id, line.data)
            if known != line.data:
                self.conflicts.append((known, line.data))
            self.done_sequence = line.sequence
        del self.waiting[:count]

    def forget_unwritten(self) -> None:
        self.waiting.clear()
        self.done_sequence = 0


@dataclass
class Journal:
    """A producer's store: batches, and what the router said is done."""

    batches: list[Batch]
    done_number: int = 0
    done_state: bytes = b""

    def hello(self) -> Hello:
        return Hello(b"", 1, "audit", "e" * 16, self.done_number, len(self.batches), self.done_state)


class Router:
    """The part of the router that this is about: one stream, one destination, and what is committed when it is done."""

    def __init__(
        self, journal: Journal, destination: Destination, own_pids: Iterable[int] = (), *, is_locked: bool = False
    ) -> None:
        self._journal, self._destination = journal, destination
        self.lines = Lines()
        destination.forget_unwritten()
        renderers, pids = [FragmentRenderer(NoNames())], frozenset(own_pids)
        self.stream = AuditStream(journal.hello(), self.lines, renderers, HOST, pids, is_locked=is_locked)
        self.committed: list[BatchState] = []

    def take_next(self) -> None:
        number = self.stream.inflow.received + 1
        if number <= len(self._journal.batches):
            self.stream.take(self._journal.batches[number - 1])
            self._destination.write(self.lines.take()["audit"])

    def flush(self, count: int) -> None:
        self._destination.flush(count)

    def acknowledge(self) -> None:
        inflow = self.stream.inflow
        finished = inflow.advance(self._destination.done_sequence)
        if finished:
            self.committed.extend(finished)
            self._journal.done_number = finished[-1].number
            self._journal.done_state = inflow.resume_state(finished[-1])

    def finish(self) -> None:
        for _ in range(len(self._journal.batches)):
            self.take_next()
            self.flush(10**6)
            self.acknowledge()


def run_without_a_kill(batches: list[Batch]) -> tuple[Destination, list[BatchState], Journal]:
    destination, journal = Destination(), Journal(batches)
    router = Router(journal, destination)
    router.finish()
    return destination, router.committed, journal


def make_stream(draw: st.DrawFn) -> list[Record]:
    """Events that overlap, some without an end, some with records that come after they went out."""
    events: list[list[Record]] = []
    late: list[tuple[int, Record]] = []
    second = T
    for serial in range(100, 100 + draw(st.integers(1, 14))):
        second += draw(st.sampled_from([0, 0, 0, 1, 1, 5]))
        header = f"audit({second}.001:{serial})"
        if draw(st.booleans()) and draw(st.booleans()):
            events.append([(USER_LOGIN, f"{header}: {BODIES[USER_LOGIN]}")])
            continue
        kinds = [SYSCALL, *draw(st.lists(st.sampled_from([CWD, PATH]), max_size=3))]
        has_end = draw(st.integers(0, 3)) > 0
        events.append([(kind, f"{header}: {BODIES[kind]}") for kind in [*kinds, *([EOE] if has_end else [])]])
        if draw(st.booleans()):
            late.append((len(events), (draw(st.sampled_from([PATH, EOE])), f"{header}: {BODIES[PATH]}")))
    return interleave(draw, events, late)


def interleave(draw: st.DrawFn, events: list[list[Record]], late: list[tuple[int, Record]]) -> list[Record]:
    records: list[Record] = []
    running: list[list[Record]] = []
    for position, event in enumerate(events):
        running.append(list(event))
        records.extend(record for begun, record in late if begun + 4 == position)
        while len(running) > draw(st.integers(0, 3)):
            at = draw(st.integers(0, len(running) - 1))
            records.append(running[at].pop(0))
            running = [rest for rest in running if rest]
    records.extend(record for rest in running for record in rest)
    records.extend(record for begun, record in late if begun + 4 >= len(events))
    return records


@st.composite
def journals(draw: st.DrawFn) -> list[Batch]:
    records = make_stream(draw)
    sizes = draw(st.lists(st.integers(1, 7), min_size=1))
    cuts = [0, *(cut for cut in accumulate(sizes) if cut < len(records)), len(records)]
    batches = [start_batch(1)]
    for start, end in pairwise(cuts):
        if records[start:end]:
            batches.append(records_batch(len(batches) + 1, records[start:end]))
        if draw(st.integers(0, 5)) == 0:
            batches.append(idle_batch(len(batches) + 1))
    batches.append(idle_batch(len(batches) + 1))
    return batches


steps = st.lists(
    st.one_of(
        st.just(("take", 0)),
        st.just(("take", 0)),
        st.tuples(st.just("flush"), st.integers(1, 4)),
        st.just(("acknowledge", 0)),
        st.just(("kill", 0)),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(batches=journals(), taken=steps)
def test_over_kills_every_event_is_out_once_with_one_content(batches: list[Batch], taken: list[tuple[str, int]]):
    wanted, _, _ = run_without_a_kill(batches)
    destination, journal = Destination(), Journal(batches)
    router = Router(journal, destination)

    for step, count in taken:
        if step == "take":
            router.take_next()
        elif step == "flush":
            router.flush(count)
        elif step == "acknowledge":
            router.acknowledge()
        else:
            router = Router(journal, destination)
    router.finish()

    assert destination.conflicts == []
    assert destination.written == wanted.written
    assert journal.done_number == len(batches)


@settings(max_examples=150)
@given(batches=journals(), taken=steps)
def test_over_kills_everything_is_counted_once(batches: list[Batch], taken: list[tuple[str, int]]):
    _, wanted, _ = run_without_a_kill(batches)
    destination, journal = Destination(), Journal(batches)
    router = Router(journal, destination)
    committed: list[BatchState] = []

    for step, count in taken:
        if step == "take":
            router.take_next()
        elif step == "flush":
            router.flush(count)
        elif step == "acknowledge":
            router.acknowledge()
        else:
            committed.extend(router.committed)
            router = Router(journal, destination)
    router.finish()
    committed.extend(router.committed)

    assert [state.number for state in committed] == [state.number for state in wanted]
    for name in ("records", "incomplete", "serial_gaps", "unparsed"):
        counted = sum(getattr(state.tally, name) for state in committed)
        assert counted == sum(getattr(state.tally, name) for state in wanted), name


@settings(max_examples=100)
@given(batches=journals(), taken=steps)
def test_done_is_said_only_of_batches_whose_events_are_all_safe(batches: list[Batch], taken: list[tuple[str, int]]):
    wanted, _, _ = run_without_a_kill(batches)
    destination, journal = Destination(), Journal(batches)
    router = Router(journal, destination)

    for step, count in [*taken, ("acknowledge", 0)]:
        if step == "take":
            router.take_next()
        elif step == "flush":
            router.flush(count)
        else:
            router.acknowledge()

    done_headers = {
        payload.partition(")")[0].removeprefix("audit(")
        for batch in batches[: journal.done_number]
        for payload in batch.payload.decode().split("\0")
        if batch.kind == BatchKind.RECORDS
    }
    for event_id in wanted.written:
        seconds, serial = event_id.split("-")[1:3]
        if f"{seconds}:{serial}" in done_headers and not event_id.count("-") > 2:
            assert event_id in destination.written


def exec_event(serial: int, second: int = T) -> list[Record]:
    header = f"audit({second}.001:{serial})"
    return [(kind, f"{header}: {BODIES[kind]}") for kind in (SYSCALL, CWD, PATH, EOE)]


@pytest.mark.parametrize("reach", [2, 3])
def test_an_event_over_several_batches_holds_back_the_first_until_it_is_out(reach: int):
    records = exec_event(1)
    batches = [records_batch(1, records[:1]), *(records_batch(2 + n, [records[1 + n]]) for n in range(reach - 1))]
    batches.append(records_batch(len(batches) + 1, records[reach:]))
    journal, destination = Journal(batches), Destination()
    router = Router(journal, destination)

    for _ in batches[:-1]:
        router.take_next()
        router.flush(10)
        router.acknowledge()
    before = journal.done_number
    router.take_next()
    router.acknowledge()
    unsafe = journal.done_number
    router.flush(10)
    router.acknowledge()

    assert (before, unsafe, journal.done_number) == (0, 0, len(batches))


def test_a_resend_never_meets_half_an_event():
    one, two = exec_event(1), exec_event(2)
    batches = [
        records_batch(1, [*one[:2], two[0]]),
        records_batch(2, [*one[2:], *two[1:3]]),
        records_batch(3, [two[3]]),
    ]
    journal, destination = Journal(batches), Destination()
    router = Router(journal, destination)
    for _ in batches:
        router.take_next()
        router.flush(10)
    router.stream.inflow.confirm(0)
    first = router.stream.inflow.advance(destination.done_sequence)[0]
    journal.done_number, journal.done_state = 1, router.stream.inflow.resume_state(first)

    successor = Router(journal, destination)
    successor.take_next()
    successor.take_next()

    assert [line.event_id for line in destination.waiting] == []
    assert json.loads(journal.done_state)["skip"] == {f"audit({T}.001:1": 2, f"audit({T}.001:2": 3}


def test_a_hole_in_the_serials_is_counted_once_and_late_ones_fill_it():
    batches = [
        start_batch(1),
        records_batch(2, [*exec_event(1), *exec_event(5), *exec_event(3)]),
        idle_batch(3),
        records_batch(4, exec_event(6)),
        idle_batch(5),
    ]

    _, committed, _ = run_without_a_kill(batches)

    assert [state.tally.serial_gaps for state in committed] == [0, 0, 2, 0, 0]


def test_an_event_that_comes_after_it_was_counted_as_lost_is_taken_off_again():
    batches = [
        start_batch(1),
        records_batch(2, [*exec_event(1), *exec_event(5)]),
        idle_batch(3),
        records_batch(4, exec_event(3)),
    ]
    journal, destination = Journal(batches), Destination()
    router = Router(journal, destination)
    router.finish()

    stream = router.stream

    assert [state.tally.serial_gaps for state in router.committed] == [0, 0, 3, -1]
    assert [(hole["from"], hole["to"], hole["count"]) for hole in stream.lost_serials] == [(4, 4, 1), (2, 2, 1)]
    assert json.loads(destination.written[f"{HOST[0]}-{T}.001-3"])["auditline"]["complete"] is True


def test_what_comes_after_its_event_ended_before_a_kill_is_still_an_amendment():
    late = [(PATH, f"audit({T}.001:1): {BODIES[PATH]}")]
    batches = [records_batch(1, exec_event(1)), records_batch(2, exec_event(2)), records_batch(3, late), idle_batch(4)]
    journal, destination = Journal(batches[:2]), Destination()
    Router(journal, destination).finish()
    journal.batches.extend(batches[2:])

    Router(journal, destination).finish()

    *_, amendment = map(json.loads, destination.written.values())
    assert amendment["auditline"]["amends"] == f"{HOST[0]}-{T}.001-1"


def test_serials_that_were_noticed_missing_are_counted_when_the_host_was_booted_in_between():
    batches = [
        start_batch(1, "one"),
        records_batch(2, [*exec_event(1), *exec_event(4)]),
        start_batch(3, "two"),
        records_batch(4, exec_event(1, T + 100)),
        idle_batch(5),
    ]

    _, committed, _ = run_without_a_kill(batches)

    assert sum(state.tally.serial_gaps for state in committed) == 2


def test_a_reader_that_is_started_again_leaves_open_events_open():
    records = exec_event(1)
    batches = [start_batch(1), records_batch(2, records[:2]), start_batch(3), records_batch(4, records[2:])]

    destination, _, _ = run_without_a_kill(batches)

    assert [json.loads(line)["auditline"]["complete"] for line in destination.written.values()] == [True]


@pytest.mark.parametrize(("mode", "is_locked"), [("multicast", False), ("unicast", True)])
def test_without_a_rule_of_ours_what_we_do_ourselves_is_filtered_and_counted(mode, is_locked):
    records = [record for serial in (1, 2) for record in exec_event(serial)]
    others = [
        (kind, payload.replace(" pid=2 ", " pid=77 ").replace("ppid=1 ", "ppid=76 ")) for kind, payload in records[4:]
    ]
    batches = [
        start_batch(1, mode=mode),
        records_batch(2, [*records[:2]]),
        records_batch(3, [*records[2:4], *others]),
    ]
    journal, destination = Journal(batches), Destination()
    router = Router(journal, destination, own_pids={2}, is_locked=is_locked)

    router.finish()

    assert [event_id.rpartition("-")[2] for event_id in destination.written] == ["2"]
    assert [state.tally.filtered for state in router.committed] == [0, 2, 2]
    assert journal.done_number == 3


@pytest.mark.parametrize(
    "batch",
    [
        Batch(1, BatchKind.RECORDS, b"\x14\x05", b"a\0b"),
        Batch(1, BatchKind.RECORDS, b"\x14\x05\x14", b"a\0b"),
        Batch(1, BatchKind.RECORDS, b"\x14\x05", b""),
        Batch(1, BatchKind.RECORDS, b"", b"text"),
        Batch(1, BatchKind.RECORDS, b"\x14\x05", b"\xff\xfe audit("),
        Batch(1, BatchKind.START, b"", b"{"),
        Batch(1, BatchKind.START, b"", b"[]"),
        Batch(1, BatchKind.START, b"", b"\xff"),
        Batch(1, BatchKind.START, b"", b'{"mode": 7, "boot_id": null}'),
        Batch(1, 99, b"", b"whatever"),
    ],
)
def test_a_batch_that_makes_no_sense_harms_no_other(batch: Batch):
    batches = [batch, records_batch(2, exec_event(1)), idle_batch(3)]

    destination, committed, _ = run_without_a_kill(batches)

    assert f"{HOST[0]}-{T}.001-1" in destination.written
    assert [state.number for state in committed] == [1, 2, 3]


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b"{}", b"null", b'{"clock": "x"}', b"\xff\xfe", b"[" * 100_000])
def test_a_state_that_cannot_be_read_costs_only_what_it_would_have_told(state: bytes):
    journal = Journal([records_batch(1, exec_event(1)), records_batch(2, exec_event(2))], 1, state)
    destination = Destination()

    Router(journal, destination).finish()

    assert list(destination.written) == [f"{HOST[0]}-{T}.001-2"]
