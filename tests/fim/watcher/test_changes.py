"""What a watcher tells of changes that it sees happen."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest


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

    def test_a_directory_is_told_before_what_is_in_it_though_its_own_turn_comes_later(self, start, watched):
        running = start(debounce_seconds=0.5, max_delay_seconds=2.0)

        (watched / "a" / "b").mkdir(parents=True)
        (watched / "a" / "b" / "file").write_text("text")
        running.settle()

        assert running.told == [("created", "a"), ("created", "b"), ("created", "file")]

    def test_what_is_found_in_a_directory_that_is_renamed_meanwhile_is_known_under_its_new_name(self, start, watched):
        running = start(debounce_seconds=0.5, max_delay_seconds=2.0)

        (watched / "a" / "b" / "c").mkdir(parents=True)
        running.turn_until(lambda: running.told)
        (watched / "a" / "b").rename(watched / "z")
        running.settle()

        assert sorted(running.watch.baseline.known_beneath(b"")) == [b"a", b"z", b"z/c"]
        assert running.told == [("created", "a"), ("created", "b"), ("created", "c"), ("moved", "z")]

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
