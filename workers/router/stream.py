"""What all streams have in common: batches of one producer in, numbered lines out."""

from collections.abc import Callable, Sequence
from typing import Protocol

from auditline.plugins.outputs.api import Line
from auditline.workers.common.batch import Batch
from auditline.workers.router.inflow import Inflow

WATCHERS = "fim-*"
"""The pattern of the names of watchers: of their processes, sources and pages of counters."""


def is_watcher(name: str) -> bool:
    """Return whether a process or a source has the name of a watcher."""
    return name.startswith(WATCHERS.removesuffix("*"))


class Lines:
    """What has been rendered and not yet been given to the outputs; numbers all lines of the process."""

    def __init__(self, schemas: Sequence[str] = ("audit",)) -> None:
        """Expect each event in each of *schemas*."""
        self.schemas = tuple(schemas)
        self.sequence = 0
        self._pending: dict[str, list[Line]] = {}
        self.take()

    def add(self, event_id: str, *texts: str) -> int:
        """Take one event, a line without its newline for each of the schemas in their order; return its sequence.

        Raises:
            UnicodeEncodeError: a line cannot be written as UTF-8; nothing was taken.
        """
        sequence = self.sequence + 1
        if self._only is not None and len(texts) == 1:
            # Most have one output, and this is called for each event.
            self._only.append(Line(sequence, event_id, f"{texts[0]}\n".encode()))
        else:
            lines = [Line(sequence, event_id, f"{text}\n".encode()) for text in texts]
            for pending, line in zip(self._pending.values(), lines, strict=True):
                pending.append(line)
        self.sequence = sequence
        return sequence

    def add_rendered(self, render: Callable[[str], tuple[str, str]]) -> int:
        """Take the event that *render* makes for a schema, its id and its line; return its sequence."""
        rendered = [render(schema) for schema in self.schemas]
        return self.add(rendered[0][0], *(text for _, text in rendered))

    def take(self) -> dict[str, list[Line]]:
        """Return what is pending, by schema, and forget it."""
        pending, self._pending = self._pending, {schema: [] for schema in self.schemas}
        self._only = self._pending[self.schemas[0]] if len(self.schemas) == 1 else None
        return pending


class Stream(Protocol):
    """What becomes of the batches of one (source, epoch)."""

    inflow: Inflow

    def take(self, batch: Batch) -> None:
        """Make lines of one batch, the next one in line; whatever is in it, it harms no other."""
