"""Holes in the serials are found, filled by late ones, and counted once, wherever the counter stands."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.event import Event
from auditline.workers.router.serials import MAX_RANGES, MAX_SETTLED, REORDER_SECONDS, Hole, SerialGaps

LAST = (1 << 32) - 1


def event(serial: int, second: int = 1) -> Event:
    return Event(f"audit({second}.000:{serial}", None, str(second), "000", serial)


def see(gaps: SerialGaps, *serials: int, clock: int = 0) -> None:
    for serial in serials:
        gaps.see(event(serial), clock)


def ranges(holes: list[Hole]) -> list[tuple[int, int]]:
    """Return the first serial of each hole, and how many there are."""
    return [(hole.first_serial, hole.missing) for hole in holes]


def missing_in(serials: list[int], clock: int = 0) -> list[tuple[int, int]]:
    gaps = SerialGaps()
    see(gaps, *serials, clock=clock)
    return ranges(gaps.settle(clock, is_idle=True))


@pytest.mark.parametrize(
    ("serials", "missing"),
    [
        ([], []),
        ([7], []),
        ([7, 8, 9], []),
        ([7, 9], [(8, 1)]),
        ([7, 10, 12], [(8, 2), (11, 1)]),
        ([7, 9, 8], []),
        ([7, 12, 9], [(8, 1), (10, 2)]),
        ([7, 12, 8, 11, 9, 10], []),
        ([7, 9, 9, 9], [(8, 1)]),
        ([7, 6, 5], []),
        ([LAST - 1, LAST, 0, 1], []),
        ([LAST - 1, 1], [(LAST, 2)]),
        ([LAST, 2, 0], [(1, 1)]),
        ([LAST, 2, 1, 0], []),
        ([0, LAST], []),
    ],
)
def test_holes_are_what_never_came(serials: list[int], missing: list[tuple[int, int]]):
    assert missing_in(serials) == missing


def test_a_hole_is_settled_when_it_is_too_old_to_be_filled():
    gaps = SerialGaps()
    see(gaps, 1, 3)

    early, late = gaps.settle(REORDER_SECONDS - 1), gaps.settle(REORDER_SECONDS)

    assert (early, ranges(late), gaps.settle(REORDER_SECONDS)) == ([], [(2, 1)], [])


def test_a_serial_that_comes_after_its_hole_was_settled_is_taken_off_what_was_lost():
    gaps = SerialGaps()
    see(gaps, 1, 6)
    gaps.settle(0, is_idle=True)

    see(gaps, 3, 3, 1, 9)

    assert gaps.filled == 1
    assert ranges(gaps.settled) == [(2, 1), (4, 2)]
    assert ranges(gaps.settle(0, is_idle=True)) == [(7, 2)]


def test_a_hole_says_between_which_events_it_is():
    gaps = SerialGaps()
    for serial, second in ((LAST - 1, 10), (2, 17)):
        gaps.see(event(serial, second), 0)

    (hole,) = gaps.settle(0, is_idle=True)

    assert hole.describe() == {
        "from": LAST, "to": 1, "count": 3, "since": "1970-01-01T00:00:10.000Z", "until": "1970-01-01T00:00:17.000Z",
    }  # fmt: skip


def test_another_boot_begins_anew():
    gaps = SerialGaps()
    see(gaps, 1000, 1002)
    gaps.settle(0, is_idle=True)
    gaps.restart()

    see(gaps, 5)

    assert (gaps.settle(0, is_idle=True), gaps.settled, gaps.older) == ([], [], None)


def test_holes_that_are_remembered_are_bounded_and_none_is_forgotten_uncounted():
    gaps = SerialGaps()
    settled = []

    for serial in range(0, 20_000, 2):
        see(gaps, serial)
        settled += gaps.settle(0)
    bounded = len(gaps.missing)
    settled += gaps.settle(0, is_idle=True)

    assert bounded <= MAX_RANGES
    assert sum(hole.missing for hole in settled) == 9_999
    assert len(gaps.settled) <= MAX_SETTLED
    oldest = gaps.lost[-1]
    assert (oldest.first, oldest.last, oldest.missing) == (1, 19_997 - 2 * MAX_SETTLED, 9_999 - MAX_SETTLED)


@given(first=st.sampled_from([0, 5, LAST - 20]), present=st.sets(st.integers(0, 60), min_size=1), data=st.data())
def test_any_order_within_the_window_finds_the_same_holes(first: int, present: set[int], data: st.DataObject):
    smallest, *others = sorted(present)
    shuffled = data.draw(st.permutations(others))

    missing = missing_in([(first + offset) % (LAST + 1) for offset in (smallest, *shuffled)])

    wanted = {(first + offset) % (LAST + 1) for offset in range(smallest, max(present)) if offset not in present}
    assert {(start + offset) % (LAST + 1) for start, count in missing for offset in range(count)} == wanted
    assert sum(count for _, count in missing) == len(wanted)


@given(first=st.sampled_from([0, LAST - 20]), present=st.sets(st.integers(0, 60), min_size=1), data=st.data())
def test_whenever_holes_are_settled_what_is_lost_in_the_end_is_what_never_came(
    first: int, present: set[int], data: st.DataObject
):
    smallest, *others = sorted(present)
    gaps = SerialGaps()
    lost = 0

    for offset in (smallest, *data.draw(st.permutations(others))):
        see(gaps, (first + offset) % (LAST + 1))
        if data.draw(st.booleans()):
            lost += sum(hole.missing for hole in gaps.settle(0, is_idle=True))
        if data.draw(st.booleans()):
            resumed = SerialGaps()
            resumed.resume(json.loads(json.dumps(gaps.snapshot())))
            resumed.filled, gaps = gaps.filled, resumed
    lost += sum(hole.missing for hole in gaps.settle(0, is_idle=True))

    never_came = max(present) - smallest + 1 - len(present)
    assert lost - gaps.filled == never_came == sum(hole.missing for hole in gaps.settled)


@pytest.mark.parametrize("known", [{}, {"newest": 1}, {"newest": "x", "header": "", "missing": [], "settled": []}])
def test_a_snapshot_that_is_none_changes_nothing(known: dict[str, object]):
    gaps = SerialGaps()

    with pytest.raises((ValueError, KeyError, TypeError)):
        gaps.resume(known)

    assert (gaps.newest, gaps.missing, gaps.settled) == (None, [], [])
