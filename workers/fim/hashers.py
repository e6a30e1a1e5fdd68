"""The hashers that said hello to a watcher: what each has in its hands, and which of them have died."""

import errno
import logging
import os
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from auditline.workers.common.jobs import Hello, Lane, process_start_ticks

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Without a pidfd a hasher's life is looked at so often."""


class Job(NamedTuple):
    """A file to be looked at."""

    path: bytes
    """Relative to the root."""
    size: int
    """As it was seen last; decides with what else it is given out."""


@dataclass(frozen=True, slots=True)
class Handed:
    """Jobs in a hasher's hands."""

    identity: tuple[int, int]
    """Of the root that they are beneath."""
    jobs: list[Job]


@dataclass(slots=True, eq=False)
class Hasher:
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

    @property
    def is_gone(self) -> bool:
        """Whether no process, or another one, has its pid."""
        start_ticks = process_start_ticks(self.pid)
        # With a pidfd it is there, though /proc may not show it to us.
        is_hidden = start_ticks is None and self.pidfd is not None
        return start_ticks != self.start_ticks and not is_hidden


class Hashers:
    """All of them, by address."""

    def __init__(self) -> None:
        self._by_peer: dict[bytes, Hasher] = {}
        self._poll = select.poll()
        self._look_due = 0.0

    def __iter__(self) -> Iterator[Hasher]:
        return iter(list(self._by_peer.values()))

    def __len__(self) -> int:
        return len(self._by_peer)

    @property
    def fds(self) -> list[int]:
        """Readable when a hasher has died."""
        return [hasher.pidfd for hasher in self._by_peer.values() if hasher.pidfd is not None]

    def get(self, peer: bytes) -> Hasher | None:
        """Return who has this address; None: nobody who said hello."""
        return self._by_peer.get(peer)

    def earlier(self, hello: Hello) -> list[Hasher]:
        """Return what the process that says hello now was known as: it lost the way to us since."""
        process = (hello.pid, hello.start_ticks)
        return [hasher for hasher in self if hasher.peer == hello.peer or (hasher.pid, hasher.start_ticks) == process]

    def welcome(self, hello: Hello) -> None:
        """Know a hasher from now on, if the process that says hello is alive and no other got its pid."""
        try:
            pidfd = os.pidfd_open(hello.pid)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return
            logger.info("hasher %d is looked at each second: no pidfd: %s", hello.pid, error.strerror)
            pidfd = None
        hasher = Hasher(hello.peer, hello.pid, hello.start_ticks, pidfd)
        if hasher.is_gone:
            logger.debug("process %d is no longer the hasher that said hello", hello.pid)
            _close(hasher)
            return
        if pidfd is not None:
            self._poll.register(pidfd, select.POLLIN)
        self._by_peer[hello.peer] = hasher

    def forget(self, hasher: Hasher) -> None:
        """Know it no longer."""
        if self._by_peer.pop(hasher.peer, None) is hasher:
            if hasher.pidfd is not None:
                self._poll.unregister(hasher.pidfd)
            _close(hasher)

    def find_dead(self) -> list[Hasher]:
        """Return those that have died."""
        if not self._by_peer:
            return []
        ready = {fd for fd, _ in self._poll.poll(0)}
        may_look = time.monotonic() >= self._look_due
        if may_look:
            self._look_due = time.monotonic() + _LOOK_SECONDS
        return [
            hasher for hasher in self if hasher.pidfd in ready or (hasher.pidfd is None and may_look and hasher.is_gone)
        ]

    def close(self) -> None:
        """Forget all."""
        for hasher in self:
            self.forget(hasher)


def _close(hasher: Hasher) -> None:
    if hasher.pidfd is not None:
        os.close(hasher.pidfd)
