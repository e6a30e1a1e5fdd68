"""What a producer has recorded is counted once, whatever is killed when."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.recorded_count import RECORDED, RecordedCount


@dataclass
class Numbers:
    """A store of which only the numbers matter."""

    epoch: str = "e" * 16
    done_entry: int = 0
    last_entry: int = 0


@pytest.fixture
def page(tmp_path: Path) -> Iterator[CounterPage]:
    page = CounterPage.open(tmp_path / "fim-etc.page", [])
    yield page
    page.close()


def reopen(page: CounterPage, tmp_path: Path) -> CounterPage:
    """Return what a killed process's successor finds."""
    return CounterPage.open(tmp_path / "fim-etc.page", page.as_dict())


def test_entries_are_counted_as_they_get_their_numbers(page: CounterPage):
    store = Numbers()
    recorded = RecordedCount(page, store)

    store.last_entry = 7
    recorded.update()
    store.done_entry, store.last_entry = 7, 9
    recorded.update()

    assert page.get(RECORDED) == 9


def test_what_an_earlier_run_left_is_recorded_in_this_one(page: CounterPage):
    RecordedCount(page, Numbers(done_entry=100, last_entry=103))

    assert page.get(RECORDED) == 3


def test_what_a_killed_process_had_stored_and_not_yet_counted_is_counted_by_the_next(page: CounterPage, tmp_path: Path):
    store = Numbers(done_entry=100, last_entry=103)
    RecordedCount(page, store)
    store.last_entry = 110

    successor = reopen(page, tmp_path)
    RecordedCount(successor, store)

    assert successor.get(RECORDED) == 10


def test_a_store_that_is_made_anew_counts_on(page: CounterPage, tmp_path: Path):
    RecordedCount(page, Numbers(done_entry=100, last_entry=103))

    successor = reopen(page, tmp_path)
    store = Numbers(epoch="f" * 16)
    recorded = RecordedCount(successor, store)
    store.last_entry = 2
    recorded.update()

    assert successor.get(RECORDED) == 3 + 2


def test_a_new_epoch_of_a_store_that_keeps_its_entries_counts_none_twice(page: CounterPage, tmp_path: Path):
    RecordedCount(page, Numbers(done_entry=100, last_entry=103))

    successor = reopen(page, tmp_path)
    store = Numbers(epoch="f" * 16, done_entry=101, last_entry=103)
    recorded = RecordedCount(successor, store)
    store.last_entry = 104
    recorded.update()

    assert successor.get(RECORDED) == 4
