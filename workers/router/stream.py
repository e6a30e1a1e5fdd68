"""What all streams have in common: batches of one producer in, numbered lines out."""

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

    def __init__(self) -> None:
        self.sequence = 0
        self.pending: list[Line] = []

    def add(self, event_id: str, text: str) -> int:
        """Take one line, without its newline, and return its sequence.

        Raises:
            UnicodeEncodeError: *text* cannot be written as UTF-8; nothing was taken.
        """
        data = f"{text}\n".encode()
        self.sequence += 1
        self.pending.append(Line(self.sequence, event_id, data))
        return self.sequence

    def take(self) -> list[Line]:
        """Return what is pending and forget it."""
        pending, self.pending = self.pending, []
        return pending


class Stream(Protocol):
    """What becomes of the batches of one (source, epoch)."""

    inflow: Inflow

    def take(self, batch: Batch) -> None:
        """Make lines of one batch, the next one in line; whatever is in it, it harms no other."""
