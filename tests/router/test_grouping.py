"""Records become events: by node, time and serial, each on its own, the same however they are cut into batches."""

from collections.abc import Iterable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.grouping import (
    DEADLINE_SECONDS,
    GIVEN_UP_EVENTS,
    MAX_OPEN_BYTES,
    MAX_YOUNGER_EVENTS,
    REMEMBERED_EVENTS,
    Grouper,
)

Record = tuple[int, str]
SYSCALL, PATH, CWD, EOE, USER_LOGIN, LOGIN = types.SYSCALL, types.PATH, types.CWD, types.EOE, 1112, types.LOGIN
T = 1_700_000_000


def record(kind: int, serial: int, body: str = "a=1", second: int = T, node: str = "") -> Record:
    return kind, f"{node and f'node={node} '}audit({second}.123:{serial}): {body}"


def whole(serial: int, second: int = T) -> list[Record]:
    return [record(SYSCALL, serial, second=second), record(CWD, serial, second=second), record(EOE, serial, "", second)]


class Collected:
    """A grouper and what it gave."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.unparsed: list[Record] = []
        self.grouper = Grouper(self.events.append, lambda kind, payload: self.unparsed.append((kind, payload)))
        self.batches = 0

    def feed(self, records: Iterable[Record]) -> "Collected":
        kinds, payloads = zip(*records, strict=True)
        self.batches += 1
        self.grouper.feed(list(kinds), list(payloads), self.batches)
        return self

    def idle(self) -> "Collected":
        self.batches += 1
        self.grouper.idle(self.batches)
        return self

    @property
    def serials(self) -> list[int]:
        return [event.serial for event in self.events]


@pytest.fixture
def collected() -> Collected:
    return Collected()


def what(event: Event) -> tuple[object, ...]:
    """Return all of an event that a document is made of."""
    return (
        event.header,
        event.node,
        event.serial,
        *event.types,
        *event.bodies,
        event.has_eoe,
        event.reasons,
        event.amends,
    )


def test_interleaved_records_become_their_events(collected: Collected):
    one, two = whole(1), whole(2)

    collected.feed([one[0], two[0], two[1], one[1], two[2], one[2]])

    assert [(event.serial, event.types, event.has_eoe) for event in collected.events] == [
        (2, [SYSCALL, CWD], True),
        (1, [SYSCALL, CWD], True),
    ]


def test_an_event_is_out_with_its_end_and_not_later(collected: Collected):
    collected.feed([record(SYSCALL, 1), *whole(2)])

    assert collected.serials == [2]


def test_records_that_user_space_sends_are_events_at_once(collected: Collected):
    collected.feed([record(kind, kind) for kind in (1100, 1112, 1299, 2100, 2999)])

    assert collected.serials == [1100, 1112, 1299, 2100, 2999]


@pytest.mark.parametrize("kind", [LOGIN, 1305, 1326, 1400, 2000, 1701])
def test_kernel_records_wait_for_their_system_call(collected: Collected, kind):
    collected.feed([record(kind, 1), record(SYSCALL, 1), record(EOE, 1, "")])

    assert [event.types for event in collected.events] == [[kind, SYSCALL]]


def test_an_event_without_an_end_is_given_up_when_the_second_has_changed_three_times(collected: Collected):
    collected.feed([record(SYSCALL, 1)])

    for second in range(1, DEADLINE_SECONDS):
        collected.feed(whole(1 + second, T + second))
    before = collected.serials.count(1)
    collected.feed(whole(10, T + DEADLINE_SECONDS))

    assert (before, collected.serials.count(1)) == (0, 1)


def test_the_lack_of_an_end_is_a_reason_where_the_stream_has_ends():
    with_ends = Collected().feed([*whole(1), record(SYSCALL, 2)]).idle()
    without = Collected().feed([record(SYSCALL, 2)]).idle()

    assert with_ends.events[-1].reasons == ("no_eoe",)
    assert without.events[-1].reasons == ()


def test_an_event_that_never_has_an_end_lacks_none(collected: Collected):
    collected.feed([*whole(1), record(1305, 2, "op=set")]).idle()

    assert collected.events[-1].reasons == ()


def test_an_idle_source_completes_what_is_open(collected: Collected):
    collected.feed([record(SYSCALL, 1), record(SYSCALL, 2)]).idle()

    assert collected.serials == [1, 2]


def test_a_record_that_comes_late_is_an_amendment(collected: Collected):
    collected.feed(whole(1)).feed([record(PATH, 1), record(PATH, 1)]).idle()

    assert [(event.types, event.amends) for event in collected.events] == [
        ([SYSCALL, CWD], False),
        ([PATH, PATH], True),
    ]


def test_the_end_of_an_event_that_was_given_up_is_dropped_and_counted(collected: Collected):
    collected.feed([record(SYSCALL, 1)]).idle().feed([record(EOE, 1, "")]).idle()

    assert collected.serials == [1]
    assert collected.grouper.ends_dropped == 1


def test_an_end_without_anything_before_it_is_an_event(collected: Collected):
    collected.feed([record(EOE, 1, "")])

    assert [(event.types, event.has_eoe) for event in collected.events] == [([EOE], True)]


def test_the_same_serial_at_another_time_is_another_event(collected: Collected):
    collected.feed([record(SYSCALL, 1, second=T), record(SYSCALL, 1, second=T + 1), record(EOE, 1, "", T)]).idle()

    assert [(event.seconds, event.types) for event in collected.events] == [
        (str(T), [SYSCALL]),
        (str(T + 1), [SYSCALL]),
    ]


def test_serials_that_wrap_are_no_amendments(collected: Collected):
    collected.feed([*whole(4_294_967_295), *whole(0), *whole(1)])

    assert [(event.serial, event.amends) for event in collected.events] == [
        (4_294_967_295, False),
        (0, False),
        (1, False),
    ]


def test_nodes_are_kept_apart(collected: Collected):
    collected.feed([record(SYSCALL, 1, node="a"), record(SYSCALL, 1, node="b"), record(SYSCALL, 1)]).idle()

    assert [(event.node, event.header[:6]) for event in collected.events] == [
        ("a", "node=a"),
        ("b", "node=b"),
        (None, "audit("),
    ]


def test_an_event_is_given_up_when_too_many_younger_ones_have_begun(collected: Collected):
    collected.feed([record(SYSCALL, 1)])

    collected.feed([part for serial in range(2, MAX_YOUNGER_EVENTS + 300) for part in whole(serial)])

    assert 1 in collected.serials


def test_open_events_are_bounded(collected: Collected):
    for first in range(0, 30_000, 500):
        collected.feed([record(SYSCALL, serial) for serial in range(first, first + 500)])

    assert len(collected.grouper.open) <= MAX_YOUNGER_EVENTS + 256
    assert len(collected.events) + len(collected.grouper.open) == 30_000


def test_the_text_of_open_events_is_bounded_and_the_oldest_goes_out_with_the_reason(collected: Collected):
    text = "a=" + "x" * 1_000_000

    for serial in range(100):
        collected.feed([record(SYSCALL, serial, text)])

    kept = sum(len(body) for event in collected.grouper.open.values() for body in event.bodies)
    assert kept <= MAX_OPEN_BYTES
    assert [event.serial for event in collected.events] == list(range(100 - len(collected.grouper.open)))
    assert {event.reasons for event in collected.events} == {("evicted",)}


@pytest.mark.parametrize("batch_records", [500, 100_000])
def test_a_flood_of_events_that_do_not_end_leaves_a_bounded_number_open(collected: Collected, batch_records: int):
    most = 0

    for first in range(0, 100_000, batch_records):
        collected.feed([record(SYSCALL, serial) for serial in range(first, first + batch_records)])
        most = max(most, len(collected.grouper.open))

    assert most <= MAX_YOUNGER_EVENTS + 256
    assert len(collected.events) + len(collected.grouper.open) == 100_000
    assert collected.serials == list(range(len(collected.events)))


def test_an_event_of_a_hundred_megabytes_in_one_batch_is_not_kept_beyond_it(collected: Collected):
    collected.feed([record(SYSCALL, 1), *(record(PATH, 2, "x" * 1_000_000) for _ in range(100)), record(SYSCALL, 3)])

    assert [(event.serial, event.reasons) for event in collected.events] == [(1, ("evicted",)), (2, ("evicted",))]
    assert list(collected.grouper.open) == [f"audit({T}.123:3"]


def test_an_event_of_very_many_short_records_is_bounded_by_what_they_take(collected: Collected):
    for _ in range(100):
        collected.feed([record(PATH, 1, "")] * 10_000)

    assert collected.events
    assert sum(len(event.types) for event in collected.grouper.open.values()) < MAX_OPEN_BYTES / 100


def test_an_event_without_end_that_grows_and_grows_goes_out_in_parts(collected: Collected):
    for _ in range(100):
        collected.feed([record(PATH, 1, "x" * 1_000_000)])
    collected.idle()

    assert sum(len(event.types) for event in collected.events) == 100
    assert [event.amends for event in collected.events] == [False, *[True] * (len(collected.events) - 1)]
    assert len(collected.events) > 1


def test_what_is_remembered_of_events_is_bounded(collected: Collected):
    for first in range(0, 40_000, 1000):
        collected.feed([part for serial in range(first, first + 1000) for part in whole(serial)])
        collected.feed([record(SYSCALL, 100_000 + serial) for serial in range(first, first + 100)]).idle()

    grouper = collected.grouper
    assert len(grouper._out_young) + len(grouper._out_old) <= REMEMBERED_EVENTS + 3000
    assert len(grouper.given_up) <= GIVEN_UP_EVENTS


@pytest.mark.parametrize("jump", [10**9, -(10**9), 3600, -3600])
def test_a_clock_that_is_set_gives_up_nothing_and_stops_nothing(collected: Collected, jump: int):
    collected.feed([record(SYSCALL, 1)])

    collected.feed(whole(2, T + jump))
    is_waiting = 1 not in collected.serials
    for tick in range(1, DEADLINE_SECONDS + 1):
        collected.feed(whole(10 + tick, T + jump + tick))

    assert is_waiting
    assert 1 in collected.serials


def test_a_clock_that_was_once_far_ahead_does_not_hold_up_later_events(collected: Collected):
    collected.feed(whole(1, T + 10**9)).feed([record(SYSCALL, 2)])

    for tick in range(1, DEADLINE_SECONDS + 2):
        collected.feed(whole(10 + tick, T + tick))

    assert 2 in collected.serials


def test_records_a_little_out_of_order_at_the_turn_of_a_second_hasten_nothing(collected: Collected):
    collected.feed([record(SYSCALL, 1)])

    for serial in range(2, 40):
        collected.feed(whole(serial, T + serial % 2))

    assert 1 not in collected.serials


@pytest.mark.parametrize(
    "payload",
    [
        "",
        " ",
        "audit",
        "audit(",
        "audit(1.1:1): a",
        "audit(1.001:): a",
        "audit(1.001:1",
        "audit(1.001:1)x",
        "audit(1.001:12345678901): a",
        "audit(-1.001:1): a",
        "audit(1.001:1):",
        "audit(1.001:1)",
        "audit(1.001:-1): a",
        "audit():",
        "audit(٣.001:1): a",
        "AUDIT(1.001:1): a",
        " audit(1.001:1): a",
        "node= audit(1.001:1): a",
        "audit(1.0011:1): a",
    ],
)
def test_a_payload_is_an_event_or_unparsed_and_never_neither(collected: Collected, payload):
    collected.feed([(SYSCALL, payload)]).idle()

    assert len(collected.events) + len(collected.unparsed) == 1
    assert [taken for _, taken in collected.unparsed] in ([], [payload])


@pytest.mark.parametrize(
    "spelling", ["audit(1.001:1): {}", "audit(1.001:1):{}", "audit(1.001:1) {}", "audit(1.001:1):   {}"]
)
@pytest.mark.parametrize("kind", [SYSCALL, USER_LOGIN, EOE])
def test_however_a_header_is_spelled_its_event_is_one(collected: Collected, spelling: str, kind: int):
    before = (CWD, "audit(1.001:1): x=1")
    collected.feed([before, (PATH, spelling.format("y=2")), (kind, spelling.format(""))]).idle()

    (event,) = collected.events
    assert event.types[:2] == [CWD, PATH]
    assert [body.strip() for body in event.bodies[:2]] == ["x=1", "y=2"]


@pytest.mark.parametrize("kind", [CWD, USER_LOGIN])
def test_blanks_of_a_record_are_kept_wherever_it_stands(collected: Collected, kind: int):
    first, second = (kind, "audit(1.001:1):  x=1"), (CWD, "audit(1.001:1):  y=2 ")
    collected.feed([first, second]).idle()

    assert [body for event in collected.events for body in event.bodies] == [" x=1", " y=2 "]


records_of_few_events = st.lists(
    st.builds(
        record,
        st.sampled_from([SYSCALL, PATH, CWD, EOE, EOE, EOE, LOGIN, USER_LOGIN]),
        st.integers(1, 12),
        st.sampled_from(["", "a=1", "b=2"]),
        st.integers(T, T + 6),
        st.sampled_from(["", "", "n"]),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=300)
@given(records=records_of_few_events, sizes=st.lists(st.integers(1, 10)))
def test_where_batches_end_makes_no_difference(records: list[Record], sizes: list[int]):
    at_once = Collected().feed(records).idle()
    in_batches = Collected()

    for start, end in pairwise([0, *(cut for cut in accumulate(sizes) if cut < len(records)), len(records)]):
        in_batches.feed(records[start:end])
    in_batches.idle()

    assert list(map(what, in_batches.events)) == list(map(what, at_once.events))


@settings(max_examples=300)
@given(records=records_of_few_events)
def test_every_record_is_in_one_event_or_is_a_dropped_end(records: list[Record]):
    collected = Collected().feed(records).idle()

    kept = sum(
        len(event.types) + event.has_eoe - (event.types == [EOE] and event.has_eoe) for event in collected.events
    )
    assert kept + collected.grouper.ends_dropped == len(records)


@given(records=records_of_few_events, sizes=st.lists(st.integers(1, 10)))
def test_the_records_of_each_batch_are_counted_in_the_events_that_go_beyond_one(
    records: list[Record], sizes: list[int]
):
    collected = Collected()
    cuts = [0, *(cut for cut in accumulate(sizes) if cut < len(records)), len(records)]

    for start, end in pairwise(cuts):
        collected.feed(records[start:end])
    collected.idle()

    for event in collected.events:
        ends_alone = event.types == [EOE] and event.has_eoe
        if event.records_by_batch is not None:
            assert sum(event.records_by_batch.values()) == len(event.types) + event.has_eoe - ends_alone
            for batch, count in event.records_by_batch.items():
                sent = records[cuts[batch - 1] : cuts[batch]]
                assert count <= sum(payload.startswith(event.header + ")") for _, payload in sent)


@given(kinds=st.lists(st.integers(-70_000, 70_000), min_size=1, max_size=20), data=st.data())
def test_whatever_comes_nothing_is_lost_and_nothing_fails(kinds: list[int], data: st.DataObject):
    text = st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=30),
        st.builds("audit({}.{}:{}){}{}".format, st.integers(0, 10**16), st.integers(0, 9999), st.integers(0, 10**11),
                  st.sampled_from(["", ":", ": ", " ", ":: "]), st.text(max_size=10)),
        st.builds("audit(1.001:{}){}".format, st.integers(0, 3), st.sampled_from(["", ":", ": ", ":a", " a", "): a"])),
    )  # fmt: skip
    payloads = [data.draw(text) for _ in kinds]
    collected = Collected()

    collected.feed(list(zip(kinds, payloads, strict=True))).idle()

    ends_alone = sum(event.types == [EOE] and event.has_eoe for event in collected.events)
    taken = sum(len(event.types) + event.has_eoe for event in collected.events) - ends_alone
    assert taken + len(collected.unparsed) + collected.grouper.ends_dropped == len(kinds)


def test_a_predecessor_s_events_are_skipped_record_by_record(collected: Collected):
    header = f"audit({T}.123:1"
    collected.grouper.skipped = {header: 2}

    collected.feed([record(PATH, 1), *whole(2), record(EOE, 1, ""), record(PATH, 1)]).idle()

    assert [(event.serial, event.amends) for event in collected.events] == [(2, False), (1, True)]


def test_what_a_predecessor_gave_up_is_still_known(collected: Collected):
    predecessor = Collected().feed([record(SYSCALL, 1), record(SYSCALL, 2)]).idle()
    collected.grouper.recall(dict(predecessor.grouper.given_up), predecessor.grouper.latest())

    collected.feed([record(EOE, 1, ""), record(PATH, 2)]).idle()

    assert [(event.serial, event.amends) for event in collected.events] == [(2, True)]
