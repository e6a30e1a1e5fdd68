"""A worker's life: signals that only set flags, readiness, and which descriptors are its own."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Collection
from types import FrameType
from typing import NoReturn

from auditline.workers.common.counters import CounterPage

DIAGNOSTICS_DROPPED = "diagnostics_dropped_total"
"""Every worker's page has it: log records that were dropped because too many waited."""

EXIT_OUTPUT_GONE = 64
"""A router's exit code: stdout's reader is gone and there is no other output. The service ends then, cleanly."""

EXIT_INPUT_ENDED = 65
"""A reader's exit code: standard input has ended and all of it is out. The service ends then, cleanly."""

SAME_REQUEST_SECONDS = 0.2
"""timeout(1) signals its child and then the whole group: two signals so close together are one request."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def leave_at_once(number: int) -> NoReturn:
    """End this process as the signal *number* would have."""
    os._exit(128 + number)


def ignore_signal(_number: int) -> None:
    """Do nothing: a worker's supervisor decides when it has waited long enough."""


class Life:
    """What a worker function gets: its name, its counters, and what the signals said.

    ```
    life.counters.extend(MY_COUNTERS)
    life.ready()
    while not life.stopping:
        ...  # poll life.wakeup_fd beside your own descriptors
        life.drain_wakeup()
    ```
    """

    def __init__(
        self,
        name: str,
        counters: CounterPage,
        *,
        ready_fd: int | None = None,
        at_second: Callable[[int], None] = leave_at_once,
    ) -> None:
        self.name = name
        self.counters = counters
        self.wakeup_fd, self._wakeup_write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ready_fd = ready_fd
        self.at_second = at_second
        """Called, with its number, for a stop signal that comes later than `SAME_REQUEST_SECONDS` after the first."""
        self._is_stopping, self._stopping_since = False, 0.0
        self._must_reload = False

    @property
    def stopping(self) -> bool:
        """Whether a SIGTERM or SIGINT came: drain and return."""
        return self._is_stopping

    def take_reload(self) -> bool:
        """Say whether a SIGHUP came since the last call."""
        must_reload, self._must_reload = self._must_reload, False
        return must_reload

    def ready(self) -> None:
        """Tell the supervisor that the worker does its work from now on."""
        if self._ready_fd is not None:
            # A supervisor that is gone takes us with it.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._ready_fd, b"r")
            os.close(self._ready_fd)
            self._ready_fd = None

    def take_signals(self, *, ignores_interrupt: bool = False) -> None:
        """Let SIGTERM, SIGINT and SIGHUP of this process set our flags and make `wakeup_fd` readable.

        *ignores_interrupt*: a Ctrl-C goes to the whole foreground group; workers leave it to the supervisor, which
        stops them in order.
        """
        signal.set_wakeup_fd(self._wakeup_write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignores_interrupt else self._on_stop_signal)
        signal.signal(signal.SIGHUP, self._on_reload_signal)

    def request_stop(self) -> None:
        """Stop as if a SIGTERM had come."""
        self._is_stopping = True
        self._wake()

    def drain_wakeup(self) -> None:
        """Empty `wakeup_fd`, so that it is readable again only after the next signal."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wakeup_fd, 512):
                pass

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes, at most *seconds*."""
        poller = select.poll()
        poller.register(self.wakeup_fd, select.POLLIN)
        poller.poll(max(0.0, seconds) * 1000)
        self.drain_wakeup()

    def close(self) -> None:
        """Close the wake-up pipe; signals keep their handlers."""
        with contextlib.suppress(ValueError):  # only the main thread has a wake-up descriptor
            if signal.set_wakeup_fd(-1) != self._wakeup_write_fd:
                signal.set_wakeup_fd(-1)
        os.close(self.wakeup_fd)
        os.close(self._wakeup_write_fd)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wakeup_write_fd, b"\0")

    def _on_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping, self._stopping_since = True, time.monotonic()
        elif time.monotonic() - self._stopping_since > SAME_REQUEST_SECONDS:
            self.at_second(number)

    def _on_reload_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._must_reload = True


def close_other_descriptors(keep: Collection[int]) -> None:
    """Close every descriptor but *keep* and stderr; stdin, and stdout unless it is kept, become /dev/null.

    Call it before anything is opened in the new process: what is closed here may belong to objects of the parent.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, _STDIN)
    if _STDOUT not in keep:
        os.dup2(null, _STDOUT)
    own = {_STDIN, _STDOUT, _STDERR, *keep}
    # The listing's own descriptor is among them and closed already.
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in own:
            with contextlib.suppress(OSError):
                os.close(descriptor)
