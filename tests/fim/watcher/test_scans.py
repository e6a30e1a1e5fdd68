"""Comparisons of the whole tree: the first walk, restarts, lost events, other configurations."""

import os
import shutil

import pytest

from auditline.workers.fim import walk
from auditline.workers.fim.listing import Listing
from auditline.workers.fim.visit import Visit


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

        assert running.told == [("created", "new")]

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

    def test_a_directory_made_while_it_goes_on_is_created_with_its_content(self, start, watched):
        for number in range(50):
            (watched / f"d{number}").mkdir()
        running = start(is_settled=False)
        running.watcher._turn(0)

        (watched / "new" / "sub").mkdir(parents=True)
        (watched / "new" / "file").write_text("text")
        (watched / "new" / "sub" / "inner").write_text("text")
        running.settle()

        assert sorted(running.told) == [
            ("created", "file"),
            ("created", "inner"),
            ("created", "new"),
            ("created", "sub"),
        ]

    def test_a_file_made_between_the_watch_and_the_listing_is_created(self, start, watched, monkeypatch):
        (watched / "d").mkdir()
        running = start(is_settled=False)
        watch = running.watch.backend.watch

        def watch_and_make(relative: bytes, descriptor: int) -> bool:
            is_watched: bool = watch(relative, descriptor)
            (watched / os.fsdecode(relative) / "new").touch()
            return is_watched

        monkeypatch.setattr(running.watch.backend, "watch", watch_and_make)
        running.hold_hasher()
        running.turn_until(lambda: running.in_hand == 2 and not running.watch.dirty)
        running.resume_hasher()
        running.settle()

        assert running.told == [("created", "new"), ("created", "new")]

    def test_events_lost_while_it_goes_on_are_told(self, start, watched, flood):
        for name in ("a", "b"):
            (watched / name).write_text("text")
        running = start(is_settled=False)
        running.hold_hasher()
        running.turn_until(lambda: running.in_hand == 2)

        flood(watched / "a", watched / "b")
        running.turn_until(lambda: running.life.counters.get("hint_overflows_total"))
        running.resume_hasher()
        running.settle()

        assert sorted(running.reasons) == ["first_walk", "overflow"]
        assert running.told == []

    def test_a_file_that_is_made_just_before_its_directory_is_listed_is_created(self, start, watched, monkeypatch):
        running = start(is_settled=False)
        watch = running.watch.backend.watch

        def watch_and_make(relative: bytes, descriptor: int) -> bool:
            is_watched: bool = watch(relative, descriptor)
            (watched / os.fsdecode(relative) / "new").touch()
            return is_watched

        monkeypatch.setattr(running.watch.backend, "watch", watch_and_make)
        running.settle()

        assert running.told == [("created", "new")]


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

    @pytest.mark.parametrize("include", [(), (r"\.conf$",)])
    def test_a_directory_removed_meanwhile_is_deleted_with_its_content(self, start, watched, include):
        (watched / "d" / "e").mkdir(parents=True)
        (watched / "d" / "e" / "x.conf").write_text("text")
        start({"include": include}).forget_all()

        shutil.rmtree(watched / "d")
        running = start({"include": include})

        assert ("deleted", "x.conf") in running.told
        assert list(running.watch.baseline.known_beneath(b"d")) == []

    @pytest.mark.parametrize("include", [(), (r"\.conf$",)])
    def test_a_directory_replaced_by_a_file_meanwhile_has_its_content_deleted(self, start, watched, include):
        (watched / "d").mkdir()
        (watched / "d" / "x.conf").write_text("text")
        start({"include": include}).forget_all()

        shutil.rmtree(watched / "d")
        (watched / "d").write_text("text")
        running = start({"include": include})

        assert ("deleted", "x.conf") in running.told
        assert list(running.watch.baseline.known_beneath(b"d")) == []

    def test_a_kill_after_a_directory_was_told_deleted_loses_no_file_that_was_in_it(self, start, watched):
        (watched / "d").mkdir()
        for name in ("f", "g"):
            (watched / "d" / name).write_text("before")
        running = start()
        running.hold_hasher()
        (watched / "d" / "f").write_text("after")
        running.turn_until(lambda: running.in_hand)
        shutil.rmtree(watched / "d")
        running.turn_until(lambda: ("deleted", "d") in running.told)

        running = start()

        assert sorted(running.told) == [("deleted", "d"), ("deleted", "f"), ("deleted", "g")]

    def test_a_file_that_could_not_be_read_is_tried_again(self, start, watched, bound_by_rights):
        (watched / "file").write_text("text")
        (watched / "file").chmod(0)
        with bound_by_rights():
            unread = start().watch.baseline.known(b"file")

        read = start().watch.baseline.known(b"file")

        assert (unread.hash_state, unread.hashes) == ("forbidden", b"")
        assert read.hashes


class TestIncludePatterns:
    def test_the_content_of_a_directory_that_is_not_included_itself_is_deleted_with_it(self, start, watched, tmp_path):
        (watched / "d").mkdir()
        (watched / "d" / "x.conf").write_text("text")
        running = start({"include": (r"\.conf$",)})

        (watched / "d").rename(tmp_path / "away")
        (watched / "d").write_text("text")
        running.settle()

        assert running.told == [("deleted", "x.conf")]

    def test_it_is_deleted_also_where_another_root_is_in_place(self, start, watched, tmp_path):
        (watched / "d").mkdir()
        (watched / "d" / "x.conf").write_text("text")
        running = start({"include": (r"\.conf$",)})

        watched.rename(tmp_path / "before")
        watched.mkdir()
        running.turn_until(lambda: "replaced" in running.reasons)
        running.settle()

        assert running.told == [("deleted", "x.conf")]


class TestOtherConfiguration:
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

    @pytest.mark.parametrize("plan", [{"exclude": ("/d$",)}, {"recursive": False}], ids=["exclude", "recursive"])
    def test_what_is_watched_by_it_for_the_first_time_is_not_created(self, start, watched, plan):
        (watched / "d").mkdir()
        (watched / "d" / "file").write_text("text")
        start(plan).forget_all()

        running = start()

        assert running.told == []
        assert running.watch.baseline.known(b"d/file").hashes

    def test_what_another_watch_does_not_see_to_any_more_is_not_created(self, start, watched):
        (watched / "d").mkdir()
        (watched / "d" / "file").write_text("text")
        start({"inner": ((os.fsencode(watched / "d"), True),)}).forget_all()

        running = start()

        assert running.told == []
        assert running.watch.baseline.known(b"d/file").hashes

    def test_what_is_made_after_it_is_created(self, start, watched):
        (watched / "d").mkdir()
        start({"exclude": ("/d$",)}).forget_all()
        running = start()

        (watched / "d" / "file").write_text("text")
        running.settle()

        assert running.told == [("created", "file")]

    def test_files_that_are_not_too_large_any_more_are_hashed(self, start, watched):
        (watched / "file").write_text("0123456789")
        start(max_file_bytes=5).forget_all()

        running = start(max_file_bytes=100)

        assert running.watch.baseline.known(b"file").hashes


class TestLostEvents:
    def test_they_lead_to_one_comparison(self, start, watched, flood):
        for name in ("a", "b"):
            (watched / name).write_text("before")
        running = start()

        flood(watched / "a", watched / "b")
        (watched / "a").write_text("after")
        (watched / "new").write_text("text")
        running.turn_until(lambda: running.life.counters.get("hint_overflows_total"))
        running.settle()

        assert sorted(running.told) == [("created", "new"), ("updated", "a")]
        assert running.reasons == ["first_walk", "overflow"]

    def test_a_kill_before_the_comparison_has_ended_leaves_them_to_the_next_start(self, start, watched, flood):
        for name in ("a", "b"):
            (watched / name).write_text("before")
        running = start()
        running.forget_all()
        running.hold_hasher()
        (watched / "a").write_text("after")
        running.turn_until(lambda: running.in_hand)
        flood(watched / "a", watched / "b")
        lost_ns = os.stat(watched / "b").st_ctime_ns
        running.turn_until(lambda: running.life.counters.get("hint_overflows_total"))
        running.turn_until(lambda: "overflow" in running.watch.baseline.note("expected scans"))

        running = start()

        told = {entry.reason: entry for entry in running.coverage}
        assert set(told) == {"overflow", "restart"}
        assert told["overflow"].start_ns <= lost_ns <= told["overflow"].end_ns
        assert told["restart"].start_ns <= lost_ns


class TestLargeDirectories:
    """Directories with more entries than are kept at once."""

    @pytest.fixture(autouse=True)
    def few_at_once(self, monkeypatch):
        monkeypatch.setattr(Listing, "most_at_once", 7)

    def test_all_that_is_in_one_is_known(self, start, watched):
        for number in range(50):
            (watched / f"f{number}").write_text("text")

        running = start()

        assert all(running.watch.baseline.known(b"f%d" % number).hashes for number in range(50))
        assert running.told == []

    @pytest.mark.parametrize("left", [50, 14, 7, 3, 0])
    def test_what_happened_meanwhile_is_found(self, start, watched, left):
        for number in range(50):
            (watched / f"f{number}").write_text("before")
        start().forget_all()
        for number in range(left, 50):
            (watched / f"f{number}").unlink()
        for number in range(left // 2):
            (watched / f"f{number}").write_text("after!")
        (watched / "new").write_text("text")

        running = start()

        assert sorted(running.told) == sorted(
            [
                ("created", "new"),
                *(("deleted", f"f{number}") for number in range(left, 50)),
                *(("updated", f"f{number}") for number in range(left // 2)),
            ]
        )

    def test_they_make_way_in_every_slice(self, start, watched, monkeypatch):
        for number in range(30):
            (watched / f"f{number}").write_text("before")
        start().forget_all()
        for number in range(10, 30):
            (watched / f"f{number}").unlink()
        monkeypatch.setattr(walk, "SLICE_SECONDS", 0.0)
        monkeypatch.setattr(walk, "MOST_UNBROKEN", 0)

        running = start()

        assert sorted(running.told) == sorted(("deleted", f"f{number}") for number in range(10, 30))


class TestSlices:
    def test_a_directory_with_many_files_makes_way_for_what_happens_now(self, start, watched, monkeypatch):
        for number in range(100):
            (watched / f"f{number}").touch()
        (watched / "d").mkdir()
        start(hashes=()).forget_all()
        monkeypatch.setattr(walk, "SLICE_SECONDS", 0.0)
        monkeypatch.setattr(walk, "MOST_UNBROKEN", 0)
        running = start(is_settled=False, hashes=())
        running.watcher._turn(0)

        (watched / "new").touch()
        running.turn_until(lambda: running.told)

        assert running.told == [("created", "new")]
        assert running.reasons == []

    def test_what_is_renamed_while_its_directory_is_listed_is_told_once(self, start, watched, monkeypatch):
        for number in range(30):
            (watched / f"f{number}").touch()
        running = start(hashes=())
        monkeypatch.setattr(walk, "SLICE_SECONDS", 0.0)
        monkeypatch.setattr(walk, "MOST_UNBROKEN", 0)
        running.watcher._walker.list_later(b"", Visit(is_turn=True))
        running.watcher._turn(0)

        for number in range(30):
            (watched / f"f{number}").rename(watched / f"g{number}")
        running.settle()

        assert sorted(running.told) == sorted(("moved", f"g{number}") for number in range(30))


def test_a_large_directory_that_is_polled_leaves_the_others_their_turns(start, watched, monkeypatch):
    monkeypatch.setattr(walk, "SLICE_SECONDS", 0)
    monkeypatch.setattr(walk, "MOST_UNBROKEN", 0)
    (watched / "large").mkdir()
    for number in range(500):
        (watched / "large" / f"{number}").touch()
    running = start({"backend": "poll"}, is_settled=False, poll_seconds=0.001, hashes=())
    # Left to itself it does not wait between two parts of a directory.
    running.turn_until(lambda: running.turns_in(0.2) and "first_walk" in running.reasons)

    (watched / "new").touch()
    running.turn_until(lambda: running.turns_in(0.2) and running.told)

    assert running.told == [("created", "new")]
