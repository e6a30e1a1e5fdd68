"""How a command that would go on for ever ends: by a signal, or because nobody reads its output any more."""

import os
import select
import signal
import sys
import time
from errno import EPIPE
from types import FrameType

from auditline.workers.common.errors import Exit
from auditline.workers.common.lifecycle import SAME_REQUEST_SECONDS, leave_at_once

LEAVE_SECONDS = 5
"""A reader of stdout that takes nothing for so long does not keep us, nor does a host that is too busy."""


class StopRequest:
    """Set by SIGTERM and SIGINT; a second one leaves at once."""

    def __init__(self) -> None:
        self._wakeup_fd, self._wakeup_write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._since: float | None = None
        self._poller = select.poll()
        self._poller.register(self._wakeup_fd, select.POLLIN)
        # Of its errors poll() tells without being asked: the reader of a pipe is gone.
        self._poller.register(sys.stdout.fileno(), 0)

    @property
    def is_set(self) -> bool:
        """Whether a signal came."""
        return self._since is not None

    @property
    def seconds_since(self) -> float:
        """How long ago it came; 0: it has not."""
        return time.monotonic() - self._since if self._since is not None else 0.0

    def take_signals(self) -> None:
        """Let the signals set this."""
        signal.set_wakeup_fd(self._wakeup_write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop_signal)
        signal.signal(signal.SIGINT, self._on_stop_signal)
        signal.signal(signal.SIGALRM, _leave_unfinished)

    def wait(self, seconds: float, *, for_room: bool = False) -> bool:
        """Sleep at most *seconds*, or until stdout takes more (*for_room*), and return whether to stop.

        Raises:
            BrokenPipeError: nobody reads stdout.
        """
        self._poller.modify(sys.stdout.fileno(), select.POLLOUT if for_room else 0)
        events = [] if self._since is not None else self._poller.poll(seconds * 1000)
        if any(event & select.POLLERR for _, event in events):
            raise BrokenPipeError(EPIPE, os.strerror(EPIPE))
        return self._since is not None

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
            signal.alarm(LEAVE_SECONDS)
        elif now - self._since > SAME_REQUEST_SECONDS:
            leave_at_once(number)


def _leave_unfinished(_number: int, _frame: FrameType | None) -> None:
    text = f"auditline: stdout did not take all events within {LEAVE_SECONDS} s: the last ones are not written\n"
    os.write(sys.stderr.fileno(), text.encode())
    os._exit(Exit.FAILURE)
