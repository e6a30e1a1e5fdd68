"""What a journal's directory holds when it is opened: after a clean end, a kill, a power cut or damage."""

import errno
import logging
import os
import re
import secrets
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from auditline.workers.audit.segment import LOST, Scan, Segment, scan_file
from auditline.workers.common.errors import StorageError

logger = logging.getLogger(__name__)

SEGMENT_SUFFIX = ".batches"
FILE_MODE = 0o640
_SEGMENT_NAME = re.compile(r"[0-9]{20}\.batches")
_EPOCH = re.compile(rb"[0-9a-f]{16}\n?")
_DONE_MAGIC = b"ALD1"
_DONE_HEAD = struct.Struct("<4sIQ")
_MOST_DONE_BYTES = 64 * 1024 * 1024

MOST_LOST_BATCHES = 100_000
"""Numbers missing in a row; a larger gap is no damage of ours, and the file behind it is set aside."""


@dataclass(slots=True)
class Recovered:
    """A journal's state; *segments* hold consecutive numbers up to `last_number`."""

    epoch: str
    done_number: int
    done_state: bytes
    segments: list[Segment] = field(default_factory=list)
    last_number: int = 0
    records: int = 0
    """Kernel records in the batches above `done_number`."""
    lost_batches: int = 0
    """Batches above `done_number` that cannot be read."""


def recover(directory: Path) -> Recovered:
    """Read what *directory* holds, keep what is whole, count and tell what is not.

    The epoch is a new one if a number may be given again that a batch now gone once had.

    Raises:
        StorageError: the directory cannot be listed.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if _SEGMENT_NAME.fullmatch(name))
    except OSError as error:
        raise StorageError(f"journal {directory}: cannot be read: {error.strerror}") from error
    found = Recovered(_read_epoch(directory), *_read_done(directory))
    is_tail_damaged = _read_segments(directory, names, found)
    has_numbers_unknown = _match_done_with_segments(directory, found)
    if not found.epoch or is_tail_damaged or has_numbers_unknown:
        found.epoch = renew_epoch(directory)
    _tidy(found)
    return found


def renew_epoch(directory: Path) -> str:
    """Choose a new epoch and store it; on a full disk store none, so that the next start chooses again."""
    epoch = secrets.token_hex(8)
    discard(directory / "epoch")
    try:
        _replace_file(directory, "epoch", epoch.encode() + b"\n")
    except OSError as error:
        logger.warning("journal %s: cannot store its new epoch: %s", directory, error.strerror)
    return epoch


def write_done(directory: Path, number: int, state: bytes) -> None:
    """Store the last batch that is done with the router's state, in place of those before.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    checksum = zlib.crc32(state, zlib.crc32(number.to_bytes(8, "little")))
    _replace_file(directory, "done", _DONE_HEAD.pack(_DONE_MAGIC, checksum, number) + state)


def discard(path: Path) -> None:
    """Delete a file; one that cannot be deleted is told and left."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("journal: cannot delete %s: %s", path, error.strerror)


def _read_epoch(directory: Path) -> str:
    try:
        text = (directory / "epoch").read_bytes()
    except OSError:
        return ""
    return text.decode().strip() if _EPOCH.fullmatch(text) else ""


def _read_done(directory: Path) -> tuple[int, bytes]:
    """Return number and state; number 0 if there is none that can be read."""
    path = directory / "done"
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_DONE_BYTES)
    except FileNotFoundError:
        return 0, b""
    except OSError as error:
        logger.warning("journal: cannot read %s, so events may come twice: %s", path, error.strerror)
        return 0, b""
    if len(content) >= _DONE_HEAD.size:
        magic, checksum, number = _DONE_HEAD.unpack_from(content)
        state = content[_DONE_HEAD.size :]
        if magic == _DONE_MAGIC and checksum == zlib.crc32(state, zlib.crc32(number.to_bytes(8, "little"))):
            return number, state
    logger.warning("journal: %s is damaged, so events may come twice", path)
    return 0, b""


def _read_segments(directory: Path, names: list[str], found: Recovered) -> bool:
    """Fill in the segments; return whether the end of the last file was damaged."""
    is_tail_damaged = False
    last_number = 0
    for name in names:
        path = directory / name
        scan = scan_file(path)
        is_tail_damaged = scan.torn_bytes > 0
        if scan.torn_bytes or scan.damaged_bytes:
            text = "journal: %s: %d of %d bytes belong to no whole batch"
            damaged = scan.torn_bytes + scan.damaged_bytes
            logger.warning(text, path, damaged, scan.whole_bytes + scan.torn_bytes)
        if not scan.entries or scan.entries[-1][0] <= last_number:
            discard(path)
            continue
        segment = _make_segment(path, scan, last_number, found)
        if segment.offsets:
            found.segments.append(segment)
            last_number = segment.last_number
        else:
            _set_aside(path, scan.entries[0][0])
            is_tail_damaged = True
    found.last_number = max(last_number, found.done_number)
    return is_tail_damaged


def _make_segment(path: Path, scan: Scan, last_number: int, found: Recovered) -> Segment:
    """Return the segment that goes on after *last_number* (0: it is the first), lost batches included.

    It is empty if its first batch is too far off.
    """
    entries = [entry for entry in scan.entries if entry[0] > last_number]
    expected = last_number + 1 if last_number else entries[0][0]
    segment = Segment(path, expected, size=scan.whole_bytes)
    for number, offset, records in entries:
        missing = number - segment.last_number - 1
        if missing > MOST_LOST_BATCHES:
            break
        segment.offsets.extend([LOST] * missing)
        segment.offsets.append(offset)
        if number > found.done_number:
            found.records += records
            found.lost_batches += min(missing, number - found.done_number - 1)
    return segment


def _set_aside(path: Path, number: int) -> None:
    logger.error("journal: %s: batch %d does not follow those before it; the file is set aside", path, number)
    try:
        os.replace(path, path.with_suffix(".damaged"))
    except OSError as error:
        logger.warning("journal: cannot rename %s: %s", path, error.strerror)


def _match_done_with_segments(directory: Path, found: Recovered) -> bool:
    """Let `done` and the segments agree; return whether there were batches of numbers that we do not see."""
    if not found.segments:
        return found.done_number == 0
    gone = found.segments[0].first_number - found.done_number - 1
    if gone > 0:
        text = "journal %s: batches %d to %d are gone; they were done, unless a file was lost"
        logger.error(text, directory, found.done_number + 1, found.done_number + gone)
        found.lost_batches += gone if found.done_number else 0
        found.done_number += gone
        return True
    return found.segments[-1].last_number < found.done_number


def _tidy(found: Recovered) -> None:
    """Delete files with nothing that is needed, and cut torn ends off."""
    while found.segments and found.segments[0].last_number <= found.done_number:
        discard(found.segments.pop(0).path)
    for segment in found.segments:
        try:
            if segment.path.stat().st_size > segment.size:
                os.truncate(segment.path, segment.size)
        except OSError as error:
            logger.warning("journal: cannot cut the damaged end off %s: %s", segment.path, error.strerror)


def _replace_file(directory: Path, name: str, content: bytes) -> None:
    new_path = directory / f"{name}.new"
    fd = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, FILE_MODE)
    try:
        written = os.write(fd, content)
    finally:
        os.close(fd)
    if written < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.replace(new_path, directory / name)
