"""Holes in the serials are found, filled by late ones, and counted once, wherever the counter stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.serials import MAX_RANGES, REORDER_SECONDS, SerialGaps

LAST = (1 << 32) - 1


def missing_in(serials: list[int], clock: int = 0) -> list[tuple[int, int]]:
    gaps = SerialGaps()
    for serial in serials:
        gaps.see(serial, clock)
    return gaps.settle(clock, is_idle=True)


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
    gaps.see(1, 0)
    gaps.see(3, 0)

    early, late = gaps.settle(REORDER_SECONDS - 1), gaps.settle(REORDER_SECONDS)

    assert (early, late, gaps.settle(REORDER_SECONDS)) == ([], [(2, 1)], [])


def test_a_serial_that_comes_after_its_hole_was_settled_changes_nothing():
    gaps = SerialGaps()
    for serial in (1, 3):
        gaps.see(serial, 0)
    gaps.settle(0, is_idle=True)

    gaps.see(2, 0)

    assert gaps.settle(0, is_idle=True) == []
    assert gaps.next == 4


def test_another_boot_begins_anew():
    gaps = SerialGaps()
    gaps.see(1000, 0)
    gaps.restart()

    gaps.see(5, 0)

    assert gaps.settle(0, is_idle=True) == []


def test_holes_that_are_remembered_are_bounded_and_none_is_forgotten_uncounted():
    gaps = SerialGaps()
    settled = []

    for serial in range(0, 20_000, 2):
        gaps.see(serial, 0)
        settled += gaps.settle(0)

    assert len(gaps.missing) <= MAX_RANGES
    assert sum(count for _, count in [*settled, *gaps.settle(0, is_idle=True)]) == 9_999


@given(first=st.sampled_from([0, 5, LAST - 20]), present=st.sets(st.integers(0, 60), min_size=1), data=st.data())
def test_any_order_within_the_window_finds_the_same_holes(first: int, present: set[int], data: st.DataObject):
    smallest, *others = sorted(present)
    shuffled = data.draw(st.permutations(others))

    missing = missing_in([(first + offset) % (LAST + 1) for offset in (smallest, *shuffled)])

    wanted = {(first + offset) % (LAST + 1) for offset in range(smallest, max(present)) if offset not in present}
    assert {(start + offset) % (LAST + 1) for start, count in missing for offset in range(count)} == wanted
    assert sum(count for _, count in missing) == len(wanted)
