"""States of paths as rows of a baseline's tables, each with a checksum over all that the row says."""

import re
import struct
import zlib
from typing import Any

from auditline.workers.common.file_state import FileState

STATE_COLUMNS = (*FileState._fields, "checksum")
"""In the order of a row, behind `directory` and `name`."""
COLUMNS = f"directory, name, {', '.join(STATE_COLUMNS)}"

_NUMBERS = struct.Struct("<18q")
_MISSING = -1
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_LARGE_NUMBER = re.compile(rb"-?[0-9]{1,40}")

Row = tuple[Any, ...]


def encode_row(directory: int, name: bytes, state: FileState) -> Row:
    """Return the row of *state*, which is that of the path *name* in the directory of that id.

    Sqlite's integers end at 63 bits, but a time in the year 2300 in nanoseconds does not, nor do all inode numbers;
    those are stored as decimal digits.
    """
    try:
        return (directory, name, *state, _checksum(directory, name, *state))
    except struct.error:
        values = tuple(_storable(value) for value in state)
        return (directory, name, *values, _slow_checksum(directory, name, *values))


def decode_row(row: Row) -> FileState:
    """Return the state that `encode_row` was given.

    Raises:
        ValueError: the row is none that `encode_row` made.
    """
    try:
        is_whole = _checksum(*row[:-1]) == row[-1]
    except struct.error:
        return _decode_slowly(row)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"a value is of a wrong type: {error}") from error
    if not is_whole:
        raise ValueError("the checksum is wrong")
    return FileState._make(row[2:-1])


def _checksum(  # noqa: PLR0913, PLR0917  # a row's values, one for one, because that is quick
    directory: int,
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    inode: int,
    device: int,
    links: int,
    mtime_ns: int,
    ctime_ns: int,
    atime_ns: int,
    rdev: int,
    target: bytes | None,
    hashes: bytes,
    hash_state: str,
    checked_ns: int,
    xattrs: bytes,
    flags: int,
) -> int:
    """Return the crc32 of all values, with the lengths, so that no byte can wander from one to the next.

    Raises:
        struct.error: a number is none, or has more than 63 bits.
    """
    numbers = _NUMBERS.pack(
        directory,
        mode,
        uid,
        gid,
        size,
        inode,
        device,
        links,
        mtime_ns,
        ctime_ns,
        atime_ns,
        rdev,
        checked_ns,
        flags,
        len(name),
        _MISSING if target is None else len(target),
        len(hashes),
        len(xattrs),
    )
    return zlib.crc32(b"".join((numbers, name, target or b"", hashes, xattrs, hash_state.encode())))


def _slow_checksum(*values: object) -> int:
    return zlib.crc32(repr(values).encode())


def _storable(value: object) -> object:
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return b"%d" % value
    return value


def _decode_slowly(row: Row) -> FileState:
    """Return the state of a row with numbers as decimal digits."""
    if _slow_checksum(*row[:-1]) != row[-1]:
        raise ValueError("a value is no number, or the checksum is wrong")
    columns = zip(FileState._fields, row[2:-1], strict=True)
    return FileState._make(value if column in _NO_NUMBERS else _number(value) for column, value in columns)


_NO_NUMBERS = frozenset(("target", "hashes", "hash_state", "xattrs"))


def _number(value: object) -> int:
    if isinstance(value, bytes) and _LARGE_NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, int):
        return value
    raise ValueError(f"{value!r} is no number")
