"""How much may be read in a time."""

import time
from collections.abc import Callable

_MOST_SAVED_SECONDS = 0.25
"""What was not used up is not made up for later, but for so much."""


class Bucket:
    """Lets so many bytes per second through on average, 0: all; one thing that is larger is paid for afterwards."""

    def __init__(self, bytes_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_unlimited = not bytes_per_second
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._free_at = clock()

    @property
    def seconds_until_free(self) -> float:
        """When the next thing may go through; 0 or less: at once."""
        return 0.0 if self.is_unlimited else self._free_at - self._clock()

    def take(self, size: int) -> None:
        """Let something of *size* bytes through."""
        if not self.is_unlimited:
            earliest = self._clock() - _MOST_SAVED_SECONDS
            self._free_at = max(self._free_at, earliest) + size / self._bytes_per_second
