"""A journal's segment file: entries one after another, each with a checksum, found again after any damage.

An entry is a header, the array of types and the payload, as one write left them:

    magic 4 bytes | crc32 u32 | number u64 | kind u32 | bytes of types u32 | bytes of payload u32     (little-endian)

The checksum covers all that follows it.
"""

import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from auditline.workers.common.batch import Batch

_MAGIC = b"ALJ1"
_CHECKSUM = struct.Struct("<I")
_FIELDS = struct.Struct("<QIII")
HEADER_BYTES = len(_MAGIC) + _CHECKSUM.size + _FIELDS.size

MOST_ENTRY_BYTES = 4 * 1024 * 1024
"""Longer than the longest batch, 256 records of 9 KB; bounds what a damaged length can make us read."""
_MOST_NUMBER = 2**62
_MOST_FILE_BYTES = 2**31
_MOST_FALSE_STARTS = 1000
"""Places in one damaged file that look like an entry and are none, before the rest of it is given up."""
_CHUNK_BYTES = 1024 * 1024

LOST = 0xFFFF_FFFF
"""In place of an offset: the batch had a number, but cannot be read."""


class Entry(NamedTuple):
    """A whole entry and the place where the next one begins."""

    offset: int
    end: int
    batch: Batch


@dataclass(slots=True)
class Segment:
    """What is known of one file: where each of its consecutive numbers lies."""

    path: Path
    first_number: int
    offsets: "array[int]" = field(default_factory=lambda: array("I"))
    size: int = 0

    @property
    def last_number(self) -> int:
        """Its last batch; one less than the first while it is empty."""
        return self.first_number + len(self.offsets) - 1


@dataclass(slots=True)
class Scan:
    """What was found in a file, in its order."""

    entries: list[tuple[int, int, int]] = field(default_factory=list)
    """(number, offset, records) of each whole entry."""
    whole_bytes: int = 0
    """Where the last whole entry ends."""
    damaged_bytes: int = 0
    """Bytes before that which belong to no whole entry."""
    torn_bytes: int = 0
    """Bytes after it."""
    unfinished_number: int = 0
    """Those bytes are the beginning of this batch's entry, as a kill of its writer leaves them; 0: they are not."""


def encode_entry(number: int, kind: int, types: bytes, payload: bytes) -> list[bytes]:
    """Return the pieces to be written one after another."""
    fields = _FIELDS.pack(number, kind, len(types), len(payload))
    checksum = zlib.crc32(payload, zlib.crc32(types, zlib.crc32(fields)))
    return [_MAGIC + _CHECKSUM.pack(checksum) + fields, types, payload]


def read_entry(fd: int, offset: int) -> Entry | None:
    """Return the entry that begins at *offset*; None: there is no whole one."""
    header = os.pread(fd, HEADER_BYTES, offset)
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    checksum_end = len(_MAGIC) + _CHECKSUM.size
    number, kind, types_bytes, payload_bytes = _FIELDS.unpack_from(header, checksum_end)
    body_bytes = types_bytes + payload_bytes
    if HEADER_BYTES + body_bytes > MOST_ENTRY_BYTES or not 0 < number < _MOST_NUMBER:
        return None
    body = os.pread(fd, body_bytes, offset + HEADER_BYTES)
    checksum = zlib.crc32(body, zlib.crc32(header[checksum_end:]))
    if len(body) < body_bytes or _CHECKSUM.unpack_from(header, len(_MAGIC))[0] != checksum:
        return None
    batch = Batch(number, kind, body[:types_bytes], body[types_bytes:])
    return Entry(offset, offset + HEADER_BYTES + body_bytes, batch)


def scan_file(path: Path) -> Scan:
    """Find every whole entry whose number is above those before it; what cannot be read counts as torn."""
    scan = Scan()
    size = 0
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            for entry in _entries(fd, min(size, _MOST_FILE_BYTES)):
                _note_entry(scan, entry)
            scan.unfinished_number = _unfinished_number(fd, scan, size, int(path.stem))
        finally:
            os.close(fd)
    except OSError:
        # A bad block or a directory in the file's place: what came before it counts.
        size = max(size, scan.whole_bytes + 1)
    scan.torn_bytes = size - scan.whole_bytes
    return scan


def _note_entry(scan: Scan, entry: Entry) -> None:
    if scan.entries and entry.batch.number <= scan.entries[-1][0]:
        return
    scan.damaged_bytes += entry.offset - scan.whole_bytes
    scan.whole_bytes = entry.end
    scan.entries.append((entry.batch.number, entry.offset, entry.batch.record_count))


def _unfinished_number(fd: int, scan: Scan, size: int, first_number: int) -> int:
    header = os.pread(fd, HEADER_BYTES, scan.whole_bytes)
    if not header or header[: len(_MAGIC)] != _MAGIC[: len(header)]:
        return 0
    next_number = scan.entries[-1][0] + 1 if scan.entries else first_number
    if len(header) < HEADER_BYTES:
        return next_number
    number, _, types_bytes, payload_bytes = _FIELDS.unpack_from(header, len(_MAGIC) + _CHECKSUM.size)
    entry_bytes = HEADER_BYTES + types_bytes + payload_bytes
    is_unfinished = number == next_number and size - scan.whole_bytes < entry_bytes <= MOST_ENTRY_BYTES
    return next_number if is_unfinished else 0


def _entries(fd: int, size: int) -> Iterator[Entry]:
    offset = false_starts = 0
    while offset < size and false_starts < _MOST_FALSE_STARTS:
        entry = read_entry(fd, offset)
        if entry is not None:
            yield entry
            offset = entry.end
        else:
            false_starts += 1
            offset = _find_magic(fd, offset + 1, size)


def _find_magic(fd: int, offset: int, size: int) -> int:
    """Return where the next entry may begin, *size* if nowhere."""
    while offset < size:
        chunk = os.pread(fd, _CHUNK_BYTES, offset)
        found = chunk.find(_MAGIC)
        if found >= 0:
            return offset + found
        if len(chunk) < len(_MAGIC):
            break
        # The magic may lie across the boundary of two chunks.
        offset += len(chunk) - len(_MAGIC) + 1
    return size
