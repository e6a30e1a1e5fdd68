"""What the router asks of a destination: the output protocol.

Order of a turn: `write(lines)` for every output; then, output by output, `others_attached = ...` and `pump()`; then
what is done is the minimum of `done_sequence` over all outputs (one that is detached holds nothing back). The last
attached output that takes all events is never detached: it is blocked instead. No call but `close` waits for a
destination.

The balance of every output holds at any moment and over a kill -9 of the router::

    events = written + filtered + missed + rejected + pending

* An event is counted in `events` when it is handed over, and under one outcome when that is known.
* The pending events of a router that was killed leave `events` when the output is opened again: nobody was told
  that they are done, so they are handed over, and counted, once more. So do those that `close` could not write.
* An event that is handed over again although the output has it is counted as resent, not in `events`.
* An output that cannot know what its dead predecessor delivered (a pipe) writes, and counts, such an event again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import randbits
from typing import NamedTuple, Protocol

from auditline.workers.common.counters import CounterPage


class Line(NamedTuple):
    """One event as it goes to a destination. A tuple: three times as fast to make as a frozen dataclass."""

    sequence: int
    """Rises from one event of the router's process to the next, and begins at 1."""
    event_id: str
    data: bytes
    r"""One JSON object, ending in the only `\n`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputContext:
    """What outputs get from the process they live in."""

    stdout_fd: int
    state_directory: Path
    counters: CounterPage
    """The router's page; every output extends it by its own counters."""
    clock: Callable[[], float] = time.monotonic
    token: int = field(default_factory=lambda: randbits(63) | 1)
    """Tells this process's marks in the counters page from those of a dead predecessor; never 0."""


class Output(Protocol):
    """One destination. An output that is detached misses events and holds nobody up."""

    name: str
    schema: str
    takes_all: bool
    """Every event comes to it: no filter is before it."""
    others_attached: bool
    """Set by the router before each `pump`: another output takes all events, or, for one that is gone, some of them.
    The last attached one blocks instead."""

    @property
    def done_sequence(self) -> int:
        """Every line up to this sequence is safe at the destination, or was counted as missed or rejected."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that are queued and not yet written."""

    @property
    def is_blocked(self) -> bool:
        """The router must hand over nothing more until this is False again; the journal holds the rest."""

    @property
    def is_attached(self) -> bool:
        """False: the destination cannot take anything at present, and its events are counted as missed."""

    @property
    def is_gone(self) -> bool:
        """The destination will never take anything again; as the only output this ends the service."""

    @property
    def error_number(self) -> int:
        """Of the error that keeps it from writing now; 0: none does."""

    @property
    def write_fd(self) -> int | None:
        """Call `pump` when this descriptor is writable; None: the next turn, at most 1 s later, is early enough."""

    def write(self, lines: Sequence[Line]) -> None:
        """Take *lines*, in rising sequence; those that the destination has already are skipped."""

    def pump(self) -> None:
        """Write what can be written, retry, and detach or attach."""

    def confirm(self, sequence: int) -> None:
        """Note that no event up to *sequence* will be handed over again by a producer; also valid after `close`."""

    def end_resends(self) -> None:
        """Note that every producer has handed over again all that it kept from before this process began."""

    def counts(self) -> dict[str, int]:
        """Return the balance: events, written, filtered, missed, rejected, pending."""

    def close(self, deadline_seconds: float) -> None:
        """Write what can be written within the time and let go of the destination; `done_sequence` stays readable."""
