"""The dirty set: paths that may have changed, each waiting until it has been quiet for a while."""

import heapq
import time
from collections.abc import Callable
from typing import NamedTuple

from auditline.workers.common.file_entry import DetectedBy

MOST_PATHS = 100_000
"""Beyond this the whole tree is compared instead: memory stays bounded."""


class DirtyPath(NamedTuple):
    """One path that is due."""

    path: bytes
    is_new: bool
    """An event said that the name was made: what stands there is not what stood there."""
    detected_by: DetectedBy
    is_content: bool = False
    """An event said that it was written to: its times do not tell of every store into a mapping."""

    def merged(self, other: "DirtyPath | None") -> "DirtyPath":
        """Return one for both, of the same path."""
        if other is None:
            return self
        detected_by: DetectedBy = "event" if "event" in (self.detected_by, other.detected_by) else "scan"
        return DirtyPath(self.path, self.is_new or other.is_new, detected_by, self.is_content or other.is_content)


class _Waiting:
    """One path's place in the dirty set."""

    __slots__ = ("detected_by", "due", "first", "is_content", "is_new")

    def __init__(self, first: float, detected_by: DetectedBy) -> None:
        self.first = first
        self.due = first
        self.is_new = False
        self.is_content = False
        self.detected_by = detected_by


class Dirty:
    """Keeps each path once; due *debounce_seconds* after its last hint, *max_delay_seconds* after its first."""

    def __init__(
        self, debounce_seconds: float, max_delay_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._debounce_seconds = debounce_seconds
        self._max_delay_seconds = max_delay_seconds
        self._clock = clock
        self._waiting: dict[bytes, _Waiting] = {}
        # One item per path. A due time that has moved on is seen when the item comes up.
        self._queue: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, path: bytes, *, is_new: bool = False, is_content: bool = False, detected_by: DetectedBy = "event"
    ) -> None:
        """Note a hint about *path*."""
        now = self._clock()
        waiting = self._place(path, now, detected_by)
        waiting.due = max(waiting.due, min(now + self._debounce_seconds, waiting.first + self._max_delay_seconds))
        waiting.is_new = waiting.is_new or is_new
        waiting.is_content = waiting.is_content or is_content
        self._queue_up(path, waiting)

    def put_back(self, dirty: DirtyPath, pause_seconds: float = 0.0) -> None:
        """Take back what could not be looked at; it is due in *pause_seconds*."""
        now = self._clock()
        waiting = self._place(dirty.path, now, dirty.detected_by)
        waiting.due = max(waiting.due, now + pause_seconds)
        waiting.is_new = waiting.is_new or dirty.is_new
        waiting.is_content = waiting.is_content or dirty.is_content
        self._queue_up(dirty.path, waiting)

    def is_new(self, path: bytes) -> bool:
        """Say whether *path* waits because an event said that its name was made."""
        waiting = self._waiting.get(path)
        return waiting is not None and waiting.is_new

    def take_due(self, most: int, *, at_once: bool = False) -> list[DirtyPath]:
        """Return at most so many paths whose time has come, and forget them; *at_once*: those, too, that still wait."""
        now = self._clock()
        due: list[DirtyPath] = []
        while self._queue and len(due) < most and (at_once or self._queue[0][0] <= now):
            path = heapq.heappop(self._queue)[1]
            waiting = self._waiting[path]
            if waiting.due > now and not at_once:
                heapq.heappush(self._queue, (waiting.due, path))
                continue
            del self._waiting[path]
            due.append(DirtyPath(path, waiting.is_new, waiting.detected_by, waiting.is_content))
        return due

    def seconds_until_due(self) -> float | None:
        """Return when `take_due` may have something; None: never, unless a hint comes."""
        return max(0.0, self._queue[0][0] - self._clock()) if self._queue else None

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()
        self._queue.clear()

    def _place(self, path: bytes, now: float, detected_by: DetectedBy) -> _Waiting:
        waiting = self._waiting.get(path)
        if waiting is None:
            return _Waiting(now, detected_by)
        if detected_by == "event":
            waiting.detected_by = "event"
        return waiting

    def _queue_up(self, path: bytes, waiting: _Waiting) -> None:
        if path not in self._waiting:
            self._waiting[path] = waiting
            heapq.heappush(self._queue, (waiting.due, path))
