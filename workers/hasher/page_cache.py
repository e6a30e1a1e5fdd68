"""What of a file is in the page cache, so that a scan does not drive out what others need there."""

import ctypes
import os
import struct
from typing import NamedTuple

PIECE_BYTES = 256 * 1024
"""Where a part of a file is in the cache and a part is not, that is found out in pieces of this size."""

# Source: asm-generic/unistd.h, the same on all architectures; linux/mman.h. Since Linux 6.5.
_SYS_CACHESTAT = 451
_RANGE = struct.Struct("=QQ")
_CACHED = struct.Struct("=Q")

_syscall = ctypes.CDLL(None).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint)
_range = ctypes.create_string_buffer(_RANGE.size)
_answer = ctypes.create_string_buffer(5 * 8)
_RANGE_AT, _ANSWER_AT = ctypes.addressof(_range), ctypes.addressof(_answer)


class Span(NamedTuple):
    """A part of a file."""

    start: int
    end: int


def is_cold(fd: int, start: int, end: int) -> bool:
    """Say whether none of this part of a file is in the page cache; False also where the kernel does not say."""
    return _cached_pages(fd, start, end) == 0


def cold_spans(fd: int, start: int, end: int) -> list[Span]:
    """Return what of this part of a file is not in the page cache; nothing where the kernel does not say."""
    # Of no length would be all that follows.
    cached = _cached_pages(fd, start, end) if start < end else None
    if cached is None:
        return []
    if cached == 0:
        return [Span(start, end)]
    if cached >= -(-(end - start) // os.sysconf("SC_PAGE_SIZE")):
        return []
    spans: list[Span] = []
    for at in range(start, end, PIECE_BYTES):
        until = min(at + PIECE_BYTES, end)
        if is_cold(fd, at, until):
            follows = spans and spans[-1].end == at
            spans.append(Span(spans.pop().start if follows else at, until))
    return spans


def fetch(fd: int, spans: list[Span]) -> None:
    """Have these parts of a file read from the disk, and from now on nothing ahead of what is asked for."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for start, end in spans:
        os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_WILLNEED)


def let_go(fd: int, spans: list[Span], file_bytes: int) -> None:
    """Let the page cache forget these parts of a file, but for what somebody else uses or has written."""
    for start, end in spans:
        # 0 is up to the end, because the kernel drops whole pages only, and the last one may not be whole.
        os.posix_fadvise(fd, start, 0 if end >= file_bytes else end - start, os.POSIX_FADV_DONTNEED)


def _cached_pages(fd: int, start: int, end: int) -> int | None:
    """Return how many pages of this part of a file are cached; None: the kernel does not say."""
    _RANGE.pack_into(_range, 0, start, end - start)
    if _syscall(_SYS_CACHESTAT, fd, _RANGE_AT, _ANSWER_AT, 0) == 0:
        return int(_CACHED.unpack_from(_answer)[0])
    # An older kernel, or a file that we may neither own nor write: only such are told of what is cached.
    return None
