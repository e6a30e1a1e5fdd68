"""The unit that producers number, keep and hand over: a batch."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class BatchKind(IntEnum):
    """What a batch's payload is."""

    RECORDS = 0
    """Kernel records: `types` is an array of little-endian u16, `payload` their texts joined by NUL."""
    IDLE = 1
    """The producer's source had nothing for 2 s; `payload` empty. Deadlines may be taken as passed."""
    START = 2
    """A producer opened its source; `payload` is a JSON object {"boot_id": str, "mode": str}: how it was opened."""
    FILE = 3
    """Entries of a watcher, see `file_entry.py`; `types` empty."""
    DRIFT = 4
    """One entry of the control process, see `drift_entry.py`; `types` empty."""
    LINES = 5
    """Lines of an audit log, each with its newline; `types` empty."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One numbered batch; numbers rise by one within an epoch and begin at 1."""

    number: int
    kind: int
    types: bytes
    payload: bytes

    @property
    def record_count(self) -> int:
        """How many kernel records, or lines of a log, it holds."""
        return self.payload.count(b"\n") if self.kind == BatchKind.LINES else len(self.types) // 2


class Store(Protocol):
    """What a producer keeps until the router says `done`: a journal or an outbox."""

    @property
    def source(self) -> str:
        """Name of the producer, such as `audit`; stable over restarts."""

    @property
    def epoch(self) -> str:
        """Random, 16 hex digits; new whenever the store was made anew or its tail was torn."""

    @property
    def done_number(self) -> int:
        """The last batch that the router said is done; 0: none."""

    @property
    def done_state(self) -> bytes:
        """The router's state that came with `done_number`, handed back to it before a resend; b"" at first."""

    @property
    def last_number(self) -> int:
        """The last batch appended; `done_number` when nothing is kept."""

    def read(self, number: int) -> Batch:
        """Return a kept batch, done_number < number <= last_number.

        Raises:
            StorageError: it cannot be read.
        """

    def forget(self, number: int, state: bytes) -> None:
        """Keep *number* and *state* durably as done; batches up to *number* may go."""
