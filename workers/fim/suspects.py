"""Files that are bad for hashers: with whom each was in hand when they died or got stuck, and which are quarantined."""

import time

MOST_DEATHS = 3
"""A file that so many hashers died with, or got stuck with, is quarantined,"""
QUARANTINE_SECONDS = 3600.0
"""for so long; then one more hasher may try."""


class Suspects:
    """What is held against files, by their paths."""

    def __init__(self) -> None:
        self._deaths: dict[bytes, int] = {}
        self._stuck: dict[bytes, set[int]] = {}
        """The processes that got stuck: one that is stopped again and again counts once."""
        self._quarantine: dict[bytes, float] = {}

    @property
    def are_any(self) -> bool:
        """Whether anything is held against any file."""
        return bool(self._deaths or self._stuck or self._quarantine)

    def note_death(self, path: bytes) -> int:
        """Return how many hashers have died with a file now, or given no result for it."""
        self._deaths[path] = deaths = self._deaths.get(path, 0) + 1
        return self._judge(path, deaths)

    def note_stuck(self, path: bytes, pid: int) -> int:
        """Return how many hashers have got stuck with a file now."""
        stuck = self._stuck.setdefault(path, set())
        stuck.add(pid)
        return self._judge(path, len(stuck))

    def clear(self, path: bytes) -> None:
        """Hold nothing against a file that a hasher has answered for."""
        self._deaths.pop(path, None)
        self._stuck.pop(path, None)

    def is_quarantined(self, path: bytes) -> bool:
        """Say whether no hasher may be given a file."""
        end = self._quarantine.get(path)
        if end is None:
            return False
        if time.monotonic() < end:
            return True
        del self._quarantine[path]
        self._deaths[path] = MOST_DEATHS - 1
        return False

    def _judge(self, path: bytes, count: int) -> int:
        if count >= MOST_DEATHS:
            self._quarantine[path] = time.monotonic() + QUARANTINE_SECONDS
        return count
