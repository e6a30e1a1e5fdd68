"""Attributes that `lstat` does not tell: extended ones, packed for comparing and storing, and flags as of `chattr`.

Packed, the same attributes are always the same bytes. They are looked at by one thread of a process.
"""

import ctypes
import errno
import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, cast

from auditline.workers.common.file_state import FileState

LARGEST_VALUE = 4096
"""Of a longer value length and digest are kept."""
MOST_PACKED = 64 * 1024
"""Of so many bytes of names and values all are kept; what comes after them in the order of the names is summed up."""
MOST_READ = 4 * 1024 * 1024
"""Of the values of one file no more bytes are read: whoever owns it may give it gigabytes of them."""

FLAGS = MappingProxyType(
    {
        "compressed": 0x0000_0004,
        "immutable": 0x0000_0010,
        "append": 0x0000_0020,
        "nodump": 0x0000_0040,
        "encrypted": 0x0000_0800,
        "verity": 0x0010_0000,
    }
)
"""Those of statx's attributes that belong to a file, and not to where it is mounted. Source: linux/stat.h."""
KEPT_FLAGS = sum(FLAGS.values())

_HEAD = struct.Struct("<BHI")
_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = 32
_HAS_NONE = (errno.ENOTSUP, errno.ENOSYS)
_UNSURE = "the extended attributes of a file are damaged: "


class XattrKind(IntEnum):
    """What is known of an extended attribute."""

    WHOLE = 0
    """Its value."""
    LONG = 1
    """Its value's length and SHA-256."""
    UNREADABLE = 2
    """Its name, because it may not be read or too much was read before; without a name: they cannot be listed."""
    REST = 3
    """How many more there are, and the SHA-256 of those; it has no name."""


class Xattr(NamedTuple):
    """An extended attribute."""

    kind: XattrKind
    name: bytes
    value: bytes = b""
    """WHOLE: the value; LONG and REST: the digest; else empty."""
    length: int = 0
    """WHOLE and LONG: the value's; REST: how many there are."""


def read_xattrs(place: int | bytes) -> bytes:
    """Return the extended attributes of a descriptor or of a path, packed; of a symbolic link its own.

    What may not be read is told as such. Those that begin with `trusted.` are left out: processes without CAP_SYS_ADMIN
    are not told that there are any, so that they would come and go with whoever looks.

    Raises:
        OSError: it is gone.
    """
    is_path = isinstance(place, bytes)
    try:
        names = os.listxattr(place, follow_symlinks=False) if is_path else os.listxattr(place)
    except OSError as error:
        if error.errno in _HAS_NONE:
            return b""
        _raise_if_gone(error)
        return pack_xattrs([Xattr(XattrKind.UNREADABLE, b"")])
    shown = sorted(os.fsencode(name) for name in names if not name.startswith("trusted."))
    return pack_xattrs(_read_each(place, shown)) if shown else b""


def read_xattrs_at(directory_fd: int, name: bytes) -> bytes:
    """Return the same of what a directory has by a name; it is not opened, and of a link it is the link's own.

    Raises:
        OSError: it is gone, or /proc is not mounted.
    """
    if _has_none(directory_fd, name):
        return b""
    # The calls that take a directory are Linux 6.13's, and Python has none for them.
    return read_xattrs(b"/proc/self/fd/%d/%b" % (directory_fd, name))


def read_flags(fd: int) -> int:
    """Return the flags of what a descriptor stands for, those of FLAGS; 0 also where the file system has none."""
    return _flags() if _call_statx(fd, b"", _AT_EMPTY_PATH, 0, _ADDRESS) == 0 else 0


def flags_unless_changed(fd: int, status: os.stat_result) -> int | None:
    """Return the flags as `read_flags` does; None: since *status* was taken, something about the file has changed."""
    if _call_statx(fd, b"", _AT_EMPTY_PATH, _STATX_TIMES_AND_SIZE, _ADDRESS) != 0:
        return None if _times_and_size(os.fstat(fd)) != _times_and_size(status) else 0
    flags, size, known, change_s, change_ns, modify_s, modify_ns = _TIMES_AND_FLAGS.unpack_from(_buffer)
    is_same = (
        change_s * _SECOND + change_ns == status.st_ctime_ns
        and modify_s * _SECOND + modify_ns == status.st_mtime_ns
        and size == status.st_size
    )
    return flags & known & KEPT_FLAGS if is_same else None


def _times_and_size(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ctime_ns, status.st_mtime_ns, status.st_size


def complete(state: FileState, directory_fd: int, name: bytes) -> FileState:
    """Return what *state* of a directory's entry, made from its `lstat`, is with extended attributes and flags.

    *directory_fd* may be one that was opened to look names up only; without a *name* it is about the directory itself.

    Raises:
        OSError: it is gone; ESTALE: something else is in its place.
    """
    xattrs = read_xattrs_at(directory_fd, name)
    if _call_statx(directory_fd, name, _AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH, _STATX_IDENTITY, _ADDRESS) != 0:
        number = ctypes.get_errno()
        if number in _HAS_NO_STATX:
            return state._replace(xattrs=xattrs)
        raise OSError(number, os.strerror(number), name)
    inode, change_s, change_ns = _IDENTITY.unpack_from(_buffer)
    # The number alone tells nothing: some file systems make one up for each look.
    if inode != state.inode and change_s * _SECOND + change_ns != state.ctime_ns:
        raise OSError(errno.ESTALE, "something else is in its place", name)
    return state._replace(xattrs=xattrs, flags=_flags())


def pack_xattrs(xattrs: Iterable[Xattr]) -> bytes:
    """Return the attributes, which come sorted by their names, as one string of bytes, of limited length.

    Of each it is the kind (one byte), the lengths of name and value (two and four), then both; the value of LONG and
    REST begins with their length (eight).
    """
    packed: list[bytes] = []
    size = count = 0
    rest = hashlib.sha256()
    for xattr in xattrs:
        entry = _pack(xattr if len(xattr.value) <= LARGEST_VALUE else _shorten(xattr))
        size += len(entry)
        if size <= MOST_PACKED:
            packed.append(entry)
        else:
            count += 1
            rest.update(entry)
    if count:
        packed.append(_pack(Xattr(XattrKind.REST, b"", rest.digest(), count)))
    return b"".join(packed)


def unpack_xattrs(packed: bytes) -> list[Xattr]:
    """Return the attributes in the order of their names.

    Raises:
        ValueError: *packed* is not what `pack_xattrs` gives.
    """
    return list(_unpack(packed)) if packed else []


def flag_words(flags: int) -> list[str]:
    """Return the names of the flags that are set, in alphabetical order."""
    return sorted(word for word, bit in FLAGS.items() if flags & bit)


def _read_each(place: int | bytes, names: Iterable[bytes]) -> Iterator[Xattr]:
    left = MOST_READ
    for name in names:
        if left < 0:
            yield Xattr(XattrKind.UNREADABLE, name)
            continue
        try:
            value = _read_one(place, name)
        except OSError as error:
            _raise_if_gone(error)
            # ENODATA: it was removed after it was listed.
            if error.errno != errno.ENODATA:
                yield Xattr(XattrKind.UNREADABLE, name)
        else:
            left -= len(value)
            yield Xattr(XattrKind.WHOLE, name, value, len(value))


def _read_one(place: int | bytes, name: bytes) -> bytes:
    if isinstance(place, int):
        return os.getxattr(place, name)
    return os.getxattr(place, name, follow_symlinks=False)


def _raise_if_gone(error: OSError) -> None:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        raise error


def _shorten(xattr: Xattr) -> Xattr:
    return Xattr(XattrKind.LONG, xattr.name, hashlib.sha256(xattr.value).digest(), len(xattr.value))


def _pack(xattr: Xattr) -> bytes:
    is_digest = xattr.kind in (XattrKind.LONG, XattrKind.REST)
    value = _LENGTH.pack(xattr.length) + xattr.value if is_digest else xattr.value
    return _HEAD.pack(xattr.kind, len(xattr.name), len(value)) + xattr.name + value


def _unpack(packed: bytes) -> Iterator[Xattr]:
    position, end = 0, len(packed)
    while position < end:
        if end - position < _HEAD.size:
            raise ValueError(f"{_UNSURE}cut off")
        number, name_bytes, value_bytes = _HEAD.unpack_from(packed, position)
        position += _HEAD.size
        name = packed[position : position + name_bytes]
        value = packed[position + name_bytes : position + name_bytes + value_bytes]
        position += name_bytes + value_bytes
        if position > end:
            raise ValueError(f"{_UNSURE}cut off")
        yield _checked(XattrKind(number), name, value)


def _checked(kind: XattrKind, name: bytes, value: bytes) -> Xattr:
    if not name and kind in (XattrKind.WHOLE, XattrKind.LONG):
        raise ValueError(f"{_UNSURE}one has no name")
    if kind is XattrKind.WHOLE:
        return Xattr(kind, name, value, len(value))
    if kind is XattrKind.UNREADABLE:
        if value:
            raise ValueError(f"{_UNSURE}one that is not readable has a value")
        return Xattr(kind, name)
    if len(value) != _LENGTH.size + _DIGEST_BYTES:
        raise ValueError(f"{_UNSURE}a digest has {len(value)} bytes")
    return Xattr(kind, name, value[_LENGTH.size :], *_LENGTH.unpack_from(value))


# Source: statx(2), linux/stat.h, linux/fcntl.h.
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_STATX_IDENTITY = 0x80 | 0x100
_STATX_TIMES_AND_SIZE = 0x40 | 0x80 | 0x200
_HAS_NO_STATX = (errno.ENOSYS, errno.EPERM)
"""Before Linux 4.11, or refused by a container's filter."""
_SYS_LISTXATTRAT = 465
"""The same on all architectures. Source: asm-generic/unistd.h, scripts/syscall.tbl."""
_buffer = ctypes.create_string_buffer(256)
_ADDRESS = ctypes.addressof(_buffer)
_ATTRIBUTES = struct.Struct("=8xQ40xQ")
"""What is set, and what the file system tells at all."""
_IDENTITY = struct.Struct("=32xQ56xqI")
"""The number of the inode, the time of change."""
_TIMES_AND_FLAGS = struct.Struct("=8xQ24xQ8xQ32xqI4xqI")
"""What is set, the size, what the file system tells, the times of change and of modification."""
_SECOND = 1_000_000_000


def _flags() -> int:
    values, known = _ATTRIBUTES.unpack_from(_buffer)
    return int(values & known & KEPT_FLAGS)


def _has_none(directory_fd: int, name: bytes) -> bool:
    """Say whether the kernel says at once that an entry has no extended attribute, as most have none."""
    if not _knows_listxattrat():
        return False
    listed: int = _syscall(_SYS_LISTXATTRAT, directory_fd, name, _AT_SYMLINK_NOFOLLOW, None, ctypes.c_size_t(0))
    return listed == 0


@lru_cache
def _knows_listxattrat() -> bool:
    listed: int = _syscall(_SYS_LISTXATTRAT, -1, b"/", _AT_SYMLINK_NOFOLLOW, None, ctypes.c_size_t(0))
    return listed >= 0 or ctypes.get_errno() not in _HAS_NO_STATX


def _no_statx(*_arguments: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


def _find_statx() -> Callable[..., int]:
    """Return the C library's function, or one that says that there is none."""
    statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None:
        return _no_statx
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    return cast("Callable[..., int]", statx)


_call_statx = _find_statx()
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
