"""When a worker that died is started again, and when it is given up."""

import time
from collections import deque
from collections.abc import Callable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0
STABLE_SECONDS = 10.0
"""A worker that lived so long has its earlier deaths forgotten."""
MOST_DEATHS = 10
"""So many deaths in a row and the worker is given up: after 51 s when it dies at every start."""

RECENT_SECONDS = 600.0
MOST_REMEMBERED = 16


class Restarts:
    """The memory of one worker's deaths."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.total = 0
        """How often it was started again, over the whole run."""
        self.deaths_in_a_row = 0
        self._died_at: deque[float] = deque(maxlen=MOST_REMEMBERED)

    @property
    def recent_deaths(self) -> int:
        """How often it died lately, by whatever; no more are counted than MOST_REMEMBERED."""
        since = self._clock() - RECENT_SECONDS
        return sum(moment > since for moment in self._died_at)

    def pause_after_death(self, *, lived_seconds: float, was_killed: bool) -> float | None:
        """Return how many seconds to wait before the next start; None: give it up.

        *was_killed*: by SIGKILL, so by somebody outside. That says nothing against the worker: it starts again soon,
        however often it happens.
        """
        self._died_at.append(self._clock())
        if was_killed:
            return FIRST_PAUSE_SECONDS
        if lived_seconds >= STABLE_SECONDS:
            self.deaths_in_a_row = 0
        self.deaths_in_a_row += 1
        if self.deaths_in_a_row >= MOST_DEATHS:
            return None
        return float(min(FIRST_PAUSE_SECONDS * 2 ** (self.deaths_in_a_row - 1), LONGEST_PAUSE_SECONDS))
