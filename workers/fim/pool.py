"""The watcher's side of the hasher pool: who has which files in hand, and what becomes of them when a hasher dies."""

import logging
import os
import secrets
import select
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from auditline.workers.common import bus
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_state import FileState
from auditline.workers.common.jobs import (
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
    process_start_ticks,
)

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


class Job(NamedTuple):
    """A file to be looked at."""

    path: bytes
    """Relative to the root."""
    size: int
    """As it was seen last; decides with what else it is given out."""


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


@dataclass(slots=True)
class _Hasher:
    """A hasher that said hello."""

    peer: bytes
    process: tuple[int, int]
    pidfd: int
    leases: dict[int, list[Job]] = field(default_factory=dict)
    knows: set[Lane] = field(default_factory=set)
    """Where it takes it that there is work."""


class Pool:
    """The jobs of one watcher, and the hashers that do them."""

    def __init__(self, server: JobServer, settings: HashSettings, counters: CounterPage) -> None:
        self._server = server
        self._settings = settings
        self._counters = counters
        self._root: tuple[bytes, tuple[int, int]] | None = None
        self._waiting: dict[Lane, deque[Job]] = {lane: deque() for lane in Lane}
        self._alone: deque[Job] = deque()
        """Small files that a hasher died with: given out one by one."""
        self._results: list[Hashed] = []
        self._hashers: dict[bytes, _Hasher] = {}
        self._deaths: dict[bytes, int] = {}
        self._quarantine: dict[bytes, float] = {}
        self._poll = select.poll()
        # No hasher takes a lease of a killed predecessor for one of ours.
        self._last_lease = secrets.randbits(48)

    @property
    def socket(self) -> bus.Server:
        """To wait for."""
        return self._server.socket

    @property
    def fds(self) -> list[int]:
        """Readable when a hasher has died; others after each `take_results`."""
        return [hasher.pidfd for hasher in self._hashers.values()]

    @property
    def waiting(self) -> int:
        """How many jobs are in nobody's hands."""
        return sum(map(len, self._waiting.values())) + len(self._alone)

    @property
    def in_hand(self) -> int:
        """How many jobs hashers have."""
        return sum(len(jobs) for hasher in self._hashers.values() for jobs in hasher.leases.values())

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
        if self._is_quarantined(job.path):
            self._results.append(Hashed(job.path, None, "quarantined", ""))
            return
        lane = Lane.LARGE if job.size > LEASE_BYTES else Lane.SMALL
        self._waiting[lane].append(job)
        if len(self._waiting[lane]) == 1:
            self._announce()

    def take_results(self) -> list[Hashed]:
        """Talk with the hashers and return what they have found out.

        Never blocks, but for a moment when a hasher has died.
        """
        self._take_messages()
        dead = self._find_dead()
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
        for hasher in self._hashers.values():
            os.close(hasher.pidfd)
        self._hashers.clear()
        self._server.close()

    def _take_messages(self) -> None:
        while (message := self._server.receive()) is not None:
            if isinstance(message, Hello):
                self._welcome(message)
            elif (hasher := self._hashers.get(message.peer)) is None:
                logger.debug("a message of a hasher that has not said hello")
            elif isinstance(message, Ask):
                self._answer(hasher, message.lane)
            elif isinstance(message, Results):
                self._take_answers(hasher, message)
            elif isinstance(message, GivenBack):
                self._take_back(hasher.leases.pop(message.lease, []))
            else:
                self._part_with(hasher)

    def _welcome(self, hello: Hello) -> None:
        process = (hello.pid, hello.start_ticks)
        for known in list(self._hashers.values()):
            if known.process == process or known.peer == hello.peer:
                # It lost the way to us, and what it had in its hands with it.
                self._part_with(known)
        try:
            pidfd = os.pidfd_open(hello.pid)
        except OSError as error:
            logger.warning("hasher %d said hello and cannot be watched: %s", hello.pid, error.strerror)
            return
        if process_start_ticks(hello.pid) != hello.start_ticks:
            os.close(pidfd)
            logger.debug("process %d is no longer the hasher that said hello", hello.pid)
            return
        self._poll.register(pidfd, select.POLLIN)
        self._hashers[hello.peer] = _Hasher(hello.peer, process, pidfd)

    def _part_with(self, hasher: _Hasher) -> None:
        """Let go of a hasher that goes in good order, or whose connection is gone; nobody is to blame."""
        self._forget(hasher)
        for jobs in hasher.leases.values():
            self._take_back(jobs)

    def _forget(self, hasher: _Hasher) -> None:
        if self._hashers.pop(hasher.peer, None) is not None:
            self._poll.unregister(hasher.pidfd)
            os.close(hasher.pidfd)

    def _take_back(self, jobs: list[Job]) -> None:
        for job in reversed(jobs):
            self._put_back(job)

    def _put_back(self, job: Job) -> None:
        if job.size > LEASE_BYTES:
            self._waiting[Lane.LARGE].appendleft(job)
        elif job.path in self._deaths:
            self._alone.append(job)
        else:
            self._waiting[Lane.SMALL].appendleft(job)

    def _find_dead(self) -> list[_Hasher]:
        ready = {fd for fd, _ in self._poll.poll(0)} if self._hashers else set()
        return [hasher for hasher in self._hashers.values() if hasher.pidfd in ready]

    def _bury(self, hasher: _Hasher) -> None:
        """Give out again, file by file, what a dead hasher had in its hands."""
        if hasher.peer not in self._hashers:
            return  # its last word was bye
        self._forget(hasher)
        jobs = [job for lease in hasher.leases.values() for job in lease]
        self._counters.add("hashers_lost_total")
        logger.warning("hasher %d died with %d files in its hands", hasher.process[0], len(jobs))
        for job in jobs:
            self._repeat(job, hasher.process[0])

    def _repeat(self, job: Job, pid: int) -> None:
        deaths = self._deaths[job.path] = self._deaths.get(job.path, 0) + 1
        if deaths < MOST_DEATHS:
            self._counters.add("hash_jobs_repeated_total")
            self._put_back(job)
            return
        self._quarantine[job.path] = time.monotonic() + QUARANTINE_SECONDS
        self._counters.add("files_quarantined_total")
        text = f"{deaths} hashers died with it in their hands, the last one was process {pid}"
        self._results.append(Hashed(job.path, None, "quarantined", text))

    def _is_quarantined(self, path: bytes) -> bool:
        end = self._quarantine.get(path)
        if end is None:
            return False
        if time.monotonic() < end:
            return True
        del self._quarantine[path]
        self._deaths[path] = MOST_DEATHS - 1
        return False

    def _take_answers(self, hasher: _Hasher, message: Results) -> None:
        jobs = hasher.leases.get(message.lease)
        if jobs is None:
            logger.debug("results of a lease that is not in that hasher's hands")
            return
        if len(message.results) != len(jobs):
            logger.warning("a hasher gave %d results for %d files", len(message.results), len(jobs))
            return
        del hasher.leases[message.lease]
        for job, result in zip(jobs, message.results, strict=True):
            self._take_answer(job, result)

    def _take_answer(self, job: Job, result: Result) -> None:
        if result.outcome is Outcome.LARGER:
            self._waiting[Lane.LARGE].append(Job(job.path, LEASE_BYTES + 1))
            return
        if self._deaths:
            self._deaths.pop(job.path, None)
        self._counters.add("hash_jobs_done_total")
        self._results.append(Hashed(job.path, result.state, _PROBLEMS[result.outcome], result.error))

    def _answer(self, hasher: _Hasher, lane: Lane) -> None:
        jobs = self._next_jobs(lane)
        if not jobs or self._root is None:
            hasher.knows.discard(lane)
            self._server.refuse(hasher.peer, lane)
            return
        self._last_lease += 1
        hasher.leases[self._last_lease] = jobs
        lease = Lease(
            number=self._last_lease,
            lane=lane,
            root=self._root[0],
            identity=self._root[1],
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
        for hasher in list(self._hashers.values()):
            if not lanes <= hasher.knows:
                hasher.knows |= lanes
                if not self._server.announce(hasher.peer, small, large):
                    self._part_with(hasher)
