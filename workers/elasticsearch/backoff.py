"""Pauses between attempts: twice as long each time, with a part left to chance so that hosts do not knock together."""

import random


class Backoff:
    """From *least_seconds* up to *most_seconds*."""

    def __init__(self, least_seconds: float, most_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._most_seconds = max(least_seconds, most_seconds)
        self.attempts = 0
        """How many failed since the last success."""

    def next_pause(self) -> float:
        """Return how long to wait after one more failure, in seconds."""
        # Bounded, or the power would grow without end in an outage of weeks.
        whole = min(self._most_seconds, self._least_seconds * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return whole * random.uniform(0.5, 1.0)  # noqa: S311  # no secret

    def succeed(self) -> None:
        """Begin with short pauses again."""
        self.attempts = 0
