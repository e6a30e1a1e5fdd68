"""The entries of one watcher: each becomes a line, and all of a batch are done together."""

import logging
import re
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.file_entry import Coverage, Entry, FileChange, decode_entries
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.inflow import Inflow
from auditline.workers.router.render.coverage_event import render_coverage
from auditline.workers.router.stream import Lines
from auditline.workers.router.unparsed import BAD_ENTRY, unparsed_line

logger = logging.getLogger(__name__)

_TIME = re.compile(rb'"(?:time|start)_ns":([0-9]{1,20})[,}]')
"""The time of an entry that cannot be read otherwise."""


class Renderer(Protocol):
    """Makes lines of changes."""

    def render(
        self, change: FileChange, host: str, host_name: str, position: str, schema: str = "audit"
    ) -> tuple[str, str]:
        """Return the event's id and its line without the newline."""


class FileStream:
    """Rendering for one (source, epoch) of a watcher; keeps nothing from one batch to the next."""

    def __init__(self, hello: Hello, lines: Lines, renderer: Renderer, host: tuple[str, str]) -> None:
        """Go on where *hello* says that everything is done; *host* is the host's 16 digits and its name."""
        self.inflow = Inflow(hello.source, hello.epoch, hello.done_number, hello.last_number)
        self._lines = lines
        self._renderer = renderer
        self._host, self._host_name = host
        self._warning = RepeatedWarning(logger, every=1000, level=logging.ERROR)

    def take(self, batch: Batch) -> None:
        """Render one batch, the next one in line."""
        inflow = self.inflow
        state = inflow.begin(batch.number, 0)
        for index, (encoded, decoded) in enumerate(_entries(batch)):
            position = f"{inflow.epoch}:{batch.number}:{index}"
            try:
                if isinstance(decoded, ValueError):
                    raise decoded
                sequence = self._lines.add_rendered(partial(self._render, decoded, position))
                is_coverage = isinstance(decoded, Coverage)
            except Exception as error:  # noqa: BLE001  # whatever it is, the entry is kept and the next one is read
                self._warning.tell("entry %s of %s cannot be read: %r", position, inflow.source, error)
                sequence = self._lines.add_rendered(partial(self._unparsed, encoded, position))
                state.tally.unparsed += 1
                is_coverage = False
            state.tally.coverages += is_coverage
            state.tally.file_changes += not is_coverage
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


def _entries(batch: Batch) -> Iterable[tuple[bytes, Entry | ValueError]]:
    if batch.kind == BatchKind.FILE:
        return decode_entries(batch.payload)
    return [(batch.payload, ValueError(f"a watcher sends entries, not batches of kind {batch.kind}"))]
