"""The reader's journal: every batch is written here before it is sent, and kept until the router says done.

A directory with segment files (`segment.py`), named by the number of their first batch, a file with the epoch, and what
the router said last (`done_record.py`). All survive kill -9 of their writer, because what was written is in the
kernel's page cache; after a power cut the last seconds may be missing (see `Journal.sync`).
"""

import errno
import fcntl
import logging
import os
from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

from auditline.workers.audit.recovery import FILE_MODE, SEGMENT_SUFFIX, Recovered, discard, recover
from auditline.workers.audit.segment import LOST, MOST_ENTRY_BYTES, Segment, encode_entry, read_entry
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.errors import BusyError, StorageError

logger = logging.getLogger(__name__)

MOST_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENTS_IN_JOURNAL = 8
"""A small journal has at least so many, so that what is done makes room early."""
_DIRECTORY_MODE = 0o750

JOURNAL_COUNTERS = ("journal_errors_total", "journal_damaged_batches_total")
"""Writes that failed; batches found unreadable."""


class Journal:
    """Implements `common.batch.Store`, bounded by *max_bytes* of files.

    Only an empty journal takes a batch that is larger than the bound.
    """

    def __init__(self, directory: Path, source: str, max_bytes: int, count: Callable[[str, int], None]) -> None:
        self._directory = directory
        self._source = source
        self._max_bytes = max_bytes
        self._segment_bytes = min(MOST_SEGMENT_BYTES, max_bytes // _SEGMENTS_IN_JOURNAL)
        self._count = count
        self._failures = 0
        self._write_fd = self._read_fd = -1
        self._read_segment: Segment | None = None
        self._synced_number = 0
        self._lock_fd = _lock_directory(directory)
        self._take_over(recover(directory))

    @classmethod
    def open(
        cls, directory: Path, source: str, max_bytes: int, count: Callable[[str, int], None] = lambda _name, _n: None
    ) -> "Journal":
        """Open or make the journal of *source* in the folder of that name in *directory*.

        *count* is called with names of `JOURNAL_COUNTERS`.

        Raises:
            BusyError: another process has it open.
            StorageError: it cannot be made.
        """
        return cls(directory / source, source, max_bytes, count)

    def _take_over(self, found: Recovered) -> None:
        self._epoch = found.epoch
        self._segments = found.segments
        self._done_record = found.done
        self._done = (found.done.number, found.done.state)
        self._unstored: tuple[int, bytes] | None = None
        self._last_number = found.last_number
        self._bytes = sum(segment.size for segment in found.segments)
        self.found_records = found.records
        """Records in batches that were not done when the journal was opened."""
        self.refusal = ""
        """Why `append` last took nothing."""
        if found.lost_batches:
            self._count("journal_damaged_batches_total", found.lost_batches)

    @property
    def source(self) -> str:
        """See `Store`."""
        return self._source

    @property
    def epoch(self) -> str:
        """See `Store`."""
        return self._epoch

    @property
    def done_number(self) -> int:
        """See `Store`."""
        return self._done[0]

    @property
    def done_state(self) -> bytes:
        """See `Store`."""
        return self._done[1]

    @property
    def last_number(self) -> int:
        """See `Store`."""
        return self._last_number

    @property
    def kept_bytes(self) -> int:
        """The size of all its segment files."""
        return self._bytes

    def append(self, kind: int, types: bytes, payload: bytes) -> Batch | None:
        """Write a batch and return it; None: the journal is full or cannot be written, `refusal` says which."""
        number = self._last_number + 1
        pieces = encode_entry(number, kind, types, payload)
        size = sum(map(len, pieces))
        if size > MOST_ENTRY_BYTES:
            message = f"a batch must be at most {MOST_ENTRY_BYTES} bytes, not {size}"
            raise ValueError(message)
        self._store_done()
        if not self._has_room(size):
            self.refusal = f"it holds its {self._max_bytes} bytes of batches that are not done"
            return None
        if not self._write(number, pieces, size):
            return None
        segment = self._segments[-1]
        segment.offsets.append(segment.size)
        segment.size += size
        self._bytes += size
        self._last_number = number
        return Batch(number, kind, types, payload)

    def read(self, number: int) -> Batch:
        """See `Store`; consecutive numbers cost one read each.

        A batch that was damaged when the journal was opened comes back without records, so that the numbers have
        no gap; it has been counted and told.
        """
        if not self.done_number < number <= self._last_number:
            raise StorageError(f"journal {self._directory}: batch {number} is not kept")
        segment = self._segments[bisect_right(self._segments, number, key=attrgetter("first_number")) - 1]
        offset = segment.offsets[number - segment.first_number]
        if offset == LOST:
            return Batch(number, BatchKind.RECORDS, b"", b"")
        try:
            entry = read_entry(self._reading(segment), offset)
        except OSError as error:
            raise StorageError(f"journal {segment.path}: batch {number} cannot be read: {error.strerror}") from error
        if entry is None or entry.batch.number != number:
            raise StorageError(f"journal {segment.path}: batch {number} is damaged")
        return entry.batch

    def forget(self, number: int, state: bytes) -> None:
        """See `Store`. On a full disk `done_number` follows when there is room again to store it.

        It is not forced to the disk: an older one after a power cut makes the producer send again what outputs then
        skip by its id.
        """
        number = min(number, self._last_number)
        if number <= self.done_number:
            return
        self._unstored = done = (number, state)
        if not self._store_done() and self._drop_segments(number):
            # The journal itself may be what fills the disk: now there is room to store what is done.
            self._done = done
            self._store_done()

    def sync(self) -> None:
        """Force to the disk what was written since the last call; may block, so call it from a thread of its own.

        Raises:
            OSError: the disk failed.
        """
        last_number = self._last_number
        # A copy, because the other thread goes on appending and deleting.
        written = [segment.path for segment in self._segments[:] if segment.last_number > self._synced_number]
        for path in (*written, *self._done_record.paths, self._directory):
            try:
                fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        self._synced_number = last_number

    def close(self) -> None:
        """Let go of the files and of the lock."""
        self._close_reading()
        self._close_writing()
        self._done_record.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _store_done(self) -> bool:
        if self._unstored is None:
            return True
        try:
            self._done_record.store(*self._unstored)
        except OSError as error:
            self._tell_failure("cannot store what is done", error)
            return False
        self._done, self._unstored = self._unstored, None
        self._drop_segments(self._done[0])
        return True

    def _drop_segments(self, number: int) -> bool:
        """Delete the files with nothing above *number*, the one being written excepted; return whether any were."""
        writing = self._segments[-1] if self._write_fd >= 0 else None
        dropped = 0
        for segment in self._segments:
            if segment is writing or segment.last_number > number:
                break
            discard(segment.path)
            self._bytes -= segment.size
            dropped += 1
        del self._segments[:dropped]
        return dropped > 0

    def _has_room(self, size: int) -> bool:
        if self._bytes + size <= self._max_bytes:
            return True
        if self._last_number > self.done_number:
            return False
        self._close_writing()
        self._drop_segments(self._last_number)
        return True

    def _write(self, number: int, pieces: list[bytes], size: int) -> bool:
        try:
            if self._write_fd < 0 or self._is_segment_full(size):
                self._begin_segment(number)
            written = os.writev(self._write_fd, pieces)
            if written < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.refusal = f"cannot write: {error.strerror}"
            self._tell_failure("cannot write", error)
            self._undo_write()
            return False
        return True

    def _is_segment_full(self, size: int) -> bool:
        segment = self._segments[-1]
        return segment.size > 0 and segment.size + size > self._segment_bytes

    def _begin_segment(self, number: int) -> None:
        path = self._directory / f"{number:020}{SEGMENT_SUFFIX}"
        # A file of that name holds no whole entry, because the number has not been given to a batch yet.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, FILE_MODE)
        self._close_writing()
        self._write_fd = fd
        self._segments.append(Segment(path, number))

    def _undo_write(self) -> None:
        """Cut off a partial entry; if even that fails, go on in a new file."""
        if self._write_fd < 0:
            return
        try:
            os.ftruncate(self._write_fd, self._segments[-1].size)
        except OSError:
            self._close_writing()

    def _close_writing(self) -> None:
        """End the segment being written; forget one that has stayed empty."""
        if self._write_fd < 0:
            return
        os.close(self._write_fd)
        self._write_fd = -1
        if self._segments and not self._segments[-1].offsets:
            self._segments.pop()

    def _reading(self, segment: Segment) -> int:
        """Return a descriptor of that file, which stays open until another file is read."""
        if self._read_segment is not segment:
            self._close_reading()
            self._read_fd = os.open(segment.path, os.O_RDONLY)
            self._read_segment = segment
        return self._read_fd

    def _close_reading(self) -> None:
        if self._read_segment is not None:
            os.close(self._read_fd)
            self._read_segment = None

    def _tell_failure(self, what: str, error: OSError) -> None:
        self._count("journal_errors_total", 1)
        self._failures += 1
        if self._failures == 1 or self._failures % 1000 == 0:
            text = "journal %s: %s: %s (%d times so far)"
            logger.error(text, self._directory, what, error.strerror, self._failures)


def _lock_directory(directory: Path) -> int:
    """Make the directory if need be; return a descriptor that holds the lock on it while it is open."""
    try:
        directory.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StorageError(f"journal {directory}: cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise BusyError(f"journal {directory} is in use by another process") from error
    return fd
