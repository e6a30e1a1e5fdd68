"""The entries of the control process: each is a batch of its own, one line, and done by itself."""

import logging
import time
from functools import partial

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.drift_entry import Drift, decode_drift
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.config_changes import ConfigChanges
from auditline.workers.router.inflow import Inflow
from auditline.workers.router.render.drift_event import render_drift
from auditline.workers.router.stream import Lines
from auditline.workers.router.unparsed import unparsed_line

logger = logging.getLogger(__name__)

BAD_DRIFT = "the entry of the control process cannot be read"


class DriftStream:
    """Rendering for one (source, epoch) of the control process."""

    def __init__(self, hello: Hello, lines: Lines, changes: ConfigChanges, host: tuple[str, str]) -> None:
        """Go on where *hello* says that everything is done; *host* is the host's 16 digits and its name."""
        self.inflow = Inflow(hello.source, hello.epoch, hello.done_number, hello.last_number)
        self._lines = lines
        self._changes = changes
        self._host = host
        self._warning = RepeatedWarning(logger, every=1000, level=logging.ERROR)

    def take(self, batch: Batch) -> None:
        """Render one batch, the next one in line."""
        inflow = self.inflow
        state = inflow.begin(batch.number, 0)
        try:
            drift = _read(batch)
            actor = self._changes.find(drift)
            sequence = self._lines.add_rendered(
                partial(render_drift, drift, actor, self._host, inflow.epoch, batch.number)
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, the entry is kept and the next one is read
            self._warning.tell("batch %d of %s cannot be read: %r", batch.number, inflow.source, error)
            position, now = f"{inflow.epoch}:{batch.number}", timestamp_of_ns(time.time_ns())
            about = (batch.payload, self._host, inflow.source, position, now, BAD_DRIFT)
            sequence = self._lines.add_rendered(partial(unparsed_line, *about))
            state.tally.unparsed = 1
        inflow.note_sequence(state, sequence)
        inflow.end(state, 0, {})


def _read(batch: Batch) -> Drift:
    if batch.kind != BatchKind.DRIFT:
        raise ValueError(f"the control process sends drifts, not batches of kind {batch.kind}")
    return decode_drift(batch.payload)
