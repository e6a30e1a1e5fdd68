"""The watched path itself: it may be missing, come, go, be replaced or unmounted."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from auditline.workers.fim import place


@pytest.fixture
def make_again() -> Callable[[Path], None]:
    """Remove an empty directory and make it again, so that it has the inode number that it had."""

    def make_again(directory: Path) -> None:
        inode = directory.stat().st_ino
        directory.rmdir()
        others: list[Path] = []
        while not directory.exists() and len(others) < 100:
            directory.mkdir()
            if directory.stat().st_ino != inode:
                others.append(directory.rename(directory.with_name(f"other{len(others)}")))
        for other in others:
            other.rmdir()
        if not directory.exists():
            pytest.skip("the file system gives no inode number a second time")

    return make_again


class TestRoot:
    def test_a_path_that_is_not_there_is_watched_from_when_it_appears(self, start, watched):
        watched.rmdir()
        running = start()

        watched.mkdir()
        running.turn_until(lambda: running.watcher._place.is_outdated)

        assert running.reasons[0] == "missing"

    def test_a_watched_directory_that_goes_away_is_deleted_with_its_content(self, start, watched):
        (watched / "file").write_text("text")
        running = start()

        shutil.rmtree(watched)
        running.turn_until(lambda: "missing" in running.reasons)

        assert sorted(running.told) == [("deleted", "file"), ("deleted", "watched")]

    def test_another_directory_at_the_path_is_compared_with_the_old_one(self, start, watched, tmp_path):
        (watched / "same").write_text("text")
        (watched / "old").write_text("text")
        running = start()

        watched.rename(tmp_path / "before")
        watched.mkdir()
        (watched / "same").write_text("text")
        running.turn_until(lambda: "replaced" in running.reasons)

        assert sorted(running.told) == [("deleted", "old"), ("updated", "same"), ("updated", "watched")]

    def test_a_single_file_is_followed_through_a_replacement(self, start, watched):
        (watched / "file").write_text("before")
        (watched / "other").write_text("before")
        running = start({"path": os.fsencode(watched / "file")})

        (watched / "tmp").write_text("after")
        (watched / "tmp").rename(watched / "file")
        (watched / "other").write_text("after")
        running.settle()

        assert running.told == [("updated", "file")]

    def test_one_made_again_with_the_same_inode_number_is_watched(self, start, watched, make_again):
        running = start()

        make_again(watched)
        running.turn_until(lambda: "replaced" in running.reasons)
        running.forget_all()
        (watched / "new").write_text("text")
        running.settle()

        assert running.told == [("created", "new")]

    def test_a_directory_in_it_made_again_with_the_same_inode_number_is_watched(self, start, watched, make_again):
        (watched / "d").mkdir()
        running = start()

        make_again(watched / "d")
        running.settle().forget_all()
        (watched / "d" / "new").write_text("text")
        running.settle()

        assert running.told == [("created", "new")]

    def test_a_path_that_turns_from_a_file_into_a_directory_needs_another_scope(self, start, watched):
        (watched / "file").write_text("text")
        running = start({"path": os.fsencode(watched / "file")})

        (watched / "file").unlink()
        (watched / "file").mkdir()
        running.turn_until(lambda: running.watcher._place.is_outdated)

        assert running.told == [("deleted", "file")]


class TestFileInHand:
    """A hasher has a file when the root goes away."""

    @pytest.fixture
    def running(self, start, watched):
        (watched / "d").mkdir()
        (watched / "d" / "file").write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "d" / "file").write_text("after")
        running.turn_until(lambda: running.in_hand)
        shutil.rmtree(watched)
        running.turn_until(lambda: running.ends("missing"))
        running.resume_hasher()
        return running

    def test_it_is_deleted(self, running):
        running.settle()

        assert sorted(running.told) == [("deleted", "d"), ("deleted", "file"), ("deleted", "watched")]

    def test_it_is_deleted_also_where_an_empty_directory_comes_in_place(self, running, watched):
        watched.mkdir()
        running.turn_until(lambda: len(running.ends("missing")) == 2)
        running.settle()

        assert running.told.count(("deleted", "file")) == 1
        assert running.watch.baseline.known(b"d/file") is None


class TestMounts:
    def test_a_watched_file_system_can_be_unmounted(self, start, watched, mount):
        mount("-t", "tmpfs", "none", watched)
        (watched / "d").mkdir()
        (watched / "d" / "file").write_text("text")
        running = start()
        (watched / "d" / "file").write_text("other")
        running.settle().forget_all()

        done = subprocess.run(["umount", watched], capture_output=True, text=True, check=False)
        running.turn_until(lambda: "mount" in running.reasons)
        running.settle()

        assert done.stderr == ""
        assert running.told == []

    def test_what_lies_beneath_an_unmounted_file_system_is_watched(self, start, watched, mount):
        mount("-t", "tmpfs", "none", watched)
        running = start()
        subprocess.run(["umount", watched], check=True)
        running.turn_until(lambda: "mount" in running.reasons)
        running.settle().forget_all()

        (watched / "new").write_text("text")
        running.settle()

        assert running.told == [("created", "new")]


class TestBackends:
    """With each backend it is seen soon what becomes of the path."""

    @pytest.fixture(params=["fanotify", "fanotify-filesystem", "inotify", "poll"])
    def plan(self, request):
        return {"backend": request.param}

    def test_a_path_that_goes_and_comes_is_seen_within_two_seconds(self, start, watched, plan):
        (watched / "file").write_text("text")
        running = start(plan)

        shutil.rmtree(watched)
        running.turn_until(lambda: running.ends("missing") == [False], seconds=2)
        (watched / "inner").mkdir(parents=True)
        (watched / "inner" / "file").write_text("text")
        running.turn_until(lambda: running.ends("missing") == [False, True], seconds=2)
        running.settle()

        assert sorted(running.told) == [
            ("created", "file"),
            ("created", "inner"),
            ("created", "watched"),
            ("deleted", "file"),
            ("deleted", "watched"),
        ]

    def test_another_directory_in_its_place_is_seen_within_two_seconds(self, start, watched, plan):
        running = start(plan)

        watched.rename(watched.with_name("before"))
        watched.mkdir()
        (watched / "file").write_text("text")
        running.turn_until(lambda: ("created", "file") in running.told, seconds=2)


class TestDownTime:
    """What became of the path while nobody watched."""

    def test_a_directory_that_is_gone_is_deleted_with_its_content(self, start, watched):
        (watched / "file").write_text("text")
        start().forget_all()
        shutil.rmtree(watched)

        running = start()

        assert sorted(running.told) == [("deleted", "file"), ("deleted", "watched")]
        assert {change.detected_by for change in running.changes} == {"scan"}
        assert running.reasons == ["missing", "restart"]

    def test_it_may_come_back_afterwards(self, start, watched):
        start().forget_all()
        shutil.rmtree(watched)
        running = start()
        running.forget_all()

        watched.mkdir()
        (watched / "file").write_text("text")
        running.turn_until(lambda: running.ends("missing") == [True])
        running.settle()

        assert sorted(running.told) == [("created", "file"), ("created", "watched")]

    def test_a_directory_that_is_a_file_now_is_deleted_and_needs_another_scope(self, start, watched):
        (watched / "file").write_text("text")
        start().forget_all()
        shutil.rmtree(watched)
        watched.write_text("text")

        running = start()

        assert running.watcher._place.is_outdated
        assert sorted(running.told) == [("deleted", "file"), ("deleted", "watched")]

    def test_a_file_that_is_a_directory_now_is_deleted_and_needs_another_scope(self, start, watched):
        plan = {"path": os.fsencode(watched / "file")}
        (watched / "file").write_text("text")
        start(plan).forget_all()
        (watched / "file").unlink()
        (watched / "file").mkdir()

        running = start(plan)

        assert running.watcher._place.is_outdated
        assert running.told == [("deleted", "file")]


def test_a_calm_watch_is_looked_at_less_often_until_something_happens(start, watched):
    running = start()
    turns_at_first = running.turns_in(3)

    for _ in range(20):
        running.watcher._place.check()
    turns_when_calm = running.turns_in(3)
    (watched / "file").write_text("text")
    running.settle()
    running.watcher._place.check()

    assert turns_when_calm < turns_at_first
    assert running.watcher._turn_seconds() <= place.CHECK_SECONDS
    assert running.told == [("created", "file")]
