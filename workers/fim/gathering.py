"""When hints are read: at once while they come now and then, some time's together while they come all the time."""

import time
from collections.abc import Callable

SHORTEST_SECONDS = 0.001
_LULL_SECONDS = 0.01
"""Hints that come so long after others could be read do not come all the time."""


class Gathering:
    """The pause after each reading: none, then twice as long each time, while somebody goes on writing."""

    def __init__(self, longest_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_seconds = max(SHORTEST_SECONDS, longest_seconds)
        self._clock = clock
        self._pause_seconds = 0.0
        self._due_at = clock()

    @property
    def seconds_left(self) -> float:
        """How long hints are left to gather; 0 or less: read them as they come."""
        return self._due_at - self._clock()

    @property
    def is_sustained(self) -> bool:
        """Whether they have come for so long that the pauses are as long as they get."""
        return self._pause_seconds >= self._longest_seconds

    def note(self) -> None:
        """Take note that hints were read."""
        now = self._clock()
        if now - self._due_at > _LULL_SECONDS:
            self._pause_seconds = 0.0
        else:
            self._pause_seconds = min(self._longest_seconds, max(SHORTEST_SECONDS, 2 * self._pause_seconds))
        self._due_at = now + self._pause_seconds
