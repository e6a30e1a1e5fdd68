"""A pool member's process: asks every watcher in turn for files, looks at them, and answers."""

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from auditline.workers.common import bus
from auditline.workers.common.file_state import STABLE
from auditline.workers.common.jobs import (
    JobClient,
    Lane,
    Lease,
    NoWork,
    Outcome,
    Result,
    Work,
    process_start_ticks,
)
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import Settings
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.hasher.lease import look_at_all, look_at_large
from auditline.workers.hasher.lowly import lower_priority
from auditline.workers.hasher.snapshot import Slices

logger = logging.getLogger(__name__)

HASHER_COUNTERS = (
    "files_hashed_total",
    "bytes_hashed_total",
    "files_unstable_total",
    "files_unreadable_total",
    "files_too_large_total",
)

_IDLE_SECONDS = 60.0
_PATIENCE_SECONDS = 0.05
"""A watcher that has not answered for so long may be stopped: the next one is asked too."""


def run(life: Life, settings: Settings, plans: Sequence[WatchPlan]) -> None:
    """Look at files for the watchers of *plans* until told to stop."""
    life.counters.extend(HASHER_COUNTERS)
    lower_priority()
    start_ticks = process_start_ticks(os.getpid()) or 0
    watchers = [
        Watcher(JobClient(jobs_endpoint(settings.run.directory, plan), os.getpid(), start_ticks)) for plan in plans
    ]
    hasher = Hasher(life, watchers)
    try:
        hasher.run()
    finally:
        hasher.close()


@dataclass(slots=True, eq=False)
class Watcher:
    """One of those who give out work."""

    client: JobClient
    lanes: set[Lane] = field(default_factory=set)
    """Where it has work."""
    asked_at: float | None = None
    """When it was asked last, if it has not answered yet."""


@dataclass(slots=True)
class LargeFile:
    """A large file in the works."""

    watcher: Watcher
    lease: Lease
    slices: Slices


class Hasher:
    """A hasher's loop: small leases whole, a large file a slice at a time between them."""

    def __init__(self, life: Life, watchers: Sequence[Watcher]) -> None:
        self._life = life
        self._watchers = deque(watchers)
        self._sockets = [watcher.client.socket for watcher in watchers]
        self._waiter = bus.Waiter()
        self._small: deque[tuple[Watcher, Lease]] = deque()
        self._large: LargeFile | None = None

    def run(self) -> None:
        """Work until the life is stopping, and what small files are in hand then."""
        self._life.ready()
        while not self._life.stopping:
            self._waiter.wait(self._sockets, [self._life.wakeup_fd], self._wait_seconds())
            self._life.drain_wakeup()
            self._take_messages()
            self._work()
            self._ask()
        while self._small:
            self._work_on_small()

    def close(self) -> None:
        """Give back what is unfinished and leave."""
        for watcher, lease in self._small:
            watcher.client.give_back(lease.number)
        if self._large is not None:
            self._large.slices.close()
            self._large.watcher.client.give_back(self._large.lease.number)
        for watcher in self._watchers:
            watcher.client.close()

    def _wait_seconds(self) -> float:
        if self._small or self._large is not None:
            return 0
        is_patient = any(watcher.asked_at is not None for watcher in self._watchers)
        return _PATIENCE_SECONDS if is_patient else _IDLE_SECONDS

    def _take_messages(self) -> None:
        for watcher in self._watchers:
            while (message := watcher.client.receive()) is not None:
                if isinstance(message, Work):
                    watcher.lanes |= message.lanes
                elif isinstance(message, Lease):
                    watcher.asked_at = None
                    self._take(watcher, message)
                elif isinstance(message, NoWork):
                    watcher.asked_at = None
                    watcher.lanes.discard(message.lane)
                else:
                    self._forget(watcher)

    def _take(self, watcher: Watcher, lease: Lease) -> None:
        if lease.lane is Lane.SMALL:
            self._small.append((watcher, lease))
        elif self._large is None:
            self._large = LargeFile(watcher, lease, look_at_large(lease))
        else:
            watcher.client.give_back(lease.number)

    def _forget(self, watcher: Watcher) -> None:
        """Drop what a watcher that is gone had given out."""
        watcher.lanes.clear()
        watcher.asked_at = None
        self._small = deque(entry for entry in self._small if entry[0] is not watcher)
        if self._large is not None and self._large.watcher is watcher:
            self._large.slices.close()
            self._large = None

    def _ask(self) -> None:
        """Ask the next watcher that has work, unless a lease is here or on its way."""
        now = time.monotonic()
        is_answer_due = any(w.asked_at is not None and now - w.asked_at < _PATIENCE_SECONDS for w in self._watchers)
        if self._small or is_answer_due:
            return
        lanes = [Lane.SMALL] if self._large is not None else [Lane.SMALL, Lane.LARGE]
        for lane in lanes:
            for watcher in self._watchers:
                if lane in watcher.lanes and watcher.asked_at is None:
                    watcher.client.ask(lane)
                    watcher.asked_at = now
                    self._watchers.remove(watcher)
                    self._watchers.append(watcher)
                    return

    def _work(self) -> None:
        if self._small:
            self._work_on_small()
        elif self._large is not None:
            self._work_on_large(self._large)

    def _work_on_small(self) -> None:
        watcher, lease = self._small.popleft()
        results = look_at_all(lease)
        self._count(results)
        watcher.client.answer(lease.number, results)

    def _work_on_large(self, large: LargeFile) -> None:
        try:
            next(large.slices)
        except StopIteration as end:
            self._large = None
            self._count([end.value])
            large.watcher.client.answer(large.lease.number, [end.value])

    def _count(self, results: Sequence[Result]) -> None:
        counters = self._life.counters
        for outcome, state, _ in results:
            if state is not None and state.hash_state == STABLE:
                counters.add("files_hashed_total")
                counters.add("bytes_hashed_total", state.size)
            elif state is not None:
                counters.add(f"files_{state.hash_state}_total")
            elif outcome is Outcome.UNREADABLE:
                counters.add("files_unreadable_total")
