"""Renames: one change with both names, whatever happened before and after it."""

import os

from auditline.workers.fim import directory_moves, walk
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.visit import Visit


def moves(running):
    """Return the changes in short, with the old name of each that has one."""
    return [
        (change.action, os.path.basename(change.path), change.moved_from and os.path.basename(change.moved_from))
        for change in running.changes
    ]


class TestFiles:
    def test_a_renamed_file_is_one_move_with_both_names(self, start, watched):
        (watched / "old").write_text("text")
        running = start()

        (watched / "old").rename(watched / "new")
        running.settle()

        assert moves(running) == [("moved", b"new", b"old")]
        [change] = running.changes
        assert change.before.hashes == change.after.hashes != b""
        assert change.before.inode == change.after.inode
        assert running.watch.baseline.known(b"old") is None

    def test_one_that_was_written_to_before_is_moved_and_then_updated(self, start, watched):
        (watched / "old").write_text("before")
        running = start()

        (watched / "old").write_text("after!")
        (watched / "old").rename(watched / "new")
        running.settle()

        assert moves(running) == [("moved", b"new", b"old"), ("updated", b"new", None)]
        assert running.changes[0].after.size == 6
        assert running.watch.baseline.known(b"new") == running.changes[1].after

    def test_one_that_replaces_another_is_an_update_with_its_old_name(self, start, watched):
        (watched / "old").write_text("one")
        (watched / "new").write_text("other")
        running = start()

        (watched / "old").rename(watched / "new")
        running.settle()

        assert moves(running) == [("updated", b"new", b"old")]
        assert running.changes[0].before.size == 5

    def test_a_temporary_file_is_not_told_of(self, start, watched):
        (watched / "file").write_text("before")
        running = start()

        (watched / "tmp").write_text("after")
        (watched / "tmp").rename(watched / "file")
        running.settle()

        assert moves(running) == [("updated", b"file", None)]

    def test_one_that_a_hasher_has_in_hand_is_not_told_of_either(self, start, watched):
        running = start(debounce_seconds=0.0)
        running.hold_hasher()
        (watched / "tmp").write_text("after")
        running.turn_until(lambda: running.in_hand)

        (watched / "tmp").rename(watched / "file")
        running.turn_until(lambda: running.in_hand == 2)
        running.resume_hasher()
        running.settle()

        assert moves(running) == [("created", b"file", None)]

    def test_a_chain_is_one_move_from_its_first_name(self, start, watched):
        (watched / "a").write_text("text")
        running = start()

        (watched / "a").rename(watched / "b")
        (watched / "b").rename(watched / "c")
        running.settle()

        assert moves(running) == [("moved", b"c", b"a")]

    def test_there_and_back_is_nothing(self, start, watched):
        (watched / "a").write_text("text")
        running = start()

        (watched / "a").rename(watched / "b")
        (watched / "b").rename(watched / "a")
        running.settle()

        assert running.told == []

    def test_two_that_change_places_are_two_updates(self, start, watched, exchange):
        (watched / "a").write_text("one")
        (watched / "b").write_text("other")
        running = start()

        exchange(watched / "a", watched / "b")
        running.settle()

        assert sorted(moves(running)) == [("updated", b"a", None), ("updated", b"b", None)]

    def test_a_rotation_is_a_move_of_each_and_a_new_file(self, start, watched):
        for name in ("log", "log.1"):
            (watched / name).write_text(name)
        running = start()

        (watched / "log.1").rename(watched / "log.2")
        (watched / "log").rename(watched / "log.1")
        (watched / "log").write_text("new")
        running.settle()

        assert moves(running) == [
            ("moved", b"log.2", b"log.1"),
            ("moved", b"log.1", b"log"),
            ("created", b"log", None),
        ]

    def test_a_backup_that_is_removed_after_the_new_file_was_written_is_one_update(self, start, watched):
        (watched / "file").write_text("before")
        running = start()

        (watched / "file").rename(watched / "file~")
        (watched / "file").write_text("after")
        (watched / "file~").unlink()
        running.settle()

        assert moves(running) == [("updated", b"file", None)]

    def test_symbolic_links_and_fifos_are_moved_as_files_are(self, start, watched):
        (watched / "link").symlink_to("target")
        os.mkfifo(watched / "pipe")
        running = start()

        (watched / "link").rename(watched / "new-link")
        (watched / "pipe").rename(watched / "new-pipe")
        running.settle()

        assert sorted(moves(running)) == [("moved", b"new-link", b"link"), ("moved", b"new-pipe", b"pipe")]

    def test_out_of_what_is_watched_is_deleted_and_into_it_created(self, start, watched, tmp_path):
        (watched / "out").write_text("text")
        (tmp_path / "outside").write_text("text")
        running = start()

        (watched / "out").rename(tmp_path / "away")
        (tmp_path / "outside").rename(watched / "in")
        running.settle()

        assert sorted(moves(running)) == [("created", b"in", None), ("deleted", b"out", None)]

    def test_to_and_from_an_excluded_name_is_deleted_and_created(self, start, watched):
        (watched / "a").write_text("text")
        (watched / "b.tmp").write_text("text")
        running = start({"exclude": (r"\.tmp$",)})

        (watched / "a").rename(watched / "a.tmp")
        (watched / "b.tmp").rename(watched / "b")
        running.settle()

        assert sorted(moves(running)) == [("created", b"b", None), ("deleted", b"a", None)]

    def test_into_a_directory_that_is_made_just_before_is_right_in_the_end(self, start, watched):
        (watched / "file").write_text("text")
        running = start()

        (watched / "d" / "e").mkdir(parents=True)
        (watched / "file").rename(watched / "d" / "e" / "file")
        running.settle()

        assert running.watch.baseline.known(b"file") is None
        assert running.watch.baseline.known(b"d/e/file").hashes

    def test_the_content_is_verified_by_the_next_start_if_the_watcher_dies_before(self, start, watched):
        (watched / "old").write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "old").write_text("after!")
        os.utime(watched / "old", ns=(10**18, 10**18))
        (watched / "old").rename(watched / "new")
        running.turn_until(lambda: running.told)
        running.forget_all()
        running.watcher._turn(0)

        running = start()

        assert moves(running) == [("updated", b"new", None)]

    def test_a_listing_before_the_hint_is_read_tells_of_one_move(self, start, watched):
        (watched / "old").write_text("text")
        running = start()

        (watched / "old").rename(watched / "new")
        running.watcher._walker.list_later(b"", Visit(is_turn=True))
        running.watcher._work(at_once=False)
        running.settle()

        assert moves(running) == [("moved", b"new", b"old")]


class TestDirectories:
    def test_a_renamed_directory_is_one_move_and_what_is_in_it_is_silent(self, start, watched):
        (watched / "a" / "b").mkdir(parents=True)
        for number in range(50):
            (watched / "a" / "b" / f"f{number}").write_text("text")
        running = start()
        hashed = running.life.counters.get("hash_jobs_submitted_total")

        (watched / "a").rename(watched / "z")
        running.settle()

        assert moves(running) == [("moved", b"z", b"a")]
        assert running.life.counters.get("hash_jobs_submitted_total") == hashed
        assert running.watch.baseline.known(b"z/b/f49").hashes
        assert [*running.watch.baseline.known_beneath(b"a")] == []

    def test_what_changes_in_it_afterwards_is_told_under_its_new_name(self, start, watched):
        (watched / "a" / "b").mkdir(parents=True)
        (watched / "a" / "b" / "file").write_text("text")
        running = start()
        (watched / "a").rename(watched / "z")
        running.settle()
        running.forget_all()

        (watched / "z" / "b" / "file").write_text("other")
        (watched / "z" / "b" / "new").write_text("new")
        running.settle()

        paths = [(change.action, change.path.removeprefix(os.fsencode(watched))) for change in running.changes]
        assert sorted(paths) == [("created", b"/z/b/new"), ("updated", b"/z/b/file")]

    def test_what_changed_in_it_just_before_is_told_as_well(self, start, watched):
        (watched / "a").mkdir()
        for name in ("content", "gone"):
            (watched / "a" / name).write_text("before")
        running = start()

        (watched / "a" / "content").write_text("after!")
        (watched / "a" / "gone").unlink()
        (watched / "a" / "new").write_text("text")
        (watched / "a").rename(watched / "z")
        running.settle()

        assert running.told[0] == ("moved", "z")
        assert sorted(running.told[1:]) == [("created", "new"), ("deleted", "gone"), ("updated", "content")]

    def test_a_file_at_a_hasher_is_told_under_its_new_name(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "a" / "file").write_text("after!")
        running.turn_until(lambda: running.in_hand)

        (watched / "a").rename(watched / "z")
        running.turn_until(lambda: running.told)
        running.resume_hasher()
        running.settle()

        paths = [(change.action, change.path.removeprefix(os.fsencode(watched))) for change in running.changes]
        assert paths == [("moved", b"/z"), ("updated", b"/z/file")]

    def test_a_file_at_a_hasher_is_deleted_when_another_directory_takes_the_place_of_its_own(self, start, watched):
        for name in ("d", "e"):
            (watched / name).mkdir()
            (watched / name / f"{name}f").write_text(name)
        running = start()
        running.hold_hasher()
        (watched / "d" / "df").write_text("other")
        running.turn_until(lambda: running.in_hand)

        (watched / "d" / "df").unlink()
        (watched / "d").rmdir()
        (watched / "e").rename(watched / "d")
        running.turn_until(lambda: ("updated", "d") in running.told)
        running.resume_hasher()
        running.settle()

        assert ("deleted", "df") in running.told
        assert running.watch.baseline.known(b"d/df") is None
        assert running.watch.baseline.known(b"d/ef").hashes

    def test_an_answer_under_the_old_name_is_not_believed(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("before")
        running = start()
        with running.answers_held():
            (watched / "a" / "file").write_text("after!")
            running.turn_until(lambda: running.answers)
            (watched / "a").rename(watched / "z")
            (watched / "a").mkdir()
            (watched / "a" / "file").write_text("quite another")
            running.turn_until(lambda: running.told)
        running.settle()

        known = running.watch.baseline.known
        assert known(b"z/file").inode == (watched / "z" / "file").stat().st_ino
        assert known(b"a/file").inode == (watched / "a" / "file").stat().st_ino
        assert ("moved", b"z", b"a") in moves(running)

    def test_moved_twice_it_is_one_move(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("text")
        running = start()

        (watched / "a").rename(watched / "b")
        (watched / "b").rename(watched / "c")
        running.settle()

        assert moves(running) == [("moved", b"c", b"a")]

    def test_moved_out_and_back_it_is_watched_as_before(self, start, watched, tmp_path):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("text")
        running = start()

        (watched / "a").rename(tmp_path / "away")
        (tmp_path / "away").rename(watched / "a")
        running.settle()
        running.forget_all()
        (watched / "a" / "file").write_text("other")
        running.settle()

        assert moves(running) == [("updated", b"file", None)]

    def test_moved_into_another_that_is_moved_itself(self, start, watched):
        (watched / "a").mkdir()
        (watched / "b").mkdir()
        (watched / "a" / "file").write_text("text")
        running = start()

        (watched / "a").rename(watched / "b" / "a")
        (watched / "b").rename(watched / "c")
        running.settle()

        assert moves(running) == [("moved", b"a", b"a"), ("moved", b"c", b"b")]
        assert running.watch.baseline.known(b"c/a/file").hashes

    def test_moved_while_it_is_listed_for_the_first_time_nothing_in_it_is_told(self, start, watched, monkeypatch):
        (watched / "a" / "b").mkdir(parents=True)
        for number in range(30):
            (watched / "a" / "b" / f"f{number}").write_text("text")
        monkeypatch.setattr(walk, "SLICE_SECONDS", 0.0)
        monkeypatch.setattr(walk, "MOST_UNBROKEN", 0)
        running = start(is_settled=False)
        running.turn_until(lambda: running.in_hand)

        (watched / "a").rename(watched / "z")
        running.settle()

        assert set(running.told) <= {("moved", "z")}
        assert all(running.watch.baseline.known(b"z/b/f%d" % number).hashes for number in range(30))
        assert [*running.watch.baseline.known_beneath(b"a")] == []

    def test_one_with_a_new_name_that_is_excluded_is_deleted_with_its_content(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("text")
        running = start({"exclude": ("/secret$",)})

        (watched / "a").rename(watched / "secret")
        running.settle()
        (watched / "secret" / "file").write_text("other")
        running.settle()

        assert running.told == [("deleted", "file"), ("deleted", "a")]

    def test_of_one_that_is_not_included_itself_each_path_is_moved(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "x.conf").write_text("text")
        running = start({"include": (r"\.conf$",)})

        (watched / "a").rename(watched / "b")
        running.settle()

        assert moves(running) == [("moved", b"x.conf", b"x.conf")]

    def test_of_one_that_holds_nothing_but_directories_that_are_not_included_each_path_is_moved(self, start, watched):
        (watched / "d" / "inner").mkdir(parents=True)
        (watched / "d" / "inner" / "a.conf").write_text("text")
        running = start({"include": (r"\.conf$",)})

        (watched / "d").rename(watched / "e")
        running.settle()

        assert running.told == [("moved", "a.conf")]

    def test_out_of_what_is_watched_all_that_lay_deep_in_one_that_is_not_included_is_deleted(
        self, start, watched, tmp_path
    ):
        (watched / "d" / "inner").mkdir(parents=True)
        (watched / "d" / "inner" / "a.conf").write_text("text")
        running = start({"include": (r"\.conf$",)})

        (watched / "d").rename(tmp_path / "outside")
        running.settle()

        assert running.told == [("deleted", "a.conf")]

    def test_a_directory_in_one_that_is_not_included_takes_its_content_along(self, start, watched):
        (watched / "a" / "s" / "in").mkdir(parents=True)
        (watched / "a" / "s" / "in" / "file").write_text("text")
        running = start({"include": ("/s(/|$)",)})

        (watched / "a").rename(watched / "b")
        running.settle()

        assert moves(running) == [("moved", b"s", b"s")]
        assert running.watch.baseline.known(b"b/s/in/file").hashes
        assert running.watch.baseline.known(b"a/s/in/file") is None

    def test_what_is_not_reported_under_its_new_path_is_deleted(self, start, watched):
        (watched / "a").mkdir()
        for name in ("keep", "drop"):
            (watched / "a" / name).write_text("text")
        running = start({"exclude": ("/b/drop$", "/a/none$")})

        (watched / "a").rename(watched / "b")
        running.settle()

        assert moves(running) == [("deleted", b"drop", None), ("moved", b"b", b"a")]
        assert running.watch.baseline.known(b"b/keep").hashes

    def test_where_more_must_be_told_by_itself_than_in_one_transaction_it_is_deleted_and_created(
        self, start, watched, monkeypatch
    ):
        monkeypatch.setattr(directory_moves, "MOST_TOLD", 2)
        (watched / "a" / "inner").mkdir(parents=True)
        for name in ("1.conf", "inner/2.conf", "inner/3.conf"):
            (watched / "a" / name).write_text(name)
        running = start({"include": (r"\.conf$",)})

        (watched / "a").rename(watched / "b")
        running.settle()

        names = ("1.conf", "2.conf", "3.conf")
        assert sorted(running.told) == [(action, name) for action in ("created", "deleted") for name in names]
        assert sorted(running.watch.baseline.known_beneath(b"")) == [b"b/1.conf", b"b/inner/2.conf", b"b/inner/3.conf"]

    def test_what_a_hasher_has_of_it_then_is_created_as_well(self, start, watched, monkeypatch):
        monkeypatch.setattr(directory_moves, "MOST_TOLD", 1)
        (watched / "a").mkdir()
        for name in ("1.conf", "2.conf"):
            (watched / "a" / name).write_text(name)
        running = start({"include": (r"\.conf$",)})
        running.hold_hasher()
        (watched / "a" / "1.conf").write_text("another")
        running.turn_until(lambda: running.in_hand)

        (watched / "a").rename(watched / "b")
        running.turn_until(lambda: ("deleted", "2.conf") in running.told)
        running.resume_hasher()
        running.settle()

        assert sorted(running.told) == [
            ("created", "1.conf"), ("created", "2.conf"), ("deleted", "1.conf"), ("deleted", "2.conf")
        ]  # fmt: skip

    def test_a_directory_that_takes_very_much_along_is_one_move(self, start, watched, monkeypatch):
        monkeypatch.setattr(directory_moves, "MOST_TOLD", 1)
        (watched / "a" / "s" / "in").mkdir(parents=True)
        for name in ("1", "2"):
            (watched / "a" / "s" / "in" / name).write_text(name)
        running = start({"include": ("/s(/|$)",)})

        (watched / "a").rename(watched / "b")
        running.settle()

        assert moves(running) == [("moved", b"s", b"s")]

    def test_where_very_much_was_in_the_one_whose_place_it_takes_each_is_told_by_itself(
        self, start, watched, monkeypatch
    ):
        monkeypatch.setattr(directory_moves, "MOST_TOLD", 1)
        for path in ("a", "b"):
            (watched / path).mkdir()
            for number in (1, 2):
                (watched / path / f"{path}{number}").write_text(path)
        running = start()

        for number in (1, 2):
            (watched / "b" / f"b{number}").unlink()
        (watched / "a").rename(watched / "b")
        running.settle()

        assert sorted(running.told) == [
            ("created", "a1"), ("created", "a2"), ("deleted", "a"), ("deleted", "a1"), ("deleted", "a2"),
            ("deleted", "b1"), ("deleted", "b2"), ("updated", "b"),
        ]  # fmt: skip
        assert sorted(running.watch.baseline.known_beneath(b"")) == [b"b", b"b/a1", b"b/a2"]

    def test_two_that_change_places_are_two_updates_with_each_other_s_name(self, start, watched, exchange):
        for name in ("a", "b"):
            (watched / name / "in").mkdir(parents=True)
            (watched / name / "in" / name).write_text(name)
        running = start()
        hashed = running.life.counters.get("hash_jobs_submitted_total")

        exchange(watched / "a", watched / "b")
        running.settle()

        assert sorted(moves(running)) == [("updated", b"a", b"b"), ("updated", b"b", b"a")]
        assert running.life.counters.get("hash_jobs_submitted_total") == hashed
        assert sorted(running.watch.baseline.known_beneath(b"")) == [b"a", b"a/in", b"a/in/b", b"b", b"b/in", b"b/in/a"]

    def test_what_changes_in_two_that_have_changed_places_is_told_under_its_new_name(self, start, watched, exchange):
        for name in ("a", "b"):
            (watched / name).mkdir()
            (watched / name / name).write_text(name)
        running = start()

        (watched / "a" / "a").write_text("before")
        exchange(watched / "a", watched / "b")
        running.settle()
        (watched / "a" / "b").write_text("after")
        running.settle()

        assert running.told[2:] == [("updated", "a"), ("updated", "b")]
        known = running.watch.baseline.known
        assert [known(b"a/a"), known(b"b/b")] == [None, None]
        assert [known(b"b/a").size, known(b"a/b").size] == [6, 5]

    def test_of_two_that_change_places_and_are_looked_at_before_the_hint_nothing_wrong_is_told(
        self, start, watched, exchange
    ):
        for name in ("a", "b"):
            (watched / name).mkdir()
            (watched / name / f"in-{name}").write_text(name)
        running = start()

        exchange(watched / "a", watched / "b")
        with running.watch.baseline.transaction():
            running.watcher._examiner.examine(DirtyPath(b"a", is_new=False, detected_by="event"))
        running.settle()

        inodes = {name: (watched / os.fsdecode(name)).stat().st_ino for name in (b"a", b"b")}
        assert {name: running.watch.baseline.known(name).inode for name in inodes} == inodes
        told = {os.path.basename(change.path): change.after.inode for change in running.changes if change.after}
        assert {name: told[name] for name in inodes} == inodes
        assert sorted(running.watch.baseline.known_beneath(b"")) == [b"a", b"a/in-b", b"b", b"b/in-a"]

    def test_two_that_change_places_twice_have_not_changed(self, start, watched, exchange):
        for name in ("a", "b"):
            (watched / name).mkdir()
            (watched / name / name).write_text(name)
        running = start()

        exchange(watched / "a", watched / "b")
        exchange(watched / "a", watched / "b")
        running.settle()

        assert running.told == []

    def test_a_file_at_a_hasher_is_told_where_it_is_after_its_directory_has_changed_places(
        self, start, watched, exchange
    ):
        for name in ("a", "b"):
            (watched / name).mkdir()
            (watched / name / "file").write_text(name)
        running = start()
        running.hold_hasher()
        (watched / "a" / "file").write_text("after!")
        running.turn_until(lambda: running.in_hand)

        exchange(watched / "a", watched / "b")
        running.turn_until(lambda: len(running.told) == 2)
        running.resume_hasher()
        running.settle()

        assert [change.path for change in running.changes[2:]] == [os.fsencode(watched / "b" / "file")]
        assert running.watch.baseline.known(b"b/file").size == 6
        assert running.watch.baseline.known(b"a/file").size == 1

    def test_one_that_takes_the_place_of_an_empty_one_is_one_update_with_its_old_name(self, start, watched):
        (watched / "a" / "in").mkdir(parents=True)
        (watched / "a" / "in" / "file").write_text("text")
        (watched / "b").mkdir()
        running = start()

        (watched / "a").rename(watched / "b")
        running.settle()

        assert moves(running) == [("updated", b"b", b"a")]
        assert sorted(running.watch.baseline.known_beneath(b"")) == [b"b", b"b/in", b"b/in/file"]

    def test_of_what_was_in_the_one_whose_place_it_takes_each_is_deleted_before(self, start, watched):
        for name in ("a", "b"):
            (watched / name).mkdir()
            (watched / name / name).write_text(name)
        running = start()

        (watched / "b" / "b").unlink()
        (watched / "a").rename(watched / "b")
        running.settle()

        assert moves(running) == [("deleted", b"b", None), ("updated", b"b", b"a")]
        assert sorted(running.watch.baseline.known_beneath(b"")) == [b"b", b"b/a"]

    def test_one_whose_move_could_not_be_stored_is_moved_later(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("text")
        running = start()

        with running.storage_failing():
            (watched / "a").rename(watched / "b")
            running.lose_transaction()
        running.settle()

        assert moves(running) == [("moved", b"b", b"a")]

    def test_a_move_while_the_outbox_is_full_is_told_when_there_is_room(self, start, watched):
        (watched / "a").mkdir()
        (watched / "a" / "file").write_text("text")
        running = start()
        running.watch.baseline._max_outbox_entries = 0

        (watched / "a").rename(watched / "b")
        running.turn_until(lambda: running.watcher._walker.moves)
        running.watch.baseline._max_outbox_entries = 100
        running.settle()

        assert moves(running) == [("moved", b"b", b"a")]
