"""Documents that a server will never take, kept with its reason in segments of their own, up to a limit."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from auditline.plugins.outputs.segment_files import SegmentWriter, count_lines, list_segments
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import StorageError

logger = logging.getLogger(__name__)

DELETED = "dead_letters_deleted_total"
_SEGMENT_BYTES = 8 * 1024**2


class DeadLetters:
    """Appends lines to segments in a directory; the oldest segment goes, counted, when there is too much."""

    def __init__(self, directory: Path, most_bytes: int, counters: CounterPage) -> None:
        self._directory = directory
        self._counters = counters
        self._most_bytes = most_bytes
        self._writer: SegmentWriter | None = None

    def append(self, lines: Iterable[bytes]) -> None:
        """Store *lines* so that they survive a power cut.

        Raises:
            StorageError: they cannot be stored.
        """
        try:
            for line in lines:
                self._append(line)
            if self._writer is not None:
                os.fsync(self._writer.descriptor)
        except OSError as error:
            raise StorageError(f"dead letters in {self._directory} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the segment."""
        if self._writer is not None:
            os.close(self._writer.descriptor)
            self._writer = None

    def _append(self, line: bytes) -> None:
        if self._writer is None or self._writer.offset >= min(_SEGMENT_BYTES, self._most_bytes // 2):
            self._begin()
        writer = self._writer
        assert writer is not None  # noqa: S101  # just begun
        view = memoryview(line)
        while view:
            view = view[writer.write(bytes(view)) :]

    def _begin(self) -> None:
        self.close()
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        segments = list_segments(self._directory)
        held_bytes = sum(segment.size for segment in segments)
        for segment in segments:
            if held_bytes <= self._most_bytes // 2:
                break
            count = count_lines(segment.path, 0)
            segment.path.unlink(missing_ok=True)
            held_bytes -= segment.size
            self._counters.add(DELETED, count)
            logger.error("dead letters: %d in %s deleted: there were more than may be kept", count, segment.path)
        self._writer = SegmentWriter(self._directory, max([segment.counter for segment in segments], default=0) + 1)
