"""States of paths as rows of a baseline's tables: packed, because there are millions, each with a checksum at its end.

The first byte says which of three forms it is. Most files belong to root, have one link, no flags and no extended
attributes, and numbers of 32 bits: that one is short. The second one has room for what Linux's file systems give, and
the third one for anything.
"""

import struct
import zlib
from typing import Any

import ujson

from auditline.workers.common.file_state import (
    FORBIDDEN,
    GROWING,
    NOT_HASHED,
    QUARANTINED,
    STABLE,
    TIME_LIMIT,
    TOO_LARGE,
    UNREADABLE,
    UNSTABLE,
    FileState,
    from_plain,
    to_plain,
)

_USUAL, _WHOLE, _ANY = range(1, 4)
_HASH_STATES = (
    NOT_HASHED, STABLE, GROWING, UNSTABLE, TOO_LARGE, TIME_LIMIT, UNREADABLE, FORBIDDEN, QUARANTINED,
)  # fmt: skip
"""By the numbers that are stored: new ones come at the end."""
_HASH_STATE_NUMBERS = {name: number for number, name in enumerate(_HASH_STATES)}
_NO_TARGET = -1

# Form, hash state, mode, size, inode, device, three times, when it was looked at; then the hashes.
_USUAL_FORM = struct.Struct("<BBHIIIqqqq")
# Form, hash state, mode, uid, gid, size, inode, device, links, three times, device node, when it was looked at, flags,
# lengths of target and hashes; then target, hashes and extended attributes.
_WHOLE_FORM = struct.Struct("<BBHIIqQQQqqqQqQiI")
_USUAL_BYTES = _USUAL_FORM.size
_CHECKSUM = struct.Struct("<I")
_CHECKSUM_BYTES = _CHECKSUM.size
_WHOLE_CHECKSUM = 0x2144DF1C
"""What the crc32 of everything is that ends with its crc32, whatever it is."""

Row = tuple[Any, ...]


def encode_state(directory: int, name: bytes, state: FileState) -> bytes:
    """Return what stands in the row of *state*, which is that of the path *name* in the directory of that id."""
    body = _pack(state)
    return body + _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(name, _start(directory, name))))


def decode_row(row: Row) -> FileState:
    """Return the state in a row of directory, name and what `encode_state` gave for these.

    Raises:
        ValueError: it did not give that.
    """
    directory, name, packed = row
    try:
        if zlib.crc32(packed, zlib.crc32(name, _start(directory, name))) != _WHOLE_CHECKSUM:
            raise ValueError("the checksum is wrong")
        if packed[0] != _USUAL:
            return _unpack(packed)
        _, number, mode, size, inode, device, mtime, ctime, atime, checked = _USUAL_FORM.unpack_from(packed)
        hashes = packed[_USUAL_BYTES:-_CHECKSUM_BYTES]
        further = (None, hashes, _HASH_STATES[number], checked, b"", 0)
        return FileState._make((mode, 0, 0, size, inode, device, 1, mtime, ctime, atime, 0, *further))
    except (TypeError, IndexError, struct.error) as error:
        raise ValueError(f"a value is of a wrong type: {error}") from error


def directory_checksum(path: bytes, identity: object) -> int:
    """Return what stands beside a directory's path and id."""
    return zlib.crc32(path, zlib.crc32(repr(identity).encode()))


def _pack(state: FileState) -> bytes:
    (
        mode, uid, gid, size, inode, device, links, mtime, ctime, atime, rdev,
        target, hashes, label, checked, xattrs, flags,
    ) = state  # fmt: skip
    number = _HASH_STATE_NUMBERS.get(label)
    if number is None:
        return _pack_anything(state)
    if links == 1 and not (uid or gid or rdev or xattrs or flags) and target is None:
        try:
            times = (mtime, ctime, atime, checked)
            return _USUAL_FORM.pack(_USUAL, number, mode, size, inode, device, *times) + hashes
        except struct.error:
            pass
    lengths = (_NO_TARGET if target is None else len(target), len(hashes))
    try:
        head = _WHOLE_FORM.pack(
            _WHOLE,
            number,
            mode,
            uid,
            gid,
            size,
            inode,
            device,
            links,
            mtime,
            ctime,
            atime,
            rdev,
            checked,
            flags,
            *lengths,
        )
    except struct.error:
        return _pack_anything(state)
    return b"".join((head, target or b"", hashes, xattrs))


def _pack_anything(state: FileState) -> bytes:
    """Return the form for numbers of any size, such as a time in the year 2300 in nanoseconds."""
    return bytes((_ANY,)) + ujson.dumps(to_plain(state)).encode()


def _unpack(packed: bytes) -> FileState:
    """Return the state of a form that is not the usual one."""
    form = packed[0]
    if form == _WHOLE:
        _, number, *numbers, checked, flags, target_length, hashes_length = _WHOLE_FORM.unpack_from(packed)
        start = _WHOLE_FORM.size + max(target_length, 0)
        end = start + hashes_length
        target = None if target_length == _NO_TARGET else packed[_WHOLE_FORM.size : start]
        further = (packed[start:end], _HASH_STATES[number], checked, packed[end:-_CHECKSUM_BYTES], flags)
        return FileState._make((*numbers, target, *further))
    state = from_plain(ujson.loads(packed[1:-_CHECKSUM_BYTES])) if form == _ANY else None
    if state is None:
        raise ValueError("nothing was stored in such a form")
    return state


def _start(directory: int, name: bytes) -> int:
    """Return what a row's checksum begins with; the length is in it so that no byte can wander from name to state."""
    return (directory << 9 ^ len(name)) & 0xFFFFFFFF
