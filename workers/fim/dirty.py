"""The dirty set: paths that may have changed, each waiting until it has been quiet for a while."""

import heapq
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

from auditline.workers.common.file_entry import DetectedBy
from auditline.workers.common.process_info import Process
from auditline.workers.fim.path_index import PathIndex

MOST_PATHS = 100_000
"""Beyond this the whole tree is compared instead: memory stays bounded."""
MOST_PROCESSES = 4
"""So many of those that touched a path are remembered, the last ones."""


class DirtyPath(NamedTuple):
    """One path that is due."""

    path: bytes
    is_new: bool
    """An event said that the name was made: what stands there is not what stood there."""
    detected_by: DetectedBy
    is_content: bool = False
    """An event said that it was written to: its times do not tell of every store into a mapping."""
    moved_from: bytes | None = None
    """An event said that what stood there before has this name now."""
    processes: tuple[Process, ...] = ()
    """Who touched it, the last one at the end."""

    def merged(self, other: "DirtyPath | None") -> "DirtyPath":
        """Return one for both, of the same path; *other* is the older one."""
        if other is None:
            return self
        detected_by: DetectedBy = "event" if "event" in (self.detected_by, other.detected_by) else "scan"
        return DirtyPath(
            self.path,
            self.is_new or other.is_new,
            detected_by,
            self.is_content or other.is_content,
            other.moved_from if self.moved_from is None else self.moved_from,
            join_processes(other.processes, self.processes),
        )


class _Waiting:
    """One path's place in the dirty set."""

    __slots__ = ("detected_by", "due", "first", "is_content", "is_new", "moved_from", "path", "processes")

    def __init__(self, path: bytes, first: float, detected_by: DetectedBy) -> None:
        self.path = path
        self.first = first
        self.due = first
        self.is_new = False
        self.is_content = False
        self.detected_by = detected_by
        self.moved_from: bytes | None = None
        self.processes: tuple[Process, ...] = ()

    def take(self, detected_by: DetectedBy, processes: tuple[Process, ...], *, is_new: bool, is_content: bool) -> None:
        """Note what an event, or a look, says beside the name that it came from."""
        if is_new:
            self.is_new = True
        if is_content:
            self.is_content = True
        if detected_by == "event":
            self.detected_by = "event"
        if processes:
            self.processes = join_processes(self.processes, processes)

    def take_all(self, dirty: DirtyPath) -> None:
        """Note all that *dirty* says, but for the name that it came from."""
        self.take(dirty.detected_by, dirty.processes, is_new=dirty.is_new, is_content=dirty.is_content)

    def as_dirty(self) -> DirtyPath:
        return DirtyPath(self.path, self.is_new, self.detected_by, self.is_content, self.moved_from, self.processes)


class Dirty:
    """Keeps each path once; due *debounce_seconds* after its last hint, *max_delay_seconds* after its first."""

    def __init__(
        self, debounce_seconds: float, max_delay_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._debounce_seconds = debounce_seconds
        self._max_delay_seconds = max_delay_seconds
        self._clock = clock
        self._waiting: dict[bytes, _Waiting] = {}
        self._index = PathIndex(self._waiting)
        self._targets: dict[bytes, bytes] = {}
        """Where what stood at a path waits under its new name: the latter are the ones with `moved_from`."""
        self._sources = PathIndex(self._targets)
        # One item for each waiting path, in the order of the times. A due time that has moved on, and a path that
        # does not wait any more, are seen when the item comes up.
        self._queue: list[tuple[float, int, _Waiting]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, path: bytes) -> bool:
        return path in self._waiting

    def add(
        self,
        path: bytes,
        *,
        is_new: bool = False,
        is_content: bool = False,
        moved_from: bytes | None = None,
        process: Process | None = None,
        detected_by: DetectedBy = "event",
    ) -> None:
        """Note a hint about *path*; a move is one about *moved_from* as well, in a call of its own."""
        now = self._clock()
        waiting = self._place(path, now, detected_by)
        waiting.take(detected_by, () if process is None else (process,), is_new=is_new, is_content=is_content)
        due = max(waiting.due, min(now + self._debounce_seconds, waiting.first + self._max_delay_seconds))
        self._queue_up(waiting, due)
        if moved_from is not None:
            self._note_move(waiting, moved_from)

    def put_back(self, dirty: DirtyPath, pause_seconds: float = 0.0) -> None:
        """Take back what could not be looked at; it is due in *pause_seconds*."""
        now = self._clock()
        waiting = self._place(dirty.path, now, dirty.detected_by)
        waiting.take_all(dirty)
        self._queue_up(waiting, max(waiting.due, now + pause_seconds))
        if dirty.moved_from is not None and waiting.moved_from is None:
            self._link(waiting, dirty.moved_from)

    def is_new(self, path: bytes) -> bool:
        """Say whether *path* waits because an event said that its name was made."""
        waiting = self._waiting.get(path)
        return waiting is not None and waiting.is_new

    def processes(self, path: bytes) -> tuple[Process, ...]:
        """Return who touched *path* since it began to wait."""
        waiting = self._waiting.get(path)
        return () if waiting is None else waiting.processes

    def move(self, old: bytes, new: bytes) -> None:
        """Let what waits beneath the directory *old* wait beneath *new*, and *new* for what *old* waited for."""
        for path in [*self._index.beneath(old), *([old] if old in self._waiting else [])]:
            waiting = self._waiting[path]
            dirty = self._drop(waiting)
            waiting.path = new + path[len(old) :]
            there = self._waiting.setdefault(waiting.path, waiting)
            if there is not waiting:
                there.take_all(dirty)
                continue
            self._index.add(waiting.path)
            if dirty.moved_from is not None:
                self._link(waiting, dirty.moved_from)
        for source in [*self._sources.beneath(old)]:
            waiting = self._waiting[self._targets[source]]
            self._unlink(waiting)
            self._link(waiting, new + source[len(old) :])

    def take_due(self, most: int, *, at_once: bool = False) -> list[DirtyPath]:
        """Return paths whose time has come, and forget them; *at_once*: those, too, that still wait.

        At most so many, but for those that come before their time, because what stood at another one that has come is
        there now: each before the other one.
        """
        now = self._clock()
        due: list[DirtyPath] = []
        while self._queue and len(due) < most and (at_once or self._queue[0][0] <= now):
            waiting = heapq.heappop(self._queue)[2]
            if self._waiting.get(waiting.path) is not waiting:
                continue
            if waiting.due > now and not at_once:
                heapq.heappush(self._queue, (waiting.due, next(self._numbers), waiting))
            elif waiting.path in self._targets:
                due += self._take_chain(waiting)
            else:
                due.append(self._drop(waiting))
        return due

    def seconds_until_due(self) -> float | None:
        """Return when `take_due` may have something; None: never, unless a hint comes."""
        while self._queue and self._waiting.get(self._queue[0][2].path) is not self._queue[0][2]:
            heapq.heappop(self._queue)
        return max(0.0, self._queue[0][0] - self._clock()) if self._queue else None

    def clear(self) -> None:
        """Forget all."""
        for members in (self._waiting, self._targets, self._index, self._sources, self._queue):
            members.clear()

    def _place(self, path: bytes, now: float, detected_by: DetectedBy) -> _Waiting:
        waiting = self._waiting.get(path)
        return _Waiting(path, now, detected_by) if waiting is None else waiting

    def _queue_up(self, waiting: _Waiting, due: float) -> None:
        waiting.due = due
        path = waiting.path
        if path not in self._waiting:
            self._waiting[path] = waiting
            self._index.add(path)
            heapq.heappush(self._queue, (due, next(self._numbers), waiting))

    def _take_chain(self, waiting: _Waiting) -> list[DirtyPath]:
        """Take out a path, before it the one where now is what stood there, and so on."""
        chain = [waiting]
        del self._waiting[waiting.path]
        while (target := self._targets.get(chain[-1].path)) is not None and target in self._waiting:
            chain.append(self._waiting.pop(target))
        taken = [each.as_dirty() for each in reversed(chain)]
        for each in chain:
            self._unlink(each)
            self._index.discard(each.path)
        return taken

    def _drop(self, waiting: _Waiting) -> DirtyPath:
        """Take out a path and return what it waited for."""
        dirty = waiting.as_dirty()
        del self._waiting[waiting.path]
        self._index.discard(waiting.path)
        if waiting.moved_from is not None:
            self._unlink(waiting)
        return dirty

    def _note_move(self, waiting: _Waiting, old: bytes) -> None:
        """Note that what stands there came from *old*, or from where that came from."""
        before = self._waiting.get(old)
        source = old
        if before is not None and before.moved_from is not None:
            source = before.moved_from
            self._unlink(before)
        self._unlink(waiting)
        if source != waiting.path:
            self._link(waiting, source)

    def _link(self, waiting: _Waiting, source: bytes) -> None:
        """Note where something came from; a second one from there is what was made there after the first had gone."""
        if source not in self._targets:
            waiting.moved_from = source
            self._targets[source] = waiting.path
            self._sources.add(source)

    def _unlink(self, waiting: _Waiting) -> None:
        source, waiting.moved_from = waiting.moved_from, None
        if source is not None and self._targets.pop(source, None) is not None:
            self._sources.discard(source)


def join_processes(older: tuple[Process, ...], newer: tuple[Process, ...]) -> tuple[Process, ...]:
    """Return the last processes of both, each once."""
    if not older:
        return newer
    if not newer or older[-len(newer) :] == newer:
        return older
    kept = tuple(process for process in older if process not in newer)
    return (*kept, *newer)[-MOST_PROCESSES:]
