"""Asks the kernel's status and rules now and then, in a thread, because the kernel may let the asker wait."""

import contextlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass

from auditline.workers.common.errors import KernelError
from auditline.workers.control.compile import comparable
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.messages import KernelStatus

_WORD = 1 << 32


@dataclass(frozen=True, slots=True)
class RuleListing:
    """The loaded rules, in the form of `comparable`, at a moment after *asked_at* of the monotonic clock."""

    asked_at: float
    rules: tuple[bytes, ...]
    """In the order in which they match."""
    status: KernelStatus | None = None
    """The status at such a moment, if the kernel told it."""


Answer = KernelStatus | RuleListing | KernelError


class StatusPoller:
    """A thread with a socket of its own that puts the kernel's answers where `take` finds them.

    While the kernel's queue is over its limit the question blocks for up to `backlog_wait_time`, uninterruptibly: the
    worker's main thread must not be the one that waits.
    """

    def __init__(self, period_seconds: float) -> None:
        self._period_seconds = period_seconds
        self._results: deque[Answer] = deque(maxlen=16)
        self._stop = threading.Event()
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        """Readable when there is something to take."""
        # Daemonic: nobody waits for it at exit, where it may hang in the kernel.
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Ask now, and then every period."""
        self._thread.start()

    def take(self) -> list[Answer]:
        """Return what came since the last call, oldest first."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 512)
        results = []
        while self._results:
            results.append(self._results.popleft())
        return results

    def stop(self) -> None:
        """Ask no more; a question that hangs is left behind."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            asked_at = time.monotonic()
            status = _ask_status()
            self._results.append(status)
            # Who may not ask the one may not ask the other.
            if not isinstance(status, KernelError):
                self._results.append(_ask_rules(asked_at, status))
            with contextlib.suppress(BlockingIOError):
                os.write(self._write_fd, b"\0")
            self._stop.wait(self._period_seconds)


def lost_between(before: int, now: int) -> int:
    """Return how many records the kernel lost between two readings of its 32-bit counter.

    It starts again from 0 when somebody resets it, then all it shows is new; or when it is full.
    """
    difference = (now - before) % _WORD
    return difference if difference < _WORD // 2 else now


def _ask_status() -> KernelStatus | KernelError:
    # A socket for each question: an answer that comes too late dies with it.
    try:
        with AuditControl() as control:
            return control.status()
    except KernelError as error:
        return error


def _ask_rules(asked_at: float, status: KernelStatus) -> RuleListing | KernelError:
    try:
        with AuditControl() as control:
            return RuleListing(asked_at, tuple(map(comparable, control.list_rules())), status)
    except KernelError as error:
        return error
