import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from auditline.workers.audit.journal import MOST_SEGMENT_BYTES, Journal
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.errors import BusyError, StorageError

MEBIBYTE = 1024 * 1024
LARGE = b"x" * 40_000


def types_of(count: int) -> bytes:
    return struct.pack(f"<{count}H", *[1300] * count)


def append(journal: Journal, payload: bytes = b"audit(1.000:1): x") -> Batch:
    batch = journal.append(BatchKind.RECORDS, types_of(1), payload)
    assert batch is not None
    return batch


def fill(journal: Journal) -> int:
    appended = 0
    while journal.append(BatchKind.RECORDS, types_of(1), LARGE) is not None:
        appended += 1
    return appended


def read_all(journal: Journal) -> list[Batch]:
    return [journal.read(number) for number in range(journal.done_number + 1, journal.last_number + 1)]


def segment_files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("audit/*.batches"))


def test_a_new_journal_is_empty_and_begins_at_one(open_journal):
    journal = open_journal()

    assert (journal.source, journal.done_number, journal.done_state, journal.last_number) == ("audit", 0, b"", 0)
    assert len(journal.epoch) == 16
    assert append(journal).number == 1


def test_what_was_appended_is_read_back_in_any_order(open_journal):
    journal = open_journal()
    batches = [append(journal, b"audit(1.000:%d): x" % serial) for serial in range(50)]

    read = [journal.read(number) for number in (50, 1, 2, 3, 25, 49)]

    assert read == [batches[number - 1] for number in (50, 1, 2, 3, 25, 49)]


@pytest.mark.parametrize("kind", list(BatchKind))
def test_each_kind_of_batch_comes_back_as_it_was(kind, open_journal):
    journal = open_journal()

    batch = journal.append(kind, b"", b'{"boot_id": "x"}')

    assert journal.read(1) == batch == Batch(1, kind, b"", b'{"boot_id": "x"}')


def test_a_reopened_journal_goes_on_where_it_was(open_journal):
    first = open_journal()
    batches = [append(first) for _ in range(5)]
    first.forget(2, b"ids")
    first.close()

    second = open_journal()

    assert (second.epoch, second.done_number, second.done_state) == (first.epoch, 2, b"ids")
    assert read_all(second) == batches[2:]
    assert second.found_records == 3
    assert append(second).number == 6


def test_a_reopened_journal_that_was_all_done_keeps_its_numbers(open_journal):
    first = open_journal()
    for _ in range(5):
        append(first)
    first.forget(5, b"")
    first.close()

    second = open_journal()

    assert (second.epoch, second.done_number, second.last_number) == (first.epoch, 5, 5)
    assert second.kept_bytes == 0
    assert append(second).number == 6


@pytest.mark.parametrize("number", [0, 2, 6])
def test_a_batch_that_is_not_kept_cannot_be_read(number, open_journal):
    journal = open_journal()
    for _ in range(5):
        append(journal)
    journal.forget(2, b"")

    with pytest.raises(StorageError, match=f"batch {number} is not kept"):
        journal.read(number)


def test_files_go_when_all_in_them_is_done(open_journal, tmp_path):
    journal = open_journal(max_bytes=MEBIBYTE)
    for _ in range(20):
        append(journal, LARGE)
    before = segment_files(tmp_path)

    journal.forget(10, b"")

    assert before == [f"{number:020}.batches" for number in (1, 4, 7, 10, 13, 16, 19)]
    assert segment_files(tmp_path) == before[3:]
    assert journal.kept_bytes == sum(path.stat().st_size for path in tmp_path.glob("audit/*.batches"))


def test_a_file_deleted_while_it_is_being_read_troubles_nobody(open_journal):
    journal = open_journal(max_bytes=MEBIBYTE)
    batches = [append(journal, LARGE) for _ in range(8)]
    journal.read(1)

    journal.forget(6, b"")

    assert read_all(journal) == batches[6:]


def test_segments_are_an_eighth_of_a_small_journal_and_at_most_eight_mebibytes_of_a_large_one(open_journal, tmp_path):
    journal = open_journal(max_bytes=MOST_SEGMENT_BYTES * 16)
    for _ in range(5):
        journal.append(BatchKind.RECORDS, types_of(1), b"x" * 2 * MEBIBYTE)

    assert segment_files(tmp_path) == [f"{number:020}.batches" for number in (1, 4)]


def test_a_full_journal_takes_nothing_until_something_is_done(open_journal, tmp_path):
    journal = open_journal(max_bytes=MEBIBYTE)
    appended = fill(journal)
    refusal = journal.refusal
    kept_bytes = journal.kept_bytes

    journal.forget(appended // 2, b"")

    assert kept_bytes <= MEBIBYTE
    assert appended == MEBIBYTE // (len(LARGE) + 30)
    assert refusal == "it holds its 1048576 bytes of batches that are not done"
    assert append(journal, LARGE).number == appended + 1
    assert [batch.number for batch in read_all(journal)] == list(range(appended // 2 + 1, appended + 2))


def test_an_empty_journal_takes_a_batch_larger_than_its_bound(open_journal):
    journal = open_journal(max_bytes=MEBIBYTE)
    append(journal)
    journal.forget(1, b"")

    large = journal.append(BatchKind.RECORDS, types_of(256), b"x" * 2 * MEBIBYTE)
    refused = journal.append(BatchKind.RECORDS, types_of(1), b"x")

    assert large is not None
    assert refused is None
    assert journal.read(2) == large


def test_done_never_goes_back_nor_beyond_what_was_appended(open_journal):
    journal = open_journal()
    for _ in range(5):
        append(journal)
    journal.forget(4, b"four")

    journal.forget(3, b"three")
    back = (journal.done_number, journal.done_state)
    journal.forget(99, b"all")

    assert back == (4, b"four")
    assert (journal.done_number, journal.last_number) == (5, 5)


def test_a_second_process_cannot_open_it(open_journal, tmp_path):
    journal = open_journal()
    command = (
        "import sys; from pathlib import Path; from auditline.workers.audit.journal import Journal\n"
        "Journal.open(Path(sys.argv[1]), 'audit', 1 << 20)"
    )

    second = subprocess.run([sys.executable, "-c", command, tmp_path], capture_output=True, text=True, check=False)
    with pytest.raises(BusyError, match="is in use by another process"):
        open_journal()
    journal.close()
    third = subprocess.run([sys.executable, "-c", command, tmp_path], check=False)

    assert "BusyError" in second.stderr
    assert third.returncode == 0


def test_files_are_for_owner_and_group_only(open_journal, tmp_path):
    journal = open_journal()
    append(journal)
    journal.forget(1, b"")

    directory = tmp_path / "audit"

    assert directory.stat().st_mode & 0o7777 == 0o750
    assert {path.name: oct(path.stat().st_mode & 0o7777) for path in directory.iterdir()} == {
        "00000000000000000001.batches": "0o640",
        "done.0": "0o640",
        "epoch": "0o640",
    }


def test_what_was_written_can_be_forced_to_the_disk(open_journal, monkeypatch):
    journal = open_journal(max_bytes=MEBIBYTE)
    forced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: forced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    for _ in range(5):
        append(journal, LARGE)
    journal.forget(1, b"")

    journal.sync()
    first = sorted(forced)
    forced.clear()
    journal.sync()

    append(journal)
    journal.sync()

    assert first == ["00000000000000000001.batches", "00000000000000000004.batches", "audit", "done.0"]
    assert forced == ["done.0", "audit", "00000000000000000004.batches", "done.0", "audit"]


def test_a_directory_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match=r"journal .*/file/audit: cannot be made: Not a directory"):
        Journal.open(tmp_path / "file", "audit", MEBIBYTE)


def test_a_batch_that_decays_on_the_disk_is_told_when_it_is_read(open_journal, tmp_path):
    journal = open_journal()
    append(journal)
    with (tmp_path / "audit" / "00000000000000000001.batches").open("r+b") as file:
        file.seek(35)
        file.write(b"?")

    with pytest.raises(StorageError, match="batch 1 is damaged"):
        journal.read(1)


def test_a_batch_too_large_for_any_journal_is_a_mistake_of_ours(open_journal):
    with pytest.raises(ValueError, match="a batch must be at most 4194304 bytes, not 4194333"):
        open_journal().append(BatchKind.RECORDS, b"", b"x" * 4194305)


def test_a_disk_error_is_counted_once_per_batch_and_told_at_first(open_journal, monkeypatch, caplog):
    counts: Counter[str] = Counter()
    journal = open_journal(count=lambda name, amount: counts.update({name: amount}))
    append(journal)

    def fail(_fd, _pieces):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", fail)
        refused = [journal.append(BatchKind.RECORDS, types_of(1), b"x") for _ in range(3)]
    refusal = journal.refusal
    batch = append(journal)

    assert refused == [None, None, None]
    assert refusal == "cannot write: Input/output error"
    assert counts == {"journal_errors_total": 3}
    assert len(caplog.messages) == 1
    assert batch.number == 2
    assert journal.read(2) == batch
