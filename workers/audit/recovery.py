"""What a journal's directory holds when it is opened: after a clean end, a kill, a power cut or damage."""

import errno
import logging
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from auditline.workers.audit.done_record import DoneRecord
from auditline.workers.audit.segment import LOST, Segment, scan_file
from auditline.workers.common.errors import StorageError
from auditline.workers.common.host import boot_id

logger = logging.getLogger(__name__)

SEGMENT_SUFFIX = ".batches"
FILE_MODE = 0o640
_SEGMENT_NAME = re.compile(r"[0-9]{20}\.batches")
_EPOCH = re.compile(r"([0-9a-f]{16})\n(.{0,64})\n", re.ASCII)
"""The epoch and the boot that it was last used in."""

MOST_LOST_BATCHES = 100_000
"""Numbers missing in a row; a larger gap is no damage of ours, and the file behind it is set aside."""


@dataclass(slots=True)
class Recovered:
    """A journal's state; *segments* hold consecutive numbers up to `last_number`."""

    epoch: str
    done: DoneRecord
    segments: list[Segment] = field(default_factory=list)
    last_number: int = 0
    records: int = 0
    """Kernel records in the batches that are not done."""
    lost_batches: int = 0
    """Batches that are not done that cannot be read."""


def recover(directory: Path) -> Recovered:
    """Read what *directory* holds, keep what is whole, count and tell what is not.

    The epoch is a new one if a number may be given again that a batch now gone once had: with damage, and in another
    boot, since a power cut may have taken batches that were sent. What a kill left unfinished was never sent.

    Raises:
        StorageError: the directory cannot be listed.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if _SEGMENT_NAME.fullmatch(name))
    except OSError as error:
        raise StorageError(f"journal {directory}: cannot be read: {error.strerror}") from error
    found = Recovered(_read_epoch(directory, boot_id()), DoneRecord(directory))
    if found.done.damaged and found.done.number == 0:
        logger.warning("journal %s: what is done cannot be read, so events may come twice", directory)
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
        _replace_file(directory, "epoch", f"{epoch}\n{boot_id()}\n".encode())
    except OSError as error:
        logger.warning("journal %s: cannot store its new epoch: %s", directory, error.strerror)
    return epoch


def discard(path: Path) -> None:
    """Delete a file; one that cannot be deleted is told and left."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("journal: cannot delete %s: %s", path, error.strerror)


def _read_epoch(directory: Path, boot: str) -> str:
    """Return the epoch; "" if there is none of this boot."""
    try:
        match = _EPOCH.fullmatch((directory / "epoch").read_text(errors="replace"))
    except OSError:
        return ""
    return match[1] if match and match[2] == boot else ""


def _read_segments(directory: Path, names: list[str], found: Recovered) -> bool:
    """Fill in the segments; return whether the end of the last file was damaged, other than by a kill of its writer."""
    is_tail_damaged = False
    last_number = unfinished_number = 0
    for name in names:
        path = directory / name
        scan = scan_file(path)
        is_tail_damaged = scan.torn_bytes > 0 and not scan.unfinished_number
        unfinished_number = scan.unfinished_number
        if scan.torn_bytes or scan.damaged_bytes:
            text = "journal: %s: %d of %d bytes belong to no whole batch"
            damaged = scan.torn_bytes + scan.damaged_bytes
            logger.warning(text, path, damaged, scan.whole_bytes + scan.torn_bytes)
        # A file is named by its first number; what is below that is not ours, and its name could be given again.
        entries = [entry for entry in scan.entries if entry[0] > last_number and entry[0] >= int(path.stem)]
        if not entries:
            discard(path)
            continue
        segment = Segment(path, last_number + 1 if last_number else entries[0][0], size=scan.whole_bytes)
        _fill_segment(segment, entries, found)
        if segment.offsets:
            found.segments.append(segment)
            last_number = segment.last_number
        else:
            _set_aside(path, entries[0][0])
            is_tail_damaged = True
    found.last_number = max(last_number, found.done.number)
    return is_tail_damaged or unfinished_number not in (0, found.last_number + 1)


def _fill_segment(segment: Segment, entries: list[tuple[int, int, int]], found: Recovered) -> None:
    """Put in the entries and the lost batches before and between them; nothing behind a gap that is too large."""
    for number, offset, records in entries:
        missing = number - segment.last_number - 1
        if missing > MOST_LOST_BATCHES:
            break
        segment.offsets.extend([LOST] * missing)
        segment.offsets.append(offset)
        if number > found.done.number:
            found.records += records
            found.lost_batches += min(missing, number - found.done.number - 1)


def _set_aside(path: Path, number: int) -> None:
    logger.error("journal: %s: batch %d does not follow those before it; the file is set aside", path, number)
    try:
        os.replace(path, path.with_suffix(".damaged"))
    except OSError as error:
        logger.warning("journal: cannot rename %s: %s", path, error.strerror)


def _match_done_with_segments(directory: Path, found: Recovered) -> bool:
    """Let `done` and the segments agree; return whether there were batches of numbers that we do not see."""
    if not found.segments:
        return found.done.number == 0
    gone = found.segments[0].first_number - found.done.number - 1
    if gone > 0:
        text = "journal %s: batches %d to %d are gone; they were done, unless a file was lost"
        logger.error(text, directory, found.done.number + 1, found.done.number + gone)
        found.lost_batches += gone if found.done.number else 0
        done_number = found.done.number + gone
        with suppress(OSError):
            # If it cannot be stored, the next start tells it again.
            found.done.store(done_number, found.done.state)
        found.done.number = done_number
        return True
    return found.segments[-1].last_number < found.done.number


def _tidy(found: Recovered) -> None:
    """Delete files with nothing that is needed, and cut torn ends off."""
    while found.segments and found.segments[0].last_number <= found.done.number:
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
