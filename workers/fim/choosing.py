"""Which backend a watch gets: the best that works, when that stops working the next best, later the best again."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Container

from auditline.workers.common.settings import BackendName, FimSettings
from auditline.workers.fim.backend import Backend, BackendError, BackendRuledOut, Hint, HintKind
from auditline.workers.fim.fanotify import Choices, See, open_fanotify
from auditline.workers.fim.inotify import open_inotify
from auditline.workers.fim.polling import Polling

logger = logging.getLogger(__name__)

_LADDERS: dict[BackendName, tuple[BackendName, ...]] = {
    "auto": ("fanotify", "inotify"),
    "fanotify": ("fanotify", "inotify"),
    "fanotify-filesystem": ("fanotify-filesystem", "inotify"),
    "inotify": ("inotify",),
    "poll": (),
}
"""What is tried in turn for each setting; polling comes last, and always works."""
FIRST_RETRY_SECONDS = 300.0
"""Before a better one is tried again; twice as long after each time that one has stopped working,"""
LONGEST_RETRY_SECONDS = 86_400.0
"""but no longer than this."""


def open_backend(
    settings: FimSettings,
    wanted: BackendName = "auto",
    *,
    see: See | None = None,
    own_pids: Callable[[], Container[int]] = frozenset,
) -> "ChosenBackend":
    """Return the best backend for *wanted* that can be opened.

    *see* is asked who did it, where the kernel tells that; of those that *own_pids* gives nothing is told there.
    """
    return ChosenBackend(settings, wanted, None if settings.actor == "off" else see, own_pids)


class ChosenBackend:
    """The best backend that works; when it stops working, the next best, until it works again. A `Backend`."""

    def __init__(
        self, settings: FimSettings, wanted: BackendName, see: See | None, own_pids: Callable[[], Container[int]]
    ) -> None:
        self._poll_seconds = settings.poll_seconds
        self._wanted = wanted
        self._choices = Choices(open_other=self._open_other, see=see, own_pids=own_pids)
        self._ladder = [*_LADDERS[wanted]]
        """What may be tried: without those that will never work here."""
        self._failed: dict[BackendName, str] = {}
        """Those that have stopped working, and how."""
        self._rung: BackendName | None = None
        """Which of the ladder is open; None: none of them."""
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._retry_at = math.inf
        self._backend = self._open()

    @property
    def may_be_fanotify(self) -> bool:
        """Whether it is fanotify, or may be some day."""
        return any(name.startswith("fanotify") for name in self._ladder)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._backend.name

    @property
    def reason(self) -> str:
        """See `Backend`."""
        return self._backend.reason

    @property
    def fd(self) -> int | None:
        """See `Backend`."""
        return self._backend.fd

    @property
    def watched(self) -> int:
        """See `Backend`."""
        return self._backend.watched

    @property
    def polled(self) -> int:
        """See `Backend`."""
        return self._backend.polled

    @property
    def limit_reached(self) -> bool:
        """See `Backend`."""
        return self._backend.limit_reached

    @property
    def trouble(self) -> str:
        """See `Backend`."""
        return self._backend.trouble

    @property
    def seconds_until_due(self) -> float | None:
        """See `Backend`."""
        due = self._backend.seconds_until_due
        seconds_until_retry = max(0.0, self._retry_at - time.monotonic())
        return seconds_until_retry if due is None and seconds_until_retry < math.inf else due

    def watch(self, relative: bytes, directory_fd: int) -> bool:
        """See `Backend`."""
        return self._backend.watch(relative, directory_fd)

    def forget(self, relative: bytes) -> None:
        """See `Backend`."""
        self._backend.forget(relative)

    def move(self, old: bytes, new: bytes) -> None:
        """See `Backend`."""
        self._backend.move(old, new)

    def watch_file(self, relative: bytes, parent_fd: int) -> None:
        """See `Backend`."""
        self._backend.watch_file(relative, parent_fd)

    @property
    def early_fd(self) -> int | None:
        """See `Backend`."""
        return self._backend.early_fd

    def gather(self) -> None:
        """See `Backend`."""
        # If it has stopped working, `read` will find that, too.
        with contextlib.suppress(BackendError):
            self._backend.gather()

    def read(self) -> list[Hint]:
        """See `Backend`."""
        if time.monotonic() >= self._retry_at and self._open_better():
            return [Hint(HintKind.RESTARTED, b"", is_directory=True)]
        try:
            return self._backend.read()
        except BackendError as error:
            logger.error("%s: everything is watched anew, and compared", error)  # noqa: TRY400 - it says all
            if self._rung is not None:
                self._failed[self._rung] = str(error)
            with contextlib.suppress(OSError):
                self._backend.close()
            self._backend = self._open()
            self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)
            return [Hint(HintKind.RESTARTED, b"", is_directory=True)]

    def polling_took(self, seconds: float) -> None:
        """See `Backend`."""
        self._backend.polling_took(seconds)

    def close(self) -> None:
        """See `Backend`."""
        self._backend.close()

    def _open(self) -> Backend:
        """Open the best one and say in the log which it is, and why."""
        shortcomings: list[str] = []
        backend: Backend | None = None
        self._rung = None
        for name in [*self._ladder]:
            if name in self._failed:
                shortcomings.append(self._failed[name])
                continue
            try:
                backend = self._open_one(name, "; ".join(shortcomings) or self._say_wanted())
                self._rung = name
                break
            except BackendError as error:
                shortcomings.append(str(error))
                if isinstance(error, BackendRuledOut):
                    self._ladder.remove(name)
        if backend is None:
            reason = "; ".join(shortcomings) or self._say_wanted()
            backend = Polling(self._poll_seconds, reason=reason, is_wanted=self._wanted == "poll")
        is_degraded = bool(shortcomings) and (bool(self._failed) or self._wanted != "auto")
        logger.log(logging.WARNING if is_degraded else logging.INFO, "%s: %s", backend.name, backend.reason)
        self._plan_retry()
        return backend

    @property
    def _better(self) -> list[BackendName]:
        """Those that are better than the one that is open."""
        return self._ladder[: self._ladder.index(self._rung)] if self._rung is not None else [*self._ladder]

    def _plan_retry(self) -> None:
        self._retry_at = time.monotonic() + self._retry_seconds if self._better else math.inf

    def _open_better(self) -> bool:
        """Try again what is better than what is open; return whether one of it works now, and is open instead."""
        for name in self._better:
            try:
                backend = self._open_one(name, self._say_wanted())
            except BackendError:
                continue
            self._failed.pop(name, None)
            with contextlib.suppress(OSError):
                self._backend.close()
            self._backend, self._rung = backend, name
            logger.info("%s can be used again: everything is watched anew, and compared", backend.name)
            self._plan_retry()
            return True
        self._plan_retry()
        return False

    def _open_one(self, name: BackendName, reason: str) -> Backend:
        if name == "inotify":
            return open_inotify(self._poll_seconds, reason)
        return open_fanotify(self._choices._replace(marks_file_systems=name == "fanotify-filesystem", reason=reason))

    def _open_other(self) -> Backend:
        """Open the backend for directories that fanotify does not reach."""
        try:
            return open_inotify(self._poll_seconds)
        except BackendError as error:
            return Polling(self._poll_seconds, reason=str(error), is_wanted=False)

    def _say_wanted(self) -> str:
        return "the best that there is" if self._wanted == "auto" else "the configuration says so"
