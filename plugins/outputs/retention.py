"""Which segments are deleted, and when."""

import logging
from collections.abc import Callable
from pathlib import Path

from auditline.plugins.outputs.positions import Position, read_position
from auditline.plugins.outputs.segment_files import SegmentFile, count_lines, list_segments
from auditline.workers.common.settings import SegmentsSettings

logger = logging.getLogger(__name__)


_BEGINNING = Position("", 0)


class Retention:
    """Deletes the oldest segments beyond `keep_bytes`, but what a cursor still needs only beyond `total_bytes`."""

    def __init__(
        self, settings: SegmentsSettings, count_dropped: Callable[[int, int], None], *, is_private: bool = False
    ) -> None:
        """*count_dropped* takes the bytes and the events of a segment that was deleted although it was needed.

        *is_private*: a cursor that is not there, or holds no position, needs everything.
        """
        self._is_private = is_private
        self._settings = settings
        self._count_dropped = count_dropped
        self._unusable_cursors: set[Path] = set()

    def enforce(self, active: Path | None) -> int:
        """Delete what is too much, but never *active*; return how many bytes all segments have then.

        Raises:
            OSError: the directory cannot be read or changed.
        """
        segments = list_segments(self._settings.directory)
        held_bytes = sum(segment.size for segment in segments)
        if held_bytes <= self._settings.keep_bytes:
            return held_bytes
        needed_from = self._read_cursors()
        for segment in segments:
            is_needed = _is_needed(segment, needed_from)
            limit = self._settings.total_bytes if is_needed else self._settings.keep_bytes
            if held_bytes <= limit or segment.path == active:
                break
            self._delete(segment, needed_from if is_needed else None)
            held_bytes -= segment.size
        return held_bytes

    def _delete(self, segment: SegmentFile, cursor: Position | None) -> None:
        if cursor is not None:
            offset = cursor.offset if cursor.segment == segment.path.name else 0
            lost_bytes, lost_events = segment.size - offset, count_lines(segment.path, offset)
            logger.error(
                "outputs.%s: %s deleted beyond total_bytes before it was read: %d bytes, %d events",
                self._settings.name, segment.path, lost_bytes, lost_events,
            )  # fmt: skip
            self._count_dropped(lost_bytes, lost_events)
        segment.path.unlink(missing_ok=True)

    def _read_cursors(self) -> Position | None:
        """Return the least advanced cursor; None: nothing is held back."""
        positions = []
        for path in self._settings.cursors:
            try:
                positions.append(read_position(path)[0])
                self._unusable_cursors.discard(path)
            except (OSError, ValueError) as error:
                if self._is_private:
                    positions.append(_BEGINNING)
                    continue
                if path not in self._unusable_cursors:
                    why = error.strerror if isinstance(error, OSError) else error
                    logger.warning("outputs.%s: cursor %s holds nothing back: %s", self._settings.name, path, why)
                self._unusable_cursors.add(path)
        return min(positions, key=lambda position: (position.counter, position.offset), default=None)


def _is_needed(segment: SegmentFile, needed_from: Position | None) -> bool:
    if needed_from is None or segment.counter < needed_from.counter:
        return False
    return segment.path.name != needed_from.segment or needed_from.offset < segment.size
