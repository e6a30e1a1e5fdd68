"""Reads the records that fanotify gives, from whatever bytes there are.

Source: linux/fanotify.h; fanotify(7). Numbers are in the machine's byte order.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from auditline.workers.fim.file_systems import FSID_BYTES

NO_PIDFD = -1
"""The process has ended; with -2 the kernel could not open one."""

_METADATA = struct.Struct("=IBBHQii")  # event_len, vers, reserved, metadata_len, mask, fd, pid
_INFO = struct.Struct("=BxH")  # info_type, len
_PIDFD = struct.Struct("=i")
_HANDLE_BYTES = struct.Struct("=I")
_METADATA_VERSION = 3

_TYPE_FID, _TYPE_DFID_NAME, _TYPE_DFID, _TYPE_PIDFD = 1, 2, 3, 4
_TYPE_OLD_DFID_NAME, _TYPE_NEW_DFID_NAME = 10, 12
_FSID_OFFSET = _INFO.size
_HANDLE_OFFSET = _FSID_OFFSET + FSID_BYTES
_HANDLE_HEADER_BYTES = 8  # handle_bytes, handle_type


class Record(NamedTuple):
    """One record: who did what to which entry of which directory.

    A directory, or a file, is known by the file system's id and the file's handle, as `key_of` gives it.
    """

    mask: int
    pid: int
    pidfd: int
    """To be closed by who reads this, unless it is negative."""
    directory: bytes | None
    """Of a rename: the old one, if it is watched."""
    name: bytes
    """`.`: the directory itself; empty: none is told."""
    new_directory: bytes | None
    """Of a rename: the new one, if it is watched."""
    new_name: bytes


def parse_records(data: bytes) -> Iterator[Record]:
    """Yield the records; what is cut off, and information of kinds that are not known, is left out."""
    position, end = 0, len(data)
    while position + _METADATA.size <= end:
        record_bytes, version, _, metadata_bytes, mask, _, pid = _METADATA.unpack_from(data, position)
        if record_bytes < _METADATA.size or position + record_bytes > end:
            return
        if version == _METADATA_VERSION and metadata_bytes >= _METADATA.size:
            yield _read_record(data, position + metadata_bytes, position + record_bytes, mask, pid)
        position += record_bytes


def _read_record(data: bytes, position: int, end: int, mask: int, pid: int) -> Record:
    pidfd, directory, name, new_directory, new_name = NO_PIDFD, None, b"", None, b""
    while position + _INFO.size <= end:
        kind, info_bytes = _INFO.unpack_from(data, position)
        info_end = position + info_bytes
        if info_bytes < _INFO.size or info_end > end:
            break
        if kind == _TYPE_PIDFD:
            if info_bytes >= _INFO.size + _PIDFD.size:
                (pidfd,) = _PIDFD.unpack_from(data, position + _INFO.size)
        elif kind == _TYPE_NEW_DFID_NAME:
            new_directory, new_name = _read_place(data, position, info_end)
        elif kind in (_TYPE_DFID_NAME, _TYPE_OLD_DFID_NAME, _TYPE_DFID, _TYPE_FID):
            directory, name = _read_place(data, position, info_end)
        position = info_end
    return Record(mask, pid, pidfd, directory, name, new_directory, new_name)


def _read_place(data: bytes, position: int, end: int) -> tuple[bytes | None, bytes]:
    """Return the key of a file, and the name that follows its handle; None: it is not whole."""
    handle = position + _HANDLE_OFFSET
    if handle + _HANDLE_HEADER_BYTES > end:
        return None, b""
    (handle_bytes,) = _HANDLE_BYTES.unpack_from(data, handle)
    handle_end: int = handle + _HANDLE_HEADER_BYTES + handle_bytes
    if handle_end > end:
        return None, b""
    # The kernel fills up with NUL to a multiple of 4 bytes.
    return data[position + _FSID_OFFSET : handle_end], data[handle_end:end].partition(b"\0")[0]
