"""The watcher's side of the hasher pool: who has which files in hand, and what becomes of them when one fails."""

import logging
import math
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from auditline.workers.common import bus
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_state import FORBIDDEN, QUARANTINED, UNREADABLE, FileState
from auditline.workers.common.jobs import (
    LARGE_BYTES,
    LEASE_BYTES,
    LEASE_FILES,
    Ask,
    Busy,
    FromHasher,
    GivenBack,
    HasherHello,
    JobServer,
    Lane,
    Lease,
    Outcome,
    Result,
    Results,
)
from auditline.workers.common.text import make_safe
from auditline.workers.fim.path_tree import is_in
from auditline.workers.fim.pool_members import SILENCE_SECONDS, Handed, PoolMember, PoolMembers, Task, take_first
from auditline.workers.fim.suspects import MOST_DEATHS, Suspects

logger = logging.getLogger(__name__)

POOL_COUNTERS = (
    "hash_jobs_submitted_total",
    "hash_jobs_done_total",
    "hash_jobs_repeated_total",
    "hash_leases_expired_total",
    "files_quarantined_total",
    "hashers_lost_total",
)
"""`hash_jobs_repeated_total`: jobs given out again because their hasher died or got stuck."""

PROOF_SECONDS = 5.0
"""A watch of which no file was read for so long may be one that holds fast whoever reads in it."""
UNASKED_FILES = 32
"""So many small files are given to a hasher that has nothing to do, without telling it first that there are some,"""
UNASKED_BYTES = 1 << 20
"""if they have no more bytes together: nobody waits long for what is behind them."""
_LAST_WORDS_SECONDS = 0.02
"""What a hasher sent before it died, or while this process was stopped itself, arrives within this."""

_PROBLEMS = {
    Outcome.LOOKED_AT: "",
    Outcome.GONE: "gone",
    Outcome.NOT_REGULAR: "not_regular",
    Outcome.UNREADABLE: UNREADABLE,
    Outcome.FORBIDDEN: FORBIDDEN,
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
    """Empty, or gone, not_regular, unreadable, forbidden, quarantined."""
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

    def __init__(
        self,
        server: JobServer,
        settings: HashSettings,
        counters: CounterPage,
        leases_in_work: Callable[[], Collection[int]] = tuple,
    ) -> None:
        """*leases_in_work* returns the numbers of those that hashers work on, see `jobs.leases_in_work`."""
        self._server = server
        self._leases_in_work = leases_in_work
        self._settings = settings
        self._counters = counters
        self._root: tuple[bytes, tuple[int, int]] | None = None
        self._members = PoolMembers()
        self._waiting: dict[Lane, deque[Task]] = {lane: deque() for lane in Lane}
        self._alone: deque[Task] = deque()
        """Small files that a hasher died or got stuck with: given out one by one."""
        self._results: list[Hashed] = []
        self._submitted = 0  # jobs that are not counted yet
        self._suspects = Suspects()
        self._proven_at = -math.inf
        """When a hasher last got on with a file of this watch."""
        # No hasher takes a lease of a killed predecessor for one of ours.
        self._last_lease = secrets.randbits(48)

    @property
    def socket(self) -> bus.Server:
        """To wait for."""
        return self._server.socket

    @property
    def fds(self) -> list[int]:
        """Readable when a hasher has died; others after each `take_results`."""
        return self._members.fds

    def set_root(self, path: bytes, identity: tuple[int, int]) -> None:
        """Look beneath this directory from now on; before there is one, jobs wait."""
        self._root = (path, identity)
        self._announce()

    def submit(self, job: Job) -> None:
        """Have a file looked at, after `give_out` or `take_results`; the same one twice gives two results."""
        path, size = job
        self._submitted += 1
        if self._suspects.are_any and self._suspects.is_quarantined(path):
            self._results.append(Hashed(path, None, QUARANTINED, ""))
        else:
            self._waiting[Lane.LARGE if size > LARGE_BYTES else Lane.SMALL].append(Task(path, size))

    def give_out(self) -> None:
        """Let hashers have what was submitted: few small files at once, for more they ask when they are told of it."""
        member = self._members.find_free() if self._may_be_unasked() else None
        if member is not None and not self._must_stay_free(member) and (tasks := self._next_tasks(Lane.SMALL)):
            self._give(member, Lane.SMALL, tasks, is_unasked=True)
        self._announce()

    def drop(self, directory: bytes) -> None:
        """Give out no file at and beneath *directory* that was submitted, and believe nothing that is said of one."""
        handed = (task for member in self._members for each in member.leases.values() for task in each.tasks)
        for task in (*self._waiting[Lane.SMALL], *self._waiting[Lane.LARGE], *self._alone, *handed):
            if is_in(task.path, directory):
                task.is_done = True
        self._results = [result for result in self._results if not is_in(result.path, directory)]

    def take_results(self) -> list[Hashed]:
        """Talk with the hashers and return what they have found out.

        Never blocks, but for a moment when a hasher has died or got stuck.
        """
        self._take_messages()
        dead, stuck = self._members.find_dead(), self._members.find_stuck()
        if dead or stuck:
            bus.Waiter().wait([self._server.socket], [], _LAST_WORDS_SECONDS)
            self._take_messages()
        for member in dead:
            self._bury(member)
        for member in stuck:
            self._expire(member)
        for member in self._members:
            self._see_unanswered(member)
        self._announce()
        results, self._results = self._results, []
        return results

    def close(self) -> None:
        """Leave; what is in hand is forgotten."""
        self._members.close()
        self._server.close()

    def _take_messages(self) -> None:
        while (message := self._server.receive()) is not None:
            if isinstance(message, HasherHello):
                for member in self._members.earlier(message):
                    self._part_with(member)
                self._members.welcome(message)
            elif (known := self._members.get(message.peer)) is None:
                logger.debug("a message of a hasher that has not said hello")
            else:
                known.heard_at = time.monotonic()
                self._take_message(known, message)

    def _take_message(self, member: PoolMember, message: FromHasher) -> None:
        if isinstance(message, Ask):
            self._answer(member, message.lane)
        elif isinstance(message, Results):
            self._take_answers(member, message)
        elif isinstance(message, Busy):
            self._note_progress(member)
            member.works_on = message.lease
        elif isinstance(message, GivenBack):
            self._take_back(member.leases.pop(message.lease, None))
        else:
            self._part_with(member)

    def _note_progress(self, member: PoolMember) -> None:
        """Remember that files can be read here, if a hasher says a word after the one that it begins."""
        if member.works_on:
            self._proven_at = member.heard_at

    def _part_with(self, member: PoolMember) -> None:
        """Let go of a hasher that goes in good order, or whose connection is gone; nobody is to blame."""
        self._members.forget(member)
        for handed in member.leases.values():
            self._take_back(handed)

    def _take_back(self, handed: Handed | None) -> None:
        for task in reversed(handed.left if handed is not None else []):
            self._put_back(task)

    def _put_back(self, task: Task) -> None:
        if task.size > LARGE_BYTES:
            self._waiting[Lane.LARGE].appendleft(task)
        elif task.is_suspect:
            self._alone.append(task)
        else:
            self._waiting[Lane.SMALL].appendleft(task)

    def _bury(self, member: PoolMember) -> None:
        """Give out again, file by file, what a dead hasher had in its hands."""
        if self._members.get(member.peer) is not member:
            return  # its last word was bye
        self._members.forget(member)
        tasks = [task for handed in member.leases.values() for task in handed.left]
        self._counters.add("hashers_lost_total")
        logger.warning("hasher %d died with %d files in its hands", member.pid, len(tasks))
        for task in tasks:
            deaths = self._suspects.note_death(task.path)
            self._repeat(task, deaths, f"died with it in their hands, the last one was process {member.pid}")

    def _see_unanswered(self, member: PoolMember) -> None:
        """Give to others what a hasher was given unasked and has not come to: it reads files of another watcher."""
        for number, handed in member.leases.items():
            if handed.is_unanswered:
                if number in self._leases_in_work():
                    member.works_on, handed.is_unasked = number, False
                else:
                    self._take_back(handed)
                    handed.is_expired = True

    def _expire(self, member: PoolMember) -> None:
        """Give to others what is in the hands of a hasher that has got stuck."""
        if self._members.get(member.peer) is not member or not member.is_stuck:
            return
        held = {number: handed for number, handed in member.leases.items() if not handed.is_expired}
        self._counters.add("hash_leases_expired_total", len(held))
        is_stopped = member.is_stopped
        logger.warning(
            "hasher %d %s: has said nothing for %.0f seconds, others are given its %d files of %s",
            member.pid,
            "is stopped" if is_stopped else "is stuck",
            SILENCE_SECONDS,
            sum(len(handed.left) for handed in held.values()),
            make_safe(os.fsdecode(self._root[0])) if self._root is not None else "",
        )
        for number, handed in held.items():
            # Of what it has not begun, and when a signal has stopped it, no file is the cause.
            if number == member.works_on and not is_stopped:
                for task in handed.left:
                    times = self._suspects.note_stuck(task.path, member.pid)
                    self._repeat(task, times, f"got stuck with it in their hands, the last one is process {member.pid}")
            else:
                self._take_back(handed)
            handed.is_expired = True

    def _repeat(self, task: Task, times: int, reason: str) -> None:
        """Give a task out again, alone, unless it has gone wrong too often."""
        task.is_suspect = True
        if times < MOST_DEATHS:
            self._counters.add("hash_jobs_repeated_total")
            self._put_back(task)
            return
        task.is_done = True
        self._counters.add("files_quarantined_total")
        self._results.append(Hashed(task.path, None, QUARANTINED, f"{times} hashers {reason}"))

    def _take_answers(self, member: PoolMember, message: Results) -> None:
        handed = member.leases.pop(message.lease, None)
        member.works_on = 0
        if handed is None or self._root is None:
            logger.debug("results of a lease that is not in that hasher's hands")
            return
        self._proven_at = member.heard_at
        if len(message.results) != len(handed.tasks):
            counts = len(message.results), len(handed.tasks)
            logger.warning("hasher %d gave %d results for %d files", member.pid, *counts)
            for task in handed.left:
                self._repeat(task, self._suspects.note_death(task.path), "gave no result for it")
        elif handed.identity != self._root[1]:
            self._take_back(handed)
        else:
            before = len(self._results)
            for task, result in zip(handed.tasks, message.results, strict=True):
                if result.outcome is not Outcome.LARGER:
                    self._take_answer(task, result)
                elif not (handed.is_expired or task.is_done):
                    task.size = LARGE_BYTES + 1
                    self._waiting[Lane.LARGE].append(task)
            self._counters.add("hash_jobs_done_total", len(self._results) - before)

    def _take_answer(self, task: Task, result: Result) -> None:
        if task.is_done:
            return
        task.is_done = True
        if self._suspects.are_any:
            self._suspects.clear(task.path)
        outcome, state, error = result
        self._results.append(Hashed(task.path, state, _PROBLEMS[outcome], error))

    def _answer(self, member: PoolMember, lane: Lane) -> None:
        tasks = [] if self._must_stay_free(member) else self._next_tasks(lane)
        if tasks:
            self._give(member, lane, tasks, is_unasked=False)
        else:
            member.lanes.discard(lane)
            self._server.refuse(member.peer, lane)

    def _give(self, member: PoolMember, lane: Lane, tasks: list[Task], *, is_unasked: bool) -> None:
        if self._root is None:
            return  # and so there are no tasks
        self._last_lease += 1
        root, identity = self._root
        member.leases[self._last_lease] = Handed(identity, tasks, is_unasked)
        lease = Lease(
            number=self._last_lease,
            lane=lane,
            root=root,
            identity=identity,
            hashes=self._settings.hashes,
            max_file_bytes=self._settings.max_file_bytes,
            paths=tuple(task.path for task in tasks),
            is_unasked=is_unasked,
        )
        if not self._server.give(member.peer, lease):
            self._part_with(member)

    def _must_stay_free(self, member: PoolMember) -> bool:
        """Say whether a hasher is the last one that other watches have, while nothing proves that files can be read."""
        if len(self._members) < 2 or time.monotonic() - self._proven_at < PROOF_SECONDS:
            return False
        others = [other for other in self._members if other is not member]
        return all(other.is_occupied for other in others) and not any(other.is_stopped for other in others)

    def _may_be_unasked(self) -> bool:
        """Say whether what waits is so little that it takes longer to ask for it than to read it."""
        waiting = self._waiting[Lane.SMALL]
        is_little = 0 < len(waiting) <= UNASKED_FILES and sum(task.size for task in waiting) <= UNASKED_BYTES
        # What hashers died of comes first, alone, and to one that says when it begins.
        return is_little and not self._alone and self._root is not None

    def _next_tasks(self, lane: Lane) -> list[Task]:
        waiting = self._waiting[lane]
        if self._root is None:
            return []
        if lane is Lane.LARGE:
            return take_first(waiting)
        if alone := take_first(self._alone):
            return alone
        tasks: list[Task] = []
        size = 0
        while waiting and len(tasks) < LEASE_FILES and (not tasks or size + waiting[0].size <= LEASE_BYTES):
            task = waiting.popleft()
            if not task.is_done:
                size += task.size
                tasks.append(task)
        return tasks

    def _announce(self) -> None:
        """Tell every hasher of work that it does not know of."""
        self._counters.add("hash_jobs_submitted_total", self._submitted)
        self._submitted = 0
        if self._root is None:
            return
        small, large = len(self._waiting[Lane.SMALL]) + len(self._alone), len(self._waiting[Lane.LARGE])
        lanes = {lane for lane, count in ((Lane.SMALL, small), (Lane.LARGE, large)) if count}
        for member in self._members:
            if not lanes <= member.lanes and not self._must_stay_free(member):
                member.lanes |= lanes
                if not self._server.announce(member.peer, small, large):
                    self._part_with(member)
