"""Documents that a server will never take, kept with its reason in segments of their own, up to a limit."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from auditline.plugins.outputs.positions import Position, offset_behind
from auditline.plugins.outputs.segment_files import SegmentWriter, count_lines, list_segments
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.disk import sync_directory
from auditline.workers.common.errors import StorageError
from auditline.workers.elasticsearch.documents import Letter, read_letter

logger = logging.getLogger(__name__)

DELETED = "dead_letters_deleted_total"
LetterKey = tuple[str, bytes]
"""A data stream, and the id of an event that was meant for it."""
_LARGEST_SEGMENT_BYTES = 8 * 1024**2


class DeadLetters:
    """Appends lines to segments in a directory; the oldest segment goes, counted, when there is too much."""

    def __init__(self, directory: Path, most_bytes: int, counters: CounterPage, *, beside: Path | None = None) -> None:
        """*beside*: where those wait that are to be sent again, which take up room, too."""
        self._directory = directory
        self._beside = beside
        self._counters = counters
        self._segment_bytes = min(_LARGEST_SEGMENT_BYTES, most_bytes // 8)
        self._most_bytes = most_bytes
        self._writer: SegmentWriter | None = None

    def append(self, lines: Iterable[bytes]) -> None:
        """Store *lines* so that they survive a power cut.

        Raises:
            StorageError: they cannot be stored.
        """
        try:
            if self._writer is not None and self._writer.find_damage():
                # It was given back, and what is written to it now would be sent again with it.
                self.close()
            for line in lines:
                self._append(line)
            if self._writer is not None:
                os.fsync(self._writer.descriptor)
        except OSError as error:
            # What was torn stays at the end of its segment.
            self.close()
            raise StorageError(f"dead letters in {self._directory} cannot be written: {error.strerror}") from error

    def keys(self, resent_to: Position | None = None) -> set[LetterKey]:
        """Return what is kept, but what has no id; of what waits to be sent again that behind *resent_to*.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            # In this order: what is given back meanwhile is seen in one place or in both.
            letters = chain(_letters_in(self._directory, None), _letters_in(self._beside, resent_to))
            return {(letter.stream, letter.event_id.encode()) for letter in letters if letter.event_id}
        except OSError as error:
            raise StorageError(f"dead letters in {self._directory} cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the segment."""
        if self._writer is not None:
            os.close(self._writer.descriptor)
            self._writer = None

    def _append(self, line: bytes) -> None:
        if self._writer is None or self._writer.offset >= self._segment_bytes:
            self._begin()
        writer = self._writer
        assert writer is not None  # noqa: S101  # just begun
        view = memoryview(line)
        while view:
            view = view[writer.write(bytes(view)) :]

    def _begin(self) -> None:
        if self._writer is not None:
            os.fsync(self._writer.descriptor)
        self.close()
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        segments = list_segments(self._directory)
        waiting = list_segments(self._beside) if self._beside else []
        held_bytes = sum(segment.size for segment in (*segments, *waiting))
        for segment in segments:
            if held_bytes <= self._most_bytes - self._segment_bytes:
                break
            count = count_lines(segment.path, 0)
            segment.path.unlink(missing_ok=True)
            held_bytes -= segment.size
            self._counters.add(DELETED, count)
            logger.error("dead letters: %d in %s deleted: there were more than may be kept", count, segment.path)
        self._writer = SegmentWriter(self._directory, max([segment.counter for segment in segments], default=0) + 1)
        sync_directory(self._directory)


def read_letters(path: Path, offset: int = 0) -> Iterator[Letter]:
    """Yield the letters in a segment from *offset* on, but what is torn or none; an OSError says why it cannot be."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            letter = read_letter(line) if line.endswith(b"\n") else None
            if letter is not None:
                yield letter


def _letters_in(directory: Path | None, behind: Position | None) -> Iterator[Letter]:
    for segment in list_segments(directory) if directory else []:
        with suppress(FileNotFoundError):  # given back since it was listed
            yield from read_letters(segment.path, offset_behind(segment, behind))
