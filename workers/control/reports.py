"""Hands what somebody changed in the kernel's audit over to the router."""

import logging
import time
from collections import deque
from collections.abc import Collection

from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.drift_entry import Drift, encode_drift
from auditline.workers.common.settings import Settings
from auditline.workers.control.drift import DRIFTS, DRIFTS_DROPPED, DRIFTS_REPAIRED
from auditline.workers.control.outbox import OUTBOX_FILE, Outbox

HOLD_SECONDS = 3.0
"""An entry is held back so long: the kernel's record of who did it comes to the router by another way."""

_BYE_ROUNDS, _BYE_SECONDS = 3, 0.05
_log = logging.getLogger(__name__)


class Reports:
    """The producer of the control process, and what is not yet to be told."""

    def __init__(self, settings: Settings, counters: CounterPage) -> None:
        self._counters = counters
        self._outbox = Outbox(settings.state.directory / OUTBOX_FILE)
        self._producer = Producer(endpoint(settings.run.directory), self._outbox)
        self._held: deque[tuple[float, bytes]] = deque()

    def add(self, drift: Drift) -> None:
        """Tell of *drift*, a little later."""
        self._counters.add(DRIFTS)
        self._counters.add(DRIFTS_REPAIRED, int(drift.repaired))
        _log.warning("the kernel's audit was changed by somebody else: %s%s", drift.what, _outcome(drift))
        self._held.append((time.monotonic() + HOLD_SECONDS, encode_drift(drift)))

    def wait(self, awaited: Collection[int], until: float) -> set[int]:
        """Wait until one of the descriptors *awaited* is readable or *until* is reached, and hand over meanwhile."""
        due = min(until, self._held[0][0]) if self._held else until
        # A millisecond more, since parts of one are cut off, and the last one would be spent in a busy loop.
        ready = self._producer.wait(tuple(awaited), max(0.0, due - time.monotonic()) + 0.001)
        self._release(time.monotonic())
        self._producer.pump()
        return ready

    def close(self) -> None:
        """Keep all that is held back, and leave; what the router does not confirm any more comes at the next start."""
        self._release(float("inf"))
        self._producer.say_bye()
        for _ in range(_BYE_ROUNDS):
            self._producer.wait((), _BYE_SECONDS)
            self._producer.pump()
        self._producer.close()

    def _release(self, now: float) -> None:
        while self._held and self._held[0][0] <= now:
            if not self._outbox.append(self._held.popleft()[1]):
                self._counters.add(DRIFTS_DROPPED)


def _outcome(drift: Drift) -> str:
    if drift.repaired:
        return ", and is repaired"
    return f" is {drift.found}, not {drift.wanted}" if isinstance(drift.wanted, int) else ""
