"""Renamed directories: what was known beneath the old name is known beneath the new one, and that is one change."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from auditline.workers.common.file_state import FileState
from auditline.workers.common.process_info import Process
from auditline.workers.fim.compare import is_same_file
from auditline.workers.fim.entered import Entered
from auditline.workers.fim.examine import Examiner
from auditline.workers.fim.look import Look
from auditline.workers.fim.watch import Watch

MOST_PENDING = 10_000
"""Beyond this the whole tree is compared instead."""
MOST_TOLD = 10_000
"""So much of what lies beneath is told by itself in the transaction of a rename; where it is more, the rename is not
recorded, and what is at both names is compared with what was known there, in as many transactions as that takes."""
_PASSAGE = b"\0"
"""By way of this, which no path can be, two directories change places."""


class DirectoryMove(NamedTuple):
    """One rename, as the kernel told it."""

    old: bytes
    new: bytes
    processes: tuple[Process, ...] = ()
    is_exchange: bool = False
    """What was at *new* is at *old* now."""


class DirectoryMoves:
    """Keeps renames until they are recorded: in their order, and before anything else is."""

    def __init__(self, watch: Watch, examiner: Examiner, entered: Entered) -> None:
        self._watch = watch
        self._entered = entered
        self._examiner = examiner
        self._pending: list[DirectoryMove] = []
        self._recorded = 0
        """So many of these, in the transaction that goes on."""

    def __len__(self) -> int:
        return len(self._pending)

    def take(self, move: DirectoryMove) -> None:
        """Let what goes on beneath one path go on beneath the other, and keep the rename until it is recorded."""
        old, new = move.old, move.new
        if move.is_exchange:
            for source, target in ((new, _PASSAGE), (old, new), (_PASSAGE, old)):
                self._carry(source, target)
            self._examiner.in_hand.exchange(old, new)
        else:
            self._entered.leave(new)
            self._examiner.links.leave(new)
            self._carry(old, new)
            self._examiner.in_hand.move(old, new)
        self._add(move)

    def _carry(self, old: bytes, new: bytes) -> None:
        self._entered.move(old, new)
        self._examiner.links.move(old, new)
        self._watch.dirty.move(old, new)

    def _add(self, move: DirectoryMove) -> None:
        """Take note of a rename; one that goes on where the last one ended is one with it."""
        last = self._pending[-1] if len(self._pending) > self._recorded else None
        if last is not None and last.new == move.old and not (last.is_exchange or move.is_exchange):
            self._pending.pop()
            move = DirectoryMove(last.old, move.new, last.processes + move.processes)
        if move.old != move.new:
            self._pending.append(move)

    def record(self) -> None:
        """Record all that wait; call it within a transaction of the baseline."""
        while self._recorded < len(self._pending):
            self._recorded += 1
            self._record(self._pending[self._recorded - 1])

    def is_stored(self) -> None:
        """Note that the transaction was committed."""
        del self._pending[: self._recorded]
        self._recorded = 0

    def is_rolled_back(self) -> None:
        """Note that it was not: they are recorded again."""
        self._recorded = 0

    def clear(self) -> None:
        """Forget all: everything is compared."""
        self._pending.clear()
        self._recorded = 0

    def _record(self, move: DirectoryMove) -> None:
        watch, (old, new, processes, is_exchange) = self._watch, move
        known, there = watch.baseline.known(old), watch.baseline.known(new)
        if is_exchange or self._is_at(old, there):
            self._record_exchange(move, known, there)
            return
        if not watch.knows_directory(old, known):
            # It came and was renamed before anybody looked: it is listed under its new name, as any other that is new.
            return
        after = self._find(old, new, known)
        if known is not None and after is None:
            return
        is_one = known is not None and watch.scope.reports(old) and watch.scope.reports(new)
        if self._is_too_much(move, is_one=is_one):
            self._examiner.in_hand.make_void_beneath(new)
            return
        self._forget_replaced(new)
        if known is None or not is_one:
            self._move_each(move)
            return
        if not watch.scope.reports_alike():
            self._drop_unreported(move)
        self._examiner.directories_first.tell(new, Look(None, "event"))
        self._examiner.recorder.change(
            "moved" if there is None else "updated",
            new,
            known if there is None else there,
            after,
            "event",
            moved_from=old,
            processes=processes,
        )
        watch.baseline.move_directory(old, new)

    def _is_too_much(self, move: DirectoryMove, *, is_one: bool) -> bool:
        """Say whether more is to be told by itself than MOST_TOLD; *is_one*: the directory is told, with both names."""
        told = chain(self._watch.baseline.known_beneath(move.new), self._told_beneath(move, is_one=is_one))
        return next(islice(told, MOST_TOLD, None), None) is not None

    def _told_beneath(self, move: DirectoryMove, *, is_one: bool) -> Iterator[bytes]:
        """Yield what no directory takes along to its new name, because it or that one is not reported there."""
        watch, (old, new, _, _) = self._watch, move
        if is_one and watch.scope.reports_alike():
            return
        taking: set[bytes] = set()
        for path in watch.baseline.known_beneath(old):
            if not watch.scope.reports(new + path[len(old) :]):
                yield path
            elif not (is_one or _lies_in_one_of(path, taking)):
                yield path
                state = watch.baseline.known(path)
                if state is not None and state.is_directory:
                    taking.add(path)

    def _is_at(self, path: bytes, known: FileState | None) -> bool:
        """Whether the directory that is *known* elsewhere is at *path*."""
        status = self._watch.find(path) if known is not None and known.is_directory else None
        return known is not None and status is not None and is_same_file(known, status)

    def _record_exchange(self, move: DirectoryMove, one: FileState | None, other: FileState | None) -> None:
        """Record that *one*, known at the old path, and *other*, known at the new one, have changed places.

        If not all that lies in them is told alike, nothing: then they are compared with what was known there.
        """
        watch, (old, new, processes, _) = self._watch, move
        if one is None or other is None or not (one.is_directory and other.is_directory):
            return
        if not (watch.scope.reports_alike() and watch.scope.reports(old) and watch.scope.reports(new)):
            return
        at_new, at_old = self._find(old, new, one), self._find(new, old, other)
        # One of the paths may have been looked at in between: then both are known as what is at one of them.
        if at_new is None or at_old is None:
            return
        change = self._examiner.recorder.change
        change("updated", new, other, at_new, "event", moved_from=old, processes=processes)
        change("updated", old, one, at_old, "event", moved_from=new, processes=processes)
        # The second one has it that nothing is there any more.
        watch.baseline.keep(new, at_new)
        watch.baseline.exchange_directories(old, new)

    def _forget_replaced(self, new: bytes) -> None:
        """Record that nothing is there any more of what was known beneath *new*, whatever hashers may say of it."""
        watch, examiner = self._watch, self._examiner
        examiner.forget_rows(new, "event")
        # These are left of it: they are in the hands of hashers.
        for path in watch.baseline.known_backwards(new):
            known = watch.baseline.known(path)
            if known is not None:
                examiner.in_hand.make_void(path)
                examiner.recorder.change("deleted", path, known, None, "event")

    def _find(self, old: bytes, new: bytes, known: FileState | None) -> FileState | None:
        """Return what the directory is now; None: it has not moved, or is back.

        Where it is not at *new* any more it is what it was: what became of it there is told after this.
        """
        status = self._watch.find(new)
        if known is None:
            return None
        if status is not None and is_same_file(known, status):
            return self._examiner.unhashed.state(new, status) or known
        at_old = self._watch.find(old)
        return None if at_old is not None and is_same_file(known, at_old) else known

    def _move_each(self, move: DirectoryMove) -> None:
        """Record what lies beneath by itself, because the directory is not reported under both names.

        A directory there that is takes its content along.
        """
        watch, recorder = self._watch, self._examiner.recorder
        taken_along = b"/"
        for path in list(watch.baseline.known_beneath(move.old)):
            state, place = watch.baseline.known(path), move.new + path[len(move.old) :]
            if state is None or path.startswith(taken_along):
                continue
            if not watch.scope.reports(place):
                recorder.change("deleted", path, state, None, "event", processes=move.processes)
                continue
            if state.is_directory:
                taken_along = path + b"/"
                self._drop_unreported(DirectoryMove(path, place, move.processes))
            recorder.change("moved", place, state, state, "event", moved_from=path, processes=move.processes)
            if state.is_directory:
                watch.baseline.move_directory(path, place)

    def _drop_unreported(self, move: DirectoryMove) -> None:
        """Record that what is not reported under its new path is not there any more."""
        watch = self._watch
        for path in watch.baseline.known_backwards(move.old):
            if watch.scope.reports(move.new + path[len(move.old) :]):
                continue
            state = watch.baseline.known(path)
            if state is not None:
                self._examiner.recorder.change("deleted", path, state, None, "event", processes=move.processes)


def _lies_in_one_of(path: bytes, directories: set[bytes]) -> bool:
    while path and path not in directories:
        path = path.rpartition(b"/")[0]
    return path in directories
