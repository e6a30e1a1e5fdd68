"""The journal under kill -9 and on a full disk: real processes, a real file system."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditline.workers.audit.journal import Journal
from auditline.workers.common.batch import Batch, BatchKind

MEBIBYTE = 1024 * 1024
KILLS = 40


def read_all(journal: Journal) -> list[Batch]:
    return [journal.read(number) for number in range(journal.done_number + 1, journal.last_number + 1)]


def payload_of(number: int) -> bytes:
    return b"audit(1.000:%d): " % number + b"x" * (number * 7919 % 150_000)


def append_until_killed(directory: Path, report_fd: int) -> None:
    journal = Journal.open(directory, "audit", 4 * MEBIBYTE)
    while True:
        number = journal.last_number + 1
        assert journal.append(BatchKind.RECORDS, b"\x14\x05", payload_of(number)) is not None
        os.write(report_fd, number.to_bytes(8, "little"))
        if number % 8 == 0:
            journal.forget(number - 4, b"state after %d" % (number - 4))


def kill_a_writer(directory: Path, after_seconds: float) -> int:
    """Return the last number that the writer could still report; 0: none."""
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            append_until_killed(directory, write_fd)
        finally:
            os._exit(1)
    os.close(write_fd)
    time.sleep(after_seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read_fd, "rb") as reports:
        reported = reports.read()
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    return int.from_bytes(reported[-8:], "little")


def test_kill_9_at_any_moment_costs_at_most_the_batch_in_hand(tmp_path, open_journal):
    moments = random.Random(4)
    last_number = 0
    for _ in range(KILLS):
        reported = kill_a_writer(tmp_path, moments.uniform(0.001, 0.03)) or last_number

        journal = open_journal(max_bytes=4 * MEBIBYTE)
        batches = read_all(journal)
        last_number = journal.last_number
        state = journal.done_state
        journal.close()

        assert reported <= last_number <= reported + 1
        assert [batch.payload for batch in batches] == [payload_of(batch.number) for batch in batches]
        assert state in (b"", b"state after %d" % journal.done_number)

    assert last_number > KILLS


@pytest.fixture
def small_disk(tmp_path: Path, needs_root: None) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", directory], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def fill_disk(directory: Path) -> Path:
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return ballast
    return ballast


def append_until_refused(journal: Journal, payload: bytes) -> list[Batch]:
    return list(iter(lambda: journal.append(BatchKind.RECORDS, b"\x14\x05", payload), None))


def test_a_full_disk_refuses_whole_batches_and_takes_them_again_when_there_is_room(small_disk, open_journal, caplog):
    journal = open_journal(directory=small_disk)
    batches = append_until_refused(journal, b"x" * 30_000)
    refusal = journal.refusal
    ballast = fill_disk(small_disk)
    refused = journal.append(BatchKind.RECORDS, b"\x14\x05", b"y" * 30_000)

    ballast.unlink()
    taken = journal.append(BatchKind.IDLE, b"", b"")
    journal.close()
    again = open_journal(directory=small_disk)

    assert refusal == "cannot write: No space left on device"
    assert refused is None
    assert read_all(again) == [*batches, taken]
    assert again.epoch == journal.epoch
    assert "cannot write: No space left on device" in caplog.text


def test_on_a_full_disk_done_is_believed_only_when_it_is_stored(small_disk, open_journal):
    journal = open_journal(directory=small_disk)
    for _ in range(5):
        journal.append(BatchKind.RECORDS, b"\x14\x05", b"x" * 5000)
    journal.forget(1, b"one")
    ballast = fill_disk(small_disk)

    journal.forget(3, b"3" * 50_000)
    while_full = (journal.done_number, journal.done_state)
    ballast.unlink()
    journal.append(BatchKind.IDLE, b"", b"")
    with_room = (journal.done_number, journal.done_state)
    journal.close()
    again = open_journal(directory=small_disk)

    assert while_full == (1, b"one")
    assert with_room == (again.done_number, again.done_state) == (3, b"3" * 50_000)


def test_done_is_stored_on_a_full_disk_in_the_room_that_it_has(small_disk, open_journal):
    journal = open_journal(directory=small_disk)
    for _ in range(5):
        journal.append(BatchKind.RECORDS, b"\x14\x05", b"x" * 5000)
    journal.forget(1, b"one")
    journal.forget(2, b"two")
    fill_disk(small_disk)

    journal.forget(3, b"3" * 4000)
    journal.forget(4, b"4" * 4000)
    journal.close()
    again = open_journal(directory=small_disk)

    assert (again.done_number, again.done_state) == (4, b"4" * 4000)


def test_a_journal_that_fills_the_disk_itself_makes_room_when_batches_are_done(small_disk, open_journal):
    journal = open_journal(max_bytes=MEBIBYTE, directory=small_disk)
    batches = append_until_refused(journal, b"x" * 30_000)
    fill_disk(small_disk).rename(small_disk / "someone else's")

    journal.forget(len(batches) - 1, b"s" * 50_000)
    more = append_until_refused(journal, b"y" * 30_000)

    assert (journal.done_number, journal.done_state) == (len(batches) - 1, b"s" * 50_000)
    assert len(more) > 1
    assert read_all(journal) == [batches[-1], *more]


def test_a_journal_whose_directory_can_no_longer_be_written_refuses_and_goes_on(open_journal, tmp_path):
    journal = open_journal(max_bytes=MEBIBYTE)
    journal.append(BatchKind.RECORDS, b"\x14\x05", b"x" * 100_000)
    (tmp_path / "audit").rename(tmp_path / "elsewhere")

    refused = journal.append(BatchKind.RECORDS, b"\x14\x05", b"x" * 100_000)
    journal.forget(1, b"")
    (tmp_path / "elsewhere").rename(tmp_path / "audit")
    taken = journal.append(BatchKind.RECORDS, b"\x14\x05", b"x" * 100_000)

    assert refused is None
    assert journal.refusal == "cannot write: No such file or directory"
    assert taken.number == 2
    assert journal.done_number == 1
