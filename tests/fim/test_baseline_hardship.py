"""A baseline under kill -9, on a full disk and beside other programs: real processes, a real file system."""

import errno
import os
import random
import resource
import select
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.file_entry import Entry, FileChange, decode_entries, decode_entry
from auditline.workers.common.file_state import FileState
from auditline.workers.fim import database
from auditline.workers.fim.baseline import Baseline, BaselineDamaged
from auditline.workers.fim.rows import decode_row

STATE = FileState(0o100644, 0, 0, 0, 1234, 2049, 1, 3, 4, 5, 0, None, b"\x04" + bytes(32), "stable", 6)
KILLS = 40
KILLS_AT_THE_START = 20
PATIENCE_SECONDS = 10


def path_of(number: int) -> bytes:
    return b"d%d/f%d" % (number % 3, number * 7 % 11)


def state_of_number(number: int) -> FileState | None:
    return None if number % 5 == 0 else STATE._replace(size=number)


def entry_of(number: int) -> FileChange:
    return FileChange(
        action="updated",
        path=b"/etc/" + path_of(number),
        before=None,
        after=state_of_number(number),
        detected_by="event",
        time_ns=number,
    )


def append_number(baseline: Baseline, number: int) -> None:
    baseline.append(entry_of(number), path_of(number), state_of_number(number))


def effect_of(numbers: range) -> dict[bytes, FileState]:
    """Return what is known after the entries of these numbers."""
    states = {path_of(number): state_of_number(number) for number in numbers}
    return {path: state for path, state in states.items() if state is not None}


def read_seen(folder: Path) -> dict[bytes, int]:
    with closing(sqlite3.connect(folder / "fim-etc.sqlite")) as connection:
        rows = connection.execute(
            "SELECT path, id, name, state FROM seen JOIN directories ON id = directory"
        ).fetchall()
    return {path + b"/" + name: decode_row((directory, name, state)).size for path, directory, name, state in rows}


def read_entries(baseline: Baseline) -> list[Entry | ValueError]:
    payloads = [baseline.read(number).payload for number in range(baseline.done_number + 1, baseline.last_number + 1)]
    return [entry for payload in payloads for _, entry in decode_entries(payload)]


def read_known(baseline: Baseline) -> dict[bytes, FileState]:
    known = {path: baseline.known(path) for path in baseline.known_beneath(b"")}
    return {path: state for path, state in known.items() if state is not None}


def work_until_killed(folder: Path, report_fd: int, moments: random.Random) -> None:
    baseline = Baseline.open(folder, "fim-etc", b"/etc")
    while True:
        with suppress(InterruptedError), baseline.transaction():
            number = baseline.last_entry
            for _ in range(moments.choice([1, 1, 2, 20])):
                number += 1
                append_number(baseline, number)
            baseline.keep(b"twins/one", STATE._replace(size=number))
            baseline.keep(b"twins/two", STATE._replace(size=number))
            if moments.random() < 0.1:
                raise InterruptedError
        os.write(report_fd, baseline.last_entry.to_bytes(8, "little"))
        if moments.random() < 0.5:
            number = moments.randint(baseline.done_number, baseline.last_number)
            baseline.forget(number, b"state after %d" % number)


def kill_a_worker(folder: Path, moments: random.Random) -> int:
    """Let a process work for a moment, kill it, and return the last number that it could report; 0: none."""
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work_until_killed(folder, write_fd, moments)
        finally:
            os._exit(1)
    os.close(write_fd)
    if moments.random() < 0.8:
        # Or a busy host would always be killed before it has done anything.
        select.select([read_fd], [], [], PATIENCE_SECONDS)
    time.sleep(moments.uniform(0.005, 0.06))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read_fd, "rb") as reports:
        reported = reports.read()
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    return int.from_bytes(reported[-8:], "little")


def test_kill_9_at_any_moment_leaves_nothing_half(tmp_path):
    moments = random.Random(4)
    epochs = set()
    last_number = 0
    for _ in range(KILLS):
        reported = kill_a_worker(tmp_path, moments) or last_number

        with closing(Baseline.open(tmp_path, "fim-etc", b"/etc")) as baseline:
            last_number, done = baseline.last_entry, baseline.done_entry
            epochs.add(baseline.epoch)
            entries = read_entries(baseline)
            twins = dict(baseline.known_page(b"twins", b"", 1000))
            known = read_known(baseline)
            seen = read_seen(tmp_path)
            counts = baseline.counts()

            assert (baseline.was_rebuilt, baseline.is_behind) == ("", False)
            assert reported <= last_number <= reported + 20
            assert entries == [entry_of(number) for number in range(done + 1, last_number + 1)]
            assert twins.get(b"one") == twins.get(b"two")
            assert {path: state for path, state in known.items() if path[:5] != b"twins"} == effect_of(
                range(1, last_number + 1)
            )
            assert seen == {path: state.size for path, state in known.items()}
            assert baseline.done_state in (b"", b"state after %d" % baseline.done_number)
            assert counts == (len(seen), last_number - done)

    assert len(epochs) == 1
    assert last_number > KILLS


def test_kill_9_while_it_is_made_for_the_first_time_or_made_anew_leaves_one_that_works(tmp_path):
    moments = random.Random(5)
    for number in range(KILLS_AT_THE_START):
        folder = tmp_path / str(number)
        folder.mkdir()
        if number % 2:
            (folder / "fim-etc.sqlite").write_bytes(b"damaged")
        child = os.fork()
        if child == 0:
            try:
                Baseline.open(folder, "fim-etc", b"/etc")
                signal.pause()
            finally:
                os._exit(1)
        time.sleep(moments.uniform(0.0005, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        with closing(Baseline.open(folder, "fim-etc", b"/etc")) as baseline:
            append_number(baseline, 1)

            assert baseline.was_rebuilt == ("is damaged: file is not a database" if number % 2 else "")
            assert not baseline.is_walked


@pytest.fixture
def small_disk(tmp_path: Path, mount: Callable[..., None]) -> Path:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
    return folder


def fill_disk(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


def write_until_refused(baseline: Baseline) -> None:
    """Use up what room the files have that are there already."""
    for number in range(10_000):
        baseline.set_note("filler", f"{number} {'x' * 3000}")


def keep_something(baseline: Baseline) -> None:
    baseline.keep(b"new/a", STATE)


def keep_nothing(baseline: Baseline) -> None:
    baseline.keep(b"d/a", None)


def append_something(baseline: Baseline) -> None:
    append_number(baseline, 3)


def end_the_walk(baseline: Baseline) -> None:
    baseline.mark_walked()


def write_much(baseline: Baseline) -> None:
    with baseline.transaction():
        for number in range(4000):
            baseline.keep(b"much/%d" % number, STATE)


WRITES = [keep_something, keep_nothing, append_something, end_the_walk, write_much]


@pytest.fixture
def full(small_disk, open_baseline):
    """A baseline on a full disk, with something in it, and the file that takes all the room."""
    baseline = open_baseline(small_disk)
    baseline.keep(b"d/a", STATE)
    append_number(baseline, 1)
    append_number(baseline, 2)
    ballast = fill_disk(small_disk)
    with pytest.raises(StorageError):
        write_until_refused(baseline)
    return baseline, ballast


@pytest.mark.parametrize("write", WRITES)
def test_on_a_full_disk_a_write_is_refused_as_a_whole_and_works_when_there_is_room(write, full):
    baseline, ballast = full
    before = (sorted(baseline.known_beneath(b"")), baseline.counts(), baseline.last_number, baseline.is_walked)

    with pytest.raises(StorageError, match=r"fim-etc\.sqlite cannot be written: .*(full|disk I/O error)") as refusal:
        write(baseline)
    after = (sorted(baseline.known_beneath(b"")), baseline.counts(), baseline.last_number, baseline.is_walked)
    entries = [decode_entry(baseline.read(number).payload) for number in (1, 2)]
    ballast.unlink()
    write(baseline)

    assert not isinstance(refusal.value, BaselineDamaged)
    assert after == before
    assert entries == [entry_of(1), entry_of(2)]
    assert (sorted(baseline.known_beneath(b"")), baseline.counts(), baseline.is_walked) != before[:2] + before[3:]


@pytest.mark.parametrize("write", WRITES)
def test_what_was_refused_on_a_full_disk_is_not_there_after_a_restart(write, full, open_baseline):
    baseline, ballast = full
    before = (sorted(baseline.known_beneath(b"")), baseline.counts(), baseline.last_number, baseline.epoch)
    with suppress(StorageError):
        write(baseline)
    baseline.close()
    ballast.unlink()

    again = open_baseline(ballast.parent)

    assert (sorted(again.known_beneath(b"")), again.counts(), again.last_number, again.epoch) == before
    assert (again.was_rebuilt, again.is_behind) == ("", False)


def test_nothing_is_written_after_a_refusal_that_was_passed_over(full):
    baseline, ballast = full

    with pytest.raises(StorageError, match="cannot be written"):
        write_on_after_a_refusal(baseline, ballast)
    append_number(baseline, 3)

    assert dict(baseline.known_page(b"much", b"", 1000)) == {}
    assert baseline.last_number == 3


def write_on_after_a_refusal(baseline: Baseline, ballast: Path) -> None:
    with baseline.transaction():
        # More than sqlite keeps in memory, so that it is refused before the end.
        for number in range(12_000):
            with suppress(StorageError):
                baseline.keep(b"much/%0255d" % number, STATE)
        ballast.unlink()
        with suppress(StorageError):
            append_something(baseline)


def test_on_a_full_disk_done_is_believed_only_when_it_is_stored(full, open_baseline, caplog):
    baseline, ballast = full

    baseline.forget(1, b"one")
    baseline.forget(2, b"two")
    while_full = (baseline.done_number, baseline.done_state, baseline.counts().outbox_entries)
    ballast.unlink()
    append_number(baseline, 3)
    with_room = (baseline.done_number, baseline.done_state, baseline.counts().outbox_entries)
    baseline.close()
    again = open_baseline(ballast.parent)

    assert while_full == (0, b"", 2)
    assert with_room == (again.done_number, again.done_state, again.counts().outbox_entries) == (2, b"two", 1)
    assert len(caplog.messages) == 1
    assert "cannot be written" in caplog.text


def test_a_full_outbox_is_not_full_any_more_when_only_the_disk_keeps_it_from_being_emptied(small_disk, open_baseline):
    baseline = open_baseline(small_disk, max_outbox_entries=2)
    append_number(baseline, 1)
    append_number(baseline, 2)
    fill_disk(small_disk)
    with pytest.raises(StorageError):
        write_until_refused(baseline)
    before = baseline.is_full

    baseline.forget(2, b"")

    assert (before, baseline.is_full, baseline.done_number) == (True, False, 0)


def test_one_that_cannot_be_opened_on_a_full_disk_can_when_there_is_room(full, open_baseline):
    baseline, ballast = full
    epoch, known = baseline.epoch, sorted(baseline.known_beneath(b""))
    baseline.close()
    fill_disk(ballast.parent).rename(ballast.parent / "more")

    with suppress(StorageError):
        open_baseline(ballast.parent).close()
    (ballast.parent / "more").unlink()
    ballast.unlink(missing_ok=True)
    again = open_baseline(ballast.parent)

    assert (again.epoch, sorted(again.known_beneath(b"")), again.was_rebuilt) == (epoch, known, "")


def test_one_that_cannot_be_made_on_a_full_disk_can_when_there_is_room(small_disk, open_baseline):
    ballast = fill_disk(small_disk)

    with pytest.raises(StorageError, match=r"cannot be (opened|made)"):
        open_baseline(small_disk / "baselines")
    ballast.unlink()
    baseline = open_baseline(small_disk / "baselines")

    assert baseline.was_rebuilt == ""


def test_why_it_is_made_anew_is_not_forgotten_while_the_disk_is_full(small_disk, open_baseline):
    open_baseline(small_disk).close()
    (small_disk / "fim-etc.sqlite").write_bytes(b"damaged")
    ballast = fill_disk(small_disk)

    with pytest.raises(StorageError, match="cannot be opened"):
        open_baseline(small_disk)
    ballast.unlink()
    baseline = open_baseline(small_disk)

    assert baseline.was_rebuilt == "is damaged: file is not a database"


def test_a_claim_that_cannot_be_written_is_told_once_and_costs_an_epoch(open_baseline, monkeypatch, caplog):
    baseline = open_baseline()

    def fail(_fd: int, _content: bytes, _offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        append_number(baseline, 1)
        append_number(baseline, 2)
    baseline.close()
    again = open_baseline()

    assert len(caplog.messages) == 1
    assert "fim-etc.claim: cannot be written: Input/output error" in caplog.text
    assert (again.last_number, again.is_behind) == (2, False)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 256 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_write_error_of_the_disk_is_no_damage(open_baseline, small_files):
    baseline = open_baseline()
    append_number(baseline, 1)

    with pytest.raises(StorageError, match="cannot be written: disk I/O error") as refusal:
        write_much(baseline)
    append_number(baseline, 2)

    assert not isinstance(refusal.value, BaselineDamaged)
    assert dict(baseline.known_page(b"much", b"", 1000)) == {}
    assert baseline.last_number == 2


def test_a_lock_of_another_program_is_waited_for_and_then_told(open_baseline, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_LOCK_SECONDS", 0.05)
    baseline = open_baseline()
    with closing(sqlite3.connect(tmp_path / "fim-etc.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="cannot be written: database is locked"):
            append_number(baseline, 1)
        known = baseline.known(path_of(1))

    append_number(baseline, 1)

    assert known is None
    assert baseline.last_number == 1


def test_one_that_another_program_has_locked_is_busy_when_it_is_opened(open_baseline, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_LOCK_SECONDS", 0.05)
    baseline = open_baseline()
    epoch = baseline.epoch
    baseline.close()
    with closing(sqlite3.connect(tmp_path / "fim-etc.sqlite", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError, match=r"baseline .*fim-etc\.sqlite is locked by another program"):
            open_baseline()

    assert open_baseline().epoch == epoch
