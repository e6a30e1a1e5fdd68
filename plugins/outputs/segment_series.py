"""The segments of one directory: the one that is being written, and what becomes of it and of the older ones."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from errno import EBUSY
from pathlib import Path

from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.retention import Retention
from auditline.plugins.outputs.segment_files import DirectoryLock, SegmentFile, SegmentWriter, list_segments
from auditline.plugins.outputs.sync import Syncer
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.settings import SegmentsSettings

logger = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
RETENTION_SECONDS = 1.0
"""How often the directory is looked at while there is too much in it."""
PROBE_BYTES = 1024**2
"""What must fit for `has_space`."""

_PROBE = ".auditline-space"


class SegmentSeries:
    """Appends to the newest segment, once it is open; an OSError of any call says why it cannot be done now."""

    def __init__(
        self, settings: SegmentsSettings, count_dropped: Callable[[int, int], None], *, is_private: bool
    ) -> None:
        self._name = settings.name
        self._settings = settings
        self._lock: DirectoryLock | None = None
        self.found: Sequence[SegmentFile] = ()
        """What was there when it was opened."""
        self._held_bytes = 0
        self._writer: SegmentWriter | None = None
        self._syncer = Syncer()
        self._is_unsynced = self._is_new = False
        self._sync_at = self._retention_at = 0.0
        self._retention = Retention(settings, count_dropped, is_private=is_private)
        self._cannot_sync = RepeatedWarning(logger, every=60, level=logging.ERROR)
        self._cannot_delete = RepeatedWarning(logger, every=60)

    @property
    def is_open(self) -> bool:
        """The directory is there, and ours alone to write to."""
        return self._lock is not None

    def open(self) -> None:
        """Make the directory if need be, lock it, and see what is there."""
        directory = self._settings.directory
        try:
            lock = DirectoryLock(directory)
        except BlockingIOError as error:
            raise OSError(EBUSY, "another instance writes there") from error
        try:
            self.found = list_segments(directory)
        except OSError:
            lock.release()
            raise
        self._lock = lock
        with suppress(OSError):  # what a process left that was killed while it probed
            (directory / _PROBE).unlink()
        self._held_bytes = sum(segment.size for segment in self.found)

    @property
    def end(self) -> Position:
        """Where the next line goes; there must be a current segment."""
        if self._writer is None:
            raise RuntimeError("no segment was begun")
        return Position(self._writer.path.name, self._writer.offset)

    @property
    def room(self) -> int:
        """Bytes that the current segment may still take; 0 without one."""
        return max(self._settings.segment_bytes - self._writer.offset, 0) if self._writer else 0

    def leave_damaged(self) -> bool:
        """Leave the current segment if somebody else changed or took it; return whether that was so."""
        damage = self._writer.find_damage() if self._writer else None
        if self._writer is None or damage is None:
            return False
        logger.warning("outputs.%s: %s %s: a new segment is begun", self._name, self._writer.path, damage)
        self._retire()
        return True

    def begin(self, last_counter: int) -> Position:
        """Begin the next segment, after *last_counter* and all that are there; return its beginning."""
        self._refresh_lock()
        counters = [segment.counter for segment in list_segments(self._settings.directory)]
        writer = SegmentWriter(self._settings.directory, max(last_counter, *counters, 0) + 1)
        self._retire()
        self._writer = writer
        self._is_new = True
        self._retention_at = 0.0
        return Position(writer.path.name, 0)

    def write(self, data: bytes) -> int:
        """Append *data* to the current segment, or as much as there is space for."""
        if self._writer is None:
            raise RuntimeError("no segment was begun")
        written = self._writer.write(data)
        self._held_bytes += written
        self._is_unsynced = True
        return written

    def synced_sequence(self, written_sequence: int) -> int:
        """Return up to which sequence lines are safe, if all up to *written_sequence* are written."""
        if self._settings.sync != "batch" or (self._syncer.is_idle and not self._is_unsynced):
            return written_sequence
        return self._syncer.synced_sequence

    def tend(self, now: float, written_sequence: int) -> None:
        """Have the current segment synced, and delete old ones, when that is due."""
        if self._is_unsynced and self._writer is not None and self._syncer.is_idle and self._is_sync_due(now):
            self._sync_at = now + SYNC_SECONDS
            self._request_sync(self._writer, written_sequence, is_last=False)
        if (error := self._syncer.take_error()) is not None:
            self._cannot_sync.tell(
                "outputs.%s: the newest lines may not be on the disk: %s", self._name, error.strerror
            )
        if now >= self._retention_at and self._held_bytes > self._settings.keep_bytes:
            self._retention_at = now + RETENTION_SECONDS
            self.delete_old()

    def delete_old(self) -> bool:
        """Delete what is there beyond the limits; return whether anything was."""
        before = self._held_bytes
        try:
            self._held_bytes = self._retention.enforce(self._writer.path if self._writer else None)
        except OSError as error:
            self._cannot_delete.tell("outputs.%s: cannot delete old segments: %s", self._name, error.strerror)
            return False
        self._cannot_delete.end()
        return self._held_bytes < before

    def has_space(self) -> bool:
        """Say whether PROBE_BYTES can be written in the directory; only writing knows quotas and reserves."""
        path = self._settings.directory / _PROBE
        try:
            self._refresh_lock()
            with path.open("wb", buffering=0) as file:
                has_space = file.write(bytes(PROBE_BYTES)) == PROBE_BYTES
        except OSError:
            has_space = False
        with suppress(OSError):
            path.unlink()
        return has_space

    def sync(self, paths: Iterable[Path]) -> None:
        """Sync segments of a predecessor: it may have been killed between writing and syncing."""
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def close(self, deadline_seconds: float) -> None:
        """Finish the current segment and unlock the directory."""
        self._retire()
        self._syncer.close(deadline_seconds)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _refresh_lock(self) -> None:
        if self._lock is None:
            raise RuntimeError("it was not opened")
        self._lock.refresh()

    def _retire(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if self._settings.sync == "never":
            os.close(writer.descriptor)
        else:
            self._request_sync(writer, self._syncer.synced_sequence, is_last=True)

    def _request_sync(self, writer: SegmentWriter, sequence: int, *, is_last: bool) -> None:
        new_in = self._settings.directory if self._is_new else None
        self._syncer.request(writer.descriptor, sequence, new_in=new_in, is_last=is_last)
        self._is_unsynced = self._is_new = False

    def _is_sync_due(self, now: float) -> bool:
        return self._settings.sync == "batch" or (self._settings.sync == "interval" and now >= self._sync_at)
