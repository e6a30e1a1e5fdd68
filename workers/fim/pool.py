"""The watcher's side of the hasher pool: who has which files in hand, and what becomes of them when a hasher dies."""

import logging
import secrets
import time
from collections import deque
from typing import NamedTuple, Protocol

from auditline.workers.common import bus
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_state import FileState
from auditline.workers.common.jobs import (
    LARGE_BYTES,
    LEASE_BYTES,
    LEASE_FILES,
    Ask,
    GivenBack,
    Hello,
    JobServer,
    Lane,
    Lease,
    Outcome,
    Result,
    Results,
)
from auditline.workers.fim.hashers import Handed, Hasher, Hashers, Job

__all__ = ["POOL_COUNTERS", "Hashed", "Job", "Pool"]

logger = logging.getLogger(__name__)

POOL_COUNTERS = (
    "hash_jobs_submitted_total",
    "hash_jobs_done_total",
    "hash_jobs_repeated_total",
    "files_quarantined_total",
    "hashers_lost_total",
)
"""`hash_jobs_repeated_total`: jobs given out again because their hasher died."""

MOST_DEATHS = 3
"""A file that so many hashers died with is quarantined,"""
QUARANTINE_SECONDS = 3600.0
"""for so long; then one more hasher may try."""
_LAST_WORDS_SECONDS = 0.02
"""What a hasher sent before it died arrives within this."""

_PROBLEMS = {
    Outcome.LOOKED_AT: "",
    Outcome.GONE: "gone",
    Outcome.NOT_REGULAR: "not_regular",
    Outcome.UNREADABLE: "unreadable",
}


class Hashed(NamedTuple):
    """What became of a job."""

    path: bytes
    state: FileState | None
    """None exactly when there is a problem."""
    problem: str
    """Empty, or gone, not_regular, unreadable, quarantined."""
    error: str
    """For diagnostics; of a quarantined file only when it is told for the first time."""


class HashSettings(Protocol):
    """What the pool needs of the settings."""

    @property
    def hashes(self) -> tuple[str, ...]:
        """The names of the algorithms."""

    @property
    def max_file_bytes(self) -> int:
        """Larger files are not hashed."""


class Pool:
    """The jobs of one watcher, and the hashers that do them."""

    def __init__(self, server: JobServer, settings: HashSettings, counters: CounterPage) -> None:
        self._server = server
        self._settings = settings
        self._counters = counters
        self._root: tuple[bytes, tuple[int, int]] | None = None
        self._hashers = Hashers()
        self._waiting: dict[Lane, deque[Job]] = {lane: deque() for lane in Lane}
        self._alone: deque[Job] = deque()
        """Small files that a hasher died with: given out one by one."""
        self._results: list[Hashed] = []
        self._deaths: dict[bytes, int] = {}
        self._quarantine: dict[bytes, float] = {}
        # No hasher takes a lease of a killed predecessor for one of ours.
        self._last_lease = secrets.randbits(48)

    @property
    def socket(self) -> bus.Server:
        """To wait for."""
        return self._server.socket

    @property
    def fds(self) -> list[int]:
        """Readable when a hasher has died; others after each `take_results`."""
        return self._hashers.fds

    @property
    def waiting(self) -> int:
        """How many jobs are in nobody's hands."""
        return sum(map(len, self._waiting.values())) + len(self._alone)

    @property
    def in_hand(self) -> int:
        """How many jobs hashers have."""
        return sum(len(handed.jobs) for hasher in self._hashers for handed in hasher.leases.values())

    @property
    def hashers(self) -> int:
        """How many hashers are there."""
        return len(self._hashers)

    def set_root(self, path: bytes, identity: tuple[int, int]) -> None:
        """Look beneath this directory from now on; before there is one, jobs wait."""
        self._root = (path, identity)
        self._announce()

    def submit(self, job: Job) -> None:
        """Have a file looked at; the same one twice gives two results."""
        self._counters.add("hash_jobs_submitted_total")
        if self._quarantine and self._is_quarantined(job.path):
            self._results.append(Hashed(job.path, None, "quarantined", ""))
            return
        lane = Lane.LARGE if job.size > LARGE_BYTES else Lane.SMALL
        self._waiting[lane].append(job)
        if len(self._waiting[lane]) == 1:
            self._announce()

    def take_results(self) -> list[Hashed]:
        """Talk with the hashers and return what they have found out.

        Never blocks, but for a moment when a hasher has died.
        """
        self._take_messages()
        dead = self._hashers.find_dead()
        if dead:
            bus.Waiter().wait([self._server.socket], [], _LAST_WORDS_SECONDS)
            self._take_messages()
        for hasher in dead:
            self._bury(hasher)
        self._announce()
        results, self._results = self._results, []
        return results

    def close(self) -> None:
        """Leave; what is in hand is forgotten."""
        self._hashers.close()
        self._server.close()

    def _take_messages(self) -> None:
        while (message := self._server.receive()) is not None:
            if isinstance(message, Hello):
                for hasher in self._hashers.earlier(message):
                    self._part_with(hasher)
                self._hashers.welcome(message)
            elif (known := self._hashers.get(message.peer)) is None:
                logger.debug("a message of a hasher that has not said hello")
            elif isinstance(message, Ask):
                self._answer(known, message.lane)
            elif isinstance(message, Results):
                self._take_answers(known, message)
            elif isinstance(message, GivenBack):
                self._take_back(known.leases.pop(message.lease, None))
            else:
                self._part_with(known)

    def _part_with(self, hasher: Hasher) -> None:
        """Let go of a hasher that goes in good order, or whose connection is gone; nobody is to blame."""
        self._hashers.forget(hasher)
        for handed in hasher.leases.values():
            self._take_back(handed)

    def _take_back(self, handed: Handed | None) -> None:
        for job in reversed(handed.jobs if handed is not None else []):
            self._put_back(job)

    def _put_back(self, job: Job) -> None:
        if job.size > LARGE_BYTES:
            self._waiting[Lane.LARGE].appendleft(job)
        elif job.path in self._deaths:
            self._alone.append(job)
        else:
            self._waiting[Lane.SMALL].appendleft(job)

    def _bury(self, hasher: Hasher) -> None:
        """Give out again, file by file, what a dead hasher had in its hands."""
        if self._hashers.get(hasher.peer) is not hasher:
            return  # its last word was bye
        self._hashers.forget(hasher)
        jobs = [job for handed in hasher.leases.values() for job in handed.jobs]
        self._counters.add("hashers_lost_total")
        logger.warning("hasher %d died with %d files in its hands", hasher.pid, len(jobs))
        for job in jobs:
            self._repeat(job, f"hashers died with it in their hands, the last one was process {hasher.pid}")

    def _repeat(self, job: Job, reason: str) -> None:
        """Give a job out again, alone, unless it has gone wrong too often."""
        deaths = self._deaths[job.path] = self._deaths.get(job.path, 0) + 1
        if deaths < MOST_DEATHS:
            self._counters.add("hash_jobs_repeated_total")
            self._put_back(job)
            return
        self._quarantine[job.path] = time.monotonic() + QUARANTINE_SECONDS
        self._counters.add("files_quarantined_total")
        self._results.append(Hashed(job.path, None, "quarantined", f"{deaths} {reason}"))

    def _is_quarantined(self, path: bytes) -> bool:
        end = self._quarantine.get(path)
        if end is None:
            return False
        if time.monotonic() < end:
            return True
        del self._quarantine[path]
        self._deaths[path] = MOST_DEATHS - 1
        return False

    def _take_answers(self, hasher: Hasher, message: Results) -> None:
        handed = hasher.leases.pop(message.lease, None)
        if handed is None or self._root is None:
            logger.debug("results of a lease that is not in that hasher's hands")
        elif len(message.results) != len(handed.jobs):
            logger.warning("hasher %d gave %d results for %d files", hasher.pid, len(message.results), len(handed.jobs))
            for job in handed.jobs:
                self._repeat(job, "hashers gave no result for it")
        elif handed.identity != self._root[1]:
            self._take_back(handed)
        else:
            for job, result in zip(handed.jobs, message.results, strict=True):
                self._take_answer(job, result)

    def _take_answer(self, job: Job, result: Result) -> None:
        if result.outcome is Outcome.LARGER:
            self._waiting[Lane.LARGE].append(Job(job.path, LARGE_BYTES + 1))
            return
        if self._deaths:
            self._deaths.pop(job.path, None)
        self._counters.add("hash_jobs_done_total")
        self._results.append(Hashed(job.path, result.state, _PROBLEMS[result.outcome], result.error))

    def _answer(self, hasher: Hasher, lane: Lane) -> None:
        jobs = self._next_jobs(lane)
        if not jobs or self._root is None:
            hasher.lanes.discard(lane)
            self._server.refuse(hasher.peer, lane)
            return
        self._last_lease += 1
        root, identity = self._root
        hasher.leases[self._last_lease] = Handed(identity, jobs)
        lease = Lease(
            number=self._last_lease,
            lane=lane,
            root=root,
            identity=identity,
            hashes=self._settings.hashes,
            max_file_bytes=self._settings.max_file_bytes,
            paths=tuple(job.path for job in jobs),
        )
        if not self._server.give(hasher.peer, lease):
            self._part_with(hasher)

    def _next_jobs(self, lane: Lane) -> list[Job]:
        waiting = self._waiting[lane]
        if self._root is None:
            return []
        if lane is Lane.LARGE:
            return [waiting.popleft()] if waiting else []
        if self._alone:
            return [self._alone.popleft()]
        jobs: list[Job] = []
        size = 0
        while waiting and len(jobs) < LEASE_FILES and (not jobs or size + waiting[0].size <= LEASE_BYTES):
            job = waiting.popleft()
            size += job.size
            jobs.append(job)
        return jobs

    def _announce(self) -> None:
        """Tell every hasher of work that it does not know of."""
        if self._root is None:
            return
        small, large = len(self._waiting[Lane.SMALL]) + len(self._alone), len(self._waiting[Lane.LARGE])
        lanes = {lane for lane, count in ((Lane.SMALL, small), (Lane.LARGE, large)) if count}
        for hasher in self._hashers:
            if not lanes <= hasher.lanes:
                hasher.lanes |= lanes
                if not self._server.announce(hasher.peer, small, large):
                    self._part_with(hasher)
