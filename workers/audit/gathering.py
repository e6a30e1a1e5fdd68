"""How long the reader lets records gather: fewer and larger batches cost less CPU, for every process behind it."""

GATHERED_RECORDS = 2048
"""So many are meant to gather, where that takes no longer than allowed: more of them make no record cheaper."""
SUSTAINED_RATE = 500
"""Records per second, some 100 events. Below that nothing gathers, so that a single event comes out at once."""
RATE_SECONDS = 0.05
"""The rate is found anew after so long: a burst that is over sooner does not count as sustained."""


class Gathering:
    """Follows how fast records come, and says how long to wait before the next reading."""

    def __init__(self, most_seconds: float, now: float) -> None:
        """*most_seconds*: no event may be held up for longer; 0: nothing gathers at all."""
        self._most_seconds = most_seconds
        self._records = 0
        self._since = now
        self._pause_seconds = 0.0

    def note(self, records: int, now: float) -> float:
        """Count *records* just read, and return for how many seconds the next ones may gather."""
        self._records += records
        elapsed = now - self._since
        if elapsed >= RATE_SECONDS:
            rate = self._records / elapsed
            is_sustained = rate >= SUSTAINED_RATE
            self._pause_seconds = min(self._most_seconds, GATHERED_RECORDS / rate) if is_sustained else 0.0
            self._records, self._since = 0, now
        return self._pause_seconds
