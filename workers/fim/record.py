"""Puts what differs into the outbox, as changes."""

from collections.abc import Sequence

from auditline.workers.common.file_entry import Action, DetectedBy, FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.common.process_info import Process
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.dirty import Dirty
from auditline.workers.fim.links import Links
from auditline.workers.fim.watch import Watch


class Recorder:
    """Records changes of one watch; call it within a transaction of the baseline."""

    def __init__(self, watch: Watch, links: Links) -> None:
        self._watch = watch
        self._links = links

    def change(  # a change's parts, one for one
        self,
        action: Action,
        path: bytes,
        before: FileState | None,
        after: FileState | None,
        detected_by: DetectedBy,
        *,
        moved_from: bytes | None = None,
        processes: Sequence[Process] = (),
    ) -> None:
        """Record that *path* was *before* and is *after*; nothing is at *moved_from* any more."""
        watch = self._watch
        absolute = watch.scope.absolute(path)
        change = FileChange(
            action=action,
            path=absolute,
            before=before,
            after=after,
            detected_by=detected_by,
            time_ns=now_ns() if after is None or moved_from is not None else after.checked_ns,
            moved_from=None if moved_from is None else watch.scope.absolute(moved_from),
            actor=watch.actors.actor_of(absolute, processes or watch.dirty.processes(path)),
        )
        watch.baseline.append(change, path, after)
        if moved_from is not None:
            watch.baseline.keep(moved_from, None)
        watch.counters.add("changes_recorded_total")
        if watch.scan is not None:
            watch.scan.changes += 1
            watch.scan.found += detected_by == "scan"
        if watch.actors.asks:
            if path not in watch.dirty:
                watch.actors.forget(absolute)
            else:
                watch.actors.renew(absolute)
        if after is None:
            watch.gaps.end_unread(absolute, "deleted")
        if before is not None or (after is not None and after.links > 1):
            self._tell_other_names(path, before, after, moved_from)

    def _tell_other_names(
        self, path: bytes, before: FileState | None, after: FileState | None, moved_from: bytes | None
    ) -> None:
        """Let the other names of what has changed be looked at: they tell of no change of their own."""
        for state in (before, after):
            if state is None or not state.is_regular or state.links < 2:
                continue
            for name in self._links.others(path, state):
                _look_at(self._watch.dirty, name)
        if before is not None and before.is_regular:
            gone = moved_from if moved_from is not None else path
            if after is None or moved_from is not None or after.inode != before.inode:
                self._links.forget(gone, before)


def _look_at(dirty: Dirty, path: bytes) -> None:
    if path not in dirty:
        dirty.add(path)
