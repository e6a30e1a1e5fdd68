"""What a watcher knows and has to hand over: kept, read, moved on, and there again after a restart."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.common import host
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.file_entry import FileChange, decode_entries, decode_entry, encode_entry
from auditline.workers.common.file_state import FileState
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.outbox import MOST_BATCH_BYTES, MOST_BATCH_ENTRIES
from auditline.workers.fim.rows import decode_row

STATE = FileState(
    mode=stat.S_IFREG | 0o644,
    uid=0,
    gid=0,
    size=0,
    inode=1234,
    device=2049,
    links=1,
    mtime_ns=1_700_000_000_123_456_789,
    ctime_ns=1_700_000_000_123_456_789,
    atime_ns=1_700_000_000_123_456_789,
    rdev=0,
    target=None,
    hashes=b"\x04" + bytes(range(32)),
    hash_state="stable",
    checked_ns=1_700_000_001_000_000_000,
)
LINK = STATE._replace(mode=stat.S_IFLNK | 0o777, target=b"../\xff\n", hashes=b"", hash_state="")
FILE_NAME = st.binary(min_size=1, max_size=255).filter(lambda name: not {0, ord("/")} & set(name))
ANY_PATH = st.lists(FILE_NAME, min_size=1, max_size=30).map(b"/".join)


class Interrupted(Exception):
    """Ends a transaction."""


def sized(size: int) -> FileState:
    return STATE._replace(size=size)


def change(path: bytes, after: FileState | None) -> FileChange:
    return FileChange(
        action="updated", path=b"/etc/" + path, before=None, after=after, detected_by="event", time_ns=1_700_000_000
    )


def append(baseline: Baseline, path: bytes, state: FileState | None) -> None:
    baseline.append(change(path, state), path, state)


def read_all(baseline: Baseline) -> list[Batch]:
    return [baseline.read(number) for number in range(baseline.done_number + 1, baseline.last_number + 1)]


def count_directories(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "fim-etc.sqlite")) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM directories")
    return int(count)


def test_a_new_baseline_knows_nothing_and_its_entries_begin_at_one(open_baseline):
    baseline = open_baseline()

    append(baseline, b"passwd", STATE)

    assert (baseline.source, baseline.done_number, baseline.done_state) == ("fim-etc", 0, b"")
    assert baseline.last_number == 1
    assert len(baseline.epoch) == 16
    assert (baseline.is_walked, baseline.was_rebuilt, baseline.is_behind) == (False, "", False)


def test_what_was_kept_is_known_by_path_and_by_directory(open_baseline):
    baseline = open_baseline()
    baseline.keep(b"passwd", STATE)
    baseline.keep(b"ssh", sized(1))
    baseline.keep(b"ssh/keys", LINK)

    assert baseline.known(b"passwd") == STATE
    assert baseline.known(b"ssh/keys") == LINK
    assert baseline.known(b"ssh/other") is None
    assert baseline.known(b"other/keys") is None
    assert dict(baseline.known_page(b"", b"", 1000)) == {b"passwd": STATE, b"ssh": sized(1)}
    assert dict(baseline.known_page(b"ssh", b"", 1000)) == {b"keys": LINK}
    assert dict(baseline.known_page(b"other", b"", 1000)) == {}
    assert list(baseline.known_beneath(b"")) == [b"passwd", b"ssh", b"ssh/keys"]


def test_the_root_is_known_under_an_empty_path_and_lies_not_in_itself(open_baseline):
    baseline = open_baseline()
    baseline.keep(b"", STATE)
    append(baseline, b"", sized(1))

    assert baseline.known(b"") == sized(1)
    assert dict(baseline.known_page(b"", b"", 1000)) == {}
    assert list(baseline.known_beneath(b"")) == []


def test_what_is_kept_again_is_replaced_and_what_is_kept_as_nothing_is_forgotten(open_baseline):
    baseline = open_baseline()
    baseline.keep(b"a", STATE)
    baseline.keep(b"b", STATE)

    baseline.keep(b"a", sized(1))
    baseline.keep(b"b", None)
    baseline.keep(b"never/there", None)

    assert dict(baseline.known_page(b"", b"", 1000)) == {b"a": sized(1)}
    assert baseline.counts() == (1, 0)


def test_of_several_entries_about_a_path_the_newest_is_known(open_baseline):
    baseline = open_baseline()
    baseline.keep(b"d/changed", STATE)
    baseline.keep(b"d/gone", STATE)
    baseline.keep(b"d/back", STATE)
    append(baseline, b"d/changed", sized(1))
    append(baseline, b"d/changed", sized(2))
    append(baseline, b"d/gone", sized(1))
    append(baseline, b"d/gone", None)
    append(baseline, b"d/back", None)
    append(baseline, b"d/back", sized(3))
    append(baseline, b"d/new", sized(4))
    append(baseline, b"e/new", sized(5))
    append(baseline, b"e/new", None)

    known = {b"changed": sized(2), b"back": sized(3), b"new": sized(4)}
    assert dict(baseline.known_page(b"d", b"", 1000)) == known
    assert {name: baseline.known(b"d/" + name) for name in known} == known
    assert baseline.known(b"d/gone") is None
    assert dict(baseline.known_page(b"e", b"", 1000)) == {}
    assert sorted(baseline.known_beneath(b"")) == [b"d/back", b"d/changed", b"d/new"]


def test_what_was_seen_moves_on_with_the_entry_about_it(open_baseline, tmp_path):
    baseline = open_baseline()
    baseline.keep(b"a", STATE)
    append(baseline, b"a", sized(1))
    append(baseline, b"b", sized(2))
    append(baseline, b"a", sized(3))
    before = read_seen(tmp_path)
    append(baseline, b"b", None)
    seen = read_seen(tmp_path)

    baseline.forget(4, b"")

    assert before == {(b"", b"a"): 3, (b"", b"b"): 2}
    assert read_seen(tmp_path) == seen == {(b"", b"a"): 3}
    assert dict(baseline.known_page(b"", b"", 1000)) == {b"a": sized(3)}
    assert baseline.counts() == (1, 0)


def read_seen(folder: Path) -> dict[tuple[bytes, bytes], int]:
    with closing(sqlite3.connect(folder / "fim-etc.sqlite")) as connection:
        rows = connection.execute(
            "SELECT path, id, name, state FROM seen JOIN directories ON id = directory"
        ).fetchall()
    return {(path, name): decode_row((directory, name, state)).size for path, directory, name, state in rows}


def test_an_entry_about_no_path_changes_nothing_that_was_seen(open_baseline):
    baseline = open_baseline()
    baseline.keep(b"a", STATE)
    baseline.append(change(b"a", None), None, None)

    baseline.forget(1, b"")

    assert dict(baseline.known_page(b"", b"", 1000)) == {b"a": STATE}
    assert baseline.done_number == 1


def test_batches_are_read_back_as_they_were_in_any_order(open_baseline):
    baseline = open_baseline()
    changes = [change(b"d/%d\xff" % number, sized(number)) for number in range(50)]
    for entry in changes:
        baseline.append(entry, entry.path, entry.after)

    read = [baseline.read(number) for number in (50, 1, 2, 25)]

    assert read == [Batch(number, BatchKind.FILE, b"", encode_entry(changes[number - 1])) for number in (50, 1, 2, 25)]
    assert decode_entry(read[0].payload) == changes[49]


def test_the_entries_of_a_transaction_are_one_batch(open_baseline):
    baseline = open_baseline()
    changes = [change(b"d/%d\n\xff" % number, sized(number)) for number in range(3)]
    append(baseline, b"alone", STATE)
    with baseline.transaction():
        for entry in changes:
            baseline.append(entry, entry.path, entry.after)

    payload = baseline.read(2).payload

    assert [entry for _, entry in decode_entries(payload)] == changes
    assert (baseline.last_number, baseline.last_entry, baseline.counts().outbox_entries) == (2, 4, 4)


@pytest.mark.parametrize(
    ("path", "count", "sizes"),
    [
        (b"f", 2 * MOST_BATCH_ENTRIES, [MOST_BATCH_ENTRIES] * 2),
        (b"f", MOST_BATCH_ENTRIES + 1, [MOST_BATCH_ENTRIES, 1]),
        (b"f" * 100_000, 5, [3, 2]),
        (b"f" * MOST_BATCH_BYTES, 2, [1, 1]),
    ],
)
def test_a_batch_has_so_many_entries_and_bytes_and_no_more(path, count, sizes, open_baseline):
    baseline = open_baseline()
    with baseline.transaction():
        for _ in range(count):
            baseline.append(change(path, STATE), None, None)

    assert [len(list(decode_entries(batch.payload))) for batch in read_all(baseline)] == sizes
    assert baseline.last_entry == count


def test_who_made_many_changes_is_stored_once_in_a_batch_and_known_of_each(open_baseline):
    baseline = open_baseline()
    actors = [{"pid": 1}, {"pid": 1}, None, {"pid": 1}, {"pid": 2}, {"pid": 2}]
    changes = [replace(change(b"a", sized(number)), actor=actor) for number, actor in enumerate(actors)]
    with baseline.transaction():
        for entry in changes:
            baseline.append(entry, b"a", entry.after)
    baseline.append(changes[-1], b"a", STATE)

    first, second = (baseline.read(number).payload for number in (1, 2))

    assert [entry for _, entry in decode_entries(first)] == changes
    assert [entry for _, entry in decode_entries(second)] == changes[-1:]
    assert (first.count(b'"same"'), second.count(b'"same"')) == (2, 0)


def test_entries_are_counted_over_batches_restarts_and_what_is_done(open_baseline):
    first = open_baseline()
    with first.transaction():
        for number in range(300):
            append(first, b"%d" % number, STATE)
    first.forget(1, b"")
    counts = (first.done_number, first.done_entry, first.last_number, first.last_entry)
    first.close()

    second = open_baseline()
    append(second, b"a", STATE)
    second.forget(3, b"")

    assert counts == (1, 256, 2, 300)
    assert (second.done_entry, second.last_entry, second.counts().outbox_entries) == (301, 301, 0)


@pytest.mark.parametrize("number", [0, 2, 6])
def test_a_batch_that_is_not_kept_cannot_be_read(number, open_baseline):
    baseline = open_baseline()
    for size in range(5):
        append(baseline, b"a", sized(size))
    baseline.forget(2, b"")

    with pytest.raises(StorageError, match=f"batch {number} is not kept"):
        baseline.read(number)


def test_done_never_goes_back_nor_beyond_what_was_appended(open_baseline):
    baseline = open_baseline()
    for size in range(5):
        append(baseline, b"a", sized(size))
    baseline.forget(4, b"four")

    baseline.forget(3, b"three")
    back = (baseline.done_number, baseline.done_state)
    baseline.forget(99, b"all")

    assert back == (4, b"four")
    assert (baseline.done_number, baseline.last_number) == (5, 5)


def test_thousands_of_entries_are_done_at_once(open_baseline):
    baseline = open_baseline()
    with baseline.transaction():
        for number in range(2500):
            append(baseline, b"d%d/f" % (number % 1300), sized(number) if number % 3 else None)
    before = {path: baseline.known(path) for path in baseline.known_beneath(b"")}

    baseline.forget(baseline.last_number, b"")

    assert {path: baseline.known(path) for path in baseline.known_beneath(b"")} == before
    assert baseline.counts() == (len(before), 0)


def test_an_outbox_is_full_when_it_has_as_many_entries_as_it_may(open_baseline):
    baseline = open_baseline(max_outbox_entries=3)
    append(baseline, b"a", STATE)
    with baseline.transaction():
        append(baseline, b"b", STATE)
        with_two = baseline.is_full
        append(baseline, b"c", STATE)
        with_three = baseline.is_full

    baseline.forget(1, b"")

    assert (with_two, with_three, baseline.is_full) == (False, True, False)


def test_a_transaction_that_ends_in_an_error_leaves_nothing(open_baseline, tmp_path):
    baseline = open_baseline()
    baseline.keep(b"d/a", STATE)
    append(baseline, b"d/a", sized(1))
    with suppress(Interrupted), baseline.transaction():
        baseline.keep(b"new/b", STATE)
        baseline.keep(b"d/a", None)
        append(baseline, b"newer/c", STATE)
        baseline.mark_walked()
        baseline.set_note("name", "text")
        raise Interrupted

    assert (baseline.is_walked, baseline.note("name"), baseline.counts()) == (False, "", (1, 1))
    assert sorted(baseline.known_beneath(b"")) == [b"d/a"]
    assert count_directories(tmp_path) == 1
    assert baseline.last_number == 1


def test_numbers_have_no_gap_after_a_transaction_that_ended_in_an_error(open_baseline):
    baseline = open_baseline()
    append(baseline, b"a", sized(1))
    with suppress(Interrupted), baseline.transaction():
        append(baseline, b"b", sized(2))
        append(baseline, b"c", sized(3))
        raise Interrupted

    append(baseline, b"d", sized(4))

    assert [decode_entry(batch.payload).path for batch in read_all(baseline)] == [b"/etc/a", b"/etc/d"]
    assert [batch.number for batch in read_all(baseline)] == [1, 2]


def test_a_transaction_within_another_one_ends_with_it(open_baseline):
    baseline = open_baseline()
    with suppress(Interrupted), baseline.transaction():
        with baseline.transaction():
            append(baseline, b"a", STATE)
        raise Interrupted

    assert baseline.last_number == 0
    assert baseline.known(b"a") is None


def test_what_is_not_committed_has_no_number_yet_but_is_known(open_baseline):
    baseline = open_baseline()
    with baseline.transaction():
        append(baseline, b"d/a", STATE)
        known = (baseline.known(b"d/a"), dict(baseline.known_page(b"d", b"", 1000)), list(baseline.known_beneath(b"")))
        last_number = baseline.last_number

    assert known == (STATE, {b"a": STATE}, [b"d/a"])
    assert last_number == 0
    assert baseline.last_number == 1


def test_what_is_done_within_a_transaction_is_done_with_it(open_baseline):
    baseline = open_baseline()
    append(baseline, b"a", sized(1))
    with baseline.transaction():
        append(baseline, b"a", sized(2))
        baseline.forget(1, b"")
        within = baseline.done_number

    assert (within, baseline.done_number, baseline.last_number) == (0, 1, 2)
    assert baseline.known(b"a") == sized(2)


def test_a_reopened_baseline_goes_on_where_it_was(open_baseline):
    first = open_baseline()
    first.keep(b"kept", STATE)
    for size in range(5):
        append(first, b"a", sized(size))
    batches = read_all(first)
    first.forget(2, b"state")
    first.mark_walked()
    first.close()

    second = open_baseline()
    append(second, b"b", STATE)

    assert (second.epoch, second.done_number, second.done_state) == (first.epoch, 2, b"state")
    assert read_all(second)[:-1] == batches[2:]
    assert second.last_number == 6
    assert dict(second.known_page(b"", b"", 1000)) == {b"kept": STATE, b"a": sized(4), b"b": STATE}
    assert (second.is_walked, second.was_rebuilt, second.is_behind) == (True, "", False)


def test_a_reopened_baseline_whose_entries_are_all_done_keeps_its_numbers(open_baseline):
    first = open_baseline()
    for size in range(5):
        append(first, b"a", sized(size))
    first.forget(5, b"")
    first.close()

    second = open_baseline()
    numbers = (second.done_number, second.last_number)
    append(second, b"a", STATE)

    assert numbers == (5, 5)
    assert second.read(6).number == 6


def test_another_boot_begins_a_new_epoch_and_the_numbers_go_on(open_baseline, monkeypatch, tmp_path):
    first = open_baseline()
    append(first, b"a", STATE)
    first.close()
    boot_file = tmp_path / "boot_id"
    boot_file.write_text("another boot\n")
    monkeypatch.setattr(host, "BOOT_ID_FILE", boot_file)

    second = open_baseline()
    second.close()
    third = open_baseline()
    append(third, b"a", STATE)

    assert second.epoch != first.epoch
    assert third.epoch == second.epoch
    assert [batch.number for batch in read_all(third)] == [1, 2]


def test_small_texts_are_kept(open_baseline):
    first = open_baseline()
    first.set_note("hashed with", "md5")
    first.set_note("hashed with", "sha256 ü")
    first.close()

    second = open_baseline()

    assert second.note("hashed with") == "sha256 ü"
    assert second.note("epoch") == ""


def test_two_processes_cannot_have_it_open(open_baseline, tmp_path):
    baseline = open_baseline()
    command = (
        "import sys; from pathlib import Path; from auditline.workers.fim.baseline import Baseline\n"
        "Baseline.open(Path(sys.argv[1]), 'fim-etc', b'/etc')"
    )

    second = subprocess.run([sys.executable, "-c", command, tmp_path], capture_output=True, text=True, check=False)
    with pytest.raises(BusyError, match="baseline fim-etc is in use by another process"):
        open_baseline()
    baseline.close()
    third = subprocess.run([sys.executable, "-c", command, tmp_path], check=False)

    assert "BusyError" in second.stderr
    assert third.returncode == 0


def test_baselines_of_several_watches_lie_side_by_side(open_baseline):
    etc, bin_ = open_baseline(), open_baseline(name="fim-usr-bin", root=b"/usr/bin")
    etc.keep(b"a", STATE)

    assert etc.epoch != bin_.epoch
    assert bin_.known(b"a") is None


def test_the_folder_may_have_any_name(open_baseline, tmp_path):
    folder = tmp_path / "a?b#c%41 ü&mode=ro;\n"
    first = open_baseline(folder)
    first.keep(b"a", STATE)
    first.close()

    second = open_baseline(folder)

    assert second.known(b"a") == STATE
    assert sorted(os.listdir(tmp_path)) == [folder.name]


def test_others_may_read_while_it_is_written(open_baseline, tmp_path):
    baseline = open_baseline()
    baseline.keep(b"a", STATE)
    with baseline.transaction():
        baseline.keep(b"b", STATE)
        meanwhile = read_seen(tmp_path)

    assert meanwhile == {(b"", b"a"): 0}
    assert read_seen(tmp_path) == {(b"", b"a"): 0, (b"", b"b"): 0}


def test_files_are_for_owner_and_group_only(tmp_path):
    baseline = Baseline.open(tmp_path / "baselines", "fim-etc", b"/etc")
    append(baseline, b"a", STATE)

    folder = tmp_path / "baselines"
    modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in folder.iterdir()}
    folder_mode = folder.stat().st_mode & 0o7777
    baseline.close()

    assert folder_mode == 0o750
    assert modes == dict.fromkeys(
        ["fim-etc.claim", "fim-etc.sqlite", "fim-etc.sqlite-shm", "fim-etc.sqlite-wal"], "0o640"
    )


def test_closed_it_is_two_files(open_baseline, tmp_path):
    open_baseline().close()

    assert sorted(os.listdir(tmp_path)) == ["fim-etc.claim", "fim-etc.sqlite"]


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match=r"baseline .*/file/baselines/fim-etc.sqlite: .*Not a directory"):
        Baseline.open(tmp_path / "file" / "baselines", "fim-etc", b"/etc")


def test_paths_beneath_a_directory_come_after_it_and_those_beside_it_not_at_all(open_baseline):
    baseline = open_baseline()
    paths = [
        b"d",
        b"d/a",
        b"d/a/x",
        b"d/a/x/y",
        b"d/a.b",
        b"d/a.b/z",
        b"d/b",
        b"d.e",
        b"d.e/f",
        b"d0",
        b"d0/g",
        b"dd/h",
    ]
    for path in reversed(paths):
        baseline.keep(path, STATE)

    beneath = list(baseline.known_beneath(b"d"))
    everything = list(baseline.known_beneath(b""))

    assert sorted(beneath) == sorted(path for path in paths if path.startswith(b"d/"))
    assert sorted(everything) == sorted(paths)
    assert everything.index(b"d") < everything.index(b"d/a") < everything.index(b"d/a/x") < everything.index(b"d/a/x/y")
    assert list(baseline.known_beneath(b"d/b")) == []
    assert list(baseline.known_beneath(b"never")) == []


def test_thousands_of_names_and_directories_are_found_a_page_at_a_time_while_they_are_deleted(open_baseline):
    baseline = open_baseline()
    paths = [b"many/%d" % number for number in range(2100)] + [b"%d/file" % number for number in range(600)]
    with baseline.transaction():
        for path in paths:
            baseline.keep(path, STATE)
    found = []

    with baseline.transaction():
        for path in baseline.known_beneath(b""):
            found.append(path)
            baseline.keep(path, None)

    assert sorted(found) == sorted(paths)
    assert baseline.counts() == (0, 0)
    assert list(baseline.known_beneath(b"")) == []


def test_finding_paths_needs_no_memory_for_all_of_them(open_baseline):
    baseline = open_baseline()
    with baseline.transaction():
        for number in range(20_000):
            baseline.keep(b"a/directory/with/a/name/%d" % number, STATE)
    tracemalloc.start()

    count = sum(1 for _ in baseline.known_beneath(b""))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 20_000
    assert most_bytes < 300_000


def test_directories_with_nothing_in_them_are_not_kept(open_baseline, tmp_path):
    baseline = open_baseline()
    baseline.keep(b"kept/a", STATE)
    baseline.keep(b"dropped/a", STATE)
    append(baseline, b"changed/a", STATE)
    append(baseline, b"changed/a", None)
    append(baseline, b"never/a", None)

    baseline.keep(b"dropped/a", None)

    assert count_directories(tmp_path) == 1


def test_a_database_becomes_smaller_when_most_of_it_is_deleted(open_baseline, tmp_path):
    baseline = open_baseline()
    path = tmp_path / "fim-etc.sqlite"
    with baseline.transaction():
        for number in range(60_000):
            baseline.keep(b"%d/a-file-name-%d" % (number // 100, number), STATE)
    large = baseline_bytes(path)

    with baseline.transaction():
        for number in range(60_000):
            baseline.keep(b"%d/a-file-name-%d" % (number // 100, number), None)
    for number in range(20):
        baseline.set_note("n", str(number))
    baseline.close()

    assert large > 7_000_000
    assert path.stat().st_size < 5_000_000


def baseline_bytes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        [(pages,)] = connection.execute("PRAGMA page_count")
    return int(pages) * 4096


@pytest.mark.parametrize(
    "attributes",
    [
        {"mtime_ns": 13_569_465_600 * 10**9},
        {"ctime_ns": -(2**63) * 10**9, "atime_ns": (2**63 - 1) * 10**9},
        {"inode": 2**64 - 1, "device": 2**64 - 1, "rdev": 2**63},
        {"size": 2**63 - 1, "links": 2**32},
        {"mode": 0, "uid": 2**32 - 1, "gid": 2**32 - 1, "checked_ns": 0},
    ],
)
def test_numbers_of_any_size_are_kept(attributes, open_baseline):
    baseline = open_baseline()
    state = STATE._replace(**attributes)
    baseline.keep(b"kept", state)
    append(baseline, b"appended", state)
    before = dict(baseline.known_page(b"", b"", 1000))

    baseline.forget(1, b"")

    assert before == {b"kept": state, b"appended": state}
    assert dict(baseline.known_page(b"", b"", 1000)) == before


@settings(max_examples=60)
@given(paths=st.lists(ANY_PATH, min_size=1, max_size=5, unique=True))
def test_any_name_is_kept_as_it_is(paths):
    with tempfile.TemporaryDirectory() as folder, closing(Baseline.open(Path(folder), "fim-etc", b"/etc")) as baseline:
        with baseline.transaction():
            for number, path in enumerate(paths):
                baseline.keep(path, sized(number))
                append(baseline, path + b"/more", sized(number + 100))
        baseline.forget(baseline.last_number - 1, b"")
        known = {path: baseline.known(path) for path in baseline.known_beneath(b"")}

    wanted = {path: sized(number) for number, path in enumerate(paths)}
    assert known == wanted | {path + b"/more": sized(number + 100) for number, path in enumerate(paths)}


def test_paths_longer_than_the_kernel_takes_at_once_are_kept(open_baseline):
    baseline = open_baseline()
    directory = b"/".join([b"d" * 255] * 40)
    baseline.keep(directory + b"/file", STATE)
    append(baseline, directory + b"/other", STATE)

    assert baseline.known(directory + b"/file") == STATE
    assert dict(baseline.known_page(directory, b"", 1000)) == {b"file": STATE, b"other": STATE}
    assert len(list(baseline.known_beneath(b"d" * 255))) == 2
