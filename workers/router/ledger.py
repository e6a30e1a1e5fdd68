"""The ledger: every record and every loss, counted once, also over kills.

What the router counts of a batch is committed to its mapped page when the batch is done, followed by the batch's
number; a batch that comes again after a kill is then not counted twice (but for a kill within these few stores).
"""

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
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
_BOOKKEEPING = re.compile(
    r"committed_.+_(?:epoch|number)|recorded_(?:epoch|base)|kernel_lost_seen(?:_for)?|stdout_(?:stream_of_)?partial_line"
    r"|(?:records|batch)_in_hand|received_with_hand|output_.*_chunk_(?:segment|offset|events_before)"
)
"""Slots of a page that are no counts: they let a successor go on where a killed process stopped."""


class Ledger:
    """Reads all processes' pages, writes the router's."""

    def __init__(self, counters: CounterPage, pages_directory: Path) -> None:
        self._counters = counters
        self._directory = pages_directory
        counters.extend(ROUTER_COUNTERS)

    def commit(self, inflow: Inflow, batches: Iterable[BatchState]) -> None:
        """Count batches that are done."""
        counters = self._counters
        committed = self._committed(inflow)
        for batch in batches:
            if batch.number <= committed:
                continue
            tally = batch.tally
            counters.add("batches_done_total")
            counters.add("records_written_total", tally.records - tally.filtered)
            counters.add("records_filtered_total", tally.filtered)
            counters.add("records_unparsed_total", tally.unparsed)
            counters.add("events_incomplete_total", tally.incomplete)
            counters.add("serial_gaps_total", tally.serial_gaps)
            counters.add("file_changes_written_total", tally.file_changes)
            counters.add("coverage_entries_written_total", tally.coverages)
            counters.set(f"committed_{inflow.source}_number", batch.number)

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
        counters.extend((epoch_slot, number_slot))
        if counters.get(epoch_slot) != epoch:
            counters.set(number_slot, 0)
            counters.set(epoch_slot, epoch)
        return counters.get(number_slot)

    def counters(self) -> dict[str, int]:
        """Return every counter of every process, `<process>_<counter>`."""
        return {
            f"{process}_{name.removeprefix(f'{process}_')}": value
            for process, page in sorted(read_pages(self._directory).items())
            for name, value in page.items()
            if _BOOKKEEPING.fullmatch(name) is None
        }

    def loss(self, open_tally: Tally, outputs: dict[str, dict[str, int]]) -> dict[str, int]:
        """Return what `audit.health.loss` says; *open_tally* is of batches that are not yet done.

        Asked for every second, so that it opens no page that it does not need.
        """
        reader, control = read_page(self._directory, "audit"), read_page(self._directory, "control")
        counters = self._counters
        return {
            "kernel_lost": control.get("kernel_lost", 0),
            "serial_gaps": counters.get("serial_gaps_total") + open_tally.serial_gaps,
            "enobufs": reader.get("enobufs_total", 0),
            "incomplete": counters.get("events_incomplete_total") + open_tally.incomplete,
            "unparsed": counters.get("records_unparsed_total") + open_tally.unparsed,
            # A damaged batch had at least one record; how many it had is lost with it.
            "overflow": reader.get("records_overflow_total", 0) + reader.get("journal_damaged_batches_total", 0),
            "rejected": sum(counts["rejected"] + counts["missed"] for counts in outputs.values())
            + sum(counters.as_dict().get(f"output_{name}_events_dropped_total", 0) for name in outputs),
        }

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
