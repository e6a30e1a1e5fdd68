"""How each output stands, noted in the router's counters page, where it can be read while the router hangs."""

import time
from collections.abc import Callable, Sequence

from auditline.plugins.outputs.api import Output
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.status_slots import OUTPUT_STATES, output_error, output_state, output_waits_since

NOTE_SECONDS = 0.25


class OutputStates:
    """Notes each output's state, what keeps it from writing, and since when an event waits for it."""

    def __init__(
        self, counters: CounterPage, outputs: Sequence[Output], clock: Callable[[], float] = time.time
    ) -> None:
        self._counters = counters
        self._outputs = outputs
        self._clock = clock
        self._note_at = 0.0
        self._waits: dict[str, tuple[int, float]] = {}
        """An event that an output had not written when it was looked, and when that was."""
        for output in outputs:
            counters.extend((output_state(output.name), output_error(output.name), output_waits_since(output.name)))

    def note(self, sequence: int) -> None:
        """Look at the outputs, if it is time; *sequence* is that of the newest event."""
        now = self._clock()
        if self._note_at - NOTE_SECONDS <= now < self._note_at:
            return
        self._note_at = now + NOTE_SECONDS
        for output in self._outputs:
            counters, name = self._counters, output.name
            counters.set(output_state(name), OUTPUT_STATES.index(_state_of(output)))
            counters.set(output_error(name), output.error_number)
            counters.set(output_waits_since(name), self._since(output, sequence, now))

    def _since(self, output: Output, sequence: int, now: float) -> int:
        """Return since when the oldest event that we know of waits, in whole seconds; 0: none waits."""
        awaited, since = self._waits.get(output.name, (0, now))
        if output.done_sequence >= awaited:
            # What came since then has not waited for longer than since the last look.
            awaited, since = sequence, now
        if output.done_sequence >= sequence:
            self._waits.pop(output.name, None)
            return 0
        self._waits[output.name] = (awaited, since)
        return int(since)


def _state_of(output: Output) -> str:
    if output.is_gone:
        return "gone"
    if not output.is_attached:
        return "detached"
    return "blocked" if output.is_blocked else "attached"
