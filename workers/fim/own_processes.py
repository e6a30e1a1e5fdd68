"""The processes of the service itself: what they do to files is never told."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_SECONDS = 1.0
"""So old what is known of our processes may be: one that has just been started has not yet done anything."""


class OwnProcesses:
    """The supervisor and its children, one of which we are."""

    def __init__(self, supervisor_pid: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._supervisor_pid = supervisor_pid
        self._clock = clock
        self._look_due = 0.0
        self._pids: frozenset[int] = frozenset()

    def pids(self) -> frozenset[int]:
        """Return their pids.

        Source: proc(5), /proc/PID/task/TID/children; a kernel may be built without it.
        """
        now = self._clock()
        if now >= self._look_due:
            self._look_due = now + LOOK_SECONDS
            self._pids = frozenset((os.getpid(), self._supervisor_pid, *filter(_is_of_our_session, self._children())))
        return self._pids

    def _children(self) -> list[int]:
        pid = self._supervisor_pid
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        except OSError:
            return []
        return [int(child) for child in text.split()]


def _is_of_our_session(pid: int) -> bool:
    """As process 1 of a container the supervisor has children that are not its own: those whose parents have ended."""
    with contextlib.suppress(OSError):
        return os.getsid(pid) == os.getsid(0)
    return False
