"""Who is told to have removed something."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from auditline.workers.common.process_info import Process
from auditline.workers.fim.watch import NoActors


class Pids(NoActors):
    """Tells the pid of the last process that hints named."""

    def actor_of(self, path: bytes, processes: Sequence[Process]) -> Mapping[str, Any] | None:  # noqa: ARG002
        return {"pid": processes[-1].pid} if processes else None


@pytest.fixture
def running(start, watched):
    (watched / "d" / "inner").mkdir(parents=True)
    (watched / "d" / "inner" / "file").touch()
    (watched / "f").touch()
    running = start()
    running.watch.actors = Pids()
    return running


def actors(running) -> dict[str, Mapping[str, Any] | None]:
    return {change.path.rpartition(b"/")[2].decode(): change.actor for change in running.changes}


def test_a_removed_file_is_told_with_who_removed_it(running, watched):
    (watched / "f").unlink()
    running.watch.dirty.add(b"f", process=Process(7))
    running.settle()

    assert actors(running) == {"f": {"pid": 7}}


def test_what_lay_in_a_directory_that_was_moved_away_was_removed_by_who_moved_it(running, watched):
    (watched / "d").rename(watched.parent / "away")
    running.watch.dirty.add(b"d", process=Process(7))
    running.settle()

    assert actors(running) == {"d": {"pid": 7}, "inner": {"pid": 7}, "file": {"pid": 7}}


def test_of_a_removed_tree_each_is_told_with_who_removed_it(running, watched):
    (watched / "d" / "inner" / "file").unlink()
    (watched / "d" / "inner").rmdir()
    (watched / "d").rmdir()
    for path, pid in ((b"d", 7), (b"d/inner", 8), (b"d/inner/file", 9)):
        running.watch.dirty.add(path, process=Process(pid))
    running.settle()

    assert actors(running) == {"d": {"pid": 7}, "inner": {"pid": 8}, "file": {"pid": 9}}
