"""The entries of one watcher: each is a batch of its own, one line, and done by itself."""

import logging
import re
from functools import partial

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.file_entry import Coverage, Entry, decode_entry
from auditline.workers.router.inflow import Inflow
from auditline.workers.router.render.coverage_event import render_coverage
from auditline.workers.router.render.file_event import FileRenderer
from auditline.workers.router.render.lines import timestamp_of_ns
from auditline.workers.router.stream import Lines
from auditline.workers.router.unparsed import BAD_ENTRY, unparsed_line

logger = logging.getLogger(__name__)

_TIME = re.compile(rb'"(?:time|start)_ns":([0-9]{1,20})[,}]')
"""The time of an entry that cannot be read otherwise."""


class FileStream:
    """Rendering for one (source, epoch) of a watcher; keeps nothing from one batch to the next."""

    def __init__(self, hello: Hello, lines: Lines, renderer: FileRenderer, host: tuple[str, str]) -> None:
        """Go on where *hello* says that everything is done; *host* is the host's 16 digits and its name."""
        self.inflow = Inflow(hello.source, hello.epoch, hello.done_number, hello.last_number)
        self._lines = lines
        self._renderer = renderer
        self._host, self._host_name = host
        self._warning = RepeatedWarning(logger, every=1000, level=logging.ERROR)

    def take(self, batch: Batch) -> None:
        """Render one batch, the next one in line."""
        inflow, position = self.inflow, f"{self.inflow.epoch}:{batch.number}"
        state = inflow.begin(batch.number, 0)
        try:
            entry = _read(batch)
            sequence = self._lines.add_rendered(partial(self._render, entry, position))
        except Exception as error:  # noqa: BLE001  # whatever it is, the entry is kept and the next one is read
            self._warning.tell("batch %d of %s cannot be read: %r", batch.number, inflow.source, error)
            sequence = self._lines.add_rendered(partial(self._unparsed, batch.payload, position))
            state.tally.unparsed = state.tally.file_changes = 1
        else:
            state.tally.coverages = int(isinstance(entry, Coverage))
            state.tally.file_changes = 1 - state.tally.coverages
        inflow.note_sequence(state, sequence)
        inflow.end(state, 0, {})

    def _render(self, entry: Entry, position: str, schema: str) -> tuple[str, str]:
        if isinstance(entry, Coverage):
            return render_coverage(entry, self._host, self._host_name, schema)
        return self._renderer.render(entry, self._host, self._host_name, position, schema)

    def _unparsed(self, payload: bytes, position: str, schema: str) -> tuple[str, str]:
        found = _TIME.search(payload)
        time = timestamp_of_ns(int(found[1]) if found else 0)
        host = (self._host, self._host_name)
        return unparsed_line(payload, host, self.inflow.source, position, time, BAD_ENTRY, schema)


def _read(batch: Batch) -> Entry:
    if batch.kind != BatchKind.FILE:
        raise ValueError(f"a watcher sends entries, not batches of kind {batch.kind}")
    return decode_entry(batch.payload)
