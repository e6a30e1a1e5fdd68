"""Files that a first walk finds: what the examiner does for each of them, with less in between.

Most files of most walks are such: regular ones of one name, of which nothing is known and nothing was told. For all
else this says False, and the examiner sees to it.
"""

import os
import stat

from auditline.workers.common.file_state import STABLE
from auditline.workers.fim.directories_first import DirectoriesFirst
from auditline.workers.fim.in_hand import InHand
from auditline.workers.fim.look import Look
from auditline.workers.fim.pool import Hashed
from auditline.workers.fim.visit import Visit
from auditline.workers.fim.watch import Scan, Watch


class FirstWalk:
    """Takes both turns of the way of a file: when it is found, and when a hasher has answered."""

    def __init__(self, watch: Watch, in_hand: InHand, directories_first: DirectoriesFirst) -> None:
        self._watch = watch
        self._in_hand = in_hand
        self._directories_first = directories_first
        self._most_bytes = watch.settings.max_file_bytes if watch.settings.hashes else -1

    def is_one(self, visit: Visit, scan: Scan | None) -> bool:
        """Whether a visit of a directory belongs to a first walk, of which nothing is told but that it was made."""
        return scan is not None and scan.adopts and not (visit.is_new or self._watch.settings.initial_events)

    def find(self, path: bytes, status: os.stat_result, visit: Visit, scan: Scan | None) -> bool:
        """Have a file looked at of which nothing is known, and which is reported; False: it is no such file."""
        is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_size <= self._most_bytes
        if (
            scan is None
            or not is_plain
            or self._watch.dirty
            or path in self._in_hand
            or self._watch.scope.is_own(status)
        ):
            return False
        scan.files += 1
        scan.file_bytes += status.st_size
        look = Look(None, visit.detected_by, is_found=visit.is_found, in_scan=True, is_plain=True)
        self._in_hand.submit(path, look, status.st_size)
        return True

    def take(self, hashed: Hashed) -> bool:
        """Keep what a hasher says of such a file; False: it is no such file any more."""
        watch, (path, state, _, _) = self._watch, hashed
        look = self._in_hand.get(path)
        if look is None or not look.is_plain or look.is_void or look.again is not None:
            return False
        if state is None or state.hash_state != STABLE or state.links > 1:
            return False
        if watch.dirty or watch.gaps.has_open or not watch.adopts or not self._directories_first.tell(path, look):
            return False
        self._in_hand.take(path)
        watch.baseline.keep(path, state)
        return True
