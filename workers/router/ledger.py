"""The ledger: every record and every loss, counted once, also over kills.

What the router counts of a batch is committed to its mapped page when the batch is done, together with the batch's
number, so that a batch that comes again after a kill is not counted twice. A kill can fall between any two stores:
all new values stand in slots of their own before one store says that they hold, and a successor sets them if need be.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from zlib import crc32

from auditline.workers.common.counters import CounterPage, read_page, read_pages
from auditline.workers.common.recorded_count import RECORDED
from auditline.workers.router.inflow import BatchState, Inflow, Tally
from auditline.workers.router.stream import WATCHERS

ROUTER_COUNTERS = (
    "batches_done_total",
    "records_written_total",
    "records_filtered_total",
    "records_unparsed_total",
    "events_incomplete_total",
    "serial_gaps_total",
    "file_changes_written_total",
    "coverage_entries_written_total",
)
_NEXT = {name: f"next_{name}" for name in ROUTER_COUNTERS}
_NEXT_NUMBER = "next_committed_number"
_COMMITTING = "committing_source"
"""The source whose batches are being committed, as `_number_of_source`; 0: none are."""
_BOOKKEEPING = re.compile(
    r"committed_.+_(?:epoch|number)|recorded_(?:epoch|base)|kernel_lost_seen(?:_for)?|stdout_(?:stream_of_)?partial_line"
    rf"|next_.+|{_COMMITTING}"
    r"|(?:records|batch)_in_hand|lease_in_work|received_with_hand"
    r"|output_.*_chunk_(?:segment|offset|events_before)|status_.+"
)
"""Slots of a page that are no counts: they let a successor go on where a killed process stopped, or say how it is."""
_DROPPED = re.compile(r"output_.+_events_dropped_total").fullmatch
_COMMITTED_NUMBER = re.compile(r"committed_(.+)_number").fullmatch


class Ledger:
    """Reads all processes' pages, writes the router's."""

    def __init__(self, counters: CounterPage, pages_directory: Path) -> None:
        self._counters = counters
        self._directory = pages_directory
        self._number_slots: dict[str, str] = {}
        """By source, of those whose slots are in the page."""
        counters.extend((*ROUTER_COUNTERS, *_NEXT.values(), _NEXT_NUMBER, _COMMITTING))
        self._finish_commit()

    def commit(self, inflow: Inflow, batches: Iterable[BatchState]) -> None:
        """Count batches that are done."""
        counters = self._counters
        committed = self._committed(inflow)
        new = [batch for batch in batches if batch.number > committed]
        if not new:
            return
        for name, amount in _amounts(new).items():
            # Less than nothing, where a serial comes that was counted as lost before this page began.
            counters.set(_NEXT[name], max(0, counters.get(name) + amount))
        counters.set(_NEXT_NUMBER, new[-1].number)
        counters.set(_COMMITTING, _number_of_source(inflow.source))
        self._finish_commit()

    def _finish_commit(self) -> None:
        """Set what is to hold now; to do it twice, or over again after a kill, does no harm."""
        counters = self._counters
        committing = counters.get(_COMMITTING)
        if not committing:
            return
        for name, next_name in _NEXT.items():
            counters.set(name, counters.get(next_name))
        for slot in self._slots_of(committing):
            counters.set(slot, counters.get(_NEXT_NUMBER))
        counters.set(_COMMITTING, 0)

    def _slots_of(self, committing: int) -> list[str]:
        """Return the slot of the number of the source that is being committed; it is known but for the first time."""
        known = [slot for source, slot in self._number_slots.items() if _number_of_source(source) == committing]
        return known or [
            slot
            for slot in self._counters.as_dict()
            if (match := _COMMITTED_NUMBER(slot)) and _number_of_source(match[1]) == committing
        ]

    def open_tally(self, inflows: Iterable[Inflow]) -> Tally:
        """Return what has been counted in batches that are neither done nor committed by a killed predecessor."""
        total = Tally()
        for inflow in inflows:
            undone = inflow.undone
            committed = self._committed(inflow) if undone else 0
            for batch in undone:
                if batch.number > committed:
                    for each in fields(Tally):
                        setattr(total, each.name, getattr(total, each.name) + getattr(batch.tally, each.name))
        return total

    def _committed(self, inflow: Inflow) -> int:
        """Return the last batch of this epoch that has been counted."""
        epoch_slot, number_slot = f"committed_{inflow.source}_epoch", f"committed_{inflow.source}_number"
        counters, epoch = self._counters, crc32(inflow.epoch.encode())
        if inflow.source not in self._number_slots:
            counters.extend((epoch_slot, number_slot))
            self._number_slots[inflow.source] = number_slot
        if counters.get(epoch_slot) != epoch:
            counters.set(number_slot, 0)
            counters.set(epoch_slot, epoch)
        return counters.get(number_slot)

    def counters(self) -> dict[str, int]:
        """Return every counter of every process, `<process>_<counter>`."""
        return list_counters(read_pages(self._directory))

    def loss(self, open_tally: Tally, outputs: dict[str, dict[str, int]]) -> dict[str, int]:
        """Return what `audit.health.loss` says; *open_tally* is of batches that are not yet done.

        Asked for every second, so that it opens no page that it does not need.
        """
        reader, control = read_page(self._directory, "audit"), read_page(self._directory, "control")
        rejected = sum(counts["rejected"] + counts["missed"] for counts in outputs.values())
        return sum_losses(reader, control, self._counters.as_dict(), open_tally=open_tally, rejected=rejected)

    def loss_detail(self, lost_serials: Iterable[dict[str, Any]], serial_gaps: int) -> dict[str, Any]:
        """Return what `auditline.detail` says of the losses, of which *serial_gaps* were counted.

        Of *lost_serials*, ranges with the latest first, those that are part of them: an earlier run told the others.
        """
        reader, control = read_page(self._directory, "audit"), read_page(self._directory, "control")
        detail: dict[str, Any] = {}
        if gaps := _latest(lost_serials, serial_gaps):
            detail["gaps"] = gaps
        if reader.get("batches_overflow_total"):
            first, last = reader["overflow_first_serial"], reader["overflow_last_serial"]
            detail["overflow"] = {"from": first, "to": last}
        if control.get("exclude_rules"):
            detail["exclude_rules"] = True
        return detail

    def record_balance(self) -> dict[str, int]:
        """Return `audit.health.balance.records`: what came, and what became of it; `open` is still on its way."""
        reader = read_page(self._directory, "audit")
        received = reader.get("records_received_total", 0) + reader.get("records_carried_total", 0)
        written = self._counters.get("records_written_total")
        filtered = self._counters.get("records_filtered_total")
        dropped = reader.get("records_overflow_total", 0) + reader.get("records_killed_total", 0)
        return {
            "received": received,
            "written": written,
            "filtered": filtered,
            "dropped": dropped,
            "open": received - written - filtered - dropped,
        }

    def change_balance(self) -> dict[str, int]:
        """Return `audit.health.balance.changes`: what watchers recorded; `open` is still on its way."""
        received = sum(page.get(RECORDED, 0) for page in read_pages(self._directory, WATCHERS).values())
        counters = self._counters
        written = counters.get("file_changes_written_total") + counters.get("coverage_entries_written_total")
        return {"received": received, "written": written, "open": received - written}


def list_counters(pages: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return every counter in the pages of the processes, `<process>_<counter>`."""
    return {
        f"{process}_{name.removeprefix(f'{process}_')}": value
        for process, page in sorted(pages.items())
        for name, value in page.items()
        if _BOOKKEEPING.fullmatch(name) is None
    }


def sum_losses(
    reader: Mapping[str, int],
    control: Mapping[str, int],
    router: Mapping[str, int],
    *,
    open_tally: Tally,
    rejected: int,
) -> dict[str, int]:
    """Return what was lost, by its cause, from the pages of three processes.

    *rejected* are the events that outputs missed or refused; what they dropped later is added.
    """
    dropped = sum(count for name, count in router.items() if _DROPPED(name))
    return {
        "kernel_lost": control.get("kernel_lost", 0),
        "serial_gaps": max(0, router.get("serial_gaps_total", 0) + open_tally.serial_gaps),
        "enobufs": reader.get("enobufs_total", 0),
        "incomplete": router.get("events_incomplete_total", 0) + open_tally.incomplete,
        "unparsed": router.get("records_unparsed_total", 0) + open_tally.unparsed,
        # A damaged batch had at least one record; how many it had is lost with it.
        "overflow": reader.get("records_overflow_total", 0) + reader.get("journal_damaged_batches_total", 0),
        "rejected": rejected + dropped,
    }


def _number_of_source(source: str) -> int:
    return crc32(source.encode()) + 1


def _amounts(batches: Iterable[BatchState]) -> dict[str, int]:
    """Return how much each of ROUTER_COUNTERS grows with these batches."""
    tallies = [batch.tally for batch in batches]
    filtered = sum([tally.filtered for tally in tallies])
    return {
        "batches_done_total": len(tallies),
        "records_written_total": sum([tally.records for tally in tallies]) - filtered,
        "records_filtered_total": filtered,
        "records_unparsed_total": sum([tally.unparsed for tally in tallies]),
        "events_incomplete_total": sum([tally.incomplete for tally in tallies]),
        "serial_gaps_total": sum([tally.serial_gaps for tally in tallies]),
        "file_changes_written_total": sum([tally.file_changes for tally in tallies]),
        "coverage_entries_written_total": sum([tally.coverages for tally in tallies]),
    }


def _latest(ranges: Iterable[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return as many of the first ranges as make up *count*."""
    latest = []
    for each in ranges:
        count -= each["count"]
        if count < 0:
            break
        latest.append(each)
    return latest
