"""A damaged baseline is kept aside and made anew, and never shows what was not written to it."""

import os
import random
import re
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.common.errors import StorageError
from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.fim.aside import put_aside
from auditline.workers.fim.baseline import Baseline, BaselineDamaged
from auditline.workers.fim.rows import decode_row, encode_state

STATE = FileState(0o100644, 0, 0, 9, 1234, 2049, 1, 3, 4, 5, 0, None, b"\x04" + bytes(32), "stable", 6)
LARGE_STATE = STATE._replace(mtime_ns=2**64, target=b"\xff")
DATABASE, CLAIM, LOG = "fim-etc.sqlite", "fim-etc.claim", "fim-etc.sqlite-wal"
DAMAGED = re.compile(r"fim-etc\.damaged-\d{8}T\d{6}\.\d{6}Z(-wal|-shm)?")
FLIPS = 150

Open = Callable[..., Baseline]


def append(baseline: Baseline, path: bytes, state: FileState | None) -> None:
    entry = FileChange(action="updated", path=b"/etc/" + path, before=None, after=state, detected_by="event", time_ns=1)
    baseline.append(entry, path, state)


def fill(baseline: Baseline) -> None:
    with baseline.transaction():
        baseline.keep(b"", STATE)
        for number in range(60):
            baseline.keep(b"d%d/file-%d" % (number // 7, number), STATE._replace(inode=number))
    for number in range(6):
        append(baseline, b"d1/new-%d" % number, STATE if number % 2 else None)
    baseline.mark_walked()
    baseline.set_note("name", "text")
    baseline.forget(2, b"state")


def everything(baseline: Baseline) -> list[object]:
    """Read all that it can tell."""
    paths = sorted(baseline.known_beneath(b""))
    directories = [b"", b"d", b"e", b"d0", b"d1", b"d5"]
    numbers = range(baseline.done_number + 1, baseline.last_number + 1)
    return [
        [(path, baseline.known(path)) for path in [b"", *paths]],
        [dict(baseline.known_page(directory, b"", 1000)) for directory in directories],
        [baseline.read(number) for number in numbers],
        (baseline.done_number, baseline.done_state, baseline.is_walked, baseline.note("name"), baseline.counts()),
    ]


def kept_aside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if DAMAGED.fullmatch(path.name))


@pytest.fixture
def closed(tmp_path, open_baseline):
    """The folder of a closed baseline, and all that it could tell."""
    folder = tmp_path / "closed"
    baseline = open_baseline(folder)
    fill(baseline)
    told = everything(baseline)
    baseline.close()
    return folder, told


@pytest.fixture
def killed(tmp_path, open_baseline):
    """A folder as a kill leaves it, with all in the write-ahead log; the baseline; and all that it could tell."""
    folder = tmp_path / "killed"
    baseline = open_baseline(tmp_path / "living")
    fill(baseline)
    shutil.copytree(tmp_path / "living", folder)
    return folder, baseline, everything(baseline)


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def what_becomes_of(folder: Path, told: list[object], open_baseline: Open) -> str:
    """Open, read all, and if that shows damage open once more; return what was seen then."""
    with closing(open_baseline(folder)) as baseline:
        try:
            if not baseline.was_rebuilt:
                return "as it was" if everything(baseline) == told else "other"
        except BaselineDamaged:
            pass
    with closing(open_baseline(folder)) as baseline:
        is_new = everything(baseline) == [[(b"", None)], [{}] * 6, [], (0, b"", False, "", (0, 0))]
        append(baseline, b"a", STATE)
        return "made anew" if baseline.was_rebuilt and is_new and kept_aside(folder) else "neither"


def test_a_bit_that_flips_anywhere_is_found_or_changes_nothing(closed, open_baseline, tmp_path):
    folder, told = closed
    moments = random.Random(7)
    size = (folder / DATABASE).stat().st_size
    outcomes = []
    for number in range(FLIPS):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        flip(copy / DATABASE, moments.randrange(size), moments.randrange(8))
        outcomes.append(what_becomes_of(copy, told, open_baseline))

    assert set(outcomes) == {"as it was", "made anew"}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9999])
def test_a_database_that_was_cut_off_is_made_anew(share, closed, open_baseline):
    folder, told = closed
    os.truncate(folder / DATABASE, int((folder / DATABASE).stat().st_size * share))

    assert what_becomes_of(folder, told, open_baseline) == "made anew"


@pytest.mark.parametrize("size", [0, 100, 4096, 20_000])
def test_a_database_that_is_cut_off_while_it_is_open_is_told_and_made_anew(size, closed, open_baseline):
    folder, _ = closed
    baseline = open_baseline(folder)
    os.truncate(folder / DATABASE, size)

    with pytest.raises(BaselineDamaged, match="is damaged: database disk image is malformed"):
        everything(baseline)
    with pytest.raises(BaselineDamaged):
        append(baseline, b"a", STATE)
    baseline.close()
    again = open_baseline(folder)

    assert again.was_rebuilt == "is damaged: database disk image is malformed"
    assert again.epoch != baseline.epoch


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no baseline"),
        (b"no database at all, but long enough to be taken for one" * 100, "is damaged: file is not a database"),
        (bytes(8192), "is damaged: file is not a database"),
    ],
)
def test_what_is_no_database_is_put_aside(content, reason, closed, open_baseline):
    folder, _ = closed
    (folder / DATABASE).write_bytes(content)

    baseline = open_baseline(folder)
    [aside] = kept_aside(folder)

    assert baseline.was_rebuilt == reason
    assert (folder / aside).read_bytes() == content


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("PRAGMA user_version = 1", "is of version 1, not 6"),
        ("PRAGMA application_id = 7", "is no baseline"),
        ("DROP TABLE seen", "has other tables"),
        ("ALTER TABLE shelves ADD COLUMN more", "has other tables"),
        ("CREATE TRIGGER sly AFTER INSERT ON outbox BEGIN DELETE FROM outbox; END", "has other tables"),
        ("DELETE FROM meta WHERE name = 'epoch'", "is damaged: epoch is None"),
        (
            "UPDATE meta SET value = 'x' WHERE name = 'done_number'",
            "is damaged: the checksum of 'done_number' is wrong",
        ),
        ("DELETE FROM outbox WHERE id = 4", "is damaged: 2 batches are done, 3 kept, from 3 to 6 of 6"),
        ("DELETE FROM outbox WHERE id = 6", "is damaged: 2 batches are done, 3 kept, from 3 to 5 of 6"),
        ("UPDATE outbox SET id = 9 WHERE id = 6", "is damaged: 2 batches are done, 4 kept, from 3 to 9 of 6"),
        (
            "UPDATE outbox SET last_entry = 4 WHERE id = 5",
            "is damaged: batch 5 ends with entry 4, the one before with 4",
        ),
        ("UPDATE sqlite_sequence SET seq = 'x'", "is damaged: 2 batches are done, 4 kept, from 3 to 6 of x"),
    ],
)
def test_a_database_that_is_not_as_it_was_made_is_put_aside(statement, reason, closed, open_baseline, caplog):
    folder, _ = closed
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as connection:
        connection.execute(statement)

    baseline = open_baseline(folder)

    assert baseline.was_rebuilt == reason
    assert caplog.messages == [f"baseline {folder / DATABASE} {reason}; a new one is made"]
    assert len(kept_aside(folder)) == 1


def test_the_baseline_of_another_root_is_put_aside(closed, open_baseline):
    folder, _ = closed

    baseline = open_baseline(folder, root=b"/srv/\xff")

    assert baseline.was_rebuilt == r"belongs to b'/etc', not to b'/srv/\xff'"
    assert len(kept_aside(folder)) == 1


def test_a_database_deleted_while_nobody_ran_is_told(closed, open_baseline):
    folder, _ = closed
    (folder / DATABASE).unlink()

    baseline = open_baseline(folder)

    assert baseline.was_rebuilt == "has been deleted"
    assert kept_aside(folder) == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_is_put_aside_unopened(make, closed, open_baseline):
    folder, _ = closed
    (folder / DATABASE).unlink()
    make(folder / DATABASE)

    baseline = open_baseline(folder)

    assert baseline.was_rebuilt == "is no regular file"
    assert len(kept_aside(folder)) == 1


def test_a_claim_that_is_a_link_is_an_error(tmp_path, open_baseline):
    (tmp_path / CLAIM).symlink_to("/etc/passwd")

    with pytest.raises(StorageError, match=r"fim-etc\.claim: cannot be opened: Too many levels of symbolic links"):
        open_baseline()


def test_a_damaged_claim_costs_an_epoch_and_nothing_else(closed, open_baseline):
    folder, told = closed
    (folder / CLAIM).write_bytes(b"\xff" * 100)

    baseline = open_baseline(folder)
    first_epoch = baseline.epoch
    same = everything(baseline) == told
    baseline.close()
    again = open_baseline(folder)

    assert same
    assert (baseline.was_rebuilt, baseline.is_behind) == ("", False)
    assert again.epoch == first_epoch


def test_a_kill_costs_nothing(killed, open_baseline):
    folder, before, told = killed

    baseline = open_baseline(folder)

    assert everything(baseline) == told
    assert (baseline.epoch, baseline.is_behind) == (before.epoch, False)


def test_a_flipped_bit_in_the_log_makes_it_older_with_a_new_epoch(killed, open_baseline, tmp_path):
    folder, before, told = killed
    moments = random.Random(11)
    size = (folder / LOG).stat().st_size
    outcomes = set()
    for number in range(60):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        flip(copy / LOG, moments.randrange(size), moments.randrange(8))
        baseline = open_baseline(copy)
        is_older = baseline.counts() != before.counts() or everything(baseline) != told
        outcomes.add((is_older, baseline.is_behind, baseline.epoch != before.epoch, baseline.was_rebuilt))
        append(baseline, b"a", STATE)
        baseline.close()

    assert outcomes == {(True, True, True, "")}


@pytest.mark.parametrize("content", [b"", b"garbage" * 10_000, struct.pack(">II", 0x377F0682, 3007000) + bytes(5000)])
def test_garbage_in_place_of_the_log_makes_it_older_with_a_new_epoch(content, killed, open_baseline):
    folder, before, _ = killed
    (folder / LOG).write_bytes(content)

    baseline = open_baseline(folder)

    assert baseline.is_behind
    assert baseline.epoch != before.epoch
    assert baseline.last_number == 0


def test_garbage_in_place_of_the_shared_memory_costs_nothing(killed, open_baseline):
    folder, _, told = killed
    (folder / "fim-etc.sqlite-shm").write_bytes(b"garbage" * 5000)

    assert everything(open_baseline(folder)) == told


def test_an_older_copy_that_was_put_back_has_a_new_epoch(closed, open_baseline, tmp_path):
    folder, _ = closed
    shutil.copy(folder / DATABASE, tmp_path / "older")
    baseline = open_baseline(folder)
    append(baseline, b"a", STATE)
    baseline.close()
    shutil.copy(tmp_path / "older", folder / DATABASE)

    again = open_baseline(folder)
    again.close()
    third = open_baseline(folder)

    assert again.is_behind
    assert again.epoch != baseline.epoch
    assert (third.is_behind, third.epoch) == (False, again.epoch)


@pytest.mark.parametrize(
    "assignment",
    [
        "state = 'text'",
        "state = NULL",
        "state = 7",
        "state = x''",
        "state = x'0102030405'",
        "state = CAST(state AS TEXT)",
        "state = CAST(substr(state, 2) AS BLOB)",
        "state = CAST(state || x'00' AS BLOB)",
        "state = (SELECT state FROM seen WHERE name = x'62')",
        "name = 'text'",
        "name = 5",
        "name = x'00'",
    ],
)
def test_a_malformed_row_is_damage_and_no_crash(assignment, tmp_path, open_baseline):
    """Pitfall 43."""
    baseline = open_baseline()
    baseline.keep(b"d/a", STATE)
    baseline.keep(b"e/b", STATE)
    baseline.close()
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as connection:
        connection.execute(f"UPDATE OR IGNORE seen SET {assignment}")

    assert what_becomes_of(tmp_path, [], open_baseline) == "made anew"


@pytest.mark.parametrize(
    "assignment",
    [
        "payload = x''",
        "payload = 'text'",
        "payload = NULL",
        "last_entry = 2",
        "last_entry = NULL",
        "last_entry = 'text'",
        "checksum = NULL",
        "checksum = checksum + 1",
        "id = 2",
    ],
)
def test_a_malformed_batch_is_damage_and_no_crash(assignment, tmp_path, open_baseline):
    baseline = open_baseline()
    append(baseline, b"e/b", STATE)
    baseline.close()
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as connection:
        connection.execute(f"UPDATE outbox SET {assignment}")

    assert what_becomes_of(tmp_path, [], open_baseline) == "made anew"


@pytest.mark.parametrize(
    "assignment",
    [
        "path = ''",
        "path = 'text'",
        "path = 7",
        "path = 1.5",
        "path = x'64'",
        "id = 'text'",
        "id = NULL",
        "id = 1 - id",
        "id = CAST(id AS REAL)",
        "checksum = NULL",
        "checksum = checksum + 1",
    ],
)
def test_a_malformed_directory_is_damage_and_no_crash(assignment, tmp_path, open_baseline):
    baseline = open_baseline()
    baseline.keep(b"e/a", STATE)
    baseline.close()
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"UPDATE directories SET {assignment}")

    assert what_becomes_of(tmp_path, [], open_baseline) == "made anew"


VALUES = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(), st.text())
NUMBERS = st.integers(0, 2**16) | st.integers(-(2**70), 2**70)
STATES = st.builds(
    FileState,
    mode=NUMBERS,
    uid=NUMBERS,
    gid=st.just(0) | NUMBERS,
    size=NUMBERS,
    inode=NUMBERS,
    device=NUMBERS,
    links=st.just(1) | NUMBERS,
    mtime_ns=NUMBERS,
    ctime_ns=NUMBERS,
    atime_ns=NUMBERS,
    rdev=st.just(0) | NUMBERS,
    target=st.none() | st.binary(),
    hashes=st.binary(),
    hash_state=st.sampled_from(["", "stable", "quarantined", "a word of the future"]),
    checked_ns=NUMBERS,
    xattrs=st.just(b"") | st.binary(),
    flags=st.just(0) | NUMBERS,
)
USUAL = STATE._replace(mtime_ns=10**18, size=2**32 - 1)
ROWS = st.sampled_from([STATE, LARGE_STATE, STATE._replace(uid=1, target=b"t", xattrs=b"x")]).map(
    lambda state: (5, b"name", encode_state(5, b"name", state))
)


@settings(max_examples=300)
@given(state=STATES, name=st.binary(), directory=st.integers(0, 2**63))
def test_any_state_is_read_from_its_row_as_it_was(state, name, directory):
    assert decode_row((directory, name, encode_state(directory, name, state))) == state


def test_the_row_of_a_usual_file_is_short():
    assert len(encode_state(5, b"name", USUAL)) == 52 + len(USUAL.hashes)


@given(row=st.tuples(VALUES, VALUES, VALUES))
def test_no_row_of_others_is_taken_for_one_of_ours(row):
    with pytest.raises(ValueError, match=r"checksum|type"):
        decode_row(row)


@given(row=ROWS, column=st.integers(0, 2), value=VALUES)
def test_a_row_with_one_other_value_is_known_to_be_damaged(row, column, value):
    changed = (*row[:column], value, *row[column + 1 :])

    assert changed == row or is_refused(changed)


@given(row=ROWS, position=st.integers(0), bit=st.integers(0, 7))
def test_a_row_with_a_flipped_bit_is_known_to_be_damaged(row, position, bit):
    packed = bytearray(row[2])
    packed[position % len(packed)] ^= 1 << bit

    assert is_refused((*row[:2], bytes(packed)))


@given(row=ROWS)
def test_no_byte_wanders_from_the_name_to_the_state(row):
    directory, name, packed = row

    assert is_refused((directory, name[:-1], name[-1:] + packed))
    assert is_refused((directory, name + packed[:1], packed[1:]))


def is_refused(row: tuple[object, ...]) -> bool:
    try:
        decode_row(row)
    except ValueError:
        return True
    return False


def test_why_it_was_made_anew_is_known_until_the_first_walk_has_ended(closed, open_baseline):
    folder, _ = closed
    (folder / DATABASE).write_bytes(b"")
    first = open_baseline(folder)
    first.close()

    second = open_baseline(folder)
    second.mark_walked()
    second.close()
    third = open_baseline(folder)

    assert [baseline.was_rebuilt for baseline in (first, second, third)] == ["is no baseline", "is no baseline", ""]
    assert third.epoch == first.epoch


def test_the_last_three_damaged_ones_are_kept(closed, open_baseline):
    folder, _ = closed
    contents = [bytes([number]) * 8192 for number in range(5)]
    for content in contents:
        (folder / DATABASE).write_bytes(content)
        open_baseline(folder).close()

    assert [(folder / name).read_bytes() for name in kept_aside(folder)] == contents[2:]


def test_the_companions_of_a_damaged_one_go_and_come_with_it(tmp_path):
    for number in range(5):
        for companion in ("", "-wal", "-shm"):
            (tmp_path / f"fim-etc.sqlite{companion}").write_text(f"{number}{companion}")
        put_aside(tmp_path / DATABASE)

    names = kept_aside(tmp_path)
    assert sorted(os.listdir(tmp_path)) == names
    assert [(tmp_path / name).read_text() for name in names] == [
        f"{number}{companion}" for number in (2, 3, 4) for companion in ("", "-shm", "-wal")
    ]


def test_a_kill_after_the_database_was_put_aside_leaves_no_log_for_the_new_one(killed, open_baseline):
    folder, _, _ = killed
    (folder / CLAIM).write_bytes(b"")
    (folder / DATABASE).rename(folder / "fim-etc.damaged-20260101T000000.000000Z")

    baseline = open_baseline(folder)

    assert everything(baseline)[3] == (0, b"", False, "", (0, 0))


def test_a_kill_while_it_was_made_leaves_nothing_that_troubles_the_next_start(tmp_path, open_baseline):
    (tmp_path / "fim-etc.sqlite.new").write_bytes(b"half of one")
    (tmp_path / "fim-etc.sqlite.new-journal").write_bytes(b"half of one")

    baseline = open_baseline()
    baseline.close()

    assert baseline.was_rebuilt == ""
    assert sorted(os.listdir(tmp_path)) == [CLAIM, DATABASE]


def test_damage_that_was_found_in_one_life_is_known_in_the_next(closed, open_baseline):
    folder, _ = closed
    baseline = open_baseline(folder)
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as connection:
        connection.execute("UPDATE seen SET state = x'07' WHERE name = ?", (b"file-3",))
    with pytest.raises(BaselineDamaged, match="the row of b'file-3': the checksum is wrong"):
        dict(baseline.known_page(b"d0", b"", 1000))
    baseline.close()

    again = open_baseline(folder)

    assert again.was_rebuilt == "is damaged: the row of b'file-3': the checksum is wrong"
