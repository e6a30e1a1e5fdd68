"""Lines on their way to stdout, and up to where they are safe with whoever reads it."""

import os
import time
from collections import deque
from collections.abc import Callable
from errno import EPIPE

from auditline.plugins.outputs.following import Chunk
from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.streams import Stream
from auditline.workers.reading.shortening import shorten_line

_MARK_EVERY_BYTES = 64 * 1024
"""So fine is what is known of how far a pipe's reader has come."""


class Delivery:
    """Writes lines as there is room: to a pipe in pieces that go whole or not at all, but for a line longer than that.

    One chunk at a time: take the next one when `pump` has written all of the last.
    """

    def __init__(self, stream: Stream, max_line_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """*max_line_bytes*: longer lines are made shorter; with their newline."""
        self._stream = stream
        self._clock = clock
        self._max_line_bytes = max_line_bytes
        self._lines = b""
        self._start = 0
        """What lies before it in the lines is written."""
        self._long = b""
        """The rest of a line that does not go in one piece, and is not among the lines any more."""
        self._segment: str | None = None
        self._offset = 0
        """Where the lines begin in their segment."""
        self._written_bytes = 0
        self._marks: deque[tuple[int, Position]] = deque()
        """(bytes written until then, position behind them) of what may not be safe yet."""
        self._last: tuple[int, Position] | None = None
        """The same of all that is written."""
        self._looks: deque[tuple[float, int]] = deque()
        """(time, bytes read by then) of looks that were too short a time ago."""
        self._safe_bytes = 0
        self.safe_to: Position | None = None
        """Everything before it is safe with the other end; None: nothing is known to be."""
        self.shortened_lines = 0

    def take(self, chunk: Chunk) -> None:
        """Take lines to be written."""
        self._segment, self._offset, self._lines = chunk
        self._start = 0

    def take_apart(self, line: bytes) -> None:
        """Take a line that is in no segment; it goes in one piece."""
        self._segment, self._lines = None, line
        self._start = 0

    def pump(self) -> bool:
        """Write until there is no room; return whether all is written.

        Raises:
            OSError: it cannot be written; see `streams.is_reader_gone`.
        """
        write, size, end_of_all = self._stream.write, self._stream.fitting_bytes(), len(self._lines)
        while self._write_long() and self._start < end_of_all:
            start = self._start
            end = self._find_end(start, size)
            if end == start:
                self._take_line(start)
                continue
            written = write(self._lines[start:end])
            if not written:
                return False
            if written < end - start:
                # Only what is no pipe takes a part.
                end = self._lines.find(b"\n", start + written - 1) + 1
                self._written_bytes += written
                self._start, self._long = end, self._lines[start + written : end]
            else:
                self._start = end
                self._note_written(written)
            size = self._stream.piece_bytes
        return not self._long and self._start == end_of_all

    def drop_unbegun(self) -> None:
        """Keep only the line that is written in part, if there is one: the rest is for the next reader."""
        self._lines = self._lines[: self._start]

    def look(self, settle_seconds: float) -> bool:
        """See how far the other end has read; return whether all that was written is safe there.

        What was read is safe *settle_seconds* later, if the other end still lives: until then it may be in the memory
        of a process that is killed.

        Raises:
            BrokenPipeError: nobody reads any more; what was not safe before is not safe now.
        """
        now, read_bytes = self._clock(), self._written_bytes - self._stream.unread_bytes()
        if not self._looks or read_bytes > self._looks[-1][1]:
            self._looks.append((now, read_bytes))
        if self._stream.is_gone():
            raise BrokenPipeError(EPIPE, os.strerror(EPIPE))
        settles_at_once = not self._stream.waits
        while self._looks and (settles_at_once or now - self._looks[0][0] >= settle_seconds):
            self._safe_bytes = self._looks.popleft()[1]
        if self._last is not None and self._last[0] <= self._safe_bytes:
            self.safe_to = self._last[1]
            self._marks.clear()
            return True
        while self._marks and self._marks[0][0] <= self._safe_bytes:
            self.safe_to = self._marks.popleft()[1]
        return self._last is None

    def _find_end(self, start: int, size: int) -> int:
        """Return where the lines end that go in one piece of *size* bytes; *start*: the first is too long for that."""
        lines, most, limit = self._lines, self._max_line_bytes, start + size
        end = start
        while found := lines.rfind(b"\n", end, min(end + most, limit)) + 1:
            end = found
        return end

    def _take_line(self, start: int) -> None:
        """Take the next line out of the lines: it is too long for one piece, or stands among those that are for us."""
        end = self._lines.index(b"\n", start) + 1
        line = self._lines[start:end]
        if len(line) > self._max_line_bytes:
            self.shortened_lines += 1
            line = shorten_line(line[:-1], self._max_line_bytes - 1) + b"\n"
        self._start, self._long = end, line

    def _write_long(self) -> bool:
        """Write the rest of a long line; return whether nothing of it is left."""
        while self._long:
            written = self._stream.write(self._long[: self._stream.piece_bytes])
            if not written:
                return False
            self._long = self._long[written:]
            if self._long:
                self._written_bytes += written
            else:
                self._note_written(written)
        return True

    def _note_written(self, byte_count: int) -> None:
        """Note that so many bytes, up to the end of a line, were written."""
        self._written_bytes = written_bytes = self._written_bytes + byte_count
        if self._segment is not None:
            self._last = (written_bytes, Position(self._segment, self._offset + self._start))
            if not self._marks or written_bytes - self._marks[-1][0] >= _MARK_EVERY_BYTES:
                self._marks.append(self._last)
