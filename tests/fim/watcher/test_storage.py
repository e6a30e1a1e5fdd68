"""A watcher whose baseline cannot be written, is damaged or full: nothing is lost, and nothing told twice."""

import contextlib
import shutil
import sqlite3

import pytest

from auditline.workers.common.status_slots import WATCH_STATE, WATCH_STATES
from auditline.workers.fim import database, worker
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.database import BaselineDamaged


def damage(baseline: Baseline, name: bytes) -> None:
    """Do as a disk that gives back something else than it was given."""
    baseline._database._connection.execute("UPDATE seen SET state = x'' WHERE name = ?", (name,))


class TestDamage:
    def test_what_is_found_while_watching_ends_the_watcher(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        damage(running.watch.baseline, b"file")

        (watched / "file").write_text("after")
        with pytest.raises(BaselineDamaged):
            running.turn_until(lambda: running.told)

        assert running.told == []

    def test_the_start_after_it_makes_the_baseline_anew_and_tells_so(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        running.forget_all()
        damage(running.watch.baseline, b"file")
        (watched / "file").write_text("after")
        with pytest.raises(BaselineDamaged):
            running.turn_until(lambda: running.told)

        running = start()

        assert running.told == []
        assert running.reasons == ["baseline_rebuilt"]
        assert running.watch.baseline.known(b"file").hashes


class TestLock:
    def test_what_happens_while_another_program_holds_it_is_told_later(self, start, watched, tmp_path, monkeypatch):
        monkeypatch.setattr(database, "_LOCK_SECONDS", 0.05)
        (watched / "file").write_text("before")
        running = start()

        with contextlib.closing(sqlite3.connect(tmp_path / "state" / "fim-test.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            (watched / "file").write_text("after")
            running.lose_transaction()
            other.execute("ROLLBACK")
        running.settle()

        assert running.told == [("updated", "file")]
        assert "storage" in running.reasons


class TestLostTransaction:
    def test_each_change_is_told_once_after_it(self, start, watched):
        for name in ("content", "mode", "gone"):
            (watched / name).write_text("before")
        running = start()

        with running.storage_failing():
            (watched / "new").write_text("text")
            (watched / "content").write_text("after!")
            (watched / "mode").chmod(0o600)
            (watched / "gone").unlink()
            running.lose_transaction()
        running.turn_until(lambda: "storage" in running.reasons)
        running.settle()

        assert sorted(running.told) == [
            ("attributes_modified", "mode"),
            ("created", "new"),
            ("deleted", "gone"),
            ("updated", "content"),
        ]

    def test_how_the_watch_stands_says_so_until_it_can_be_stored(self, start, watched):
        running = start()

        with running.storage_failing():
            (watched / "new").write_text("text")
            running.lose_transaction()
            while_failing = WATCH_STATES[running.life.counters.get(WATCH_STATE)]
        running.turn_until(lambda: "storage" in running.reasons)
        running.settle()

        assert (while_failing, WATCH_STATES[running.life.counters.get(WATCH_STATE)]) == ("cannot store", "watching")

    def test_results_of_hashers_that_were_lost_with_it_are_found_again(self, start, watched):
        for number in range(10):
            (watched / f"f{number}").write_text("before")
        running = start()
        running.hold_hasher()
        for number in range(10):
            (watched / f"f{number}").write_text("after")
        running.turn_until(lambda: running.in_hand == 10)

        with running.storage_failing(after_statements=1):
            running.resume_hasher()
            running.lose_transaction()
        running.settle()

        assert sorted(running.told) == [("updated", f"f{number}") for number in range(10)]

    def test_what_events_had_said_of_files_whose_results_were_lost_with_it_is_kept(self, start, watched):
        for name in ("file", "other"):
            (watched / name).write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "file").write_text("after!")
        (watched / "tmp").write_text("after!")
        (watched / "tmp").rename(watched / "other")
        running.turn_until(lambda: running.in_hand == 2)

        with running.storage_failing():
            running.resume_hasher()
            running.lose_transaction()
            said = {path: running.watch.dirty._waiting[path].as_dirty() for path in (b"file", b"other")}
        running.settle()

        assert said[b"file"].is_content
        assert said[b"other"].is_new
        assert {(change.action, change.detected_by) for change in running.changes} == {("updated", "event")}

    def test_files_whose_results_were_lost_with_it_are_watched_as_before(self, start, watched):
        for number in range(5):
            (watched / f"f{number}").write_text("before")
        running = start()
        with running.storage_failing(after_statements=1):
            for number in range(5):
                (watched / f"f{number}").write_text("after")
            running.lose_transaction()
        running.settle().forget_all()

        for number in range(5):
            (watched / f"f{number}").write_text("at last")
        running.settle()

        assert sorted(running.told) == [("updated", f"f{number}") for number in range(5)]

    def test_a_first_walk_ends_in_spite_of_it(self, start, watched):
        for number in range(20):
            (watched / f"f{number}").write_text("text")
        running = start(is_settled=False)
        running.hold_hasher()
        running.turn_until(lambda: running.in_hand == 20)

        with running.storage_failing(after_statements=1):
            running.resume_hasher()
            running.lose_transaction()
        running.settle()

        assert running.told == []
        assert running.watch.baseline.is_walked
        assert all(running.watch.baseline.known(b"f%d" % number).hashes for number in range(20))

    def test_what_was_created_and_written_to_in_it_is_created(self, start, watched):
        running = start(debounce_seconds=0.0, max_delay_seconds=0.0)
        with running.answers_held():
            (watched / "new").write_text("before")
            running.turn_until(lambda: running.answers)
            (watched / "new").write_text("after that")

        with running.storage_failing():
            running.lose_transaction()
        running.settle()

        assert running.told == [("created", "new")]

    def test_a_root_that_goes_away_meanwhile_is_told_with_its_content(self, start, watched):
        (watched / "file").write_text("text")
        running = start()

        with running.storage_failing():
            shutil.rmtree(watched)
            running.turn_until(lambda: running.watch.root is None)
        running.turn_until(lambda: "missing" in running.reasons)

        assert sorted(running.told) == [("deleted", "file"), ("deleted", "watched")]
        assert running.ends("missing") == [False]

    def test_what_a_dying_watcher_could_not_store_is_found_by_the_next_one(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        with running.storage_failing():
            (watched / "file").write_text("after")
            (watched / "new").write_text("text")
            running.lose_transaction()

        running = start()

        assert sorted(running.told) == [("created", "new"), ("updated", "file")]


class TestFullOutbox:
    def test_what_happens_meanwhile_is_told_when_there_is_room(self, start, watched):
        running = start()
        running.watch.baseline._max_outbox_entries = 2
        (watched / "first").write_text("text")
        (watched / "second").write_text("text")
        running.turn_until(lambda: running.watch.baseline.is_full)

        for number in range(10):
            (watched / f"f{number}").write_text("text")
        running.turn_until(lambda: len(running.watch.dirty) == 10)
        told = sorted(running.told)
        running.turn_until(lambda: running.forget_all() or running.is_quiet)

        assert told == [("created", "first"), ("created", "second")]
        assert all(running.watch.baseline.known(b"f%d" % number) for number in range(10))

    def test_answers_that_wait_meanwhile_keep_nobody_busy(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "file").write_text("after")
        running.turn_until(lambda: running.in_hand)

        running.watch.baseline._max_outbox_entries = 0
        running.resume_hasher()
        turns = running.turns_in(0.5)

        assert turns < 20

    def test_hashers_that_die_meanwhile_keep_nobody_busy(self, start, watched):
        running = start()
        (watched / "file").write_text("text")
        running.settle()

        running.watch.baseline._max_outbox_entries = 0
        running.kill_hasher()
        turns = running.turns_in(0.5)

        assert turns < 20


def test_answers_that_wait_for_storage_keep_nobody_busy(start, watched, monkeypatch):
    monkeypatch.setattr(worker, "STORAGE_RETRY_SECONDS", 1000)
    (watched / "file").write_text("before")
    running = start()
    running.hold_hasher()
    (watched / "file").write_text("after")
    running.turn_until(lambda: running.in_hand)

    with running.storage_failing():
        (watched / "new").mkdir()
        running.lose_transaction()
    running.resume_hasher()
    turns = running.turns_in(0.5)

    assert turns < 20
