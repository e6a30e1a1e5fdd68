"""An output with a filter before it: what it does not let through never reaches the output, and counts as done."""

import logging
from collections.abc import Sequence

import ujson

from auditline.plugins.outputs.api import Line, Output
from auditline.plugins.outputs.bounded_search import SearchGivenUp
from auditline.plugins.outputs.conditions import any_of
from auditline.plugins.outputs.line_edits import LineEditor
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.output_slots import output_count
from auditline.workers.common.settings import OutputSettings

logger = logging.getLogger(__name__)


class FilteredOutput:
    """Gives an output the events that its settings want, changed as they say.

    An event that was left out leaves no trace: one that is handed over again after a kill is counted again.
    """

    def __init__(self, output: Output, settings: OutputSettings, counters: CounterPage) -> None:
        self._output = output
        self.name, self.schema = output.name, output.schema
        self._includes = any_of(settings.include) if settings.include else None
        self._excludes = any_of(settings.exclude) if settings.exclude else None
        self.takes_all = output.takes_all and self._includes is None and self._excludes is None
        self._editor = LineEditor(settings.add) if settings.add else None
        self._counters = counters
        self._filtered = output_count(self.name, "events_filtered")
        # One that writes several series has a count of what was handed over for each of them only.
        events = output_count(self.name, "events")
        self._counted = (events, self._filtered) if events in counters.as_dict() else (self._filtered,)
        counters.extend(self._counted)
        self._last_taken = self._last_given = 0
        self._warning = RepeatedWarning(logger, every=1000)

    @property
    def others_attached(self) -> bool:
        """See `Output`."""
        return self._output.others_attached

    @others_attached.setter
    def others_attached(self, value: bool) -> None:
        self._output.others_attached = value

    @property
    def done_sequence(self) -> int:
        """See `Output`; what was left out behind the last line that the output was given is done with it."""
        done = self._output.done_sequence
        return self._last_taken if done >= self._last_given else done

    @property
    def pending_bytes(self) -> int:
        """See `Output`."""
        return self._output.pending_bytes

    @property
    def is_blocked(self) -> bool:
        """See `Output`."""
        return self._output.is_blocked

    @property
    def is_attached(self) -> bool:
        """See `Output`."""
        return self._output.is_attached

    @property
    def is_gone(self) -> bool:
        """See `Output`."""
        return self._output.is_gone

    @property
    def error_number(self) -> int:
        """See `Output`."""
        return self._output.error_number

    @property
    def write_fd(self) -> int | None:
        """See `Output`."""
        return self._output.write_fd

    def write(self, lines: Sequence[Line]) -> None:
        """Pass on those of *lines* that are wanted, as they are wanted."""
        if not lines:
            return
        wanted = [line for line in lines if self._wants(line)]
        for slot in self._counted:
            self._counters.add(slot, len(lines) - len(wanted))
        self._last_taken = lines[-1].sequence
        if wanted:
            self._last_given = wanted[-1].sequence
            self._output.write([self._edit(line) for line in wanted] if self._editor else wanted)

    def pump(self) -> None:
        """See `Output`."""
        self._output.pump()

    def confirm(self, sequence: int) -> None:
        """See `Output`."""
        self._output.confirm(sequence)

    def end_resends(self) -> None:
        """See `Output`."""
        self._output.end_resends()

    def counts(self) -> dict[str, int]:
        """Return the balance, with what was left out."""
        counts, filtered = self._output.counts(), self._counters.get(self._filtered)
        return counts | {"events": counts["events"] + filtered - counts["filtered"], "filtered": filtered}

    def close(self, deadline_seconds: float) -> None:
        """See `Output`."""
        self._output.close(deadline_seconds)

    def _wants(self, line: Line) -> bool:
        if self._includes is None and self._excludes is None:
            return True
        try:
            document = ujson.loads(line.data)
            if self._includes is not None and not self._includes(document):
                return False
            return self._excludes is None or not self._excludes(document)
        except SearchGivenUp:
            # It has told that itself. Better an event too many than one too few.
            return True
        except ValueError as error:
            self._warning.tell("outputs.%s: an event cannot be read by its filter: %s", self.name, error)
            return True

    def _edit(self, line: Line) -> Line:
        assert self._editor is not None  # noqa: S101  # only called with one
        try:
            return line._replace(data=self._editor.edit(line.data))
        except ValueError as error:
            self._warning.tell("outputs.%s: an event cannot be changed: %s", self.name, error)
            return line
