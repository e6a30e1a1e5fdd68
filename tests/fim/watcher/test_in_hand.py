"""Files at the hashers, and paths that give no certain answer: what comes meanwhile is not lost, and nothing spins."""

import errno
import fcntl
import os
import time

from auditline.workers.common.beneath import Root
from auditline.workers.fim import examine, walk, worker
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.look import Look
from auditline.workers.fim.visit import Visit


def test_an_answer_that_waits_while_hints_gather_waits_no_longer_than_they_do(start, watched):
    running = start()
    with running.answers_held():
        (watched / "file").write_text("content")
        running.turn_until(lambda: running.answers)
        running.watcher._results, running.answers = running.answers, []

        seconds = running.watcher._turn_seconds()

    assert seconds <= worker.LONGEST_PAUSE_SECONDS


class TestListedMeanwhile:
    """A directory is listed, and compared with what is known, while a file in it is at a hasher."""

    def test_a_file_that_goes_before_the_answer_is_told_once(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "file").write_text("after")
        running.turn_until(lambda: running.in_hand)

        (watched / "file").unlink()
        running.watcher._walker.list_later(b"", Visit(is_turn=True))
        running.turn_until(lambda: running.watcher._walker.is_idle)
        running.resume_hasher()
        running.settle()

        assert running.told == [("deleted", "file")]

    def test_a_file_that_goes_while_the_answer_is_on_its_way_is_told_once_as_deleted(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        with running.answers_held():
            (watched / "file").write_text("after")
            running.turn_until(lambda: running.answers)
            (watched / "file").unlink()
            running.watcher._walker.list_later(b"", Visit(is_turn=True))
            running.turn_until(lambda: running.watcher._walker.is_idle)

        running.settle()

        assert running.told.count(("deleted", "file")) == 1
        assert running.told[-1] == ("deleted", "file")

    def test_a_file_that_goes_during_a_scan_is_told_once_as_deleted(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        with running.answers_held():
            (watched / "file").write_text("after")
            running.turn_until(lambda: running.answers)
            (watched / "file").unlink()
            running.watcher._walker.scans.start("overflow")
            running.turn_until(lambda: "overflow" in running.reasons)

        running.settle()

        assert running.told.count(("deleted", "file")) == 1
        assert running.told[-1] == ("deleted", "file")


class TestHintsMeanwhile:
    def test_a_file_that_is_replaced_is_told_as_it_is_in_the_end(self, start, watched):
        (watched / "file").write_text("before")
        running = start()
        with running.answers_held():
            (watched / "file").write_text("after")
            running.turn_until(lambda: running.answers)
            (watched / "tmp").write_text("at last")
            (watched / "tmp").rename(watched / "file")
            running.turn_until(lambda: running.watcher._examiner.in_hand[b"file"].again)

        running.settle()

        assert {action for action, _ in running.told} == {"updated"}
        assert running.changes[-1].after.inode == (watched / "file").stat().st_ino
        assert all(change.after.links for change in running.changes)

    def test_that_a_name_was_made_is_remembered_through_further_hints(self, start, watched):
        (watched / "file").write_text("text")
        running = start()
        running.hold_hasher()
        (watched / "file").write_text("text")
        running.turn_until(lambda: running.in_hand)

        running.watcher._examiner.examine(DirtyPath(b"file", is_new=True, detected_by="event"))
        running.watcher._examiner.examine(DirtyPath(b"file", is_new=False, detected_by="event"))

        assert running.watcher._examiner.in_hand[b"file"].again.is_new


class TestUnreadable:
    def test_content_that_changed_unseen_is_told_when_it_can_be_read(self, start, watched, lease):
        file = watched / "file"
        file.write_text("good")
        os.utime(file, ns=(1, 10**18))
        running = start()

        with lease(file) as descriptor:
            file.chmod(0o600)
            running.turn_until(lambda: running.told)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            os.pwrite(descriptor, b"evil", 0)
            os.utime(file, ns=(1, 10**18))
        running.settle()

        assert running.told == [("attributes_modified", "file"), ("updated", "file")]

    def test_content_that_stayed_the_same_is_nothing_when_it_can_be_read(self, start, watched, lease):
        file = watched / "file"
        file.write_text("good")
        running = start()

        with lease(file):
            file.chmod(0o600)
            running.turn_until(lambda: running.told)
        running.forget_all()
        file.chmod(0o600)
        running.settle()

        assert running.told == []
        assert running.watch.baseline.known(b"file").hash_state == "stable"

    def test_a_path_that_cannot_be_looked_at_for_a_moment_is_looked_at_again(self, start, watched, monkeypatch):
        monkeypatch.setattr(examine, "FIRST_PAUSE_SECONDS", 0.02)
        (watched / "file").write_text("before")
        running = start()
        lstat, errors = Root.lstat, [OSError(errno.EMFILE, "Too many open files")]

        def fail_once(root: Root, path: bytes) -> os.stat_result:
            if errors:
                raise errors.pop()
            return lstat(root, path)

        monkeypatch.setattr(Root, "lstat", fail_once)
        (watched / "file").write_text("after")
        running.turn_until(lambda: running.told)

        assert not errors
        assert running.told == [("updated", "file")]


class TestPatience:
    def test_a_link_that_cannot_be_read_does_not_keep_it_busy(self, start, watched, monkeypatch):
        running = start()

        def refuse(root: Root, path: bytes) -> bytes:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(Root, "readlink", refuse)
        (watched / "link").symlink_to("target")
        running.turn_until(lambda: running.watch.dirty)
        turns = running.turns_in(1)

        assert turns < 60

    def test_a_file_that_never_comes_to_rest_is_read_ever_more_seldom(self, start, monkeypatch):
        monkeypatch.setattr(examine, "FIRST_PAUSE_SECONDS", 0.05)
        running = start({"path": b"/proc/sys/kernel/random/uuid"}, is_settled=False)
        jobs = running.life.counters
        running.turn_until(lambda: jobs.get("hash_jobs_done_total"))

        running.turns_in(1.5)

        # After 0.05, 0.1, 0.2, 0.4 and 0.8 seconds.
        assert 2 <= jobs.get("hash_jobs_done_total") <= 6


class TestBounds:
    def test_while_no_hasher_answers_only_so_many_files_are_in_hand(self, start, watched, monkeypatch):
        monkeypatch.setattr(worker, "MOST_IN_HAND", 10)
        monkeypatch.setattr(walk, "MOST_IN_HAND", 10)
        running = start()
        running.hold_hasher()

        for number in range(100):
            (watched / f"f{number}").write_text("text")
        running.turn_until(lambda: running.in_hand >= 20)
        turns = running.turns_in(0.3)
        in_hand = running.in_hand
        running.resume_hasher()
        running.settle()

        assert in_hand == 20
        assert turns < 30
        assert sorted(running.told) == sorted(("created", f"f{number}") for number in range(100))

    def test_a_walk_leaves_room_for_what_happens_meanwhile(self, start, watched, monkeypatch):
        monkeypatch.setattr(worker, "MOST_IN_HAND", 10)
        monkeypatch.setattr(walk, "MOST_IN_HAND", 10)
        for number in range(30):
            (watched / f"d{number}").mkdir()
            (watched / f"d{number}" / "file").write_text("text")
        running = start(is_settled=False)
        running.hold_hasher()
        running.turn_until(lambda: running.in_hand == 10)

        (watched / "new").write_text("text")
        running.turn_until(lambda: running.in_hand == 11)
        running.resume_hasher()
        running.settle()

        assert running.told == [("created", "new")]

    def test_what_a_vanished_path_costs_does_not_grow_with_the_files_in_hand(self, start):
        running = start()

        alone = cost_of_vanished_paths(running)
        running.watcher._examiner.in_hand._looks.update({b"d/f%d" % n: Look(None, "event") for n in range(20_000)})
        among_many = cost_of_vanished_paths(running)

        assert among_many < 10 * alone


def cost_of_vanished_paths(running) -> float:
    """Return the processor's time for paths that nobody knew and that are gone."""
    with running.watch.baseline.transaction():
        before = time.process_time()
        for number in range(200):
            running.watcher._examiner.examine(DirtyPath(b"tmp%d" % number, is_new=True, detected_by="event"))
        return time.process_time() - before
