import os
import shutil
import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from auditline.workers.audit.journal import Journal
from auditline.workers.audit.recovery import MOST_LOST_BATCHES
from auditline.workers.audit.segment import HEADER_BYTES, encode_entry
from auditline.workers.common.batch import Batch, BatchKind

MEBIBYTE = 1024 * 1024
FIRST_SEGMENT = "00000000000000000001.batches"


def payload_of(number: int) -> bytes:
    return b"audit(1.000:%d): x" % number


def entry(number: int) -> bytes:
    return b"".join(encode_entry(number, BatchKind.RECORDS, b"\x14\x05", payload_of(number)))


ENTRY_BYTES = len(entry(1))


def batch(number: int) -> Batch:
    return Batch(number, BatchKind.RECORDS, b"\x14\x05", payload_of(number))


def lost(number: int) -> Batch:
    return Batch(number, BatchKind.RECORDS, b"", b"")


def read_all(journal: Journal) -> list[Batch]:
    return [journal.read(number) for number in range(journal.done_number + 1, journal.last_number + 1)]


@pytest.fixture
def kept(tmp_path, open_journal):
    """A closed journal of five batches of which two are done; gives its directory and its epoch."""
    journal = open_journal()
    for number in range(1, 6):
        journal.append(BatchKind.RECORDS, b"\x14\x05", payload_of(number))
    journal.forget(2, b"state")
    journal.close()
    return tmp_path / "audit", journal.epoch


@pytest.fixture
def counts() -> "Counter[str]":
    return Counter()


@pytest.mark.parametrize("cut_bytes", range(1, ENTRY_BYTES))
def test_a_batch_that_a_kill_left_unfinished_is_cut_off_and_was_never_sent(cut_bytes, kept, open_journal):
    directory, epoch = kept
    os.truncate(directory / FIRST_SEGMENT, 5 * ENTRY_BYTES - cut_bytes)

    journal = open_journal()
    batches = read_all(journal)
    journal.append(BatchKind.RECORDS, b"\x14\x05", payload_of(5))
    journal.close()
    again = open_journal()

    assert journal.epoch == epoch
    assert batches == [batch(3), batch(4)]
    assert (journal.done_number, journal.done_state) == (2, b"state")
    assert again.epoch == journal.epoch
    assert read_all(again) == [batch(3), batch(4), batch(5)]


@pytest.mark.parametrize("cut_bytes", [0, 1, ENTRY_BYTES])
def test_another_boot_begins_a_new_epoch_because_a_power_cut_may_have_taken_what_was_sent(
    cut_bytes, kept, open_journal, monkeypatch
):
    directory, epoch = kept
    os.truncate(directory / FIRST_SEGMENT, 5 * ENTRY_BYTES - cut_bytes)
    monkeypatch.setattr("auditline.workers.audit.recovery.boot_id", lambda: "another")

    journal = open_journal()
    journal.close()

    assert journal.epoch != epoch
    assert open_journal().epoch == journal.epoch


UNFINISHED = entry(6)[:-1]


@pytest.mark.parametrize(
    "tail",
    [b"x", b"ALJ2", UNFINISHED + b"?x", UNFINISHED + b"?", entry(7)[:-1], entry(5)[:-1], b"x" + UNFINISHED],
    ids=["text", "magic", "longer", "checksum", "number-above", "number-below", "text-before"],
)
def test_an_end_that_no_kill_leaves_begins_a_new_epoch(tail, kept, open_journal):
    directory, epoch = kept
    with (directory / FIRST_SEGMENT).open("ab") as file:
        file.write(tail)

    journal = open_journal()

    assert journal.epoch != epoch
    assert read_all(journal) == [batch(3), batch(4), batch(5)]


@pytest.mark.parametrize("written_bytes", [0, 2, HEADER_BYTES, ENTRY_BYTES - 1])
@pytest.mark.parametrize(("number", "keeps_epoch"), [(6, True), (8, False)])
def test_a_file_with_nothing_but_an_unfinished_batch_is_dropped(written_bytes, number, keeps_epoch, kept, open_journal):
    directory, epoch = kept
    (directory / f"{number:020}.batches").write_bytes(entry(number)[:written_bytes])

    journal = open_journal()

    assert (journal.epoch == epoch) is (keeps_epoch or not written_bytes)
    assert journal.last_number == 5


def test_a_tail_torn_into_what_was_done_never_gives_a_number_twice(kept, open_journal):
    directory, epoch = kept
    os.truncate(directory / FIRST_SEGMENT, ENTRY_BYTES + 3)

    journal = open_journal()

    assert (journal.done_number, journal.last_number) == (2, 2)
    assert journal.epoch != epoch
    assert journal.append(BatchKind.IDLE, b"", b"").number == 3


@pytest.mark.parametrize("damaged_byte", range(0, ENTRY_BYTES, 3))
def test_a_damaged_batch_in_the_middle_is_counted_and_keeps_its_number(damaged_byte, kept, open_journal, counts):
    directory, epoch = kept
    with (directory / FIRST_SEGMENT).open("r+b") as file:
        file.seek(3 * ENTRY_BYTES + damaged_byte)
        file.write(b"\xff")

    journal = open_journal(count=lambda name, amount: counts.update({name: amount}))

    assert read_all(journal) == [batch(3), lost(4), batch(5)]
    assert journal.epoch == epoch
    assert journal.found_records == 2
    assert counts == {"journal_damaged_batches_total": 1}


def test_damage_to_what_is_done_is_no_loss(kept, open_journal, counts):
    directory, _ = kept
    with (directory / FIRST_SEGMENT).open("r+b") as file:
        file.write(b"\xff" * ENTRY_BYTES)

    journal = open_journal(count=lambda name, amount: counts.update({name: amount}))

    assert read_all(journal) == [batch(3), batch(4), batch(5)]
    assert not counts


def test_a_missing_file_in_the_middle_leaves_batches_without_records(open_journal, tmp_path, counts):
    journal = open_journal(max_bytes=MEBIBYTE)
    for _ in range(8):
        journal.append(BatchKind.RECORDS, b"\x14\x05", b"x" * 60_000)
    journal.close()
    (tmp_path / "audit" / "00000000000000000003.batches").unlink()

    journal = open_journal(count=lambda name, amount: counts.update({name: amount}))

    assert [found.record_count for found in read_all(journal)] == [1, 1, 0, 0, 1, 1, 1, 1]
    assert counts == {"journal_damaged_batches_total": 2}


def test_missing_first_files_move_done_on(kept, open_journal, counts):
    directory, epoch = kept
    (directory / FIRST_SEGMENT).write_bytes(entry(5) + entry(6))

    journal = open_journal(count=lambda name, amount: counts.update({name: amount}))

    assert (journal.done_number, journal.done_state, read_all(journal)) == (4, b"state", [batch(5), batch(6)])
    assert journal.epoch != epoch
    assert counts == {"journal_damaged_batches_total": 2}


@pytest.mark.parametrize("content", [b"", b"ALD1", b"\xff" * 40, b"ALD1" + b"\0" * 20])
def test_damage_to_what_is_known_to_be_done_only_means_that_more_is_sent_again(content, kept, open_journal, caplog):
    directory, _ = kept
    (directory / "done.0").write_bytes(content)

    journal = open_journal()

    assert (journal.done_number, journal.done_state) == (0, b"")
    assert read_all(journal) == [batch(number) for number in range(1, 6)]
    assert "what is done cannot be read, so events may come twice" in caplog.text


@pytest.mark.parametrize("kept_bytes", [0, 3, 20, 24, 4096 + 100])
def test_a_kill_while_done_is_stored_leaves_the_one_before(kept_bytes, kept, open_journal, caplog):
    directory, epoch = kept
    journal = open_journal()
    journal.forget(4, b"s" * 5000)
    journal.close()
    os.truncate(directory / "done.1", kept_bytes)

    again = open_journal()
    found = (again.epoch, again.done_number, again.done_state)
    again.forget(3, b"three")
    again.forget(5, b"five")
    again.close()
    last = open_journal()

    assert found == (epoch, 2, b"state")
    assert (last.done_number, last.done_state) == (5, b"five")
    assert caplog.messages == []


@pytest.mark.parametrize("content", [b"", b"0123456789ABCDEF\n\n", b"\xff" * 16, b"0123456789abcdef\n"])
def test_a_damaged_epoch_file_begins_a_new_epoch(content, kept, open_journal):
    directory, epoch = kept
    (directory / "epoch").write_bytes(content)

    first = open_journal()
    first.close()
    second = open_journal()

    assert len(first.epoch) == 16
    assert first.epoch != epoch
    assert second.epoch == first.epoch


def test_a_new_epoch_for_which_there_is_no_room_is_chosen_again_at_the_next_start(kept, open_journal, monkeypatch):
    directory, epoch = kept
    (directory / "epoch").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_with_full_disk)
        first = open_journal()
    first.close()

    second = open_journal()

    assert len({epoch, first.epoch, second.epoch}) == 3


def fail_with_full_disk(*_arguments):
    raise OSError(28, "No space left on device")


def test_a_file_whose_numbers_are_far_off_is_set_aside(kept, open_journal):
    directory, epoch = kept
    far = 6 + MOST_LOST_BATCHES + 1
    (directory / f"{far:020}.batches").write_bytes(entry(far))

    journal = open_journal()

    assert read_all(journal) == [batch(3), batch(4), batch(5)]
    assert journal.epoch != epoch
    assert (directory / f"{far:020}.damaged").read_bytes() == entry(far)


def test_an_old_entry_that_comes_again_is_skipped(kept, open_journal):
    directory, _ = kept
    with (directory / FIRST_SEGMENT).open("ab") as file:
        file.write(entry(4) + entry(6))

    journal = open_journal()

    assert read_all(journal) == [batch(number) for number in (3, 4, 5, 6)]


def test_foreign_files_are_left_alone(kept, open_journal):
    directory, epoch = kept
    foreign = ["notes.txt", "1.batches", "00000000000000000009.batches.bak", "٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٩.batches"]
    for name in foreign:
        (directory / name).write_bytes(entry(9))

    journal = open_journal()

    assert journal.epoch == epoch
    assert all((directory / name).exists() for name in foreign)


def test_a_directory_in_place_of_a_file_is_told_and_survived(kept, open_journal):
    directory, _ = kept
    (directory / "00000000000000000006.batches").mkdir()
    (directory / "done.0").unlink()
    (directory / "done.0").mkdir()

    journal = open_journal()

    assert read_all(journal) == [batch(number) for number in range(1, 6)]


ENTRY_NUMBERS = st.integers(1, 12) | st.integers(0, 2**64 - 1)
PIECES = (
    st.binary(max_size=60)
    | ENTRY_NUMBERS.map(entry)
    | st.just(b"ALJ1")
    | st.builds(
        lambda number, kind, types, payload: b"ALJ1\0\0\0\0" + struct.pack("<QIII", number, kind, types, payload),
        ENTRY_NUMBERS,
        st.integers(0, 9),
        st.integers(0, 2**32 - 1) | st.integers(0, 40),
        st.integers(0, 2**32 - 1) | st.integers(0, 40),
    )
)
FILE_NAMES = st.sampled_from(["done.0", "done.1", "epoch", "epoch.new"]) | st.integers(0, 12).map(
    lambda n: f"{n:020}.batches"
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(FILE_NAMES, st.lists(PIECES, max_size=8).map(b"".join), max_size=6))
def test_no_garbage_keeps_the_journal_from_opening_and_being_used(files, tmp_path, open_journal):
    directory = tmp_path / "any"
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "audit").mkdir(parents=True)
    for name, content in files.items():
        (directory / "audit" / name).write_bytes(content)

    journal = open_journal(directory=directory)
    found = read_all(journal)
    appended = journal.append(BatchKind.RECORDS, b"\x14\x05", b"x")
    journal.close()
    again = open_journal(directory=directory)
    found_again = read_all(again)
    again.close()

    assert appended.number == journal.last_number
    assert found_again == [*found, appended]
    assert again.epoch == journal.epoch


class JournalMachine(RuleBasedStateMachine):
    """Against a plain list: what was appended and not forgotten is there, whatever happens in between."""

    @initialize(target_bytes=st.sampled_from([4096, 65536]))
    def begin(self, target_bytes: int) -> None:
        self.directory = Path(os.environ.get("TMPDIR", "/tmp")) / f"journal-machine-{os.getpid()}"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        self.max_bytes = target_bytes
        self.journal = Journal.open(self.directory, "audit", target_bytes)
        self.kept: list[Batch] = []
        self.done = (0, b"")
        self.last_number = 0

    @rule(kind=st.sampled_from(list(BatchKind)), types=st.binary(max_size=8), payload=st.binary(max_size=2000))
    def append(self, kind: int, types: bytes, payload: bytes) -> None:
        appended = self.journal.append(kind, types, payload)
        if appended is None:
            assert self.journal.kept_bytes + HEADER_BYTES + len(types) + len(payload) > self.max_bytes
            return
        self.last_number += 1
        assert appended == Batch(self.last_number, kind, types, payload)
        self.kept.append(appended)

    @rule(data=st.data(), state=st.binary(max_size=50))
    def forget(self, data: st.DataObject, state: bytes) -> None:
        number = data.draw(st.integers(0, self.last_number + 1))
        self.journal.forget(number, state)
        number = min(number, self.last_number)
        if number > self.done[0]:
            self.done = (number, state)
            self.kept = [batch for batch in self.kept if batch.number > number]

    @rule()
    def reopen(self) -> None:
        epoch = self.journal.epoch
        self.journal.close()
        self.journal = Journal.open(self.directory, "audit", self.max_bytes)
        assert self.journal.epoch == epoch or self.done[0] == 0

    @rule(garbage=st.binary(min_size=1, max_size=40))
    def kill_in_the_middle_of_append(self, garbage: bytes) -> None:
        epoch = self.journal.epoch
        self.journal.close()
        files = sorted(self.directory.glob("audit/*.batches"))
        torn = b"".join(encode_entry(self.last_number + 1, 0, b"", garbage))[:-1]
        if files:
            with files[-1].open("ab") as file:
                file.write(torn)
        self.journal = Journal.open(self.directory, "audit", self.max_bytes)
        assert self.journal.epoch == epoch or self.done[0] == 0

    @invariant()
    def everything_kept_can_be_read(self) -> None:
        if not hasattr(self, "journal"):
            return
        assert (self.journal.done_number, self.journal.done_state) == self.done
        assert self.journal.last_number == max(self.last_number, self.done[0])
        assert read_all(self.journal) == self.kept

    @invariant()
    def it_stays_within_its_bound(self) -> None:
        if hasattr(self, "journal"):
            on_disk = sum(path.stat().st_size for path in self.directory.glob("audit/*.batches"))
            assert on_disk == self.journal.kept_bytes <= self.max_bytes

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            shutil.rmtree(self.directory)


JournalMachine.TestCase.settings = settings(deadline=None, max_examples=100, stateful_step_count=30)
TestJournalAsAList = JournalMachine.TestCase
