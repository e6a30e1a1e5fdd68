"""A directory is told before what is new in it: else nothing would lead to that again if the directory goes away."""

import os
import stat
from collections.abc import Callable

from auditline.workers.common.process_info import Process
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.look import Look
from auditline.workers.fim.watch import Watch

_NOT_DUE = DirtyPath(b"", is_new=False, detected_by="scan")


class DirectoriesFirst:
    """Looks at directories that wait to be looked at, when it is the turn of something in them."""

    def __init__(self, watch: Watch, look: Callable[[bytes, os.stat_result, Look], None]) -> None:
        """*look* compares a path with what is known of it."""
        self._watch = watch
        self._look = look
        self._known: bytes | None = None
        """A directory that is known: most that is new lies where the last one did."""
        self.due: dict[bytes, DirtyPath] = {}
        """What is being looked at together."""

    def tell(self, path: bytes, found: Look) -> bool:
        """See to it that the directory of *path* is known as one; return False if it is not there any more.

        *found* says how it came that *path* is looked at.
        """
        watch, directory = self._watch, path.rpartition(b"/")[0]
        if directory == self._known or not path or not watch.scope.reports(directory):
            return True
        known = watch.baseline.known(directory)
        if known is None or not known.is_directory:
            status = watch.find(directory)
            if status is None or not stat.S_ISDIR(status.st_mode):
                return False
            is_new = watch.dirty.is_new(directory) or self.due.get(directory, _NOT_DUE).is_new
            above = Look(known, found.detected_by, is_new, is_found=found.is_found, processes=self.processes(directory))
            self._look(directory, status, above)
            known = watch.baseline.known(directory)
            if known is None or not known.is_directory:
                return False
        self._known = directory
        return True

    def processes(self, path: bytes) -> tuple[Process, ...]:
        """Return who touched *path*, as far as that is not recorded yet."""
        return self._watch.dirty.processes(path) or self.due.get(path, _NOT_DUE).processes

    def forget(self) -> None:
        """Believe of no directory any more that it is known: some may have gone."""
        self._known = None
