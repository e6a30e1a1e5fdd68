"""Where hints lead: to dirty paths, to directories to be listed, or to a comparison of everything."""

import logging
import os
from collections.abc import Sequence

from auditline.workers.common.actor_messages import file_key
from auditline.workers.fim.backend import Hint, HintKind
from auditline.workers.fim.directory_moves import MOST_PENDING, DirectoryMove
from auditline.workers.fim.dirty import MOST_PATHS
from auditline.workers.fim.place import Place
from auditline.workers.fim.visit import Visit
from auditline.workers.fim.walk import Walker
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

MOST_LISTED = 10_000
"""Directories that are compared alone when too many paths are dirty; more, and everything is."""


class Follower:
    """Follows the hints of one watch."""

    def __init__(self, watch: Watch, walker: Walker, place: Place) -> None:
        self._watch = watch
        self._walker = walker
        self._place = place

    def follow(self, hints: Sequence[Hint], since_ns: int) -> None:
        """Take note of what is to be looked at; what they tell of happened after *since_ns*."""
        watch = self._watch
        for hint in hints:
            if hint.kind is HintKind.POLL:
                self._walker.list_later(hint.path, Visit(is_turn=True))
            elif hint.kind is HintKind.ROOT_GONE:
                self._place.lose()
            elif hint.kind is HintKind.RESTARTED:
                self._walker.leave(b"")
                self._walker.scans.start("backend", since_ns)
            elif hint.kind is HintKind.OVERFLOW:
                watch.counters.add("hint_overflows_total")
                logger.warning(
                    "%s: the kernel could not keep all events: everything is compared", os.fsdecode(watch.path)
                )
                self._walker.scans.start("overflow", since_ns)
            else:
                self._take_path(hint, since_ns)
        if len(self._walker.moves) > MOST_PENDING:
            watch.dirty.clear()
            self._walker.moves.clear()
            self._walker.scans.start("overflow", since_ns)
        elif len(watch.dirty) > MOST_PATHS:
            self._list_dirty(since_ns)

    def _list_dirty(self, since_ns: int) -> None:
        """Compare whole directories in place of more dirty paths than may be kept; all, if these are too many, too."""
        watch = self._watch
        paths = [dirty.path for dirty in watch.dirty.take_due(len(watch.dirty), at_once=True)]
        listed = self._walker.scans.list_again(paths, MOST_LISTED)
        if listed:
            action = "compared the directories in which so much had happened"
            watch.gaps.expect("overflow", since_ns, watch.path, action, listed_directories=listed)
        else:
            self._walker.scans.start("overflow", since_ns)

    def _take_path(self, hint: Hint, since_ns: int) -> None:
        path, kind, scope = hint.path, hint.kind, self._watch.scope
        if path == scope.single:
            self._place.check_due = 0.0
        elif hint.moved_from is not None and self._take_move(hint, hint.moved_from):
            self._watch.actors.note(scope.absolute(path), hint.process, since_ns)
            return
        elif kind is HintKind.EXCHANGED:
            self._take_apart(hint, since_ns)
            return
        elif hint.is_directory:
            self._take_directory(hint, since_ns)
        if hint.is_directory or scope.reports(path):
            is_new = kind in (HintKind.CREATED, HintKind.MOVED)
            self._watch.dirty.add(path, is_new=is_new, is_content=hint.is_content, process=hint.process)
            self._watch.actors.note(scope.absolute(path), hint.process, since_ns, self._file_of(hint))

    def _file_of(self, hint: Hint) -> str:
        """Return what tells a file that was just made from all others, if it was not told who made it."""
        if hint.process is not None or hint.kind is not HintKind.CREATED or not self._watch.actors.asks:
            return ""
        status = self._watch.find(hint.path)
        return "" if status is None else file_key(status.st_dev, status.st_ino)

    def _take_apart(self, exchange: Hint, since_ns: int) -> None:
        """Take two directories that have changed places for new ones: not both of them are watched."""
        for path in (exchange.path, exchange.moved_from or b""):
            for kind in (HintKind.GONE, HintKind.CREATED):
                self._take_path(exchange._replace(kind=kind, path=path, moved_from=None), since_ns)

    def _take_directory(self, hint: Hint, since_ns: int) -> None:
        path, kind, scope = hint.path, hint.kind, self._watch.scope
        if kind is HintKind.GONE or not scope.enters(path):
            self._walker.leave(path)
        elif kind is not HintKind.ATTRIBUTES:
            is_new = kind in (HintKind.CREATED, HintKind.MOVED)
            self._walker.list_later(path, Visit("event", is_new=is_new, since_ns=since_ns if is_new else 0))

    def _take_move(self, hint: Hint, old: bytes) -> bool:
        """Take note of a rename; False: it is to be seen as something new, because its old name was not watched.

        What became of the old name is told by a hint of its own.
        """
        watch, new, scope = self._watch, hint.path, self._watch.scope
        processes = () if hint.process is None else (hint.process,)
        if hint.is_directory:
            if not (scope.enters(old) and scope.enters(new)):
                return False
            self._walker.move(DirectoryMove(old, new, processes, hint.kind is HintKind.EXCHANGED))
            watch.dirty.add(new, process=hint.process)
        elif not (scope.reports(old) and scope.reports(new)):
            return False
        else:
            watch.dirty.add(new, is_new=True, is_content=True, moved_from=old, process=hint.process)
        watch.dirty.add(old)
        return True
