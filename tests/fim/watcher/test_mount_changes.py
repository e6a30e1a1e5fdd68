"""What is mounted over, mounted or unmounted is never taken for deleted, and nothing done meanwhile is missed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BEGAN, ENDED = False, True


each_backend = pytest.mark.parametrize("backend", ["fanotify", "fanotify-filesystem", "inotify", "poll"])


@pytest.fixture
def backend() -> str:
    """The one that is used where the test does not say another one."""
    return "inotify"


@pytest.fixture
def start(start: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """Start a watcher with that backend."""

    def start_with(plan: dict[str, Any] | None = None, **fim: Any) -> Any:
        running = start({"backend": backend, **(plan or {})}, poll_seconds=0.02, **fim)
        name = running.watch.backend.name
        if name != backend and {name, backend} != {"polling", "poll"}:
            pytest.skip(f"{backend} cannot be used here")
        return running

    return start_with


@pytest.fixture
def place(watched: Path) -> Path:
    """A directory within the watched one, with a file in it and one beneath."""
    place = watched / "place"
    (place / "inner").mkdir(parents=True)
    (place / "file").write_text("before")
    (place / "inner" / "deep").write_text("before")
    return place


def tmpfs(mount, place: Path, *options: str) -> None:
    mount("-t", "tmpfs", "-o", "size=1m,mode=755", *options, "none", place)


@pytest.fixture
def is_told(start):
    """Wait until a mount is told, and all that follows."""

    def wait(running, action: str) -> None:
        running.turn_until(lambda: any(entry.action == action for entry in running.coverage if entry.reason == "mount"))
        running.settle()

    return wait


COVERED = "mounted over it: what is hidden is kept as it was known"
FOUND = "taken as found"
COMPARED = "compared with what was known before"
KEPT = "unmounted: what it held is kept as it was known"


class TestWithin:
    """A directory within the watched one."""

    @each_backend
    def test_what_is_mounted_over_is_not_deleted_and_what_is_mounted_not_new(self, start, place, mount, is_told):
        running = start()

        tmpfs(mount, place)
        (place / "other").write_text("found")
        is_told(running, FOUND)

        assert running.told == []
        assert [entry.action for entry in running.coverage if entry.reason == "mount"] == [COVERED, FOUND]
        assert running.watch.baseline.known(b"place/other").hashes

    @each_backend
    def test_what_is_done_in_it_is_told(self, start, place, mount, is_told):
        running = start()
        tmpfs(mount, place)
        is_told(running, FOUND)

        (place / "new").write_text("text")
        running.turn_until(lambda: running.told)

        assert running.told == [("created", "new")]

    @each_backend
    def test_what_is_done_beneath_it_is_told_after_the_unmount(self, start, place, mount, unmount, is_told):
        running = start()
        directory = os.open(place, os.O_RDONLY)
        tmpfs(mount, place)
        (place / "found").write_text("text")
        is_told(running, FOUND)

        os.unlink("file", dir_fd=directory)
        os.mkdir("new", dir_fd=directory)
        os.close(directory)
        unmount(place)
        is_told(running, COMPARED)

        assert sorted(running.told) == [("created", "new"), ("deleted", "file")]
        assert running.ends("mount") == [BEGAN, ENDED, ENDED, ENDED]

    @each_backend
    def test_after_the_unmount_it_is_watched(self, start, place, mount, unmount, is_told):
        running = start()
        tmpfs(mount, place)
        is_told(running, FOUND)
        unmount(place)
        is_told(running, COMPARED)

        (place / "inner" / "deep").write_text("after")
        running.turn_until(lambda: running.told)

        assert running.told == [("updated", "deep")]

    def test_the_same_is_true_where_nobody_watched_meanwhile(self, start, place, mount, unmount):
        start().forget_all()
        tmpfs(mount, place)
        (place / "found").write_text("text")

        running = start()
        while_mounted = running.told
        unmount(place)
        running = start()

        assert while_mounted == []
        assert running.told == []
        assert running.watch.baseline.known(b"place/file").hashes

    def test_a_mount_that_is_there_from_the_start_and_missing_at_the_next_is_not_deleted(
        self, start, place, mount, unmount
    ):
        tmpfs(mount, place)
        (place / "mine").write_text("text")
        start().forget_all()
        unmount(place)

        running = start()

        assert running.told == []
        assert "mount" in running.reasons

    def test_a_mount_that_is_made_and_taken_away_between_two_looks_changes_nothing(self, start, place, mount, unmount):
        running = start()

        tmpfs(mount, place)
        unmount(place)
        (place / "file").write_text("after")
        running.settle()

        assert running.told == [("updated", "file")]
        assert "mount" not in running.reasons

    def test_another_file_system_in_the_place_of_one_is_taken_as_found(self, start, place, mount, unmount, is_told):
        tmpfs(mount, place)
        (place / "first").write_text("text")
        running = start()

        unmount(place)
        tmpfs(mount, place)
        (place / "second").write_text("text")
        is_told(running, FOUND)

        assert running.told == []
        assert running.watch.baseline.known(b"place/first") is None
        assert running.watch.baseline.known(b"place/second").hashes

    def test_a_lazy_unmount_is_an_unmount(self, start, place, mount, unmount, is_told):
        running = start()
        tmpfs(mount, place)
        is_told(running, FOUND)

        held = os.open(place, os.O_RDONLY)
        unmount(place, "-l")
        (place / "file").write_text("after")
        is_told(running, COMPARED)
        os.close(held)

        assert running.told == [("updated", "file")]

    def test_a_bind_mount_is_what_it_shows(self, start, place, tmp_path, mount, unmount, is_told):
        other = tmp_path / "other"
        other.mkdir()
        (other / "file").write_text("other")
        running = start()

        mount("--bind", other, place)
        is_told(running, FOUND)
        (other / "file").write_text("changed through its other path")
        running.settle()
        changes = running.told
        running.forget_all()
        unmount(place)
        is_told(running, COMPARED)

        assert changes == [("updated", "file")]
        assert running.told == []

    def test_a_directory_that_is_mounted_onto_itself_stays_what_it_is(self, start, place, mount, unmount):
        running = start()

        mount("--bind", place, place)
        (place / "file").write_text("after")
        running.settle()
        unmount(place)
        (place / "inner" / "deep").write_text("after")
        running.settle()

        assert running.told == [("updated", "file"), ("updated", "deep")]
        assert "mount" not in running.reasons

    def test_what_is_mounted_within_a_mount_goes_with_it(self, start, place, mount, unmount):
        tmpfs(mount, place)
        (place / "inner").mkdir()
        tmpfs(mount, place / "inner")
        for path in (place / "outer-file", place / "inner" / "inner-file"):
            path.write_text("text")
        running = start()

        unmount(place / "inner")
        unmount(place, "-l")
        running.settle()

        assert running.told == []
        assert running.watch.baseline.known(b"place/file").hashes

    @each_backend
    def test_a_file_that_is_mounted_over_is_not_changed(self, start, place, tmp_path, mount, unmount, is_told):
        (tmp_path / "other").write_text("other")
        running = start()

        mount("--bind", tmp_path / "other", place / "file")
        is_told(running, COVERED)
        while_mounted = running.told
        (tmp_path / "other").write_text("changed")
        running.settle()
        unmount(place / "file")
        running.settle()

        assert while_mounted == []
        assert running.watch.baseline.known(b"place/file").size == len("before")

    def test_what_is_found_is_told_where_that_is_wanted(self, start, place, mount, is_told):
        running = start(initial_events=True)
        running.forget_all()

        tmpfs(mount, place)
        (place / "other").write_text("found")
        is_told(running, FOUND)

        assert sorted(running.told) == [("initial_scan", "other"), ("initial_scan", "place")]

    def test_a_kill_while_it_is_taken_as_found_makes_nothing_new(self, start, place, mount):
        running = start()
        running.hold_hasher()
        tmpfs(mount, place)
        (place / "other").write_text("found")
        running.turn_until(lambda: running.in_hand)

        running = start()

        assert running.told == []
        assert running.watch.baseline.known(b"place/other").hashes

    def test_of_one_file_system_what_is_mounted_is_left_out(self, start, place, mount, unmount, is_told):
        """Pitfall 33."""
        running = start({"one_filesystem": True})

        tmpfs(mount, place)
        is_told(running, COVERED)
        (place / "other").write_text("text")
        running.settle()
        while_mounted = running.told
        unmount(place)
        (place / "file").write_text("after")
        running.settle()

        assert while_mounted == []
        assert running.told == [("updated", "file")]


class TestRoot:
    """The watched directory itself, and what is above it."""

    @pytest.mark.usefixtures("place")
    def test_what_is_mounted_over_it_deletes_nothing(self, start, watched, mount, is_told):
        running = start()

        tmpfs(mount, watched)
        (watched / "other").write_text("found")
        is_told(running, FOUND)

        assert running.told == []
        assert "replaced" not in running.reasons
        assert running.watch.baseline.known(b"other").hashes

    @each_backend
    def test_what_was_done_beneath_is_told_after_the_unmount(self, start, watched, place, mount, unmount, is_told):
        running = start()
        directory = os.open(watched, os.O_RDONLY)
        tmpfs(mount, watched)
        is_told(running, FOUND)

        os.mkdir("new", dir_fd=directory)
        os.close(directory)
        unmount(watched)
        is_told(running, COMPARED)
        (place / "file").write_text("after")
        running.turn_until(lambda: len(running.told) > 1)

        assert running.told == [("created", "new"), ("updated", "file")]

    @each_backend
    def test_a_mount_above_it_that_is_missing_is_no_deletion(self, start, watched, mount, unmount):
        tmpfs(mount, watched)
        root = watched / "above" / "root"
        root.mkdir(parents=True)
        (root / "file").write_text("text")
        running = start({"path": os.fsencode(root)})

        unmount(watched)
        running.turn_until(lambda: running.ends("missing"))
        running.settle()

        assert running.told == []
        assert "mount" in running.reasons

    def test_a_mount_that_comes_later_is_taken_as_found(self, start, watched, mount):
        root = watched / "root"
        running = start({"path": os.fsencode(root)})
        tmpfs(mount, watched)
        root.mkdir()
        (root / "file").write_text("text")
        running.turn_until(lambda: running.watcher._place.is_outdated)

        running = start({"path": os.fsencode(root)})

        assert running.told == []
        assert running.watch.baseline.known(b"file").hashes

    def test_a_single_file_that_is_mounted_over_is_neither_deleted_nor_changed(
        self, start, place, tmp_path, mount, unmount, is_told
    ):
        (tmp_path / "other").write_text("other")
        running = start({"path": os.fsencode(place / "file")})

        mount("--bind", tmp_path / "other", place / "file")
        is_told(running, COVERED)
        while_mounted = running.told
        unmount(place / "file")
        (place / "file").write_text("after")
        running.settle()

        assert while_mounted == []
        assert running.told == [("updated", "file")]


class TestMoment:
    """A mount that comes while paths are looked at: what was looked at may be another file system."""

    @pytest.mark.parametrize("is_over_root", [False, True])
    def test_nothing_is_recorded_of_what_was_seen_then(self, start, watched, place, mount, monkeypatch, is_over_root):
        running = start()
        work = running.watcher._work
        target = watched if is_over_root else place
        pending = [lambda: tmpfs(mount, target)]

        def mount_then_work(*, at_once: bool) -> None:
            # The look at the mounts is over, and the one at the paths begins.
            if pending and (running.watch.dirty or running.watcher._walker.can_go_on):
                pending.pop()()
            work(at_once=at_once)

        monkeypatch.setattr(running.watcher, "_work", mount_then_work)
        (place / "file").write_text("after")
        running.turn_until(lambda: not pending)
        running.turn_until(lambda: any(entry.action == FOUND for entry in running.coverage))
        running.settle()

        assert running.told == []
        assert running.watch.baseline.known(b"place/file") is None

    def test_hashes_of_what_is_hidden_by_then_are_not_taken_for_those_of_what_shows(
        self, start, place, mount, unmount, is_told
    ):
        running = start()
        running.hold_hasher()
        (place / "file").write_text("after!")
        running.turn_until(lambda: running.in_hand)

        tmpfs(mount, place)
        (place / "file").write_text("found!")
        running.turn_until(lambda: COVERED in [entry.action for entry in running.coverage])
        running.resume_hasher()
        is_told(running, FOUND)
        while_mounted = running.told
        unmount(place)
        is_told(running, COMPARED)

        assert while_mounted == []
        assert running.told == [("updated", "file")]
