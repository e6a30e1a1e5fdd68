"""Times and places that a watcher cannot see: each is told when it begins and when it ends, whatever comes between."""

import ctypes
import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.fim import follow, inotify, place, worker

BEGAN, ENDED = False, True


class TestUnreadableDirectory:
    @pytest.fixture
    def unreadable(self, watched: Path) -> Path:
        """A directory with a file in it, that nobody may read but who is above the rights."""
        directory = watched / "d"
        directory.mkdir()
        (directory / "file").write_text("text")
        directory.chmod(0)
        return directory

    def test_its_content_is_not_taken_for_deleted(self, start, watched, bound_by_rights):
        (watched / "d").mkdir()
        (watched / "d" / "file").write_text("text")
        start().forget_all()

        with bound_by_rights():
            (watched / "d").chmod(0)
            running = start()

        assert running.told == [("attributes_modified", "d")]
        assert running.ends("unreadable") == [BEGAN]

    def test_made_readable_it_ends_the_gap_and_its_content_is_not_new(self, start, unreadable, bound_by_rights):
        with bound_by_rights():
            running = start()
            unreadable.chmod(0o700)
            running.settle()

        assert running.ends("unreadable") == [BEGAN, ENDED]
        assert running.told == [("attributes_modified", "d")]
        assert running.watch.baseline.known(b"d/file").hashes

    def test_made_readable_it_is_watched(self, start, unreadable, bound_by_rights):
        with bound_by_rights():
            running = start()
            unreadable.chmod(0o700)
            running.settle().forget_all()
            (unreadable / "new").write_text("text")
            running.settle()

        assert running.told == [("created", "new")]

    def test_removed_it_ends_the_gap(self, start, watched, bound_by_rights):
        (watched / "d").mkdir(0)
        with bound_by_rights():
            running = start()
            (watched / "d").rmdir()
            running.settle()

        assert running.ends("unreadable") == [BEGAN, ENDED]

    def test_removed_while_nothing_watches_it_ends_the_gap(self, start, unreadable, bound_by_rights):
        with bound_by_rights():
            start()

        shutil.rmtree(unreadable)
        running = start()

        assert running.ends("unreadable") == [BEGAN, ENDED]

    @pytest.mark.usefixtures("unreadable")
    def test_made_readable_while_nothing_watches_it_ends_the_gap(self, start, bound_by_rights):
        with bound_by_rights():
            start()

        running = start()

        assert running.ends("unreadable") == [BEGAN, ENDED]

    @pytest.mark.usefixtures("unreadable")
    def test_as_unreadable_as_before_it_is_told_once(self, start, bound_by_rights):
        with bound_by_rights():
            start()
            running = start()

        assert running.ends("unreadable") == [BEGAN]

    @pytest.mark.usefixtures("unreadable")
    def test_a_beginning_that_could_not_be_stored_is_told_later(self, start, bound_by_rights):
        with bound_by_rights():
            running = start(is_settled=False)
            with running.storage_failing():
                running.lose_transaction()
            running.settle()

        assert running.ends("unreadable") == [BEGAN]

    def test_an_end_that_could_not_be_stored_is_told_later(self, start, unreadable, bound_by_rights):
        with bound_by_rights():
            running = start()
            with running.storage_failing():
                unreadable.chmod(0o700)
                running.lose_transaction()
            running.settle()

        assert running.ends("unreadable") == [BEGAN, ENDED]

    def test_an_end_that_a_dying_watcher_could_not_store_is_told_by_the_next_one(
        self, start, unreadable, bound_by_rights
    ):
        with bound_by_rights():
            running = start()
            with running.storage_failing():
                unreadable.chmod(0o700)
                running.lose_transaction()

            running = start()

        assert running.ends("unreadable") == [BEGAN, ENDED]


class TestMissing:
    def test_a_single_file_that_comes_ends_the_gap(self, start, watched):
        running = start({"path": os.fsencode(watched / "file")})

        (watched / "file").write_text("text")
        running.settle()

        assert running.ends("missing") == [BEGAN, ENDED]
        assert running.told == [("created", "file")]

    def test_a_single_file_that_comes_while_nothing_watches_ends_the_gap(self, start, watched):
        plan = {"path": os.fsencode(watched / "file")}
        start(plan)

        (watched / "file").write_text("text")
        running = start(plan)

        assert running.ends("missing") == [BEGAN, ENDED]
        assert running.told == [("created", "file")]

    def test_an_end_that_could_not_be_stored_is_told_later(self, start, watched, monkeypatch):
        monkeypatch.setattr(place, "CHECK_SECONDS", 0.2)
        running = start({"path": os.fsencode(watched / "file")})

        with running.storage_failing():
            (watched / "file").write_text("text")
            running.lose_transaction()
        running.turn_until(lambda: ENDED in running.ends("missing"))
        running.settle()

        assert running.ends("missing") == [BEGAN, ENDED]
        assert running.told == [("created", "file")]

    def test_a_directory_that_comes_back_ends_the_gap(self, start, watched):
        (watched / "file").write_text("text")
        running = start()
        watched.rename(watched.parent / "away")
        running.turn_until(lambda: running.ends("missing"))

        (watched.parent / "away").rename(watched)
        running.turn_until(lambda: ENDED in running.ends("missing"))
        running.settle()

        assert running.ends("missing") == [BEGAN, ENDED]
        assert sorted(running.told) == [
            ("created", "file"),
            ("created", "watched"),
            ("deleted", "file"),
            ("deleted", "watched"),
        ]

    def test_a_directory_that_comes_back_while_nothing_watches_ends_the_gap(self, start, watched):
        watched.rmdir()
        start()

        watched.mkdir()
        running = start()

        assert running.ends("missing") == [BEGAN, ENDED]

    def test_gaps_within_a_directory_end_when_it_is_gone(self, start, watched, bound_by_rights):
        (watched / "d").mkdir(0)
        with bound_by_rights():
            running = start()
            watched.rename(watched.parent / "away")
            running.turn_until(lambda: running.ends("missing"))

        assert running.ends("unreadable") == [BEGAN, ENDED]


class Kernel:
    """The C library, with a kernel behind it that has no inotify watch left while *is_lacking*."""

    def __init__(self) -> None:
        self._libc = inotify._libc
        self.is_lacking = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._libc, name)

    def inotify_add_watch(self, descriptor: int, path: bytes, mask: int) -> int:
        if self.is_lacking:
            ctypes.set_errno(errno.ENOSPC)
            return -1
        return int(self._libc.inotify_add_watch(descriptor, path, mask))


class TestLimit:
    @pytest.fixture
    def kernel(self, monkeypatch: pytest.MonkeyPatch) -> Kernel:
        """The kernel that has no watch left until the test says so."""
        kernel = Kernel()
        monkeypatch.setattr(inotify, "_libc", kernel)
        return kernel

    def test_it_ends_when_there_are_watches_again_and_can_come_back(self, start, watched, kernel):
        running = start(poll_seconds=0.1)
        kernel.is_lacking = False
        running.turn_until(lambda: running.ends("limit") == [BEGAN, ENDED])

        kernel.is_lacking = True
        (watched / "d").mkdir()
        running.turn_until(lambda: len(running.ends("limit")) == 3)

        assert running.ends("limit") == [BEGAN, ENDED, BEGAN]

    def test_it_ends_also_where_the_next_watcher_has_enough(self, start, kernel):
        start()
        kernel.is_lacking = False

        running = start()

        assert running.ends("limit") == [BEGAN, ENDED]

    @pytest.mark.usefixtures("kernel")
    def test_what_happens_meanwhile_is_found_by_polling(self, start, watched):
        running = start(poll_seconds=0.1)

        (watched / "new").write_text("text")
        running.turn_until(lambda: running.told)

        assert running.told == [("created", "new")]


class TestQuarantine:
    @pytest.fixture
    def quarantine(self):
        """Hold it against a file that hashers died with it."""

        def quarantine(running, path: bytes) -> None:
            for _ in range(3):
                running.watch.pool._suspects.note_death(path)

        return quarantine

    def test_it_ends_when_the_file_can_be_read_again(self, start, watched, quarantine):
        (watched / "file").write_text("before")
        running = start()
        quarantine(running, b"file")
        (watched / "file").write_text("after")
        running.settle()

        running.watch.pool._suspects._quarantine.clear()
        (watched / "file").write_text("at last")
        running.settle()

        assert running.ends("quarantine") == [BEGAN, ENDED]
        assert running.told == [("updated", "file"), ("updated", "file")]

    def test_it_ends_when_the_file_is_deleted(self, start, watched, quarantine):
        (watched / "file").write_text("before")
        running = start()
        quarantine(running, b"file")
        (watched / "file").write_text("after")
        running.settle()

        (watched / "file").unlink()
        running.settle()

        assert running.ends("quarantine") == [BEGAN, ENDED]

    def test_it_ends_when_the_file_is_deleted_while_nothing_watches(self, start, watched, quarantine):
        (watched / "file").write_text("before")
        running = start()
        quarantine(running, b"file")
        (watched / "file").write_text("after")
        running.settle()

        (watched / "file").unlink()
        running = start()

        assert running.ends("quarantine") == [BEGAN, ENDED]


class TestAlive:
    def test_until_when_all_was_seen_is_stored_also_while_nothing_happens(self, start, monkeypatch):
        monkeypatch.setattr(worker, "ALIVE_SECONDS", 0.05)
        monkeypatch.setattr(worker, "IDLE_ALIVE_SECONDS", 0.05)
        running = start()
        note = running.watch.baseline.note
        before = int(note("watched_until_ns"))

        running.turn_until(lambda: int(note("watched_until_ns")) > before)

        assert running.is_quiet
        assert running.told == []

    def test_an_idle_watcher_is_seldom_woken(self, start):
        running = start()

        turns = running.turns_in(0.5)

        assert turns < 5

    def test_the_next_start_tells_since_when_nothing_was_seen(self, start):
        running = start()
        running.forget_all()
        seen_until_ns = int(running.watch.baseline.note("watched_until_ns"))

        running = start()

        [restart] = running.coverage
        assert restart.start_ns == seen_until_ns

    def test_while_lost_events_are_made_up_for_nothing_later_counts_as_seen(self, start, watched, flood):
        for name in ("a", "b"):
            (watched / name).write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "a").write_text("after")
        running.turn_until(lambda: running.in_hand)

        flood(watched / "a", watched / "b")
        lost_ns = os.stat(watched / "b").st_ctime_ns
        running.turn_until(lambda: running.life.counters.get("hint_overflows_total"))
        running.watcher._store(running.watcher._place.note_alive)

        assert int(running.watch.baseline.note("watched_until_ns")) <= lost_ns


class TestDirtyOverflow:
    """More paths are dirty than may be kept."""

    @pytest.fixture
    def burst(self, start, watched, monkeypatch):
        """Change more files than may be dirty, in one of two directories."""
        for name in ("busy", "quiet"):
            (watched / name).mkdir()
            (watched / name / "file").write_text("before")
        running = start(debounce_seconds=10, max_delay_seconds=10)
        monkeypatch.setattr(follow, "MOST_PATHS", 5)

        def burst(most_listed: int) -> Any:
            monkeypatch.setattr(follow, "MOST_LISTED", most_listed)
            for number in range(10):
                (watched / "busy" / f"{number}").write_text("text")
            (watched / "busy" / "file").unlink()
            running.turn_until(lambda: "overflow" in running.reasons)
            return running.settle()

        return burst

    def test_the_directories_of_these_alone_are_compared(self, burst):
        running = burst(10)

        [entry] = [entry for entry in running.coverage if entry.reason == "overflow"]
        assert sorted(running.told) == [*(("created", f"{number}") for number in range(10)), ("deleted", "file")]
        assert entry.action == "compared the directories in which so much had happened"
        assert entry.detail["listed_directories"] == 1

    def test_where_these_are_too_many_everything_is(self, burst):
        running = burst(0)

        [entry] = [entry for entry in running.coverage if entry.reason == "overflow"]
        assert sorted(running.told) == [*(("created", f"{number}") for number in range(10)), ("deleted", "file")]
        assert entry.action == "compared everything with the baseline"
        assert entry.detail["directories"] == 3


class Clock:
    """The time of day, that somebody sets."""

    def __init__(self) -> None:
        self._real = time.time_ns
        self.off_ns = 0

    def __call__(self) -> int:
        """Return what it says."""
        return self._real() + self.off_ns

    def set_by(self, seconds: float) -> None:
        """Set it that much forward, or back."""
        self.off_ns += int(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of this process; that of the kernel and of the hashers is another one."""
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", clock)
    return clock


class TestClock:
    """Pitfall 27: somebody sets the clock."""

    YEAR = 365 * 86400.0

    @pytest.mark.parametrize("seconds", [-YEAR, YEAR])
    def test_nothing_that_stays_as_it_is_is_told(self, start, watched, clock, seconds):
        for name in ("a", "b"):
            (watched / name).write_text("text")
        running = start()
        running.forget_all()

        clock.set_by(seconds)
        running.watcher._walker.scans.start("rescan")
        running.settle()
        running = start()

        assert running.told == []

    @pytest.mark.parametrize("seconds", [-YEAR, YEAR])
    def test_what_is_changed_is_told(self, start, watched, clock, seconds):
        for name in ("a", "b"):
            (watched / name).write_text("text")
        running = start()
        clock.set_by(seconds)

        (watched / "a").write_text("live")
        running.settle().forget_all()
        status = (watched / "b").stat()
        (watched / "b").write_text("down")
        os.utime(watched / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
        clock.set_by(-seconds)
        running = start()

        assert running.told == [("updated", "b")]

    def test_no_gap_ends_before_it_begins(self, start, watched, clock, bound_by_rights):
        (watched / "d").mkdir(0)
        with bound_by_rights():
            running = start()
            clock.set_by(-self.YEAR)
            (watched / "d").chmod(0o700)
            running.settle()
        running = start()

        assert running.ends("unreadable")[-1:] in ([], [ENDED])
        assert all(entry.start_ns <= entry.end_ns for entry in running.coverage if entry.end_ns is not None)


class TestSubjects:
    def test_gaps_of_one_reason_and_place_are_told_apart(self, start):
        running = start()
        gaps, baseline = running.watch.gaps, running.watch.baseline
        with baseline.transaction():
            begun = [gaps.begin("mount", b"/a", "hidden", None, each) for each in ("one", "two", "one")]
            gaps.end("mount", b"/a", "shown", "one")

        assert begun == [True, True, False]
        assert gaps.is_open("mount", b"/a", "two")
        assert not gaps.is_open("mount", b"/a", "one")
        assert gaps.open_paths("mount") == [b"/a"]

    def test_each_coverage_event_is_counted_once_it_is_stored(self, start):
        running = start()

        assert running.life.counters.get("coverage_first_walk_total") == running.reasons.count("first_walk") == 1
