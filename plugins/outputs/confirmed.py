"""Where a segments output begins to look for lines that its predecessor wrote, kept in the state directory."""

import logging
from collections import deque
from pathlib import Path

from auditline.plugins.outputs.positions import Position, read_position, write_position
from auditline.workers.common.diagnostics import RepeatedWarning

logger = logging.getLogger(__name__)

STORE_SECONDS = 1.0
RESENDS_END_SECONDS = 600.0
"""Events that were not handed over again until then are taken as done, also if nobody said so."""


class ConfirmedPosition:
    """Everything before `position` is confirmed: no producer will ever hand it over again.

    It stays where it was found until the resends are over, because until then nobody knows which of the lines
    behind it are still to come again; and until those that came are confirmed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.position: Position | None = None
        self.last_counter = 0
        """The highest counter that was ever used for a segment here."""
        self._marks: deque[tuple[int, Position]] = deque()
        self._confirmed = 0
        self._last_resent = 0
        self._held_until: float | None = None
        self._is_dirty = False
        self._store_at = 0.0
        self._cannot_store = RepeatedWarning(logger, every=60)
        self._read()

    def start_at(self, default: Position) -> Position:
        """Return the position; *default* if none was found."""
        if self.position is None:
            self.position = default
        return self.position

    def hold(self, end: Position, now: float) -> None:
        """Stay until the resends of the lines between `position` and *end* are over."""
        self._held_until = now + RESENDS_END_SECONDS
        self._marks.append((0, end))

    def end_resends(self) -> None:
        """Take it that the rest of those lines will not come again."""
        self._held_until = None
        self._advance()

    def note_resent(self, sequence: int) -> None:
        """Wait for the confirmation of *sequence*, whose line lies between `position` and the held end."""
        self._last_resent = sequence

    def note_written(self, sequence: int, end: Position) -> None:
        """Note that the line of *sequence* ends at *end*."""
        self._marks.append((sequence, end))

    def note_segment(self, begin: Position) -> None:
        """Note that a new segment was begun; stored at once, so that its number is never used again."""
        self.last_counter = begin.counter
        if self.position is None:
            self.position = begin
        self._is_dirty = True
        self._store_at = 0.0

    def confirm(self, sequence: int) -> None:
        """Move on to the end of the lines up to *sequence*."""
        self._confirmed = max(self._confirmed, sequence)
        self._advance()

    def store_if_due(self, now: float, *, is_urgent: bool = False) -> None:
        """Write the position if it has moved, at most once in STORE_SECONDS unless that is urgent."""
        if self._held_until is not None and now >= self._held_until:
            self.end_resends()
        if not self._is_dirty or self.position is None or (now < self._store_at and not is_urgent):
            return
        self._store_at = now + STORE_SECONDS
        try:
            write_position(self._path, self.position, last_counter=self.last_counter)
        except OSError as error:
            self._cannot_store.tell("%s: cannot be written: %s", self._path, error.strerror)
            return
        self._is_dirty = False
        self._cannot_store.end()

    def _advance(self) -> None:
        if self._held_until is not None or self._confirmed < self._last_resent:
            return
        while self._marks and self._marks[0][0] <= self._confirmed:
            self.position = self._marks.popleft()[1]
            self._is_dirty = True

    def _read(self) -> None:
        try:
            self.position, stored = read_position(self._path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            logger.warning("%s: not usable, all segments are searched instead: %s", self._path, error)
            return
        counter = stored.get("last_counter")
        self.last_counter = max(self.position.counter, counter if type(counter) is int else 0)
