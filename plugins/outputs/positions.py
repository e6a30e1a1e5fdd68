r"""A place in a series of segments, and the files that keep one.

A cursor is such a file. It belongs to a reader, which replaces it by renaming, and it is one JSON object::

    {"segment": "auditline-000000000007-0badcafe.jsonl", "offset": 4096}

Everything before that byte of that segment, and every older segment, is no longer needed by its owner. More keys are
allowed. A cursor that is missing or is not of this form holds nothing back.
"""

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from auditline.plugins.outputs.segment_files import DIRECTORY_MODE, SEGMENT_MODE, SegmentFile, parse_counter

_MOST_BYTES = 4096


class NotRegularError(ValueError):
    """What is in the place of a position's file is a directory, a device or the like."""


class Position(NamedTuple):
    """A byte of a segment."""

    segment: str
    offset: int

    @property
    def counter(self) -> int:
        """The segment's place in the series."""
        return parse_counter(self.segment) or 0


def read_position(path: Path) -> tuple[Position, dict[str, Any]]:
    """Return the position in the file at *path*, and all that the file says.

    Raises:
        OSError: it cannot be read; FileNotFoundError: there is none.
        ValueError: it holds no position; the text says what there is instead.
    """
    text = _read_regular(path)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError("it is not JSON" if text else "it is empty") from error
    return parse_position(value), value


def _read_regular(path: Path) -> bytes:
    """Return the beginning of a file; a shipper's user may have put anything in its place."""
    # Nobody waits for the other end of a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        # Before Python's own file, which would leave the descriptor of a directory open.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError("it is no regular file")
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


def find_position(path: Path) -> Position | None:
    """Return the position in the file at *path*; None: it is not there, holds no position, or may not be read."""
    with suppress(OSError, ValueError):
        return read_position(path)[0]
    return None


def offset_behind(segment: SegmentFile, position: Position | None) -> int:
    """Return from where on a segment lies behind *position*, None: at the beginning; its size: nothing of it does."""
    if position is None:
        return 0
    here, there = (segment.counter, segment.path.name), (position.counter, position.segment)
    if here == there:
        return position.offset
    return segment.size if here < there else 0


def parse_position(value: Any) -> Position:
    """Return the position that *value* says.

    Raises:
        ValueError: it says none.
    """
    segment = value.get("segment") if isinstance(value, dict) else None
    offset = value.get("offset") if isinstance(value, dict) else None
    if not isinstance(segment, str) or parse_counter(segment) is None:
        raise ValueError(f"segment must be a segment's file name, not {json.dumps(segment)}")
    if type(offset) is not int or offset < 0:
        raise ValueError(f"offset must be a number of bytes, not {json.dumps(offset)}")
    return Position(segment, offset)


def write_position(path: Path, position: Position, **more: int) -> None:
    """Replace the file at *path*: a reader, and a process that starts after a crash, sees the old one or the new one.

    Not synced: to lose the newest position costs work, never events. An OSError says why it cannot be written.
    """
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    new_path = path.with_suffix(".new")
    descriptor = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, SEGMENT_MODE)
    with open(descriptor, "w", encoding="ascii") as file:
        json.dump({**position._asdict(), **more}, file)
    new_path.replace(path)
