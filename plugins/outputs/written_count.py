"""The count of written events, exact even if the process is killed between a write and its count."""

from collections.abc import Sequence

from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.segment_files import SegmentFile, count_lines
from auditline.plugins.outputs.tally import Tally
from auditline.workers.common.counters import CounterPage


class WrittenCount:
    """Notes in the counters page, before each write, where it begins and what the count is.

    A successor counts the lines from there on in the file. The notes are made one after the other, segment, offset,
    count; a kill in between can only make the sum too small, and then the count itself is right.
    """

    def __init__(self, counters: CounterPage, tally: Tally, output: str) -> None:
        self._counters = counters
        self._tally = tally
        self._segment = f"output_{output}_chunk_segment"
        self._offset = f"output_{output}_chunk_offset"
        self._before = f"output_{output}_chunk_events_before"
        counters.extend((self._segment, self._offset, self._before))

    def recover(self, segments: Sequence[SegmentFile]) -> None:
        """Count what a dead predecessor wrote and did not count."""
        counter, offset = self._counters.get(self._segment), self._counters.get(self._offset)
        path = next((segment.path for segment in segments if segment.counter == counter), None)
        if counter == 0 or path is None:
            return
        uncounted = self._counters.get(self._before) + count_lines(path, offset) - self._tally.outcome("written")
        if uncounted > 0:
            self._tally.take(uncounted)
            self._tally.add("written", uncounted)

    def begin(self, position: Position) -> None:
        """Note that a write at *position* is to come."""
        self._counters.set(self._segment, position.counter)
        self._counters.set(self._offset, position.offset)
        self._counters.set(self._before, self._tally.outcome("written"))

    def end(self, line_count: int) -> None:
        """Count the lines that the write has finished."""
        self._tally.add("written", line_count)
