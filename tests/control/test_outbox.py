from pathlib import Path

import pytest

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.errors import StorageError
from auditline.workers.control.outbox import MOST_ENTRIES, OUTBOX_FILE, Outbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / OUTBOX_FILE


def test_entries_are_numbered_and_kept_over_a_restart(path: Path) -> None:
    before = Outbox(path)
    before.append(b"one")
    before.append(b"two")

    after = Outbox(path)

    assert (after.epoch, after.done_number, after.last_number) == (before.epoch, 0, 2)
    assert after.read(2) == Batch(2, BatchKind.DRIFT, b"", b"two")


def test_what_is_done_goes_and_is_remembered_as_done(path: Path) -> None:
    outbox = Outbox(path)
    outbox.append(b"one")
    outbox.append(b"two")

    outbox.forget(1, b"state")
    again = Outbox(path)

    assert (again.done_number, again.done_state, again.last_number) == (1, b"state", 2)
    with pytest.raises(StorageError, match="no entry 1"):
        again.read(1)


def test_numbers_go_on_when_all_is_done(path: Path) -> None:
    outbox = Outbox(path)
    outbox.append(b"one")
    outbox.forget(1, b"")

    again = Outbox(path)
    again.append(b"two")

    assert (again.last_number, again.read(2).payload) == (2, b"two")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\xff",
        '{"epoch":"x","done_number":0,"done_state":"","entries":{}}',
        '{"epoch":"0011223344556677","done_number":0,"done_state":"","entries":{"2":""}}',
        '{"epoch":"0011223344556677","done_number":0,"done_state":"","entries":{"x":""}}',
    ],
)
def test_a_damaged_file_is_begun_anew_with_another_epoch(path: Path, text: str) -> None:
    path.write_text(text, encoding="latin-1")

    outbox = Outbox(path)

    assert (outbox.done_number, outbox.last_number) == (0, 0)
    assert len(outbox.epoch) == 16
    assert outbox.epoch != "0011223344556677"


def test_what_does_not_fit_is_dropped(path: Path) -> None:
    outbox = Outbox(path)
    outbox._entries = dict.fromkeys(range(1, MOST_ENTRIES + 1), b"x")

    assert not outbox.append(b"one more")
    assert outbox.last_number == MOST_ENTRIES


def test_a_disk_that_takes_nothing_loses_nothing_while_we_live(path: Path) -> None:
    outbox = Outbox(path.parent / "missing" / path.name)

    assert outbox.append(b"one")
    assert outbox.read(1).payload == b"one"


def test_others_may_not_read_the_file(path: Path) -> None:
    Outbox(path).append(b"one")

    assert path.stat().st_mode & 0o7137 == 0
