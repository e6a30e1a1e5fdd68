"""Directories that are looked at from time to time, because the kernel cannot tell of their changes."""

import time
from collections.abc import Callable

from auditline.workers.fim.backend import Hint, HintKind
from auditline.workers.fim.path_tree import PathTree

MOST_AT_ONCE = 64
"""Directories whose turn has come and that are handed out together."""
SHARE_OF_TIME = 0.1
"""What looking at them may take of all time; the interval grows for it."""


class Polling:
    """Every directory has its turn once per interval, in the order in which they were added. A `Backend`."""

    name = "polling"
    fd = None
    watched = 0

    def __init__(
        self,
        interval_seconds: float,
        *,
        reason: str = "",
        is_wanted: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*reason* says why it is this backend; unless it *is_wanted*, because nothing better is to be had."""
        self.reason = reason
        self._is_wanted = is_wanted
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._due_at: dict[bytes, float] = {}  # the next one first
        self._tree = PathTree()
        self._rests_until = 0.0

    @property
    def trouble(self) -> str:
        """See `Backend`; to be asked for is none."""
        return "" if self._is_wanted else self.reason

    @property
    def polled(self) -> int:
        """See `Backend`."""
        return len(self._due_at)

    @property
    def limit_reached(self) -> bool:
        """See `Backend`."""
        return bool(self._due_at) and not self._is_wanted

    @property
    def seconds_until_due(self) -> float | None:
        """See `Backend`."""
        for due_at in self._due_at.values():
            return max(0.0, max(due_at, self._rests_until) - self._clock())
        return None

    def watch(self, relative: bytes, directory_fd: int) -> bool:  # noqa: ARG002 - as in `Backend`
        """Poll it from now on."""
        self.add(relative)
        return False

    def add(self, relative: bytes) -> None:
        """Poll it from now on; it has just been looked at."""
        if relative not in self._due_at:
            self._due_at[relative] = self._clock() + self._interval_seconds
            self._tree.add(relative)

    def remove(self, relative: bytes) -> None:
        """Poll that one directory no more; those beneath it stay."""
        self._due_at.pop(relative, None)

    def forget(self, relative: bytes) -> None:
        """See `Backend`."""
        self.take(relative)

    def take(self, relative: bytes) -> list[bytes]:
        """Forget that directory and all beneath it, and return those that were polled."""
        return [path for path in self._tree.take(relative) if self._due_at.pop(path, None) is not None]

    def move(self, old: bytes, new: bytes) -> None:
        """See `Backend`."""
        for path in self._tree.take(old):
            due_at = self._due_at.pop(path, None)
            if due_at is not None:
                self.add(new + path[len(old) :])

    def watch_file(self, relative: bytes, parent_fd: int) -> None:
        """See `Backend`: only scans find what is written by a name elsewhere."""

    @property
    def early_fd(self) -> None:
        """See `Backend`."""
        return

    def gather(self) -> None:
        """See `Backend`."""

    def read(self) -> list[Hint]:
        """See `Backend`."""
        now = self._clock()
        if now < self._rests_until:
            return []
        due: list[bytes] = []
        for path, due_at in self._due_at.items():
            if due_at > now or len(due) == MOST_AT_ONCE:
                break
            due.append(path)
        for path in due:
            del self._due_at[path]
            self._due_at[path] = now + self._interval_seconds
        return [Hint(HintKind.POLL, path, is_directory=True) for path in due]

    def polling_took(self, seconds: float) -> None:
        """See `Backend`."""
        self._rests_until = max(self._rests_until, self._clock()) + seconds * (1 / SHARE_OF_TIME - 1)

    def close(self) -> None:
        """See `Backend`."""
        self.forget(b"")
