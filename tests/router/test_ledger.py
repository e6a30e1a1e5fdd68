"""The ledger counts every record and loss once, over kills and resends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.recorded_count import RecordedCount
from auditline.workers.router.inflow import BatchState, Inflow, Tally
from auditline.workers.router.ledger import Ledger

COMMITTER = """
import sys
from pathlib import Path
from auditline.workers.common.counters import CounterPage
from auditline.workers.router.inflow import BatchState, Inflow, Tally
from auditline.workers.router.ledger import Ledger

directory, epoch, source = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
ledger = Ledger(CounterPage.open(directory / "router.page", []), directory)
for line in sys.stdin:
    number = int(line)
    ledger.commit(Inflow(source, epoch, 0, 0), [BatchState(number, Tally(10, 1, 2, 3, 4, 5, 6))])
    print(number, flush=True)
"""


@pytest.fixture
def router_page(tmp_path: Path) -> Iterator[CounterPage]:
    page = CounterPage.open(tmp_path / "router.page", [])
    yield page
    page.close()


@pytest.fixture
def ledger(router_page: CounterPage, tmp_path: Path) -> Ledger:
    return Ledger(router_page, tmp_path)


class NoEntries:
    """A store in which nothing has ever been."""

    epoch = "e" * 16
    done_entry = last_entry = 0


def take_batches(inflow: Inflow, *tallies: Tally) -> None:
    for tally in tallies:
        state = inflow.begin(inflow.received + 1, tally.records)
        state.tally = tally
        inflow.end(state, 0, {})


def commit_in_a_process_that_is_killed(directory: Path, epoch: str, numbers: range, source: str = "audit") -> None:
    command = [sys.executable, "-c", COMMITTER, str(directory), epoch, source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in numbers:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{number}\n"
        process.send_signal(signal.SIGKILL)


def test_what_was_counted_outlives_a_kill_and_is_not_counted_again_when_it_comes_again(tmp_path: Path):
    for numbers in (range(1, 6), range(3, 9), range(9, 10), range(1, 12)):
        commit_in_a_process_that_is_killed(tmp_path, "e1", numbers)

    counted = CounterPage.open(tmp_path / "router.page", []).as_dict()

    assert counted["batches_done_total"] == 11
    assert (counted["records_written_total"], counted["records_filtered_total"]) == (99, 11)
    assert counted["records_unparsed_total"] == 22
    assert (counted["events_incomplete_total"], counted["serial_gaps_total"]) == (33, 44)
    assert (counted["file_changes_written_total"], counted["coverage_entries_written_total"]) == (55, 66)


class DyingPage:
    """A page whose process is killed before one of its stores."""

    def __init__(self, page: CounterPage, stores: int) -> None:
        self._page = page
        self._stores_left = stores

    def set(self, name: str, value: int) -> None:
        if not self._stores_left:
            raise KeyboardInterrupt
        self._stores_left -= 1
        self._page.set(name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._page, name)


@pytest.mark.parametrize("stores", range(24))
def test_a_kill_between_any_two_stores_of_a_commit_makes_nothing_count_twice_or_never(stores: int):
    page = CounterPage.unshared([])
    inflow = Inflow("audit", "e", 0, 0)
    take_batches(inflow, Tally(10, 1, 2, 3, 4, 5, 6), Tally(10, 1, 2, 3, 4, 5, 6))
    batches = inflow.advance(0)
    Ledger(page, Path("/nowhere")).commit(Inflow("fim-etc", "f", 0, 0), [BatchState(7, Tally(100))])
    dying = Ledger(page, Path("/nowhere"))
    dying._counters = DyingPage(page, stores)  # type: ignore[assignment]

    with suppress(KeyboardInterrupt):
        dying.commit(inflow, batches)
    between = Ledger(page, Path("/nowhere")).loss(Tally(), {})["serial_gaps"]
    Ledger(page, Path("/nowhere")).commit(inflow, batches)

    assert between in (0, 8)
    counted = page.as_dict()
    assert counted["batches_done_total"] == 3
    assert (counted["records_written_total"], counted["records_filtered_total"]) == (118, 2)
    assert (counted["records_unparsed_total"], counted["serial_gaps_total"]) == (4, 8)
    assert (counted["file_changes_written_total"], counted["coverage_entries_written_total"]) == (10, 12)
    assert (counted["committed_audit_number"], counted["committed_fim-etc_number"]) == (2, 7)


def test_a_serial_that_was_counted_as_lost_before_the_page_began_takes_nothing_below_zero(ledger: Ledger):
    inflow = Inflow("audit", "e", 0, 0)
    take_batches(inflow, Tally(5, serial_gaps=-1), Tally(5, serial_gaps=3))
    before = ledger.loss(Tally(serial_gaps=-1), {})["serial_gaps"]

    for batch in inflow.advance(0):
        ledger.commit(inflow, [batch])

    assert (before, ledger.loss(Tally(), {})["serial_gaps"]) == (0, 3)


def gap(first: int, count: int) -> dict[str, Any]:
    return {"from": first, "to": first + count - 1, "count": count}


@pytest.mark.parametrize(("counted", "told"), [(0, 0), (2, 0), (3, 1), (7, 1), (8, 2), (100, 3)])
def test_of_the_lost_serials_those_are_told_that_this_run_has_counted(ledger: Ledger, counted: int, told: int):
    gaps = [gap(30, 3), gap(20, 5), gap(1, 9)]

    detail = ledger.loss_detail(gaps, counted)

    assert detail.get("gaps", []) == gaps[:told]


def test_what_a_loss_is_about_is_told_where_it_is_known(ledger: Ledger, tmp_path: Path):
    nothing = ledger.loss_detail([], 0)
    for name, counts in {
        "audit": {"batches_overflow_total": 1, "overflow_first_serial": 7, "overflow_last_serial": 9},
        "control": {"exclude_rules": 2},
    }.items():
        page = CounterPage.open(tmp_path / f"{name}.page", counts)
        for counter, value in counts.items():
            page.set(counter, value)
        page.close()

    assert nothing == {}
    assert ledger.loss_detail([], 0) == {"overflow": {"from": 7, "to": 9}, "exclude_rules": True}


def test_each_source_is_counted_by_its_own_numbers(tmp_path: Path):
    for source in ("audit", "fim-usr-bin", "fim-usr_0a1b2c3d", "fim-usr-bin"):
        commit_in_a_process_that_is_killed(tmp_path, "e1", range(1, 4), source)

    counted = CounterPage.open(tmp_path / "router.page", []).as_dict()

    assert counted["batches_done_total"] == 9


def test_a_journal_that_begins_anew_is_counted_from_its_beginning(tmp_path: Path):
    commit_in_a_process_that_is_killed(tmp_path, "e1", range(1, 6))
    commit_in_a_process_that_is_killed(tmp_path, "e2", range(1, 3))

    counted = CounterPage.open(tmp_path / "router.page", []).as_dict()

    assert counted["batches_done_total"] == 7


def test_what_is_not_yet_done_is_a_loss_already(ledger: Ledger):
    inflow = Inflow("audit", "e", 0, 0)
    take_batches(inflow, Tally(10, 0, 1, 2, 3), Tally(5, 0, 1, 0, 0))

    loss = ledger.loss(ledger.open_tally([inflow]), {})

    assert (loss["unparsed"], loss["incomplete"], loss["serial_gaps"]) == (2, 2, 3)


@given(taken=st.lists(st.integers(0, 20), min_size=1, max_size=8), done=st.integers(0, 8))
def test_a_loss_is_the_same_before_and_after_its_batch_is_done(taken: list[int], done: int):
    page = CounterPage.unshared([])
    ledger = Ledger(page, Path("/nowhere"))
    inflow = Inflow("audit", "e", 0, 0)
    take_batches(inflow, *(Tally(30, 0, count, count, count) for count in taken))
    before = ledger.loss(ledger.open_tally([inflow]), {})

    finished = inflow.advance(0)[:done]
    ledger.commit(inflow, finished)

    after = ledger.loss(ledger.open_tally([inflow]), {})
    assert all(after[kind] <= before[kind] for kind in before)
    if done >= len(taken):
        assert after == before


def test_what_a_killed_router_had_committed_is_no_open_loss_of_its_successor(ledger: Ledger):
    inflow = Inflow("audit", "e", 0, 0)
    take_batches(inflow, Tally(10, 0, 1, 1, 1))
    ledger.commit(inflow, inflow.advance(0))
    resent = Inflow("audit", "e", 0, 1)
    take_batches(resent, Tally(10, 0, 1, 1, 1))

    loss = ledger.loss(ledger.open_tally([resent]), {})

    assert (loss["unparsed"], loss["incomplete"], loss["serial_gaps"]) == (1, 1, 1)


def test_all_losses_are_told_whoever_counts_them(ledger: Ledger, tmp_path: Path):
    for name, counts in {
        "audit": {"enobufs_total": 3, "records_overflow_total": 5, "journal_damaged_batches_total": 1},
        "control": {"kernel_lost": 7},
    }.items():
        page = CounterPage.open(tmp_path / f"{name}.page", counts)
        for counter, value in counts.items():
            page.set(counter, value)
        page.close()

    loss = ledger.loss(Tally(), {"stdout": {"rejected": 2, "missed": 4}})

    assert loss == {
        "kernel_lost": 7, "serial_gaps": 0, "enobufs": 3, "incomplete": 0, "unparsed": 0, "overflow": 6, "rejected": 6,
    }  # fmt: skip


def test_the_balance_of_records_closes(ledger: Ledger, router_page: CounterPage, tmp_path: Path):
    audit = CounterPage.open(tmp_path / "audit.page", ["records_received_total", "records_overflow_total"])
    audit.set("records_received_total", 100)
    audit.set("records_overflow_total", 10)
    audit.close()
    router_page.add("records_written_total", 70)
    router_page.add("records_filtered_total", 5)

    balance = ledger.record_balance()

    assert balance == {"received": 100, "written": 70, "filtered": 5, "dropped": 10, "open": 15}


def test_the_balance_of_changes_is_that_of_all_watchers_together(
    ledger: Ledger, router_page: CounterPage, tmp_path: Path
):
    for watcher, recorded in {"fim-etc": 7, "fim-usr-bin": 5, "audit": 100}.items():
        page = CounterPage.open(tmp_path / f"{watcher}.page", ["entries_recorded_total"])
        page.set("entries_recorded_total", recorded)
        page.close()
    router_page.add("file_changes_written_total", 8)
    router_page.add("coverage_entries_written_total", 1)

    assert ledger.change_balance() == {"received": 12, "written": 9, "open": 3}


def test_counters_are_named_after_their_process_and_bookkeeping_is_none(
    ledger: Ledger, router_page: CounterPage, tmp_path: Path
):
    for source in ("audit", "fim-usr-bin", "fim-usr_0a1b2c3d"):
        ledger.commit(Inflow(source, "e", 0, 0), [])
    CounterPage.open(tmp_path / "audit.page", ["records_received_total", "audit_odd_total"]).close()
    watcher = CounterPage.open(tmp_path / "fim-etc.page", ["hints_received_total"])
    RecordedCount(watcher, NoEntries())
    watcher.close()
    CounterPage.open(tmp_path / "hasher-1.page", ["files_hashed_total"]).close()

    counters = ledger.counters()

    assert "audit_records_received_total" in counters
    assert "audit_odd_total" in counters
    assert "router_records_written_total" in counters
    assert "hasher-1_files_hashed_total" in counters
    assert {name for name in counters if name.startswith("fim-")} == {
        "fim-etc_hints_received_total", "fim-etc_entries_recorded_total",
    }  # fmt: skip
    assert not any(name.startswith(("router_committ", "router_next")) for name in counters)
    json.dumps(counters)


@pytest.mark.parametrize("content", [b"", b"junk", os.urandom(300), b"ALCOUNT1" + b"\xff" * 100])
def test_a_page_that_is_damaged_is_left_out(ledger: Ledger, tmp_path: Path, content: bytes):
    (tmp_path / "audit.page").write_bytes(content)

    assert ledger.record_balance()["received"] == 0
    assert ledger.loss(Tally(), {})["overflow"] == 0
