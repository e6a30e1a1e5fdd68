"""One consistent look at a regular file: its attributes and its hashes, such as they were together."""

import contextlib
import errno
import mmap
import os
import re
import time
from collections.abc import Generator
from dataclasses import dataclass

from auditline.workers.common.beneath import NotRegularError, open_regular
from auditline.workers.common.file_state import NOT_HASHED, STABLE, state_of
from auditline.workers.common.hashes import Digest, pack_digests, start_digests
from auditline.workers.common.jobs import LARGE_BYTES, Lane, Lease, Outcome, Result

MOST_TRIES = 4
"""A file that changes each time while it is read is unstable."""
SLICE_BYTES = 8 << 20
"""So much of a large file is read before others get a turn."""
_BUFFER_BYTES = 256 * 1024
"""Larger ones are no faster."""
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)

_HAS_COARSE_TIMES = not re.match(r"(6\.(1[3-9]|[2-9]\d)|([7-9]|\d\d))\b", os.uname().release)
"""Before Linux 6.13 two writes may leave the same times behind,"""
_TICK_SECONDS = 0.02
"""if they are no further apart than this."""

# On whole pages, because the kernel copies to other addresses at half the speed; private, because hashers are forked
# after this was imported and must not read into one another's memory.
_buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

Slices = Generator[None, None, Result]
"""Each turn reads a slice; the last one returns the result."""


@dataclass(frozen=True, slots=True)
class Order:
    """How to look at the files of a lease."""

    hashes: tuple[str, ...]
    max_file_bytes: int
    largest: int
    """A larger file that is to be hashed is not for this lane."""

    @classmethod
    def of(cls, lease: Lease) -> "Order":
        """Return what *lease* wants."""
        largest = LARGE_BYTES if lease.lane is Lane.SMALL else lease.max_file_bytes
        return cls(lease.hashes, lease.max_file_bytes, min(largest, lease.max_file_bytes))


def look_at(name: bytes, directory_fd: int, order: Order) -> Result:
    """Return what the file *name* in a directory is, in one go."""
    checked_ns = time.time_ns()
    try:
        fd, status = open_regular(name, directory_fd)
    except OSError as error:
        return refusal(error)
    try:
        return _look_once(fd, status, order, checked_ns) or _exhaust(_Look(fd, status, order, checked_ns).run())
    finally:
        os.close(fd)


def look_in_slices(name: bytes, directory_fd: int, order: Order) -> Slices:
    """Look at the file *name* in a directory, which may be closed after the first turn."""
    checked_ns = time.time_ns()
    try:
        fd, status = open_regular(name, directory_fd)
    except OSError as error:
        return refusal(error)
    try:
        return (yield from _Look(fd, status, order, checked_ns).run())
    finally:
        os.close(fd)


def refusal(error: OSError) -> Result:
    """Return the result for a file that could not be opened."""
    if isinstance(error, NotRegularError):
        return Result(Outcome.NOT_REGULAR, None, str(error.strerror))
    if error.errno in _GONE:
        return Result(Outcome.GONE)
    if error.errno in _FORBIDDEN:
        return Result(Outcome.FORBIDDEN, None, str(error.strerror))
    return Result(Outcome.UNREADABLE, None, str(error.strerror))


def _exhaust(slices: Slices) -> Result:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: Result = end.value
            return result


def _look_once(fd: int, before: os.stat_result, order: Order, checked_ns: int) -> Result | None:
    """Return what nearly every file is, at the least cost: small, and not changed meanwhile; None: look properly."""
    size = before.st_size
    if size >= _BUFFER_BYTES or size > order.largest or not order.hashes or _may_hide_writes(before):
        return None
    digests = start_digests(order.hashes)
    try:
        _wait_for_writers(fd, size)
        if os.preadv(fd, [_buffer[: size + 1]], 0) != size:
            return None
    except OSError:
        return None
    for digest in digests:
        digest.update(_buffer[:size])
    if not _are_same(before, os.fstat(fd)):
        return None
    packed = pack_digests(order.hashes, digests)
    return Result(Outcome.LOOKED_AT, state_of(before, checked_ns=checked_ns, hashes=packed, hash_state=STABLE))


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at an open file, repeated until it is the same before and after, or it was tried often enough."""

    fd: int
    first: os.stat_result
    order: Order
    checked_ns: int

    def run(self) -> Slices:
        before = self.first
        for _ in range(MOST_TRIES):
            if (result := self._judge(before)) is not None:
                return result
            digests = start_digests(self.order.hashes)
            try:
                is_same, after = yield from self._read_between(before, digests)
            except OSError as error:
                return self._result(os.fstat(self.fd), "unreadable", error=str(error.strerror))
            if is_same:
                return self._result(before, STABLE, pack_digests(self.order.hashes, digests))
            before = after
        return self._result(before, "unstable")

    def _judge(self, status: os.stat_result) -> Result | None:
        """Return what is said of a file that is not to be read; None: it is."""
        if status.st_nlink == 0 != self.first.st_nlink:
            return Result(Outcome.GONE)
        if not self.order.hashes:
            return self._result(status, NOT_HASHED)
        if status.st_size > self.order.max_file_bytes:
            return self._result(status, "too_large")
        return Result(Outcome.LARGER) if status.st_size > self.order.largest else None

    def _read_between(
        self, before: os.stat_result, digests: list[Digest]
    ) -> Generator[None, None, tuple[bool, os.stat_result]]:
        """Feed the content to *digests*; return whether all of it belongs to *before*, and the attributes then."""
        if _may_hide_writes(before):
            time.sleep(_TICK_SECONDS)
            after = os.fstat(self.fd)
            if not _are_same(before, after):
                return False, after
        _wait_for_writers(self.fd, before.st_size)
        is_whole = yield from _read(self.fd, before, digests)
        after = os.fstat(self.fd)
        return is_whole and _are_same(before, after), after

    def _result(self, status: os.stat_result, hash_state: str, hashes: bytes = b"", error: str = "") -> Result:
        state = state_of(status, checked_ns=self.checked_ns, hashes=hashes, hash_state=hash_state)
        # Reading may have moved the access time.
        return Result(Outcome.LOOKED_AT, state._replace(atime_ns=self.first.st_atime_ns), error)


def _read(fd: int, before: os.stat_result, digests: list[Digest]) -> Generator[None, None, bool]:
    """Feed the content to *digests*; return whether it had the length that *before* says."""
    position = 0
    slice_end = SLICE_BYTES
    while True:
        # Never more than one byte too many: that one tells that the file grows.
        wanted = min(_BUFFER_BYTES, before.st_size + 1 - position)
        count = os.preadv(fd, [_buffer[:wanted]], position)
        position += count
        if count == 0 or position > before.st_size:
            return position == before.st_size
        for digest in digests:
            digest.update(_buffer[:count])
        if position >= slice_end:
            slice_end += SLICE_BYTES
            yield
            if not _are_same(before, os.fstat(fd)):
                return False


def _may_hide_writes(status: os.stat_result) -> bool:
    """Say whether a write after *status* was taken may leave the same times."""
    return _HAS_COARSE_TIMES and abs(time.time_ns() - status.st_ctime_ns) < _TICK_SECONDS * 1e9


def _wait_for_writers(fd: int, size: int) -> None:
    """Return when every write that had begun is over.

    The kernel sets a file's times when a write begins: what is read in the midst of it is torn, though the times are
    the same before and after. But to look for a hole takes the lock that writers hold (ext4_llseek, shmem_file_llseek,
    btrfs_file_llseek; XFS takes it to read). There is always one at the end, and so it is found at once.
    """
    if size:
        with contextlib.suppress(OSError):  # shorter by now, or a file system that knows no holes
            os.lseek(fd, size - 1, os.SEEK_HOLE)


def _are_same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )
