"""Whole directories go elsewhere, out of sight and back: cheaply, and with what was still to be told of them."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from auditline.workers.common.file_entry import FileChange, decode_entries
from auditline.workers.common.file_state import FileState
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.shelves import MOST_SHELVES

STATE = FileState(0o100644, 0, 0, 0, 1234, 2049, 1, 3, 4, 5, 0, None, b"\x04" + bytes(32), "stable", 6)


class Interrupted(Exception):
    """Ends a transaction."""


def keep(baseline: Baseline, *paths: bytes) -> None:
    with baseline.transaction():
        for path in paths:
            baseline.keep(path, STATE)


def known(baseline: Baseline) -> list[bytes]:
    return sorted(baseline.known_beneath(b""))


def count_stored_rows(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "fim-etc.sqlite")) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM seen")
    return int(count)


def test_a_directory_moves_with_all_beneath_it_and_without_those_that_are_called_alike(open_baseline):
    baseline = open_baseline()
    keep(baseline, b"a", b"a/x", b"a/b/y", b"a/b/c/\xff", b"a.b/z", b"a0/z", b"aa/z")

    baseline.move_directory(b"a", b"new/place")

    assert known(baseline) == [
        b"a",
        b"a.b/z",
        b"a0/z",
        b"aa/z",
        b"new/place/b/c/\xff",
        b"new/place/b/y",
        b"new/place/x",
    ]
    assert dict(baseline.known_page(b"new/place/b", b"", 1000)) == {b"y": STATE}
    assert not baseline.has_directory(b"a")


def test_what_was_recorded_as_gone_at_the_new_place_is_told_unaltered_and_harms_nothing_there(open_baseline):
    baseline = open_baseline()
    keep(baseline, b"old/x", b"new/x", b"new/deep/er/y")
    gone = FileChange(action="deleted", path=b"/etc/new/x", before=STATE, after=None, detected_by="event", time_ns=1)
    with baseline.transaction():
        baseline.append(gone, b"new/x", None)
        baseline.append(gone, b"new/deep/er/y", None)
        baseline.move_directory(b"old", b"new")

    entries = decode_entries(baseline.read(1).payload)
    baseline.forget(1, b"")

    assert [entry for _, entry in entries] == [gone, gone]
    assert known(baseline) == [b"new/x"]


def test_the_root_is_shelved_without_its_own_row_and_comes_back(open_baseline):
    baseline = open_baseline()
    keep(baseline, b"", b"x", b"a/b/y", b"\x01/z")

    baseline.shelve(b"", b"8:1")
    while_away = (known(baseline), baseline.known(b""), baseline.counts().seen_rows)
    keep(baseline, b"", b"other")
    is_back = baseline.unshelve(b"", b"8:1")

    assert while_away == ([], STATE, 1)
    assert is_back
    assert known(baseline) == [b"\x01/z", b"a/b/y", b"x"]
    assert baseline.counts().seen_rows == 4


def test_two_file_systems_take_turns_at_one_place(open_baseline):
    baseline = open_baseline()
    keep(baseline, b"mnt", b"mnt/of-one")

    baseline.shelve(b"mnt", b"one")
    is_known_before = baseline.unshelve(b"mnt", b"other")
    keep(baseline, b"mnt/of-the-other")
    baseline.shelve(b"mnt", b"other")
    is_known_then = baseline.unshelve(b"mnt", b"one")

    assert (is_known_before, is_known_then) == (False, True)
    assert known(baseline) == [b"mnt", b"mnt/of-one"]


def test_a_shelf_is_there_also_with_nothing_on_it_and_only_until_it_is_taken(open_baseline):
    baseline = open_baseline()

    baseline.shelve(b"mnt", b"empty")

    assert [baseline.unshelve(b"mnt", b"empty"), baseline.unshelve(b"mnt", b"empty")] == [True, False]


def test_the_oldest_shelves_are_dropped_with_all_that_is_on_them(open_baseline, tmp_path):
    baseline = open_baseline()
    for number in range(MOST_SHELVES + 2):
        keep(baseline, b"mnt/%d" % number)
        baseline.shelve(b"mnt", b"%d" % number)

    came_back = [baseline.unshelve(b"mnt%d" % number, b"%d" % number) for number in range(MOST_SHELVES + 2)]

    assert came_back == [False, False] + [True] * MOST_SHELVES
    assert count_stored_rows(tmp_path) == len(known(baseline)) == MOST_SHELVES


def test_what_is_dropped_is_out_of_sight_at_once_and_deleted_in_parts(open_baseline, tmp_path):
    baseline = open_baseline()
    keep(baseline, *(b"mnt/%d/%d" % (number % 7, number) for number in range(5000)))
    baseline.shelve(b"mnt", b"key")
    baseline.shelve(b"mnt", b"key")
    sizes = [count_stored_rows(tmp_path)]
    baseline.close()
    baseline = open_baseline()

    for _ in range(3):
        baseline.set_note("n", "")
        sizes.append(count_stored_rows(tmp_path))

    assert sizes == [3000, 1000, 0, 0]
    assert known(baseline) == []
    assert baseline.unshelve(b"mnt", b"key")


@pytest.mark.parametrize(
    "move",
    [
        lambda baseline: baseline.move_directory(b"a", b"b"),
        lambda baseline: baseline.shelve(b"a", b"other"),
        lambda baseline: baseline.unshelve(b"a", b"key"),
    ],
)
def test_a_move_in_a_transaction_that_ends_in_an_error_has_not_been(move, open_baseline):
    baseline = open_baseline()
    keep(baseline, b"c/of-the-shelf")
    baseline.shelve(b"c", b"key")
    keep(baseline, b"a/x", b"a/d/y", b"b/z")

    with suppress(Interrupted), baseline.transaction():
        move(baseline)
        raise Interrupted

    assert known(baseline) == [b"a/d/y", b"a/x", b"b/z"]
    assert [baseline.unshelve(b"a", b"other"), baseline.unshelve(b"a", b"key")] == [False, True]


@pytest.mark.parametrize(
    ("old", "new", "moved"),
    [
        (b"a", b"a/b", [b"a/b/b/x", b"a/b/y"]),
        (b"a/b", b"a", [b"a/x"]),
        (b"a", b"a", [b"a/b/x", b"a/y"]),
    ],
)
def test_a_directory_can_move_to_a_place_within_or_around_it(old, new, moved, open_baseline):
    baseline = open_baseline()
    keep(baseline, b"a/b/x", b"a/y")

    baseline.move_directory(old, new)

    assert known(baseline) == moved
