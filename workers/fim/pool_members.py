"""The hashers that said hello to a watcher: what each has in its hands, and which of them have died or got stuck."""

import errno
import logging
import os
import select
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from auditline.workers.common.jobs import HasherHello, Lane, is_process_stopped, process_start_ticks

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 30.0
"""A hasher that has files in its hands and says nothing for so long is stuck; a sound one speaks each second."""
UNASKED_SECONDS = 1.0
"""For so long the answer to what nobody asked for is waited for, before it is looked whether the hasher works on it."""
_LOOK_SECONDS = 1.0
"""Without a pidfd a hasher's life is looked at so often."""


@dataclass(slots=True, eq=False)
class Task:
    """A file to be looked at, until the first answer for it."""

    path: bytes
    """Relative to the root."""
    size: int
    """As it was seen last; decides with what else it is given out."""
    is_suspect: bool = False
    """A hasher died or got stuck with it in its hands: it is given out alone."""
    is_done: bool = False
    """It has its result, though it may still wait, or be in the hands of others."""


def take_first(waiting: deque[Task]) -> list[Task]:
    """Take out the first task that is still to be done, if there is one."""
    while waiting:
        task = waiting.popleft()
        if not task.is_done:
            return [task]
    return []


@dataclass(slots=True, eq=False)
class Handed:
    """Tasks in a hasher's hands."""

    identity: tuple[int, int]
    """Of the root that they are beneath."""
    tasks: list[Task]
    is_unasked: bool = False
    """The hasher has not asked for it, and it is not known whether it has begun with it."""
    given_at: float = field(default_factory=time.monotonic)
    is_expired: bool = False
    """Its tasks are for others; an answer is taken where nobody else has answered."""

    @property
    def is_unanswered(self) -> bool:
        """Whether it should have been answered by now, had the hasher nothing else to do."""
        is_waiting = self.is_unasked and not self.is_expired
        return is_waiting and time.monotonic() - self.given_at >= UNASKED_SECONDS

    @property
    def left(self) -> list[Task]:
        """What must be given out again if no answer comes: nothing, where that has happened already."""
        return [] if self.is_expired else [task for task in self.tasks if not task.is_done]


@dataclass(slots=True, eq=False)
class PoolMember:
    """One of them."""

    peer: bytes
    """Its address on the bus."""
    pid: int
    start_ticks: int
    pidfd: int | None
    """Readable when it has died; None: the kernel gives none."""
    leases: dict[int, Handed] = field(default_factory=dict)
    lanes: set[Lane] = field(default_factory=set)
    """Where it takes it that there is work."""
    heard_at: float = field(default_factory=time.monotonic)
    works_on: int = 0
    """The lease of ours that it said last it works on; 0: none."""

    @property
    def is_occupied(self) -> bool:
        """Whether it has leases in its hands, but for those that it has not come to."""
        return any(not (handed.is_unasked and handed.is_expired) for handed in self.leases.values())

    @property
    def is_gone(self) -> bool:
        """Whether no process, or another one, has its pid."""
        start_ticks = process_start_ticks(self.pid)
        # With a pidfd it is there, though /proc may not show it to us.
        is_hidden = start_ticks is None and self.pidfd is not None
        return start_ticks != self.start_ticks and not is_hidden

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it: no file is to blame."""
        return is_process_stopped(self.pid)

    @property
    def is_stuck(self) -> bool:
        """Whether it says nothing, though leases that have not expired are in its hands."""
        is_silent = time.monotonic() - self.heard_at >= SILENCE_SECONDS
        return is_silent and not all(handed.is_expired for handed in self.leases.values())


class PoolMembers:
    """All of them, by address."""

    def __init__(self) -> None:
        self._by_peer: dict[bytes, PoolMember] = {}
        self._poll = select.poll()
        self._look_due = 0.0

    def __iter__(self) -> Iterator[PoolMember]:
        return iter(list(self._by_peer.values()))

    def __len__(self) -> int:
        return len(self._by_peer)

    @property
    def fds(self) -> list[int]:
        """Readable when a hasher has died."""
        return [member.pidfd for member in self._by_peer.values() if member.pidfd is not None]

    def get(self, peer: bytes) -> PoolMember | None:
        """Return who has this address; None: nobody who said hello."""
        return self._by_peer.get(peer)

    def earlier(self, hello: HasherHello) -> list[PoolMember]:
        """Return what the process that says hello now was known as: it lost the way to us since."""
        process = (hello.pid, hello.start_ticks)
        return [member for member in self if member.peer == hello.peer or (member.pid, member.start_ticks) == process]

    def find_free(self) -> PoolMember | None:
        """Return who has nothing of this watcher in hand, of several the one that was heard of last; None: nobody."""
        return max((member for member in self if not member.leases), key=lambda member: member.heard_at, default=None)

    def welcome(self, hello: HasherHello) -> None:
        """Know a hasher from now on, if the process that says hello is alive and no other got its pid."""
        try:
            pidfd = os.pidfd_open(hello.pid)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return
            logger.info("hasher %d is looked at each second: no pidfd: %s", hello.pid, error.strerror)
            pidfd = None
        member = PoolMember(hello.peer, hello.pid, hello.start_ticks, pidfd)
        if member.is_gone:
            logger.debug("process %d is no longer the hasher that said hello", hello.pid)
            _close(member)
            return
        if pidfd is not None:
            self._poll.register(pidfd, select.POLLIN)
        self._by_peer[hello.peer] = member

    def forget(self, member: PoolMember) -> None:
        """Know it no longer."""
        if self._by_peer.pop(member.peer, None) is member:
            if member.pidfd is not None:
                self._poll.unregister(member.pidfd)
            _close(member)

    def find_dead(self) -> list[PoolMember]:
        """Return those that have died."""
        if not self._by_peer:
            return []
        ready = {fd for fd, _ in self._poll.poll(0)}
        may_look = time.monotonic() >= self._look_due
        if may_look:
            self._look_due = time.monotonic() + _LOOK_SECONDS
        return [
            member for member in self if member.pidfd in ready or (member.pidfd is None and may_look and member.is_gone)
        ]

    def find_stuck(self) -> list[PoolMember]:
        """Return those that have got stuck since they were asked for last, as far as was heard of them."""
        return [member for member in self._by_peer.values() if member.leases and member.is_stuck]

    def close(self) -> None:
        """Forget all."""
        for member in self:
            self.forget(member)


def _close(member: PoolMember) -> None:
    if member.pidfd is not None:
        os.close(member.pidfd)
