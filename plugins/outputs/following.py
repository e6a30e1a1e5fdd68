"""Following a series of segments: whole lines in the order in which they were written, from a position on."""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.segment_files import SegmentFile, list_segments

READ_BYTES = 256 * 1024
MOST_LINE_BYTES = 256 * 1024**2
"""No line that the service writes is longer."""


class Chunk(NamedTuple):
    """Some whole lines, one after the other in one segment."""

    segment: str
    offset: int
    """Where in the segment they begin."""
    lines: bytes


class Follower:
    """Reads segments as they grow, and goes on with the next one when nothing more can come to one."""

    def __init__(self, directory: Path, start: Position | None, tell: Callable[[str], None]) -> None:
        """Begin at *start*, None: with the oldest line. *tell* takes what is to be told, such as what was missed."""
        self._directory = directory
        self._tell = tell
        self._waiting: deque[SegmentFile] = deque()
        self._listed_ns = -1
        self._fd = -1
        self._has_begun = False
        self._end = start
        """What comes next is there; with no segment open: what came last."""
        self.missed_segments = 0
        """Segments that were deleted before they were read, as far as their numbers tell."""

    def next(self) -> Chunk | None:
        """Return the next lines; None: there are none now.

        Raises:
            OSError: the directory or a segment cannot be read.
        """
        while self._fd >= 0 or self._open_next():
            if (chunk := self._read()) is not None:
                return chunk
            if not self._has_successor():
                return None
            # It may have grown between the last look and the beginning of the next one.
            if (chunk := self._read()) is not None:
                return chunk
            self._leave()
        return None

    def close(self) -> None:
        """Let go of the segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> Chunk | None:
        assert self._end is not None  # noqa: S101  # a segment is open
        size, data = READ_BYTES, b""
        segment, offset = self._end
        while True:
            data = os.pread(self._fd, size, offset)
            length = data.rfind(b"\n") + 1
            if length:
                self._end = Position(segment, offset + length)
                return Chunk(segment, offset, data[:length])
            if len(data) < size or size > MOST_LINE_BYTES:
                return None
            size *= 4

    def _has_successor(self) -> bool:
        if not self._waiting:
            self._list()
        return bool(self._waiting)

    def _leave(self) -> None:
        """Close a segment that is read to its end; a torn last line was begun by a killed process, and came again."""
        assert self._end is not None  # noqa: S101
        rest = os.fstat(self._fd).st_size - self._end.offset
        if rest > 0:
            self._tell(f"{self._end.segment}: its last line was torn by a kill or a crash: {rest} bytes are skipped")
        elif rest < 0:
            self._tell(f"{self._end.segment}: is {-rest} bytes shorter than it was")
        self.close()

    def _open_next(self) -> bool:
        while self._has_successor():
            segment = self._waiting.popleft()
            try:
                self._fd = os.open(segment.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # deleted since it was listed: the next one tells what is missing
            self._begin(segment)
            return True
        return False

    def _begin(self, segment: SegmentFile) -> None:
        before, name = self._end, segment.path.name
        if before is None or before.segment != name:
            if before is not None:
                self._tell_missed(before, segment)
            self._end = Position(name, 0)
        elif not self._has_begun:
            self._end = self._line_of(before)
        self._has_begun = True

    def _line_of(self, position: Position) -> Position:
        """Return where the line begins in which *position* is: whole lines only, whatever somebody did to a cursor."""
        segment, offset = position
        if offset == 0 or os.pread(self._fd, 1, offset - 1) in (b"\n", b""):
            return position
        line = 0
        while offset and not line:
            start = max(0, offset - READ_BYTES)
            line = os.pread(self._fd, offset - start, start).rfind(b"\n") + 1
            offset = start + line
        self._tell(f"{segment}: byte {position.offset} is within a line: begins with that line, at byte {offset}")
        return Position(segment, offset)

    def _tell_missed(self, before: Position, segment: SegmentFile) -> None:
        if not self._has_begun and segment.counter > before.counter:
            self._tell(f"{before.segment}: was deleted, perhaps before all of it from byte {before.offset} on was read")
        if segment.counter > before.counter + 1:
            missed = segment.counter - before.counter - 1
            self.missed_segments += missed
            first, last = before.counter + 1, segment.counter - 1
            self._tell(f"{missed} segments were deleted before they were read: numbers {first} to {last}")

    def _list(self) -> None:
        """Look what is behind the present segment, unless nothing has come to the directory or gone from it."""
        try:
            changed_ns = self._directory.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns != self._listed_ns:
            self._waiting.extend(self._find_behind(list_segments(self._directory)))
            # Only now: what came while it was listed makes it be listed again.
            self._listed_ns = changed_ns

    def _find_behind(self, segments: list[SegmentFile]) -> list[SegmentFile]:
        end = self._end
        if end is None:
            return segments
        places = [(segment.counter, segment.path.name) for segment in segments]
        here = (end.counter, end.segment)
        if here in places:
            behind = places.index(here) + (self._fd >= 0)
            return segments[behind:]
        later = [segment for segment in segments if segment.counter >= end.counter]
        if later or not segments:
            return later
        # Only lower numbers: the directory and the service's state were made anew.
        anew = segments if self._fd < 0 else self._find_younger(segments)
        if anew:
            self._tell(f"{end.segment}: is not there, and all segments have lower numbers: begins with the oldest one")
        return anew

    def _find_younger(self, segments: list[SegmentFile]) -> list[SegmentFile]:
        last_written_ns = os.fstat(self._fd).st_mtime_ns
        return [segment for segment in segments if segment.path.stat().st_mtime_ns > last_written_ns]
