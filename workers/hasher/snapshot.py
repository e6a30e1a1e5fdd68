"""One consistent look at a regular file: its attributes and its hashes, such as they were together."""

import errno
import os
import time
from collections.abc import Generator
from dataclasses import dataclass

from auditline.workers.common.beneath import NotRegularError, open_regular
from auditline.workers.common.file_state import STABLE, state_of
from auditline.workers.common.hashes import Digest, pack_digests, start_digests
from auditline.workers.common.jobs import LEASE_BYTES, Lane, Lease, Outcome, Result

MOST_TRIES = 4
"""A file that changes each time while it is read is unstable."""
SLICE_BYTES = 8 << 20
"""So much of a large file is read before others get a turn."""
_BUFFER_BYTES = 256 * 1024
"""Larger ones are no faster."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)

_buffer = memoryview(bytearray(_BUFFER_BYTES))

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
        largest = LEASE_BYTES if lease.lane is Lane.SMALL else lease.max_file_bytes
        return cls(lease.hashes, lease.max_file_bytes, largest)


def look_at(name: bytes, directory_fd: int, order: Order) -> Result:
    """Return what the file *name* in a directory is, in one go."""
    slices = look_in_slices(name, directory_fd, order)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: Result = end.value
            return result


def look_in_slices(name: bytes, directory_fd: int, order: Order) -> Slices:
    """Look at the file *name* in a directory, which may be closed after the first turn."""
    checked_ns = time.time_ns()
    try:
        fd, status = open_regular(name, directory_fd)
    except OSError as error:
        return refusal(error)
    try:
        if order.largest < status.st_size <= order.max_file_bytes:
            return Result(Outcome.LARGER)
        return (yield from _look(fd, status, order, checked_ns))
    finally:
        os.close(fd)


def refusal(error: OSError) -> Result:
    """Return the result for a file that could not be opened."""
    if isinstance(error, NotRegularError):
        return Result(Outcome.NOT_REGULAR, None, str(error.strerror))
    if error.errno in _GONE:
        return Result(Outcome.GONE)
    return Result(Outcome.UNREADABLE, None, str(error.strerror))


def _look(fd: int, first: os.stat_result, order: Order, checked_ns: int) -> Slices:
    def result(status: os.stat_result, hash_state: str, hashes: bytes = b"", error: str = "") -> Result:
        state = state_of(status, checked_ns=checked_ns, hashes=hashes, hash_state=hash_state)
        # Reading may have moved the access time.
        return Result(Outcome.LOOKED_AT, state._replace(atime_ns=first.st_atime_ns), error)

    before = first
    for _ in range(MOST_TRIES):
        if before.st_size > order.max_file_bytes:
            return result(before, "too_large")
        digests = start_digests(order.hashes)
        try:
            is_whole = yield from _read(fd, before, digests)
        except OSError as error:
            return result(os.fstat(fd), "unreadable", error=str(error.strerror))
        after = os.fstat(fd)
        if is_whole and _are_same(before, after):
            return result(before, STABLE, pack_digests(order.hashes, digests))
        before = after
    return result(before, "unstable")


def _read(fd: int, before: os.stat_result, digests: list[Digest]) -> Generator[None, None, bool]:
    """Feed the content to *digests*; return whether it had the length that *before* says."""
    position = 0
    slice_end = SLICE_BYTES
    while position <= before.st_size:
        # Never more than one byte too many: that one tells that the file grows.
        wanted = min(_BUFFER_BYTES, before.st_size + 1 - position)
        count = os.preadv(fd, [_buffer[:wanted]], position)
        if not count:
            break
        for digest in digests:
            digest.update(_buffer[:count])
        position += count
        if position >= slice_end:
            slice_end += SLICE_BYTES
            yield
            if not _are_same(before, os.fstat(fd)):
                return False
    return position == before.st_size


def _are_same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )
