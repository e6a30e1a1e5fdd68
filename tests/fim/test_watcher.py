"""A watcher's core with its real parts: inotify, a baseline on disk, and a hasher in a process of its own."""

import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import StorageError
from auditline.workers.common.file_entry import Coverage, Entry, FileChange, decode_entry
from auditline.workers.common.jobs import JobServer
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.own_files import OwnFiles
from auditline.workers.common.privileges import die_with_parent
from auditline.workers.common.settings import FimSettings, RunSettings, Settings, StateSettings
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.dirty import Dirty
from auditline.workers.fim.gaps import Gaps
from auditline.workers.fim.inotify import open_backend
from auditline.workers.fim.pool import Pool
from auditline.workers.fim.scope import Scope
from auditline.workers.fim.watch import Watch
from auditline.workers.fim.worker import WATCHER_COUNTERS, Watcher
from auditline.workers.hasher.worker import run as run_hasher

Start = Callable[..., "Running"]


class Running:
    """A watcher whose turns the test takes."""

    def __init__(self, folder: Path, plan: WatchPlan, fim: FimSettings) -> None:
        self.settings = Settings(
            state=StateSettings(directory=folder / "state"), run=RunSettings(directory=folder / "run"), fim=fim
        )
        self.settings.run.directory.mkdir(exist_ok=True)
        self.hasher = _fork_hasher(self.settings, plan)
        self.life = Life("fim-test", CounterPage.unshared(WATCHER_COUNTERS))
        baseline = Baseline.open(folder / "state", "fim-test", plan.path)
        self.watch = Watch(
            scope=Scope(plan, OwnFiles()),
            settings=fim,
            counters=self.life.counters,
            backend=open_backend(fim),
            baseline=baseline,
            pool=Pool(JobServer(jobs_endpoint(self.settings.run.directory, plan)), fim, self.life.counters),
            dirty=Dirty(fim.debounce_seconds, fim.max_delay_seconds),
            gaps=Gaps(baseline),
        )
        self.producer = Producer(endpoint(self.settings.run.directory), baseline)
        self.watcher = Watcher(self.life, self.watch, plan, self.producer)
        self.watcher._place.check(is_start=True)

    def turn_until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        """Take turns until *condition* holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it did not come true in time: {self.entries}"
            self.watcher._turn(0.02)

    def settle(self) -> "Running":
        """Take turns until nothing is left to be done."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.15:
            self.watcher._turn(0.02)
            if not (self.watcher._walker.is_idle and not self.watch.dirty and not self.watcher._examiner.in_hand):
                quiet_since = time.monotonic()
        return self

    @property
    def entries(self) -> list[Entry]:
        """All that is in the outbox."""
        baseline = self.watch.baseline
        numbers = range(baseline.done_number + 1, baseline.last_number + 1)
        return [decode_entry(baseline.read(number).payload) for number in numbers]

    @property
    def changes(self) -> list[FileChange]:
        return [entry for entry in self.entries if isinstance(entry, FileChange)]

    @property
    def told(self) -> list[tuple[str, str]]:
        """The changes in short: action and the path's last part."""
        return [(change.action, os.fsdecode(os.path.basename(change.path))) for change in self.changes]

    @property
    def reasons(self) -> list[str]:
        return [entry.reason for entry in self.entries if isinstance(entry, Coverage)]

    def forget_all(self) -> None:
        """Do as if the router had said that all is done."""
        self.watch.baseline.forget(self.watch.baseline.last_number, b"")

    def close(self) -> None:
        self.watch.backend.close()
        self.watch.pool.close()
        self.producer.close()
        self.watch.baseline.close()
        os.kill(self.hasher, signal.SIGKILL)
        os.waitpid(self.hasher, 0)


def _fork_hasher(settings: Settings, plan: WatchPlan) -> int:
    parent_pid, pid = os.getpid(), os.fork()
    if pid:
        return pid
    try:
        die_with_parent(signal.SIGKILL, parent_pid)
        life = Life("hasher-1", CounterPage.unshared(()))
        run_hasher(life, settings, [plan])
    finally:
        os._exit(1)


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, watched: Path) -> Iterator[Start]:
    """Start a watcher of the folder *watched*, or start it again; it has seen everything when it is returned."""
    running: list[Running] = []

    def start(plan: dict[str, Any] | None = None, *, is_settled: bool = True, **fim: Any) -> Running:
        while running:
            running.pop().close()
        settings = FimSettings(watch=(), **{"debounce_seconds": 0.02, "max_delay_seconds": 0.2, **fim})
        made = Running(tmp_path, WatchPlan(**{"path": os.fsencode(watched), **(plan or {})}), settings)
        running.append(made)
        return made.settle() if is_settled else made

    yield start
    for each in running:
        each.close()


class TestFirstWalk:
    def test_it_is_silent_and_ends_with_one_summary(self, start, watched):
        (watched / "a").write_text("one")
        (watched / "d").mkdir()
        (watched / "d" / "b").write_text("three")

        running = start()

        assert running.told == []
        [summary] = running.entries
        assert (summary.reason, summary.path) == ("first_walk", os.fsencode(watched))
        assert {key: summary.detail[key] for key in ("files", "directories", "bytes")} == {
            "files": 2,
            "directories": 2,
            "bytes": 8,
        }

    def test_with_initial_events_each_path_is_an_initial_scan(self, start, watched):
        (watched / "a").write_text("one")

        running = start(initial_events=True)

        assert sorted(running.told) == [("initial_scan", "a"), ("initial_scan", "watched")]

    def test_a_file_made_while_it_goes_on_is_created(self, start, watched):
        for number in range(50):
            (watched / f"d{number}").mkdir()
        running = start(is_settled=False)
        running.watcher._turn(0)

        (watched / "new").write_text("text")
        running.settle()

        assert ("created", "new") in running.told
        assert len(running.changes) == 1


class TestLiveChanges:
    def test_each_kind_of_change_has_its_action(self, start, watched):
        for name in ("content", "mode", "gone"):
            (watched / name).write_text("before")
        running = start()

        (watched / "new").write_text("text")
        (watched / "content").write_text("after!")
        (watched / "mode").chmod(0o600)
        (watched / "gone").unlink()
        running.settle()

        assert sorted(running.told) == [
            ("attributes_modified", "mode"),
            ("created", "new"),
            ("deleted", "gone"),
            ("updated", "content"),
        ]
        assert {change.detected_by for change in running.changes} == {"event"}

    def test_a_deletion_has_the_last_known_values(self, start, watched):
        (watched / "gone").write_text("text")
        running = start()

        (watched / "gone").unlink()
        running.settle()

        [change] = running.changes
        assert change.after is None
        assert (change.before.size, stat.S_IMODE(change.before.mode)) == (4, 0o644)
        assert change.before.hashes

    def test_delete_and_recreate_is_an_update(self, start, watched):
        (watched / "file").write_text("text")
        running = start()

        (watched / "file").unlink()
        (watched / "file").write_text("text")
        running.settle()

        assert running.told == [("updated", "file")]

    def test_an_atomic_save_is_an_update_and_the_temporary_file_nothing(self, start, watched):
        (watched / "file").write_text("before")
        running = start()

        (watched / ".file.tmp").write_text("after")
        (watched / ".file.tmp").rename(watched / "file")
        running.settle()

        assert running.told == [("updated", "file")]

    def test_a_change_back_and_forth_within_the_debounce_time_is_nothing_but_its_time(self, start, watched):
        (watched / "file").write_text("text")
        running = start(debounce_seconds=0.2, max_delay_seconds=2.0)

        (watched / "file").write_text("other")
        (watched / "file").write_text("text")
        running.settle()

        assert running.told == [("attributes_modified", "file")]

    def test_a_chmod_to_the_same_mode_is_nothing(self, start, watched):
        (watched / "file").write_text("text")
        running = start()

        (watched / "file").chmod(0o644)
        running.settle()

        assert running.told == []

    def test_a_link_that_is_turned_is_updated_with_both_targets(self, start, watched):
        (watched / "link").symlink_to("here")
        running = start()

        (watched / "link2").symlink_to("there")
        (watched / "link2").rename(watched / "link")
        running.settle()

        [change] = running.changes
        assert (change.action, change.before.target, change.after.target) == ("updated", b"here", b"there")

    def test_a_file_turned_into_a_directory_is_an_update_and_its_content_is_created(self, start, watched):
        (watched / "x").write_text("text")
        running = start()

        (watched / "x").unlink()
        (watched / "x").mkdir()
        (watched / "x" / "inner").write_text("text")
        running.settle()

        assert sorted(running.told) == [("created", "inner"), ("updated", "x")]

    def test_a_directory_turned_into_a_file_is_an_update_and_its_content_is_deleted(self, start, watched):
        (watched / "x").mkdir()
        (watched / "x" / "inner").write_text("text")
        running = start()

        shutil.rmtree(watched / "x")
        (watched / "x").write_text("text")
        running.settle()

        assert sorted(running.told) == [("deleted", "inner"), ("updated", "x")]

    def test_what_is_no_file_is_reported_and_never_opened(self, start, watched):
        running = start()

        os.mkfifo(watched / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(watched / "socket"))
            running.settle()

        assert sorted(running.told) == [("created", "pipe"), ("created", "socket")]
        assert {change.after.hashes for change in running.changes} == {b""}

    def test_the_watched_directory_itself_is_reported(self, start, watched):
        running = start()

        watched.chmod(0o700)
        running.settle()

        assert running.told == [("attributes_modified", "watched")]

    @pytest.mark.parametrize("name", [b"new\nline", b"\x1b[31m", b"\xff\xfe", b"n" * 255, b" "])
    def test_odd_names_are_names(self, start, watched, name):
        running = start()

        Path(os.fsdecode(os.fsencode(watched) + b"/" + name)).write_text("text")
        running.settle()

        assert [change.path for change in running.changes] == [os.fsencode(watched) + b"/" + name]


class TestDirectories:
    def test_trees_made_at_once_are_reported_whole(self, start, watched):
        running = start()

        for number in range(50):
            deep = watched / f"t{number}" / "b" / "c" / "d"
            deep.mkdir(parents=True)
            (deep / "file").write_text("text")
        running.settle()

        kinds = [stat.S_ISDIR(change.after.mode) for change in running.changes]
        assert (kinds.count(True), kinds.count(False)) == (200, 50)
        assert {change.action for change in running.changes} == {"created"}

    def test_a_removed_tree_is_reported_whole(self, start, watched):
        (watched / "a" / "b").mkdir(parents=True)
        (watched / "a" / "b" / "file").write_text("text")
        running = start()

        shutil.rmtree(watched / "a")
        running.settle()

        assert sorted(running.told) == [("deleted", "a"), ("deleted", "b"), ("deleted", "file")]

    def test_a_renamed_directory_is_followed(self, start, watched):
        (watched / "a" / "b").mkdir(parents=True)
        (watched / "a" / "b" / "file").write_text("text")
        running = start()

        (watched / "a").rename(watched / "z")
        running.settle()
        running.forget_all()
        (watched / "z" / "b" / "file").write_text("other")
        running.settle()

        assert [(change.action, change.path) for change in running.changes] == [
            ("updated", os.fsencode(watched / "z" / "b" / "file"))
        ]

    def test_a_directory_moved_out_is_deleted_with_its_content_and_not_watched_any_more(self, start, watched, tmp_path):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("text")
        running = start()

        (watched / "a").rename(tmp_path / "outside")
        running.settle()
        deleted = running.told
        running.forget_all()
        (tmp_path / "outside" / "file").write_text("other")
        running.settle()

        assert sorted(deleted) == [("deleted", "a"), ("deleted", "file")]
        assert running.told == []

    def test_a_directory_moved_in_is_created_with_its_content_and_watched(self, start, watched, tmp_path):
        (tmp_path / "outside" / "b").mkdir(parents=True)
        running = start()

        (tmp_path / "outside").rename(watched / "a")
        running.settle()
        (watched / "a" / "b" / "file").write_text("text")
        running.settle()

        assert sorted(running.told) == [("created", "a"), ("created", "b"), ("created", "file")]

    def test_a_directory_made_again_is_compared_with_what_was_in_it(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "old").write_text("text")
        running = start()

        shutil.rmtree(watched / "a")
        (watched / "a").mkdir()
        (watched / "a" / "new").write_text("text")
        running.settle()

        assert ("deleted", "old") in running.told
        assert ("created", "new") in running.told

    def test_without_recursion_only_direct_children_are_reported(self, start, watched):
        (watched / "d").mkdir()
        running = start({"recursive": False})

        (watched / "d" / "inner").write_text("text")
        (watched / "file").write_text("text")
        running.settle()

        assert running.told == [("created", "file")]

    def test_an_excluded_directory_is_neither_watched_nor_listed(self, start, watched):
        (watched / "cache" / "deep").mkdir(parents=True)
        running = start({"exclude": ("glob:**/cache",)})

        (watched / "cache" / "deep" / "file").write_text("text")
        (watched / "file").write_text("text")
        running.settle()

        assert running.told == [("created", "file")]
        assert running.watch.backend.watched == 1

    def test_an_unreadable_directory_is_told_and_its_content_not_taken_for_deleted(self, start, watched):
        (watched / "d").mkdir()
        (watched / "d" / "file").write_text("text")
        start().forget_all()
        with _without_rights():
            (watched / "d").chmod(0)

            running = start()
            told = running.told

        assert told == [("attributes_modified", "d")]
        assert "unreadable" in running.reasons


class TestRestart:
    def test_what_happened_meanwhile_is_found(self, start, watched):
        for name in ("same", "content", "mode", "gone"):
            (watched / name).write_text("before")
        start().forget_all()

        (watched / "new").write_text("text")
        (watched / "content").write_text("after!")
        (watched / "mode").chmod(0o600)
        (watched / "gone").unlink()
        running = start()

        assert sorted(running.told) == [
            ("attributes_modified", "mode"),
            ("created", "new"),
            ("deleted", "gone"),
            ("updated", "content"),
        ]
        assert {change.detected_by for change in running.changes} == {"scan"}
        assert running.reasons == ["restart"]

    def test_that_a_file_has_a_second_name_is_found(self, start, watched):
        (watched / "file").write_text("text")
        start().forget_all()

        # The kernel tells of this nothing but that the new name was made.
        os.link(watched / "file", watched / "name")
        running = start()

        assert sorted(running.told) == [("attributes_modified", "file"), ("created", "name")]

    def test_what_is_in_the_outbox_is_not_found_again(self, start, watched):
        running = start()
        (watched / "new").write_text("text")
        running.settle()

        running = start()

        assert running.told == [("created", "new")]

    def test_what_is_excluded_now_is_forgotten_silently(self, start, watched):
        (watched / "d").mkdir()
        (watched / "d" / "file").write_text("text")
        (watched / "log").write_text("text")
        start().forget_all()

        running = start({"exclude": ("/log$", "/d$")})

        assert running.told == []
        assert running.watch.baseline.known(b"d/file") is None
        assert running.watch.baseline.known(b"log") is None

    def test_another_algorithm_is_a_change_of_configuration(self, start, watched):
        (watched / "file").write_text("text")
        start(hashes=("sha256",)).forget_all()

        running = start(hashes=("sha256", "sha1"))

        assert running.told == [("config_change", "file")]

    def test_a_first_walk_that_was_cut_off_stays_silent(self, start, watched):
        for number in range(300):
            (watched / f"d{number}").mkdir()
            (watched / f"d{number}" / "file").write_text("text")
        running = start(is_settled=False)
        running.watcher._turn(0)

        running = start()

        assert running.told == []
        assert running.reasons == ["first_walk"]
        assert running.watch.baseline.known(b"d299/file") is not None


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


class TestHardship:
    def test_more_events_than_the_kernel_keeps_lead_to_one_comparison(self, start, watched):
        running = start()

        for number in range(9000):
            (watched / f"f{number}").write_bytes(b"")
        running.turn_until(lambda: running.life.counters.get("hint_overflows_total"))
        running.settle()

        assert len(running.changes) == 9000
        assert running.reasons.count("overflow") == 1

    def test_a_full_outbox_keeps_paths_dirty(self, start, watched):
        running = start()
        running.watch.baseline._max_outbox_entries = 3

        for number in range(10):
            (watched / f"f{number}").write_text("text")
            running.watcher._turn(0.03)
        told = len(running.changes)
        while running.watch.dirty or running.watcher._examiner.in_hand or running.entries:
            running.forget_all()
            running.watcher._turn(0.02)

        assert told < 10
        assert all(running.watch.baseline.known(b"f%d" % number) for number in range(10))

    def test_what_cannot_be_stored_is_stored_later(self, start, watched, monkeypatch):
        running = start()
        database = running.watch.baseline._database
        commit = database.commit

        def refuse() -> None:
            raise StorageError("no space left on device")

        monkeypatch.setattr(database, "commit", refuse)
        (watched / "file").write_text("text")
        running.turn_until(lambda: running.watcher._must_scan)
        monkeypatch.setattr(database, "commit", commit)
        running.turn_until(lambda: "storage" in running.reasons)
        running.settle()

        assert ("created", "file") in running.told
        assert len(running.told) == 1


class _without_rights:  # noqa: N801  # reads as a statement
    """Be a process that rights do not let read everything: another uid, as far as files are concerned."""

    def __enter__(self) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may read everything; tests/integration/fim has this as another user")

    def __exit__(self, *_: object) -> None:
        pass
