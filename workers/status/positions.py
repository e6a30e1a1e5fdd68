"""How far behind a cursor is: bytes, events, and the age of the oldest of them, from its file and the segments."""

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from auditline.plugins.outputs.positions import Position, offset_behind, read_position
from auditline.plugins.outputs.segment_files import SegmentFile, list_segments
from auditline.workers.common.timestamps import seconds_since

COUNTED_BYTES = 64 * 1024**2
"""Beyond so much the number of events is estimated from the rest."""
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 64
_TIMESTAMP = re.compile(rb'\{"@timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"')


class Lag(NamedTuple):
    """What lies behind a position."""

    bytes: int
    events: int
    seconds: float
    """Age of the oldest event; 0: there is none."""


class FoundCursor(NamedTuple):
    """A cursor as its file shows it."""

    age_seconds: float | None
    """Since when it has not moved; None: it is not there."""
    position: Position | None = None
    problem: str | None = None
    """Why it is none, and holds nothing back."""
    is_readable: bool = True
    """False: who asks may not read it; the service may."""

    def measure_bytes(self, directory: Path) -> int | None:
        """Return how many bytes of the segments in *directory* its owner has not had; None: nobody knows."""
        return measure_bytes(directory, self.position) if self._is_known else None

    def measure(self, directory: Path) -> Lag | None:
        """Return what of the segments in *directory* its owner has not had; None: nobody knows."""
        return measure(directory, self.position) if self._is_known else None

    @property
    def _is_known(self) -> bool:
        return self.is_readable and self.problem is None


def look_at_cursor(path: Path) -> FoundCursor:
    """Return what is to be said of the cursor at *path*."""
    try:
        return FoundCursor(_age_of(path), read_position(path)[0])
    except FileNotFoundError:
        return FoundCursor(None)
    except PermissionError:
        return FoundCursor(_age_of(path), is_readable=False)
    except OSError as error:
        return FoundCursor(_age_of(path), problem=error.strerror)
    except ValueError as error:
        return FoundCursor(_age_of(path), problem=str(error))


def _age_of(path: Path) -> float | None:
    with suppress(OSError):
        return max(0.0, time.time() - path.stat().st_mtime)
    return None


def measure_bytes(directory: Path, position: Position | None) -> int | None:
    """Return how many bytes lie behind *position*, None: at the beginning; None: they cannot be looked at."""
    with suppress(OSError):
        return sum(size for _, _, size in _parts(list_segments(directory), position))
    return None


def measure(directory: Path, position: Position | None) -> Lag | None:
    """Return what lies behind *position*, None: at the beginning; None: it cannot be looked at."""
    try:
        parts = _parts(list_segments(directory), position)
    except OSError:
        return None
    total = sum(size for _, _, size in parts)
    counted_bytes = events = 0
    for path, offset, size in parts:
        if counted_bytes >= COUNTED_BYTES:
            break
        events += _count(path, offset, min(size, COUNTED_BYTES - counted_bytes))
        counted_bytes += size
    if counted_bytes > COUNTED_BYTES or counted_bytes < total:
        events = events * total // COUNTED_BYTES
    return Lag(total, events, _age_of_first(parts))


def _parts(segments: Iterable[SegmentFile], position: Position | None) -> list[tuple[Path, int, int]]:
    """Return path, offset and size of what is left of each segment that has anything left."""
    begun = ((segment, offset_behind(segment, position)) for segment in segments)
    return [(segment.path, offset, segment.size - offset) for segment, offset in begun if segment.size > offset]


def _count(path: Path, offset: int, most_bytes: int) -> int:
    """Return how many lines end within *most_bytes* from *offset* on."""
    count = 0
    with suppress(OSError), path.open("rb", buffering=0) as file:
        file.seek(offset)
        while most_bytes > 0 and (block := file.read(min(_BLOCK_BYTES, most_bytes))):
            count += block.count(b"\n")
            most_bytes -= len(block)
    return count


def _age_of_first(parts: Iterable[tuple[Path, int, int]]) -> float:
    for path, offset, _ in parts:
        with suppress(OSError), path.open("rb", buffering=0) as file:
            file.seek(offset)
            match = _TIMESTAMP.match(file.read(_HEAD_BYTES))
            # What no line of ours begins with is the rest of a torn one: the next segment has an event.
            if match is not None:
                return seconds_since(match[1].decode(), time.time())
    return 0.0
