"""The ids of events that are in the segments already, although nobody may have been told so.

A router that is killed has written lines that are not yet done; their producers hand those events over again. They
lie behind the stored position. To read them costs memory for at most MOST_IDS ids (about 100 bytes each) and one
segment's, and time for at most MOST_BYTES of lines; normally it is what was written within a second or two. Ids
leave again as their events come.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.segment_files import SegmentFile

MOST_IDS = 500_000
MOST_BYTES = 512 * 1024**2
_PIECE_BYTES = 64 * 1024
"""So much of a line is in memory at a time, however long it is; an id lies within the first."""
_BUFFER_BYTES = 256 * 1024
_ID = re.compile(rb'\{"@timestamp":"[^"\\]{1,64}","event":\{"id":"([^"\\]{1,256})"')


@dataclass(slots=True)
class WrittenTail:
    """What lies behind a position."""

    ids: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    """The files that were read."""
    is_complete: bool = True
    """False: there was more than may be read; the oldest ids are missing."""


def read_tail(segments: Sequence[SegmentFile], position: Position) -> WrittenTail:
    """Read the ids of the lines from *position* on, newest segment first.

    Raises:
        OSError: a segment cannot be read.
    """
    tail = WrittenTail()
    budget = MOST_BYTES
    for segment in reversed(segments):
        if segment.counter < position.counter:
            break
        offset = position.offset if segment.path.name == position.segment else 0
        start = max(offset, segment.size - budget)
        if start < segment.size:
            tail.ids.update(_read_ids(segment.path, start))
            tail.files.append(segment.path)
            budget -= segment.size - start
        if start > offset or len(tail.ids) > MOST_IDS:
            tail.is_complete = False
            break
    return tail


def _read_ids(path: Path, offset: int) -> Iterator[str]:
    """Yield the id of each whole line; a torn last line has none: its event will be written again."""
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        file.seek(offset)
        while piece := file.readline(_PIECE_BYTES):
            match = _ID.match(piece)
            while piece and not piece.endswith(b"\n"):
                piece = file.readline(_PIECE_BYTES)
            if match and piece:
                yield match[1].decode("ascii", "replace")
