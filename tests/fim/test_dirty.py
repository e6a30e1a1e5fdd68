"""When a path that may have changed is looked at."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.process_info import Process
from auditline.workers.common.watch_plan import is_within
from auditline.workers.fim.dirty import Dirty, DirtyPath


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
def test_every_hint_is_followed_by_a_look_in_time(make_clock, steps):
    clock = make_clock()
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


class TestMoves:
    def test_what_has_a_new_name_is_looked_at_before_its_old_name(self, dirty, clock):
        dirty.add(b"a")
        dirty.add(b"b", moved_from=b"a")
        clock.now += 1

        due = dirty.take_due(10)

        assert [(path.path, path.moved_from) for path in due] == [(b"b", b"a"), (b"a", None)]

    def test_a_new_name_comes_before_its_time_if_the_old_one_is_due(self, dirty, clock):
        dirty.add(b"a")
        clock.now += 0.15
        dirty.add(b"b", moved_from=b"a")
        clock.now += 0.1

        due = dirty.take_due(10)

        assert [path.path for path in due] == [b"b", b"a"]
        assert len(dirty) == 0
        assert dirty.seconds_until_due() is None

    def test_what_is_renamed_twice_has_its_first_name_as_the_old_one(self, dirty, clock):
        dirty.add(b"b", moved_from=b"a")
        dirty.add(b"c", moved_from=b"b")
        clock.now += 1

        due = dirty.take_due(10)

        assert {path.path: path.moved_from for path in due} == {b"b": None, b"c": b"a"}

    def test_what_is_renamed_back_has_not_moved(self, dirty, clock):
        dirty.add(b"b", moved_from=b"a")
        dirty.add(b"a", moved_from=b"b")
        clock.now += 1

        due = dirty.take_due(10)

        assert {path.path: path.moved_from for path in due} == {b"b": None, b"a": None}

    def test_a_rotation_is_looked_at_from_its_end(self, dirty, clock):
        for old, new in ((b"log.1", b"log.2"), (b"log", b"log.1")):
            dirty.add(new, moved_from=old)
            dirty.add(old)
        dirty.add(b"log", is_new=True)
        clock.now += 1

        due = dirty.take_due(10)

        assert [path.path for path in due] == [b"log.2", b"log.1", b"log"]

    def test_what_was_made_at_an_old_name_and_renamed_is_no_move_of_the_first(self, dirty, clock):
        dirty.add(b"b", moved_from=b"a")
        dirty.add(b"c", moved_from=b"a")
        clock.now += 1

        due = dirty.take_due(10)

        assert {path.path: path.moved_from for path in due} == {b"b": b"a", b"c": None}

    def test_two_that_change_places_are_both_given_out(self, dirty, clock):
        dirty.add(b"b", moved_from=b"a")
        dirty.add(b"c", moved_from=b"b")
        dirty.add(b"a", moved_from=b"d")
        dirty.add(b"d", moved_from=b"c")
        clock.now += 1

        due = dirty.take_due(10)

        assert sorted(path.path for path in due) == [b"a", b"b", b"c", b"d"]

    def test_what_waits_beneath_a_directory_goes_with_it(self, dirty, clock):
        dirty.add(b"d/new", is_new=True)
        dirty.add(b"d/e/file", is_content=True)
        dirty.add(b"dd")
        dirty.move(b"d", b"x")
        clock.now += 1

        due = dirty.take_due(10)

        assert sorted((path.path, path.is_new, path.is_content) for path in due) == [
            (b"dd", False, False),
            (b"x/e/file", False, True),
            (b"x/new", True, False),
        ]

    def test_old_names_beneath_a_directory_go_with_it(self, dirty, clock):
        dirty.add(b"out", moved_from=b"d/file")
        dirty.add(b"d/file")
        dirty.move(b"d", b"x")
        clock.now += 1

        due = dirty.take_due(10)

        assert [(path.path, path.moved_from) for path in due] == [(b"out", b"x/file"), (b"x/file", None)]

    def test_what_waits_at_both_names_waits_once(self, dirty, clock):
        dirty.add(b"d/file", is_new=True)
        dirty.add(b"x/file", is_content=True)
        dirty.move(b"d", b"x")
        clock.now += 1

        due = dirty.take_due(10)

        assert [(path.path, path.is_new, path.is_content) for path in due] == [(b"x/file", True, True)]


def test_the_last_processes_that_touched_a_path_are_remembered_in_order(dirty, clock):
    for pid in (1, 2, 3, 2, 4, 5):
        dirty.add(b"a", process=Process(pid))
    clock.now += 1

    due = dirty.take_due(10)

    assert [process.pid for process in due[0].processes] == [3, 2, 4, 5]


PATHS = st.lists(st.sampled_from([b"a", b"b"]), min_size=1, max_size=3).map(b"/".join)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), PATHS),
            st.tuples(st.just("rename"), PATHS, PATHS),
            st.tuples(st.just("move"), PATHS, PATHS),
            st.tuples(st.just("take")),
        )
    )
)
def test_each_path_that_is_named_comes_once_under_the_name_that_it_has_then(make_clock, steps):
    clock = make_clock()
    dirty = Dirty(0.2, 2.0, clock)
    expected: set[bytes] = set()
    taken: list[bytes] = []
    for step in steps:
        clock.now += 1
        follow(dirty, expected, taken, *step)

    taken += [path.path for path in dirty.take_due(1000, at_once=True)]

    assert len(taken) == len(set(taken))
    assert set(taken) == expected
    assert len(dirty) == 0


def follow(dirty: Dirty, expected: set[bytes], taken: list[bytes], action: str, *paths: bytes) -> None:
    """Do one step, and note what is to come out at the end."""
    if action == "add":
        dirty.add(*paths)
        expected.add(*paths)
    elif action == "rename":
        old, new = paths
        dirty.add(new, moved_from=old)
        dirty.add(old)
        expected |= {old, new}
    elif action == "move" and not any(is_within(b"/" + one, b"/" + other) for one, other in (paths, paths[::-1])):
        old, new = paths
        dirty.move(old, new)
        beneath = {path for path in expected if path == old or path.startswith(old + b"/")}
        expected -= beneath
        expected |= {new + path[len(old) :] for path in beneath}
    elif action == "take":
        for path in dirty.take_due(1000):
            expected.discard(path.path)
