"""Which backend a watch gets: the best that works here, and the next best when one stops working."""

import contextlib
import logging
from collections.abc import Callable, Collection, Container

from auditline.workers.common.settings import BackendName, FimSettings
from auditline.workers.fim.backend import Backend, BackendError, Hint, HintKind
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
    """The best backend that works; when it stops working, the next best. A `Backend`."""

    def __init__(
        self, settings: FimSettings, wanted: BackendName, see: See | None, own_pids: Callable[[], Container[int]]
    ) -> None:
        self._poll_seconds = settings.poll_seconds
        self._wanted = wanted
        self._choices = Choices(open_other=self._open_other, see=see, own_pids=own_pids)
        self._failed: dict[str, str] = {}
        """Those that have stopped working, and how."""
        self._backend = self._open(_LADDERS[wanted])

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
        return self._backend.seconds_until_due

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
        try:
            return self._backend.read()
        except BackendError as error:
            logger.error("%s: everything is watched anew, and compared", error)  # noqa: TRY400 - it says all
            self._failed[self._backend.name] = str(error)
            with contextlib.suppress(OSError):
                self._backend.close()
            self._backend = self._open(_LADDERS[self._wanted])
            return [Hint(HintKind.RESTARTED, b"", is_directory=True)]

    def polling_took(self, seconds: float) -> None:
        """See `Backend`."""
        self._backend.polling_took(seconds)

    def close(self) -> None:
        """See `Backend`."""
        self._backend.close()

    def _open(self, ladder: Collection[BackendName]) -> Backend:
        """Open the best one and say in the log which it is, and why."""
        shortcomings: list[str] = []
        backend: Backend | None = None
        for name in ladder:
            if name in self._failed:
                shortcomings.append(self._failed[name])
                continue
            try:
                backend = self._open_one(name, "; ".join(shortcomings) or self._say_wanted())
                break
            except BackendError as error:
                shortcomings.append(str(error))
        if backend is None:
            reason = "; ".join(shortcomings) or self._say_wanted()
            backend = Polling(self._poll_seconds, reason=reason, is_wanted=not ladder)
        is_degraded = bool(shortcomings) and (bool(self._failed) or self._wanted != "auto")
        logger.log(logging.WARNING if is_degraded else logging.INFO, "%s: %s", backend.name, backend.reason)
        return backend

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
