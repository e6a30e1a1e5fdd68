"""Files with several names."""

import os
import shutil

import pytest

from auditline.workers.fim import link_search, links
from auditline.workers.fim.links import Links


def test_a_file_with_many_names_is_hashed_once(start, watched):
    """Pitfall 13."""
    (watched / "f0").write_text("text")
    for number in range(1, 100):
        os.link(watched / "f0", watched / f"f{number}")

    running = start()

    assert running.life.counters.get("hash_jobs_submitted_total") == 1
    states = [running.watch.baseline.known(b"f%d" % number) for number in range(100)]
    assert len({state.hashes for state in states}) == 1
    assert all(state.hashes and state.links == 100 for state in states)


def test_one_whose_names_are_all_touched_is_hashed_once(start, watched):
    """Pitfall 13."""
    (watched / "f0").write_text("before")
    for number in range(1, 100):
        os.link(watched / "f0", watched / f"f{number}")
    running = start()

    for number in range(100):
        (watched / f"f{number}").write_text("after!")
    running.settle()

    # Half of the names may have waited for long enough when the last one is told.
    assert running.life.counters.get("hash_jobs_submitted_total") <= 5
    assert sorted(running.told) == sorted(("updated", f"f{number}") for number in range(100))
    assert len({running.watch.baseline.known(b"f%d" % number).hashes for number in range(100)}) == 1


def test_a_write_while_another_name_is_at_a_hasher_is_looked_at_by_itself(start, watched):
    (watched / "one").write_text("before")
    os.link(watched / "one", watched / "two")
    running = start()
    running.hold_hasher()
    (watched / "one").write_text("after!")
    running.turn_until(lambda: running.in_hand)

    (watched / "two").write_text("at last")
    os.utime(watched / "two", ns=(10**18, 10**18))
    running.turn_until(lambda: not running.watch.dirty)
    running.resume_hasher()
    running.settle()

    assert running.watch.baseline.known(b"one").hashes == running.watch.baseline.known(b"two").hashes
    assert {running.watch.baseline.known(name).size for name in (b"one", b"two")} == {7}


def test_a_write_through_one_name_is_told_of_all(start, watched):
    for directory in ("a", "b"):
        (watched / directory).mkdir()
    (watched / "a" / "one").write_text("before")
    os.link(watched / "a" / "one", watched / "b" / "two")
    running = start()

    (watched / "a" / "one").write_text("after!")
    running.settle()

    assert sorted(running.told) == [("updated", "one"), ("updated", "two")]


def test_a_write_through_a_name_outside_is_told(start, watched, tmp_path):
    (watched / "file").write_text("before")
    os.link(watched / "file", tmp_path / "outside")
    running = start()

    (tmp_path / "outside").write_text("after!")
    running.settle()

    assert running.told == [("updated", "file")]


def test_the_other_names_have_fewer_links_when_one_is_removed(start, watched):
    (watched / "one").write_text("text")
    os.link(watched / "one", watched / "two")
    running = start()

    (watched / "one").unlink()
    running.settle()

    assert sorted(running.told) == [("attributes_modified", "two"), ("deleted", "one")]
    assert running.watch.baseline.known(b"two").links == 1


def test_one_that_changes_while_it_is_hashed_under_another_name_is_right_in_the_end(start, watched):
    (watched / "one").write_text("before")
    os.link(watched / "one", watched / "two")
    running = start(is_settled=False)
    with running.answers_held():
        running.turn_until(lambda: running.answers)
        (watched / "two").write_text("after!")
    running.settle()

    one, two = running.watch.baseline.known(b"one"), running.watch.baseline.known(b"two")
    assert one.hashes == two.hashes
    assert one.mtime_ns == two.mtime_ns == (watched / "one").stat().st_mtime_ns


def test_a_name_that_waits_for_the_answer_about_a_removed_one_is_looked_at_by_itself(start, watched):
    (watched / "one").write_text("text")
    os.link(watched / "one", watched / "two")
    running = start(is_settled=False)
    running.hold_hasher()
    running.turn_until(lambda: running.in_hand == 2)
    (watched / "one").unlink()
    (watched / "one").write_text("quite another")
    running.resume_hasher()
    running.settle()

    known = running.watch.baseline.known
    assert known(b"one").inode == (watched / "one").stat().st_ino
    assert known(b"two").inode == (watched / "two").stat().st_ino
    assert known(b"two").hashes


def test_names_that_have_gone_are_forgotten(start, watched):
    (watched / "file").write_text("text")
    running = start()

    for number in range(20):
        os.link(watched / "file", watched / f"f{number}")
        running.settle()
        (watched / f"f{number}").unlink()
        running.settle()

    assert len(running.watcher._examiner.links) <= 2


def test_another_name_for_a_known_file_is_created(start, watched):
    (watched / "file").write_text("text")
    running = start()

    os.link(watched / "file", watched / "other")
    running.settle()

    assert sorted(running.told) == [("attributes_modified", "file"), ("created", "other")]


def test_names_in_renamed_directories_are_followed(start, watched):
    (watched / "file").write_text("text")
    (watched / "d0").mkdir()
    os.link(watched / "file", watched / "d0" / "other")
    running = start()

    for number in range(5):
        (watched / f"d{number}").rename(watched / f"d{number + 1}")
        running.settle()

    names = running.watcher._examiner.links
    assert len(names) == 2
    assert names.others(b"file", running.watch.baseline.known(b"file")) == [b"d5/other"]


def test_names_in_directories_that_are_gone_are_forgotten(start, watched, tmp_path):
    (watched / "file").write_text("text")
    for number in range(5):
        (watched / f"d{number}").mkdir()
        os.link(watched / "file", watched / f"d{number}" / "other")
    running = start()

    for number in range(5):
        (watched / f"d{number}").rename(tmp_path / f"d{number}")
    running.settle()

    assert len(running.watcher._examiner.links) == 1


def test_that_no_more_names_are_remembered_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(links, "MOST_NAMES", 2)
    names, status = Links(), tmp_path.stat()

    are_new = [names.note(b"f%d" % number, status) for number in range(5)]

    assert are_new == [True, True, False, False, False]
    assert [record.getMessage()[:20] for record in caplog.records] == ["more than 2 names of"]


def test_a_name_that_waits_for_the_answer_about_one_that_is_dropped_is_looked_at_by_itself(start, watched):
    for directory in ("a", "b"):
        (watched / directory).mkdir()
    (watched / "a" / "file").write_text("text")
    os.link(watched / "a" / "file", watched / "b" / "file")
    running = start(is_settled=False)
    running.hold_hasher()
    running.turn_until(lambda: running.in_hand == 2)
    reader = next(iter(running.watcher._examiner.links._waiting))

    running.watcher._walker.drop(os.path.dirname(reader))
    running.resume_hasher()
    running.settle()

    [other] = {b"a/file", b"b/file"} - {reader}
    assert running.watch.baseline.known(other).hashes


def test_an_answer_about_one_name_is_none_for_another_that_was_dropped(tmp_path):
    names, status = Links(), tmp_path.stat()

    are_waiting = [names.wait(path, status) for path in (b"a", b"b/file")]
    left = names.drop({b"b", b"b/file"})

    assert are_waiting == [False, True]
    assert left == []
    assert names.answered(b"a", None) == ([], False)


@pytest.mark.parametrize("backend", ["fanotify", "inotify", "poll"])
def test_what_happens_under_a_new_name_is_told_of_the_known_one(start, watched, backend):
    (watched / "passwd").write_text("root")
    (watched / "d").mkdir()
    running = start({"backend": backend}, poll_seconds=0.1)
    os.link(watched / "passwd", watched / "d" / "x")
    running.turn_until(lambda: ("attributes_modified", "passwd") in running.told)
    running.settle().forget_all()

    (watched / "d" / "x").write_text("evil!")
    (watched / "d" / "x").chmod(0o4777)
    running.turn_until(lambda: len({name for _, name in running.told}) == 2)
    running.settle()

    passwd, other = (running.watch.baseline.known(path) for path in (b"passwd", b"d/x"))
    assert passwd._replace(checked_ns=0) == other._replace(checked_ns=0)
    assert (passwd.links, passwd.mode & 0o7777) == (2, 0o4777)


def test_other_names_of_many_files_are_searched_for_together_and_in_slices(start, watched, monkeypatch):
    monkeypatch.setattr(link_search, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(link_search, "MOST_DIRTY", 5)
    (watched / "a").mkdir()
    for number in range(20):
        (watched / "a" / f"f{number}").write_text("text")
    running = start(debounce_seconds=0.2, max_delay_seconds=0.2)

    shutil.copytree(watched / "a", watched / "b", copy_function=os.link)
    running.settle()

    states = [running.watch.baseline.known(b"%s/f%d" % (name, n)) for name in (b"a", b"b") for n in range(20)]
    assert all(state.links == 2 for state in states)


def test_when_more_is_wanted_than_is_searched_for_everything_is_compared(start, watched, monkeypatch):
    monkeypatch.setattr(link_search, "MOST_WANTED", 3)
    (watched / "a").mkdir()
    for number in range(10):
        (watched / "a" / f"f{number}").write_text("text")
    running = start()

    shutil.copytree(watched / "a", watched / "b", copy_function=os.link)
    running.settle()

    assert all(running.watch.baseline.known(b"a/f%d" % number).links == 2 for number in range(10))
    assert not running.watcher._examiner.link_search.must_compare


def test_after_a_search_it_rests_for_longer_than_that_took(start, watched, tmp_path):
    (tmp_path / "outside").write_text("text")
    running = start()
    search = running.watcher._examiner.link_search
    search._spent_seconds = 1.0

    os.link(tmp_path / "outside", watched / "file")
    running.turn_until(lambda: search._spent_seconds == 0.0)
    search.want((watched / "file").stat(), in_scan=False)

    assert 5 < search.seconds_until_due < 20
