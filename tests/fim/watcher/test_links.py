"""Files with several names."""

import os

from auditline.workers.fim import links
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

    assert ("created", "other") in running.told
    assert {action for action, _ in running.told} <= {"created", "attributes_modified"}


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
