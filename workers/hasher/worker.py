"""A pool member's process: asks every watcher in turn for files, looks at them, and answers."""

import logging
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from auditline.workers.common import bus
from auditline.workers.common.file_state import NOT_HASHED, STABLE
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

NEVER = -math.inf
_IDLE_SECONDS = 60.0
_PATIENCE_SECONDS = 0.05
"""A watcher that has not answered for so long may be stopped: the next one is asked too."""
_MOST_LARGE_FILES = 4
_LONG_SLICES = 16
"""A file of which so many slices were read (128 MiB) does not keep this process from taking another large one."""


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
    asked_at: float = NEVER
    """When it was asked, if it has not answered yet."""


@dataclass(slots=True)
class LargeFile:
    """A large file in the works."""

    watcher: Watcher
    lease: Lease
    slices: Slices
    slices_read: int = 0


class Hasher:
    """A hasher's loop: small leases whole, and large files a slice at a time between them."""

    def __init__(self, life: Life, watchers: Sequence[Watcher]) -> None:
        self._life = life
        self._watchers = deque(watchers)
        self._waiter = bus.Waiter()
        self._small: deque[tuple[Watcher, Lease]] = deque()
        self._large: deque[LargeFile] = deque()

    def run(self) -> None:
        """Work until the life is stopping, and what small files are in hand then."""
        self._life.ready()
        sockets = [watcher.client.socket for watcher in self._watchers]
        while not self._life.stopping:
            if self._life.wakeup_fd in self._waiter.wait(sockets, [self._life.wakeup_fd], self._wait_seconds()):
                self._life.drain_wakeup()
            for watcher in self._watchers:
                self._take_messages(watcher)
            # Before, so that the answer is there when the work is done; and after, with nothing in hand.
            self._ask()
            self._work()
            self._ask()
        while self._small:
            self._work_on_small()

    def close(self) -> None:
        """Give back what is unfinished and leave."""
        for watcher, lease in self._small:
            watcher.client.give_back(lease.number)
        for file in self._large:
            file.slices.close()
            file.watcher.client.give_back(file.lease.number)
        for watcher in self._watchers:
            watcher.client.close()

    def _wait_seconds(self) -> float:
        if self._small or self._large:
            return 0
        return self._seconds_of_patience() or _IDLE_SECONDS

    def _seconds_of_patience(self) -> float:
        """Return how long to wait for the answer that is due; 0: none is."""
        last_asked = max((watcher.asked_at for watcher in self._watchers), default=NEVER)
        return max(0.0, last_asked + _PATIENCE_SECONDS - time.monotonic())

    def _take_messages(self, watcher: Watcher) -> None:
        while (message := watcher.client.receive()) is not None:
            if isinstance(message, Work):
                watcher.lanes |= message.lanes
            elif isinstance(message, Lease):
                watcher.asked_at = NEVER
                self._take(watcher, message)
            elif isinstance(message, NoWork):
                watcher.asked_at = NEVER
                watcher.lanes.discard(message.lane)
            else:
                self._forget(watcher)

    def _take(self, watcher: Watcher, lease: Lease) -> None:
        if lease.lane is Lane.SMALL:
            self._small.append((watcher, lease))
        else:
            self._large.append(LargeFile(watcher, lease, look_at_large(lease)))

    def _forget(self, watcher: Watcher) -> None:
        """Drop what a watcher that is gone had given out."""
        watcher.lanes.clear()
        watcher.asked_at = NEVER
        self._small = deque(entry for entry in self._small if entry[0] is not watcher)
        for file in list(self._large):
            if file.watcher is watcher:
                file.slices.close()
                self._large.remove(file)

    def _ask(self) -> None:
        """Ask the next watcher that has work, unless enough is here or on its way."""
        if self._has_enough or self._seconds_of_patience():
            return
        for lane in (Lane.SMALL, Lane.LARGE) if self._takes_large else (Lane.SMALL,):
            for watcher in self._watchers:
                if lane in watcher.lanes and watcher.asked_at == NEVER:
                    watcher.client.ask(lane)
                    watcher.asked_at = time.monotonic()
                    self._watchers.remove(watcher)
                    self._watchers.append(watcher)
                    return

    @property
    def _has_enough(self) -> bool:
        # A file that is given out alone may be one that hashers died of: no other is to be in the same hands.
        return any(len(lease.paths) == 1 for _, lease in self._small) or len(self._small) > 1

    @property
    def _takes_large(self) -> bool:
        return len(self._large) < _MOST_LARGE_FILES and all(file.slices_read >= _LONG_SLICES for file in self._large)

    def _work(self) -> None:
        if self._small:
            self._work_on_small()
        elif self._large:
            self._work_on_large(self._large.popleft())

    def _work_on_small(self) -> None:
        watcher, lease = self._small.popleft()
        results = look_at_all(lease)
        self._count(results)
        watcher.client.answer(lease.number, results)

    def _work_on_large(self, file: LargeFile) -> None:
        """Read a slice; the next one is another file's turn."""
        try:
            next(file.slices)
        except StopIteration as end:
            self._count([end.value])
            file.watcher.client.answer(file.lease.number, [end.value])
        else:
            file.slices_read += 1
            self._large.append(file)

    def _count(self, results: Sequence[Result]) -> None:
        counters = self._life.counters
        for outcome, state, _ in results:
            if state is not None and state.hash_state == STABLE:
                counters.add("files_hashed_total")
                counters.add("bytes_hashed_total", state.size)
            elif state is not None and state.hash_state != NOT_HASHED:
                counters.add(f"files_{state.hash_state}_total")
            elif outcome is Outcome.UNREADABLE:
                counters.add("files_unreadable_total")
