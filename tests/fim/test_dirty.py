"""When a path that may have changed is looked at."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.fim.dirty import Dirty, DirtyPath


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dirty(clock: Callable[[], float]) -> Dirty:
    return Dirty(0.2, 2.0, clock)


def test_a_path_is_due_when_it_has_been_quiet_for_the_debounce_time(dirty, clock):
    dirty.add(b"a")
    clock.now += 0.15
    dirty.add(b"a")
    clock.now += 0.15

    early = dirty.take_due(10)
    clock.now += 0.1
    late = dirty.take_due(10)

    assert early == []
    assert late == [DirtyPath(b"a", is_new=False, detected_by="event")]


def test_a_path_that_never_gets_quiet_is_due_after_the_longest_delay(dirty, clock):
    for _ in range(15):
        dirty.add(b"a")
        clock.now += 0.125
    early = dirty.take_due(10)
    dirty.add(b"a")
    clock.now += 0.125

    late = dirty.take_due(10)

    assert early == []
    assert [path.path for path in late] == [b"a"]


def test_a_path_is_due_once_however_many_hints_came(dirty, clock):
    for _ in range(1000):
        dirty.add(b"a")
    clock.now += 3

    due = dirty.take_due(10)

    assert len(due) == 1
    assert len(dirty) == 0
    assert dirty.seconds_until_due() is None


def test_a_busy_path_does_not_hold_up_others(dirty, clock):
    dirty.add(b"busy")
    dirty.add(b"quiet")
    clock.now += 0.19
    dirty.add(b"busy")
    clock.now += 0.02

    due = dirty.take_due(10)

    assert [path.path for path in due] == [b"quiet"]


def test_without_a_debounce_time_a_path_is_due_at_once(clock):
    dirty = Dirty(0, 0, clock)

    dirty.add(b"a")

    assert dirty.seconds_until_due() == 0
    assert len(dirty.take_due(10)) == 1


def test_that_a_name_was_made_is_remembered_until_the_path_is_due(dirty, clock):
    dirty.add(b"a", is_new=True)
    dirty.add(b"a")
    known = dirty.is_new(b"a")
    clock.now += 1

    due = dirty.take_due(10)

    assert known
    assert due[0].is_new
    assert not dirty.is_new(b"a")


def test_what_a_scan_found_counts_as_an_event_once_an_event_came(dirty, clock):
    dirty.add(b"a", detected_by="scan")
    dirty.add(b"a", detected_by="event")
    dirty.add(b"b", detected_by="scan")
    clock.now += 1

    due = dirty.take_due(10)

    assert {path.path: path.detected_by for path in due} == {b"a": "event", b"b": "scan"}


def test_a_path_that_is_put_back_is_due_after_the_pause(dirty, clock):
    dirty.put_back(DirtyPath(b"a", is_new=True, detected_by="scan"), 1.0)
    early = dirty.take_due(10)
    clock.now += 1

    late = dirty.take_due(10)

    assert early == []
    assert late == [DirtyPath(b"a", is_new=True, detected_by="scan")]


def test_at_the_end_everything_is_due(dirty):
    dirty.add(b"a")
    dirty.add(b"b")

    due = dirty.take_due(10, at_once=True)

    assert {path.path for path in due} == {b"a", b"b"}


def test_what_was_cleared_is_not_due(dirty, clock):
    dirty.add(b"a")
    dirty.clear()
    clock.now += 3

    assert dirty.take_due(10) == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.floats(0, 0.5)),
        st.tuples(st.just("take"), st.integers(1, 3)),
    )
)


@given(STEPS)
def test_every_hint_is_followed_by_a_look_in_time(steps):
    clock = Clock()
    dirty = Dirty(0.2, 1.0, clock)
    waiting: dict[bytes, float] = {}

    for kind, value in steps:
        if kind == "add":
            path = b"%d" % value
            dirty.add(path)
            waiting.setdefault(path, clock.now)
        elif kind == "wait":
            clock.now += value
        else:
            for due in dirty.take_due(value):
                assert clock.now >= waiting.pop(due.path)
    clock.now += 1.0
    rest = {due.path for due in dirty.take_due(100)}

    assert rest == waiting.keys()
