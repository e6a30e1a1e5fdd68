"""How a watch stands, noted in its counters page, where `auditline status` finds it."""

import time
from contextlib import suppress

from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.status_slots import FILES_KNOWN, WATCH_STATE, WATCH_STATES
from auditline.workers.fim.watch import Watch

STANDING_SLOTS = (WATCH_STATE, FILES_KNOWN)
SHORTEST_PAUSE_SECONDS = 2.0
_SHARE = 1000
"""To count a thousandth of the time is spent at most: a baseline of a million files takes a moment."""
_ACTIVITY = ("paths_examined_total", "directories_listed_total", "changes_recorded_total", "hash_jobs_done_total")


class Standing:
    """Notes whether the path is there and walked, and now and then how much is known of it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._counted_at: tuple[int, ...] = ()
        """What had been done when it was counted last."""
        self._count_due = 0.0

    def note(self, *, may_store: bool) -> None:
        """Note it; outside of a transaction. *may_store*: what changes can be written to the baseline."""
        watch = self._watch
        state = self._state() if may_store else "cannot store"
        watch.counters.set(WATCH_STATE, WATCH_STATES.index(state))
        now = time.monotonic()
        if now < self._count_due:
            return
        done = tuple(watch.counters.get(name) for name in _ACTIVITY)
        if done == self._counted_at:
            return
        self._counted_at = done
        # A baseline that cannot be read is told by whoever needs it.
        with suppress(StorageError, BusyError):
            watch.counters.set(FILES_KNOWN, watch.baseline.counts().seen_rows)
        after = time.monotonic()
        self._count_due = after + max(SHORTEST_PAUSE_SECONDS, _SHARE * (after - now))

    def _state(self) -> str:
        watch = self._watch
        if watch.root is None or watch.gaps.is_open("missing", watch.path):
            return "missing"
        return "watching" if watch.baseline.is_walked else "first walk"
