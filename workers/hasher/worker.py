"""A pool member's process: asks every watcher in turn for files, looks at them, and answers."""

import logging
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from auditline.workers.common import bus
from auditline.workers.common.file_state import (
    FORBIDDEN,
    GROWING,
    HASHED,
    TIME_LIMIT,
    TOO_LARGE,
    UNREADABLE,
    UNSTABLE,
)
from auditline.workers.common.jobs import (
    LEASE_IN_WORK,
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
    "files_growing_total",
    "files_unstable_total",
    "files_unreadable_total",
    "files_too_large_total",
    "files_time_limit_total",
)

_COUNTERS = {
    GROWING: "files_growing_total",
    UNSTABLE: "files_unstable_total",
    UNREADABLE: "files_unreadable_total",
    FORBIDDEN: "files_unreadable_total",
    TOO_LARGE: "files_too_large_total",
    TIME_LIMIT: "files_time_limit_total",
}
_UNREAD_OUTCOMES = (Outcome.UNREADABLE, Outcome.FORBIDDEN)

NEVER = -math.inf
_IDLE_SECONDS = 60.0
_PATIENCE_SECONDS = 0.05
"""A watcher that has not answered for so long may be stopped: the next one is asked too."""
_BEAT_SECONDS = 1.0
"""Those whose files are in hand hear at least so often that this process goes on."""
_MOST_LARGE_FILES = 4
_LONG_SLICES = 16
"""A file of which so many slices were read (128 MiB) does not keep this process from taking another large one."""


def run(life: Life, settings: Settings, plans: Sequence[WatchPlan]) -> None:
    """Look at files for the watchers of *plans* until told to stop."""
    life.counters.extend((*HASHER_COUNTERS, LEASE_IN_WORK))
    start_ticks = process_start_ticks(os.getpid()) or 0
    employers = [
        Employer(JobClient(jobs_endpoint(settings.run.directory, plan), os.getpid(), start_ticks)) for plan in plans
    ]
    # Of this thread alone, which reads and hashes: those of the bus, which are there by now, hold up nobody.
    lower_priority()
    hasher = Hasher(life, employers)
    try:
        hasher.run()
    finally:
        hasher.close()


@dataclass(slots=True, eq=False)
class Employer:
    """A watcher, which gives out work."""

    client: JobClient
    lanes: set[Lane] = field(default_factory=set)
    """Where it has work."""
    asked_at: float = NEVER
    """When it was asked, if it has not answered yet."""
    told: int = 0
    """On which of its leases this process works, as far as it knows; 0: none."""
    told_at: float = NEVER

    def tell(self, lease: int) -> None:
        """Tell on which of its leases this process works now, unless it knows and has heard of us of late."""
        now = time.monotonic()
        if lease != self.told or now - self.told_at >= _BEAT_SECONDS:
            self.client.tell_busy(lease)
            self.told, self.told_at = lease, now

    def answer(self, lease: int, results: Sequence[Result]) -> None:
        """Hand over what became of a lease, which this process works on no longer."""
        self.client.answer(lease, results)
        self.told = 0


@dataclass(slots=True)
class LargeFile:
    """A large file in the works."""

    employer: Employer
    lease: Lease
    slices: Slices
    slices_read: int = 0


class Hasher:
    """A hasher's loop: small leases whole, and large files a slice at a time between them."""

    def __init__(self, life: Life, employers: Sequence[Employer]) -> None:
        self._life = life
        self._employers = deque(employers)
        self._waiter = bus.Waiter()
        self._small: deque[tuple[Employer, Lease]] = deque()
        self._large: deque[LargeFile] = deque()

    def run(self) -> None:
        """Work until the life is stopping, and what small files are in hand then."""
        self._life.ready()
        sockets = [employer.client.socket for employer in self._employers]
        while not self._life.stopping:
            if self._life.wakeup_fd in self._waiter.wait(sockets, [self._life.wakeup_fd], self._wait_seconds()):
                self._life.drain_wakeup()
            for employer in self._employers:
                self._take_messages(employer)
            # Before, so that the answer is there when the work is done; and after, with nothing in hand.
            self._ask()
            self._work()
            self._ask()
        while self._small:
            self._work_on_small()

    def close(self) -> None:
        """Give back what is unfinished and leave."""
        for employer, lease in self._small:
            employer.client.give_back(lease.number)
        for file in self._large:
            file.slices.close()
            file.employer.client.give_back(file.lease.number)
        for employer in self._employers:
            employer.client.close()

    def _wait_seconds(self) -> float:
        if self._small or self._large:
            return 0
        return self._seconds_of_patience() or _IDLE_SECONDS

    def _seconds_of_patience(self) -> float:
        """Return how long to wait for the answer that is due; 0: none is."""
        last_asked = max((employer.asked_at for employer in self._employers), default=NEVER)
        return max(0.0, last_asked + _PATIENCE_SECONDS - time.monotonic())

    def _take_messages(self, employer: Employer) -> None:
        while (message := employer.client.receive()) is not None:
            if isinstance(message, Work):
                employer.lanes |= message.lanes
            elif isinstance(message, Lease):
                if not message.is_unasked:
                    employer.asked_at = NEVER
                self._take(employer, message)
            elif isinstance(message, NoWork):
                employer.asked_at = NEVER
                employer.lanes.discard(message.lane)
            else:
                self._forget(employer)

    def _take(self, employer: Employer, lease: Lease) -> None:
        if lease.lane is Lane.SMALL:
            self._small.append((employer, lease))
        else:
            self._large.append(LargeFile(employer, lease, look_at_large(lease)))

    def _forget(self, employer: Employer) -> None:
        """Drop what a watcher that is gone had given out."""
        employer.lanes.clear()
        employer.asked_at = NEVER
        employer.told = 0
        self._small = deque(entry for entry in self._small if entry[0] is not employer)
        for file in list(self._large):
            if file.employer is employer:
                file.slices.close()
                self._large.remove(file)

    def _ask(self) -> None:
        """Ask the next watcher that has work, unless enough is here or on its way."""
        if self._has_enough or self._seconds_of_patience():
            return
        for lane in (Lane.SMALL, Lane.LARGE) if self._takes_large else (Lane.SMALL,):
            for employer in self._employers:
                if lane in employer.lanes and employer.asked_at == NEVER:
                    employer.client.ask(lane)
                    employer.asked_at = time.monotonic()
                    self._employers.remove(employer)
                    self._employers.append(employer)
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
        self._life.counters.set(LEASE_IN_WORK, 0)

    def _work_on_small(self) -> None:
        employer, lease = self._small.popleft()
        self._tell(employer, lease)
        results = look_at_all(lease)
        self._count(results)
        employer.answer(lease.number, results)

    def _work_on_large(self, file: LargeFile) -> None:
        """Read a slice; the next one is another file's turn."""
        self._tell(file.employer, file.lease)
        try:
            next(file.slices)
        except StopIteration as end:
            self._count([end.value])
            file.employer.answer(file.lease.number, [end.value])
        else:
            file.slices_read += 1
            self._large.append(file)

    def _tell(self, employer: Employer, lease: Lease) -> None:
        """Let all whose files are here know what comes next: if it never ends, these are to blame and no others."""
        self._life.counters.set(LEASE_IN_WORK, lease.number)
        owners = {owner for owner, _ in self._small} | {file.employer for file in self._large}
        if lease.is_unasked and not owners:
            # The answer comes as soon as any word would; should it not, the watcher looks at the page of counters.
            return
        for other in owners - {employer}:
            other.tell(0)
        employer.tell(lease.number)

    def _count(self, results: Sequence[Result]) -> None:
        counters = self._life.counters
        for outcome, state, _ in results:
            if state is None:
                if outcome in _UNREAD_OUTCOMES:
                    counters.add("files_unreadable_total")
                continue
            if state.hash_state in HASHED:
                counters.add("files_hashed_total")
                counters.add("bytes_hashed_total", state.size)
            if (counter := _COUNTERS.get(state.hash_state)) is not None:
                counters.add(counter)
