"""Large trees that go away: recorded in slices, so that nothing else has to wait."""

import shutil

import pytest

from auditline.workers.fim import examine

MOST = 20


@pytest.fixture
def running(start, watched, monkeypatch):
    """Watch a tree of more than a few transactions may tell of."""
    monkeypatch.setattr(examine, "MOST_BENEATH", MOST)
    for directory in ("a", "a/b", "c"):
        (watched / "big" / directory).mkdir(parents=True)
        for number in range(30):
            (watched / "big" / directory / f"f{number}").write_text("text")
    return start()


@pytest.fixture
def in_batches(running):
    """Return how many changes each turn has recorded until nothing is left to be done."""

    def take_turns() -> list[int]:
        counts: list[int] = []
        while not running.is_quiet or not counts:
            before = len(running.told)
            running.watcher._turn(0.02)
            counts.append(len(running.told) - before)
        return counts

    return take_turns


def test_each_transaction_tells_of_a_part_of_it(running, watched, tmp_path, in_batches):
    (watched / "big").rename(tmp_path / "elsewhere")
    running.turn_until(lambda: running.watch.dirty)
    counts = in_batches()

    assert max(counts) <= MOST + 1
    assert sorted(running.told) == sorted(
        [("deleted", f"f{number}") for number in range(30)] * 3 + [("deleted", name) for name in ("a", "b", "big", "c")]
    )


def test_what_lies_deepest_is_told_first(running, watched, tmp_path):
    (watched / "big").rename(tmp_path / "elsewhere")
    running.settle()

    paths = [change.path for change in running.changes]
    assert all(path.rpartition(b"/")[0] not in paths[:position] for position, path in enumerate(paths))


def test_a_full_outbox_stops_it_until_there_is_room(running, watched, tmp_path):
    running.watch.baseline._max_outbox_entries = 10

    (watched / "big").rename(tmp_path / "elsewhere")
    running.turn_until(lambda: running.watch.baseline.is_full)
    running.turns_in(0.2)
    told = len(running.told)
    running.watch.baseline._max_outbox_entries = 1000
    running.settle()

    assert 0 < told <= 10
    assert len(running.told) == 94


def test_what_is_made_anew_meanwhile_is_right_in_the_end(running, watched, tmp_path):
    (watched / "big").rename(tmp_path / "elsewhere")
    running.turn_until(lambda: running.told)
    (watched / "big" / "a").mkdir(parents=True)
    (watched / "big" / "a" / "f7").write_text("another")
    running.settle()

    assert list(running.watch.baseline.known_beneath(b"")) == [b"big", b"big/a", b"big/a/f7"]
    assert running.watch.baseline.known(b"big/a/f7").inode == (watched / "big" / "a" / "f7").stat().st_ino


def test_a_file_in_its_place_is_told_when_all_beneath_has_been(running, watched, tmp_path):
    (watched / "big").rename(tmp_path / "elsewhere")
    (watched / "big").write_text("text")
    running.settle()

    assert list(running.watch.baseline.known_beneath(b"")) == [b"big"]
    assert running.told[-1] in (("created", "big"), ("updated", "big"))
    assert len(running.told) == 94


def test_a_root_that_goes_away_is_told_in_slices_too(running, watched, in_batches):
    shutil.rmtree(watched)
    running.turn_until(lambda: running.told)
    counts = in_batches()

    running.turn_until(lambda: "missing" in running.reasons)
    assert max(counts) <= MOST + 1
    assert running.told.count(("deleted", "watched")) == 1
    assert len(running.told) == 95


def test_a_root_that_is_back_before_all_is_told_is_compared(running, watched, tmp_path):
    watched.rename(tmp_path / "elsewhere")
    running.turn_until(lambda: running.watch.root is None and running.told)
    (tmp_path / "elsewhere").rename(watched)
    running.settle()

    assert len(list(running.watch.baseline.known_beneath(b""))) == 94
    assert all(running.watch.baseline.known(b"big/c/f%d" % number) for number in range(30))
