"""Whether hints are enough: who obeys them knows a tree as well as who walks it, whatever is done to it meanwhile."""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

QUEUE_EVENTS = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
EVERY = ("fanotify", "fanotify-filesystem", "inotify", "poll")
PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)
STEPS = st.tuples(
    st.sampled_from(["mkdir", "write", "remove", "rename", "swap", "exchange", "out", "back", "follow"]), PATHS, PATHS
)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


@pytest.fixture(scope="module")
def play(tmp_path_factory, start_follower, exchange) -> Callable[..., tuple[object, object]]:
    """Do steps in a directory that is followed; return what is known at the end, and what is there."""

    def play(steps, name: str) -> tuple[object, object]:
        folder = tmp_path_factory.mktemp("play")
        root, outside = folder / "root", folder / "outside"
        (root / "a" / "a").mkdir(parents=True)
        with start_follower(root, name) as follower:
            for number, (step, first, second) in enumerate(steps):
                path, other = root / first, root / second
                actions: dict[str, Callable[[], object]] = {
                    "mkdir": path.mkdir,
                    "write": partial(path.write_text, str(number)),
                    "remove": partial(remove, path),
                    "rename": partial(path.rename, other),
                    "swap": partial(swap, path, other),
                    "exchange": partial(exchange, path, other),
                    "out": partial(path.rename, outside),
                    "back": partial(outside.rename, path),
                    "follow": follower.follow,
                }
                with contextlib.suppress(OSError):
                    actions[step]()
            follower.follow()
            found = follower.known, follower.read_tree()
        shutil.rmtree(folder)
        return found

    return play


@pytest.mark.parametrize("name", EVERY)
@given(steps=st.lists(STEPS, max_size=12))
def test_whatever_is_done_to_a_tree_hints_tell_it(play, name, steps):
    known, there = play(steps, name)

    assert known == there


def test_no_directory_is_missed_that_is_made_while_its_parent_is_being_listed(root, backend_name, start_follower):
    def make_trees() -> None:
        for number in range(200):
            directory = root / str(number) / "b" / "c" / "d"
            directory.mkdir(parents=True)
            (directory / "file").write_text("x")

    with start_follower(root, backend_name) as follower:
        maker = threading.Thread(target=make_trees)
        maker.start()
        while maker.is_alive():
            follower.follow()
        maker.join()
        follower.follow()

        assert len(follower.known) == 1000
        assert follower.known == follower.read_tree()


def test_after_an_overflow_one_look_at_everything_tells_it_all(root, backend_name, start_follower):
    (root / "gone").touch()
    (root / "0").touch()
    with start_follower(root, backend_name) as follower:
        (root / "gone").unlink()
        for number in range(QUEUE_EVENTS // 2 + 100):
            os.rename(root / str(number), root / str(number + 1))
        (root / "deep" / "er").mkdir(parents=True)

        follower.follow()

        assert follower.known == follower.read_tree()


def test_a_big_directory_that_is_renamed_is_known_under_its_new_name(root, backend_name, start_follower):
    (root / "before" / "inner").mkdir(parents=True)
    for number in range(2000):
        (root / "before" / "inner" / str(number)).touch()
    with start_follower(root, backend_name) as follower:
        (root / "before").rename(root / "after")
        follower.follow()
        (root / "after" / "inner" / "7").write_text("changed")

        follower.follow()

        assert follower.known == follower.read_tree()
        assert follower.backend.watched == 3
