"""One consistent look at a regular file: its attributes and its hashes, such as they were together."""

import errno
import os
import re
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from auditline.workers.common.attributes import flags_unless_changed, read_flags, read_xattrs
from auditline.workers.common.beneath import NotRegularError, open_regular
from auditline.workers.common.file_state import (
    FORBIDDEN,
    GROWING,
    NOT_HASHED,
    STABLE,
    TIME_LIMIT,
    TOO_LARGE,
    UNREADABLE,
    UNSTABLE,
    state_of,
)
from auditline.workers.common.hashes import pack_digests, start_digests
from auditline.workers.common.jobs import LARGE_BYTES, Lane, Lease, Outcome, Result
from auditline.workers.hasher.content import BUFFER_BYTES, Content, Fit, read_small
from auditline.workers.hasher.small_file import look_at_small

MOST_TRIES = 4
"""A file that changes each time while it is read is unstable."""
TIME_LIMIT_SECONDS = 300.0
"""So long a file is read; what it takes longer for is not hashed."""
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)

_HAS_COARSE_TIMES = not re.match(r"(6\.(1[3-9]|[2-9]\d)|([7-9]|\d\d))\b", os.uname().release)
"""Before Linux 6.13 two writes may leave the same times behind,"""
_TICK_SECONDS = 0.02
"""if they are no further apart than this."""

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
        if order.hashes and not _HAS_COARSE_TIMES:
            state = look_at_small(name, directory_fd, order.hashes, order.largest, checked_ns)
            if state is not None:
                return Result(Outcome.LOOKED_AT, state)
        fd, status = open_regular(name, directory_fd)
    except OSError as error:
        return refusal(error)
    try:
        return _look_once(fd, status, order, checked_ns) or _exhaust(_Look(fd, status, order, checked_ns).run())
    except OSError as error:
        return refusal(error)
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
    except OSError as error:
        return refusal(error)
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
    if before.st_size >= BUFFER_BYTES or before.st_size > order.largest:
        return None
    if not order.hashes or _may_hide_writes(before):
        return None
    digests = start_digests(order.hashes)
    try:
        _wait_for_writers(fd, before.st_size)
        content = read_small(fd, before.st_size)
        xattrs = read_xattrs(fd)
    except OSError:
        return None
    if content is None:
        return None
    for digest in digests:
        digest.update(content)
    if (flags := flags_unless_changed(fd, before)) is None:
        return None
    packed = pack_digests(order.hashes, digests)
    state = state_of(before, checked_ns=checked_ns, hashes=packed, hash_state=STABLE, xattrs=xattrs, flags=flags)
    return Result(Outcome.LOOKED_AT, state)


class _TooSlowError(Exception):
    """A file was read for longer than is allowed."""


@dataclass(frozen=True, slots=True)
class _Grown:
    """What a file was before something was appended to it, if nothing else was done to it."""

    status: os.stat_result
    hashes: bytes


class _Hashing:
    """The digests of a content, and whether they are, after so many bytes, what they were at an earlier reading."""

    def __init__(self, names: Sequence[str], earlier: _Grown | None) -> None:
        self._names = names
        self._digests = start_digests(names)
        self._earlier = earlier
        self._left = -1 if earlier is None else earlier.status.st_size
        self.begins_as_before = False

    def take(self, chunk: memoryview) -> None:
        if 0 <= self._left <= len(chunk):
            self._update(chunk[: self._left])
            chunk = chunk[self._left :]
            self.begins_as_before = self._earlier is not None and self.packed() == self._earlier.hashes
            self._left = -1
        elif self._left > 0:
            self._left -= len(chunk)
        self._update(chunk)

    def packed(self) -> bytes:
        return pack_digests(self._names, self._digests)

    def _update(self, chunk: memoryview) -> None:
        for digest in self._digests:
            digest.update(chunk)


class _Look:
    """A look at an open file, repeated until it is the same before and after, or it was tried often enough."""

    def __init__(self, fd: int, first: os.stat_result, order: Order, checked_ns: int) -> None:
        self._fd = fd
        self._first = first
        self._order = order
        self._checked_ns = checked_ns
        self._seconds_left = TIME_LIMIT_SECONDS
        self._xattrs = b""
        self._flags = 0

    def run(self) -> Slices:
        before, grown = self._first, None
        for _ in range(MOST_TRIES):
            if (result := self._judge(before)) is not None:
                return result
            hashing = _Hashing(self._order.hashes, grown)
            try:
                fit, after = yield from self._read_between(before, hashing)
            except _TooSlowError:
                return self._unread(os.fstat(self._fd), TIME_LIMIT)
            except OSError as error:
                word = FORBIDDEN if error.errno in _FORBIDDEN else UNREADABLE
                return self._unread(os.fstat(self._fd), word, str(error.strerror))
            if fit is Fit.EXACT and _are_same(before, after):
                return self._result(before, STABLE, hashing.packed())
            if grown is not None and hashing.begins_as_before:
                return self._result(grown.status, GROWING, grown.hashes)
            has_grown = fit is not Fit.SHORTER and _has_grown(before, after)
            grown = _Grown(before, hashing.packed()) if has_grown else None
            before = after
        return self._result(before, UNSTABLE)

    def _judge(self, status: os.stat_result) -> Result | None:
        """Return what is said of a file that is not to be read; None: it is."""
        if status.st_nlink == 0 != self._first.st_nlink:
            return Result(Outcome.GONE)
        if not self._order.hashes:
            return self._unread(status, NOT_HASHED)
        if status.st_size > self._order.max_file_bytes:
            return self._unread(status, TOO_LARGE)
        return Result(Outcome.LARGER) if status.st_size > self._order.largest else None

    def _read_between(
        self, before: os.stat_result, hashing: _Hashing
    ) -> Generator[None, None, tuple[Fit, os.stat_result]]:
        """Feed the content to *hashing*; return how it fits to *before*, and the attributes then.

        A file that something else is done to than to append is not read to its end.
        """
        if _may_hide_writes(before):
            time.sleep(_TICK_SECONDS)
            after = os.fstat(self._fd)
            if not _are_same(before, after):
                return Fit.SHORTER, after
        _wait_for_writers(self._fd, before.st_size)
        content = Content(self._fd, before, hashing.take)
        while (fit := self._read_slice(content)) is None:
            yield
            after = os.fstat(self._fd)
            if not (_are_same(before, after) or _has_grown(before, after)):
                return Fit.SHORTER, after
        self._take_attributes()
        return fit, os.fstat(self._fd)

    def _read_slice(self, content: Content) -> Fit | None:
        started = time.monotonic()
        fit = content.read_slice()
        self._seconds_left -= time.monotonic() - started
        if fit is None and self._seconds_left < 0:
            raise _TooSlowError
        return fit

    def _take_attributes(self) -> None:
        self._xattrs, self._flags = read_xattrs(self._fd), read_flags(self._fd)

    def _unread(self, status: os.stat_result, hash_state: str, error: str = "") -> Result:
        self._take_attributes()
        return self._result(status, hash_state, error=error)

    def _result(self, status: os.stat_result, hash_state: str, hashes: bytes = b"", error: str = "") -> Result:
        state = state_of(
            status,
            checked_ns=self._checked_ns,
            hashes=hashes,
            hash_state=hash_state,
            xattrs=self._xattrs,
            flags=self._flags,
        )
        # Reading may have moved the access time.
        return Result(Outcome.LOOKED_AT, state._replace(atime_ns=self._first.st_atime_ns), error)


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
        try:  # noqa: SIM105  # contextlib's way takes twice as long as the call
            os.lseek(fd, size - 1, os.SEEK_HOLE)
        except OSError:
            # It is shorter by now, or the file system knows no holes.
            pass


def _are_same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )


def _has_grown(before: os.stat_result, after: os.stat_result) -> bool:
    return after.st_size > before.st_size
