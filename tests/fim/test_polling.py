import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.fim.backend import Backend, Hint, HintKind
from auditline.workers.fim.path_tree import PathTree
from auditline.workers.fim.polling import MOST_AT_ONCE, Polling


@pytest.fixture
def polling(clock):
    return Polling(5.0, clock=clock)


def paths(hints: list[Hint]) -> list[bytes]:
    return [hint.path for hint in hints]


def test_it_is_a_backend_without_a_descriptor(polling, tmp_path):
    backend: Backend = polling
    directory_fd = os.open(tmp_path, os.O_RDONLY)

    is_watched = backend.watch(b"", directory_fd)

    os.close(directory_fd)
    assert not is_watched
    assert (backend.name, backend.fd, backend.watched, backend.polled) == ("polling", None, 0, 1)


def test_with_nothing_to_poll_nothing_is_ever_due(polling):
    assert polling.seconds_until_due is None
    assert polling.read() == []


def test_a_directory_has_its_turn_once_per_interval(polling, clock):
    polling.add(b"a")
    at_once = polling.read()
    clock.now += 5
    due_in = polling.seconds_until_due
    first = polling.read()
    clock.now += 4
    too_early = polling.read()
    clock.now += 1
    second = polling.read()

    assert at_once == too_early == []
    assert due_in == 0
    assert first == second == [Hint(HintKind.POLL, b"a", is_directory=True)]


def test_to_add_it_again_when_it_is_looked_at_changes_nothing(polling, clock):
    polling.add(b"a")
    clock.now += 4

    polling.add(b"a")

    assert polling.seconds_until_due == 1
    assert polling.polled == 1


def test_those_that_waited_longest_come_first_and_not_all_at_once(polling, clock):
    names = [b"%d" % number for number in range(MOST_AT_ONCE + 10)]
    for name in names:
        polling.add(name)
    clock.now += 5

    first, second, third = (paths(polling.read()) for _ in range(3))

    assert first == names[:MOST_AT_ONCE]
    assert second == names[MOST_AT_ONCE:]
    assert third == []


def test_looking_at_them_takes_at_most_a_tenth_of_the_time(polling, clock):
    polling.add(b"a")
    clock.now += 5
    polling.read()
    clock.now += 2
    polling.polling_took(2)

    due_in = polling.seconds_until_due
    clock.now += 17.9
    too_early = polling.read()
    clock.now += 0.1

    assert due_in == 18
    assert too_early == []
    assert paths(polling.read()) == [b"a"]


def test_a_directory_is_forgotten_with_all_beneath_it_and_no_other(polling, clock):
    for path in (b"a", b"a/b", b"a/b/c", b"ab", b"b/a"):
        polling.add(path)

    polling.forget(b"a")

    clock.now += 5
    assert paths(polling.read()) == [b"ab", b"b/a"]


def test_a_directory_that_is_watched_by_now_leaves_those_beneath_it(polling, clock):
    polling.add(b"a")
    polling.add(b"a/b")

    polling.remove(b"a")

    clock.now += 5
    assert paths(polling.read()) == [b"a/b"]


def test_what_is_unknown_is_forgotten_without_error(polling):
    polling.forget(b"a/b")
    polling.remove(b"a")

    assert polling.polled == 0


def test_after_the_root_is_forgotten_nothing_is_polled(polling):
    polling.add(b"")
    polling.add(b"a")

    polling.forget(b"")

    assert polling.polled == 0
    assert polling.seconds_until_due is None


def test_closed_it_polls_nothing(polling):
    polling.add(b"a")

    polling.close()

    assert polling.polled == 0


PATHS = st.lists(st.sampled_from([b"a", b"b", b"ab"]), max_size=4).map(b"/".join)


@given(st.lists(PATHS), PATHS)
def test_a_tree_gives_all_that_lies_at_or_beneath_a_path(paths, top):
    tree = PathTree()
    for path in paths:
        tree.add(path)

    taken = tree.take(top)

    beneath = {path for path in paths if path == top or path.startswith(top + b"/" if top else b"")}
    assert set(taken) & set(paths) == beneath
    assert len(taken) == len(set(taken))


@given(st.lists(st.tuples(st.booleans(), PATHS)))
def test_a_tree_that_is_taken_keeps_nothing(steps):
    tree = PathTree()
    for is_added, path in steps:
        tree.add(path) if is_added else tree.take(path)

    tree.take(b"")

    assert tree._children == {}


@given(st.lists(PATHS), PATHS, PATHS)
def test_what_was_taken_from_a_tree_can_be_added_again(paths, top, path):
    tree = PathTree()
    for other in paths:
        tree.add(other)
    tree.take(top)

    tree.add(path)

    assert path in tree.take(b"")
