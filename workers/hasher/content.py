"""The content of an open file, a slice at a time, read so that the page cache is afterwards what it was before."""

import errno
import mmap
import os
from collections.abc import Callable
from enum import Enum

from auditline.workers.hasher.page_cache import cold_spans, fetch, is_cold, let_go

SLICE_BYTES = 8 << 20
"""So much of a large file is read before others get a turn."""
BUFFER_BYTES = 256 * 1024
"""Larger ones are no faster."""
_WORTHWHILE_BYTES = 64 << 20
"""Only of a file that lacks so much its holes are asked for: file systems have been wrong about them."""
_BLOCK_BYTES = 512  # what st_blocks counts, whatever the file system's own are

# On whole pages, because the kernel copies to other addresses at half the speed; private, because hashers are forked
# after this was imported and must not read into one another's memory.
BUFFER = memoryview(mmap.mmap(-1, BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
_zeros = memoryview(bytes(BUFFER_BYTES))


class Fit(Enum):
    """How much there was to read."""

    EXACT = "as much as its size says"
    LONGER = "more"
    SHORTER = "less"


def read_small(fd: int, size: int) -> memoryview | None:
    """Return the content of a file smaller than BUFFER_BYTES, good until the next call; None: it is not of that size.

    Raises:
        OSError: it cannot be read.
    """
    was_cold = size > 0 and is_cold(fd, 0, size)
    count = os.preadv(fd, [BUFFER[: size + 1]], 0)
    if was_cold:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return BUFFER[:size] if count == size else None


class Content:
    """What is read of one file."""

    def __init__(self, fd: int, status: os.stat_result, take: Callable[[memoryview], None]) -> None:
        """*take* is given the content, chunk by chunk, of as many bytes as *status* says."""
        self._fd = fd
        self._size = status.st_size
        self._take = take
        self._position = 0
        self._has_holes = status.st_size - status.st_blocks * _BLOCK_BYTES > _WORTHWHILE_BYTES
        self._data = (0, 0)
        """From where to where the file has data, the last such place that is known."""

    def read_slice(self) -> Fit | None:
        """Hand on the next slice; return how much there was once all is read.

        Raises:
            OSError: it cannot be read.
        """
        end = self._position + SLICE_BYTES
        cold = cold_spans(self._fd, self._position, min(end, self._size))
        if cold:
            # Holes would be fetched, too.
            fetch(self._fd, [] if self._has_holes else cold)
        try:
            while self._position < end:
                if (fit := self._read_chunk()) is not None:
                    return fit
            return None
        finally:
            let_go(self._fd, cold, self._size)

    def _read_chunk(self) -> Fit | None:
        left = self._size - self._position
        if self._has_holes and (hole_bytes := self._hole_bytes()):
            chunk = _zeros[:hole_bytes]
        else:
            # Never more than one byte too many: that one tells that the file grows.
            wanted = min(BUFFER_BYTES, left + 1, self._data[1] - self._position if self._has_holes else BUFFER_BYTES)
            chunk = BUFFER[: os.preadv(self._fd, [BUFFER[:wanted]], self._position)]
        if not chunk:
            return Fit.SHORTER if left else Fit.EXACT
        self._take(chunk[:left])
        self._position += len(chunk)
        return Fit.LONGER if len(chunk) > left else None

    def _hole_bytes(self) -> int:
        """Return how much of a chunk at the position is a hole, which nobody needs to read."""
        if self._position >= self._data[1]:
            self._data = self._find_data()
        return max(0, min(self._data[0] - self._position, BUFFER_BYTES))

    def _find_data(self) -> tuple[int, int]:
        try:
            start = os.lseek(self._fd, self._position, os.SEEK_DATA)
            return start, os.lseek(self._fd, start, os.SEEK_HOLE)
        except OSError as error:
            # ENXIO: a hole up to the end. What is behind the end, and where nobody knows of holes, has to be read.
            is_hole = error.errno == errno.ENXIO and self._position < self._size
            return self._size if is_hole else self._position, self._size + 1
