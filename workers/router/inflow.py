"""One producer's batches between arrival and `done`: what is out, what is open, and what a resend must not repeat."""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from auditline.workers.router.event import Event


@dataclass(slots=True)
class Tally:
    """What became of a batch's records, events and entries; committed to the counters when the batch is done."""

    records: int = 0
    filtered: int = 0
    unparsed: int = 0
    incomplete: int = 0
    serial_gaps: int = 0
    file_changes: int = 0
    coverages: int = 0


@dataclass(slots=True)
class BatchState:
    """A batch that has been received and is not yet done."""

    number: int
    tally: Tally
    open_events: int = 0
    """Events with a record in it that are not yet out."""
    first_sequence: int | None = None
    last_sequence: int = 0
    """Output sequences of the events with a record in it."""
    snapshot: dict[str, Any] = field(default_factory=dict)
    """The state of grouping after it."""


class Inflow:
    """Follows the batches of one (source, epoch); knows nothing of the bus or of what is in a batch."""

    def __init__(self, source: str, epoch: str, done_number: int, resends_until: int) -> None:
        self.source = source
        self.epoch = epoch
        self.peer = b""
        self.received = done_number
        self.done = done_number
        self.resends_until = resends_until
        """The last batch that may have been handed over to a router before us."""
        self.acknowledged = done_number
        """The last number that a `received` went out for."""
        self.last_number: int | None = None
        """After the producer's bye: the last batch it will send."""
        self._undone: dict[int, BatchState] = {}
        self._unstored: deque[BatchState] = deque()
        self._straddling: list[tuple[str, dict[int, int]]] = []

    def begin(self, number: int, records: int) -> BatchState:
        """Take the next batch."""
        state = BatchState(number, Tally(records))
        self.received = number
        self._undone[number] = state
        self._unstored.append(state)
        return state

    def end(self, state: BatchState, open_events: int, snapshot: dict[str, Any]) -> None:
        """Note what is left open of a batch, now that all its records have been grouped."""
        state.open_events = open_events
        state.snapshot = snapshot

    def put_out(self, event: Event, sequence: int, current: BatchState, *, is_complete: bool) -> None:
        """Note that *event* went to the outputs as *sequence*, while *current* was being grouped."""
        if event.records_by_batch is None:
            self.note_sequence(current, sequence)
            current.tally.incomplete += not is_complete
            return
        reached = self._reached(event)
        # Of all its batches the first is done at the latest with the event, and then it does not come again.
        (reached[0] if reached else current).tally.incomplete += not is_complete
        for state in reached:
            if state is not current:
                state.open_events -= 1
            self.note_sequence(state, sequence)

    def note_sequence(self, state: BatchState, sequence: int) -> None:
        """Note that something of this batch alone went out."""
        if state.first_sequence is None:
            state.first_sequence = sequence
        state.last_sequence = sequence

    def drop_from(self, event: Event, current: BatchState) -> None:
        """Note that *event* was filtered: it goes nowhere, and holds nothing back."""
        if event.records_by_batch is None:
            current.tally.filtered += len(event.types) + event.has_eoe
            return
        for state in self._reached(event):
            state.tally.filtered += event.records_by_batch[state.number]
            if state is not current:
                state.open_events -= 1

    def _reached(self, event: Event) -> list[BatchState]:
        """Return the batches, not yet done, that an event of several batches has records in."""
        counts = event.records_by_batch or {}
        self._straddling.append((event.header, counts))
        return [self._undone[number] for number in counts if number in self._undone]

    def advance(self, done_sequence: int) -> list[BatchState]:
        """Return the batches that are done now that everything up to *done_sequence* is safe, in order."""
        finished = []
        while (state := self._undone.get(self.done + 1)) is not None:
            if state.open_events or state.last_sequence > done_sequence:
                break
            finished.append(self._undone.pop(state.number))
            self.done = state.number
        return finished

    def resume_state(self, last: BatchState) -> bytes:
        """Return what the producer hands back before it resends from behind *last*; nothing if nothing is to know."""
        if not last.snapshot:
            return b""
        number = last.number
        self._straddling = [entry for entry in self._straddling if max(entry[1]) > number]
        records: dict[str, int] = dict(last.snapshot.get("skip", {}))
        for header, counts in self._straddling:
            if min(counts) <= number:
                records[header] = sum(count for batch, count in counts.items() if batch > number)
        return json.dumps(last.snapshot | {"skip": records}, ensure_ascii=True).encode()

    def confirm(self, stored_done: int) -> None:
        """Note that the producer has stored *stored_done*: these batches will never come again."""
        while self._unstored and self._unstored[0].number <= stored_done:
            self._unstored.popleft()

    @property
    def is_settled(self) -> bool:
        """Whether the producer has said bye, and all that it will ever send is done, and stored by it as done."""
        return self.last_number is not None and self.done >= self.last_number and not self._unstored

    @property
    def first_unconfirmed(self) -> int | None:
        """The lowest output sequence that may be handed over again; None: none of this source."""
        sequences = [state.first_sequence for state in self._unstored if state.first_sequence is not None]
        return min(sequences, default=None)

    @property
    def undone(self) -> list[BatchState]:
        """The batches that have been received and are not done."""
        return list(self._undone.values())
