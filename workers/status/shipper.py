"""`auditline check-shipper`: what whoever follows the segments must be able to take."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

from auditline.plugins.outputs.segment_files import SegmentFile, list_segments
from auditline.workers.common.errors import Exit, StorageError
from auditline.workers.common.progress import Progress, show_bytes
from auditline.workers.common.segment_names import SEGMENTS_GLOB
from auditline.workers.common.text import make_safe
from auditline.workers.status.positions import FoundCursor, look_at_cursor
from auditline.workers.status.text import show_age

_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 256
_EVENT_ID = re.compile(rb'\{"@timestamp":"[^"]*","event":\{"id":"([^"\\]*)"')


class Limit(NamedTuple):
    """How long a line a shipper takes as it comes, and what it does with a longer one."""

    shipper: str
    setting: str
    bytes: int
    consequence: str
    takes: Literal["segments", "read"]
    """It follows the segments themselves, or what `auditline read` or `stream` prints."""


# Tried with Fluent Bit 4, rsyslog 8.2302 and syslog-ng 3.38.
LIMITS = (
    Limit("Fluent Bit, tail", "Buffer_Max_Size", 32 * 1024, "the rest of that file is never read", "segments"),
    Limit("Fluent Bit, exec", "Buf_Size", 4094, "the line is lost", "read"),
    Limit("rsyslog", "maxMessageSize", 8 * 1024, "the line is cut and is no JSON any more", "read"),
    Limit("syslog-ng", "log-msg-size", 64 * 1024, "the line is split into several messages", "read"),
)


class LongestLine(NamedTuple):
    """The longest line of some segments, its end not counted."""

    bytes: int = 0
    event_id: str = ""


def check_shipper(directory: Path, cursors: Sequence[Path], stdout: TextIO, *, read_line_bytes: int) -> Exit:
    """Print what a shipper meets in *directory*, and how far those with *cursors* are.

    *read_line_bytes* is what `auditline read` and `stream` print at most, unless they are told otherwise.

    Raises:
        StorageError: the segments cannot be read.
    """
    try:
        segments = list_segments(directory)
        longest = find_longest_line(segments)
    except OSError as error:
        raise StorageError(f"{error.filename or directory} cannot be read: {error.strerror}") from error
    if not segments:
        raise StorageError(f"{directory} has no segments: is an output of type segments enabled, and has it an event?")
    lines = [
        *_show_segments(directory, segments, longest),
        f"read, stream  print at most {read_line_bytes:,} bytes (--max-line)",
        *_show_limits(longest, read_line_bytes),
        *_show_cursors(directory, cursors),
    ]
    stdout.write("".join(f"{make_safe(line)}\n" for line in lines))
    return Exit.OK


def find_longest_line(segments: Sequence[SegmentFile]) -> LongestLine:
    """Return the longest of all whole lines; a segment that goes away meanwhile is left out.

    Raises:
        OSError: a segment cannot be read.
    """
    longest, done = LongestLine(), 0
    with Progress(sum(segment.size for segment in segments)) as progress:
        for segment in segments:
            for line in _long_lines(segment.path, longest):
                longest = line
            done += segment.size
            progress.advance(done)
    return longest


def _long_lines(path: Path, longest: LongestLine) -> Iterator[LongestLine]:
    """Yield each line that is longer than *longest* and than those before it."""
    length = longest.bytes
    rest = b""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with file:
        while block := file.read(_BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            line = max(lines, key=len, default=b"")
            if len(line) > length:
                length = len(line)
                yield LongestLine(length, _id_of(line))


def _id_of(line: bytes) -> str:
    match = _EVENT_ID.match(line[:_HEAD_BYTES])
    return match[1].decode(errors="replace") if match else "of no event of ours"


def _show_segments(directory: Path, segments: Sequence[SegmentFile], longest: LongestLine) -> Iterator[str]:
    total = sum(segment.size for segment in segments)
    yield f"segments      {len(segments)} with {show_bytes(total)}, the newest is {segments[-1].path.name}"
    yield f"to follow     {directory / SEGMENTS_GLOB}"
    yield "              each is written once, never renamed or cut, and deleted when it is old"
    yield f"longest line  {longest.bytes:,} bytes, event {longest.event_id}" if longest.bytes else "longest line  none"


def _show_limits(longest: LongestLine, read_line_bytes: int) -> Iterator[str]:
    yield ""
    yield "shippers as they come"
    name_width = max(len(limit.shipper) for limit in LIMITS)
    setting_width = max(len(limit.setting) for limit in LIMITS)
    for limit in LIMITS:
        met = longest.bytes if limit.takes == "segments" else min(longest.bytes, read_line_bytes)
        verdict = "enough until now" if met <= limit.bytes else _advise(limit, met)
        yield f"  {limit.shipper:{name_width}}  {limit.setting:{setting_width}}  {limit.bytes:>6,}  {verdict}"


def _advise(limit: Limit, met_bytes: int) -> str:
    """Say what happens and what helps; double what was met, because longer lines may come."""
    wanted = 1 << (2 * met_bytes - 1).bit_length()
    shorter = "" if limit.takes == "segments" else f", or use --max-line {limit.bytes // 1000 * 1000}"
    return f"TOO SMALL, {limit.consequence}: set it to {wanted // 1024}k{shorter}"


def _show_cursors(directory: Path, cursors: Sequence[Path]) -> Iterator[str]:
    yield ""
    yield "cursors for which segments are kept (outputs.<name>.cursors)"
    if not cursors:
        yield "  none: segments that are not yet read are deleted beyond keep_bytes"
    yield from (f"  {path}  {_show_cursor(directory, look_at_cursor(path))}" for path in cursors)


def _show_cursor(directory: Path, cursor: FoundCursor) -> str:
    if cursor.problem is not None:
        return f"DAMAGED, it holds nothing back: {cursor.problem}"
    moved = "not there yet" if cursor.age_seconds is None else f"moved {show_age(cursor.age_seconds)} ago"
    if not cursor.is_readable:
        return f"{moved}; you may not read it"
    lag = cursor.measure(directory)
    behind = "-" if lag is None else f"{show_bytes(lag.bytes)}, {lag.events:,} events"
    oldest = f", the oldest of them {show_age(lag.seconds)} old" if lag is not None and lag.events else ""
    return f"{moved}, behind by {behind}{oldest}"
