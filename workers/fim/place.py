"""The watched path itself: it may be missing, appear, be replaced, or turn from a file into a directory."""

import logging
import os
import time
from collections.abc import Callable

from auditline.workers.common.beneath import Root
from auditline.workers.common.file_entry import DetectedBy
from auditline.workers.common.own_files import OwnFiles
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.mount_changes import MountChanges, Store
from auditline.workers.fim.scope import Scope
from auditline.workers.fim.walk import Walker
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""So often it is looked whether the path still names the same directory,"""
CALM_CHECK_SECONDS = 4.0
"""and so often where nothing has happened for a while: each look wakes the process."""
_CHECKS_UNTIL_CALM = 15
MISSING_CHECK_SECONDS = 1.0
"""So often it is looked for while it is not there."""
_ALIVE = "watched_until_ns"
_WATCHED_AS = "watched as"
_DIRECTORY, _NAME = "directory", "name"


def make_scope(plan: WatchPlan, own: OwnFiles, baseline: Baseline) -> Scope:
    """Return the scope of what is watched: as it was known last, so that what has become of it is seen."""
    known = baseline.note(_WATCHED_AS)
    return Scope(plan, own, is_directory=known == _DIRECTORY if known else None)


class Place:
    """Sees to it that what is at the path is watched, and recorded as gone when nothing is."""

    def __init__(self, watch: Watch, walker: Walker, store: Store) -> None:
        self._watch = watch
        self._walker = walker
        self._store = store
        self._is_lost = False
        self._is_forgetting = False
        """Something of what was known has been recorded as gone, and not yet all."""
        self.mounts = MountChanges(watch, walker, store, self._leave)
        self.check_due = 0.0
        self._quiet_checks = 0
        """Looks since something happened."""
        self.is_outdated = False
        """The path has become a directory, or ceased to be one: another scope is needed."""

    def lose(self) -> None:
        """Take the kernel's word that the directory is gone; one made anew may have the same inode number."""
        self._is_lost = True
        self.check_due = 0.0

    def stir(self) -> None:
        """Know that something happens in the directory: look more often again."""
        self._quiet_checks = 0

    def look(self) -> None:
        """See what is at the path, if it is time or anything was mounted."""
        if time.monotonic() >= self.check_due or self.mounts.is_due:
            self.check()

    def check(self, *, is_start: bool = False) -> None:
        """See what is at the path."""
        self._quiet_checks += 1
        is_calm = self._quiet_checks > _CHECKS_UNTIL_CALM
        self.check_due = time.monotonic() + (CALM_CHECK_SECONDS if is_calm else CHECK_SECONDS)
        if not self.mounts.look():
            return
        watch, old = self._watch, self._watch.root
        if watch.scope.is_outdated():
            self._leave_scope()
        elif old is None or self._is_lost or not old.is_current():
            self._is_lost = False
            self._leave()
            try:
                watch.root = Root.open(watch.scope.root)
            except OSError as error:
                self.check_due = time.monotonic() + MISSING_CHECK_SECONDS
                self._note_missing(error.strerror or "unknown error", is_start=is_start)
            else:
                self._take(watch.root, is_start=is_start, was_there=old is not None)
        else:
            self._see_single()

    def note_alive(self) -> None:
        """Store until when everything has been seen."""
        self._watch.baseline.set_note(_ALIVE, str(self._watch.gaps.seen_until_ns()))

    def _take(self, root: Root, *, is_start: bool, was_there: bool) -> None:
        """Watch *root* from now on, and compare everything in it with what is known."""
        watch = self._watch
        watch.pool.set_root(watch.scope.root, root.identity)
        kind = _DIRECTORY if watch.scope.single is None else _NAME
        if watch.baseline.note(_WATCHED_AS) != kind:
            self._store(lambda: watch.baseline.set_note(_WATCHED_AS, kind))
        if is_start:
            self._walker.scans.start(self._start_reason(), self._seen_until_ns())
        elif self.mounts.has_other_root:
            self._walker.scans.compare([b""])
        elif was_there or self._is_forgetting:
            self._walker.scans.start("replaced")
        self.mounts.has_other_root = self._is_forgetting = False
        if watch.scope.single is not None and watch.find(watch.scope.single) is None:
            self._note_missing("no such file or directory")
        elif watch.gaps.is_open("missing", watch.path):
            self._store(lambda: watch.gaps.take_up("missing", watch.path))
            self._walker.scans.start("missing")

    def _see_single(self) -> None:
        """Tell the end of a time in which a single file was not there; its directory was watched all along."""
        watch = self._watch
        is_missing = watch.gaps.is_open("missing", watch.path)
        if is_missing and watch.scope.single is not None and watch.find(watch.scope.single) is not None:
            self._store(lambda: watch.gaps.end("missing", watch.path, "watched"))

    def _start_reason(self) -> str:
        baseline = self._watch.baseline
        if baseline.was_rebuilt:
            return "baseline_rebuilt"
        if not baseline.is_walked:
            return "first_walk"
        return "baseline_behind" if baseline.is_behind else "restart"

    def _seen_until_ns(self) -> int:
        """Return until when an earlier process watched; now, if that is not known."""
        stored = self._watch.baseline.note(_ALIVE)
        return int(stored) if stored.isdecimal() else now_ns()

    def _leave(self) -> None:
        if self._watch.root is not None:
            self._walker.leave(b"")
            self._watch.root.close()
            self._watch.root = None
        self._walker.cancel()

    def _leave_scope(self) -> None:
        """Leave a path that is no directory any more, or has become one."""
        self._leave()

        def record() -> None:
            if not self.mounts.has_other_root:
                self._walker.scans.expect_new(b"")
            if not self._record_gone("event"):
                return
            self._watch.baseline.set_note(_WATCHED_AS, "")

        self.is_outdated = self._store_all(record)

    def _note_missing(self, why: str, *, is_start: bool = False) -> None:
        """Record, once, that nothing is there; what comes later is new, also if nothing has ever been there."""
        watch = self._watch
        if self.mounts.has_other_root:
            self.mounts.has_other_root = not self._store(self._expect_new)
        if watch.gaps.is_open("missing", watch.path):
            return

        def record() -> None:
            if not self._record_gone("scan" if is_start else "event"):
                return
            watch.gaps.begin("missing", watch.path, "waits for it")
            if is_start and watch.baseline.is_walked:
                watch.gaps.tell(self._start_reason(), watch.path, "found it missing", self._seen_until_ns())
            if not self.mounts.has_hidden:
                # Whatever comes is right.
                watch.baseline.set_note(_WATCHED_AS, "")

        if self._store_all(record):
            logger.warning("%s is not there (%s): it is watched from when it appears", os.fsdecode(watch.path), why)

    def _store_all(self, record: Callable[[], None]) -> bool:
        """Do as `Store`, but return True only when `_record_gone` has no more to do: it goes on in the next turn."""
        is_stored = self._store(record)
        if is_stored and self._is_forgetting and not self._watch.baseline.is_full:
            self.check_due = 0.0
        return is_stored and not self._is_forgetting

    def _expect_new(self) -> None:
        self._watch.gaps.give_up("mount", self._watch.scope.root)
        self._walker.scans.expect_new(b"")

    def _record_gone(self, detected_by: DetectedBy) -> bool:
        """Record that all that was known is gone; False: there is more than one transaction may have."""
        watch, examiner = self._watch, self._walker.examiner
        examiner.in_hand.drop(b"")
        self._is_forgetting = not examiner.gone(watch.scope.single or b"", detected_by)
        if self._is_forgetting:
            return False
        watch.baseline.mark_walked()
        return True
