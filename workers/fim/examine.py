"""What one path is now, compared with what was known of it: the way from a dirty path to an entry in the outbox."""

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.file_entry import Action, DetectedBy, FileChange
from auditline.workers.common.file_state import NOT_HASHED, FileState, state_of
from auditline.workers.fim.compare import find_action, is_as_known
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.pool import Hashed, Job
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

EXAMINER_COUNTERS = ("paths_examined_total", "changes_recorded_total", "paths_unreadable_total")
SETTLE_SECONDS = 1.0
"""A file that changed while it was hashed is looked at again after so long."""
_VANISHED = (FileNotFoundError, NotADirectoryError)


@dataclass(slots=True)
class Look:
    """How it came that a path is looked at, and what was known of it then; kept while a hasher has the file."""

    known: FileState | None
    detected_by: DetectedBy
    is_new: bool = False
    """An event said that the name was made."""
    is_content: bool = False
    """An event said that it was written to."""
    in_scan: bool = False
    """The scan of the whole tree waits for it."""
    again: DirtyPath | None = None
    """What came meanwhile."""

    def come_again(self, dirty: DirtyPath) -> None:
        """Note a hint that came meanwhile."""
        self.again = dirty.merged(self.again)

    def as_dirty(self, path: bytes) -> DirtyPath:
        """Return what is to be done again for *path*."""
        return DirtyPath(path, self.is_new, self.detected_by, self.is_content)


class Examiner:
    """Looks at paths and records what differs; call it within a transaction of the baseline."""

    def __init__(self, watch: Watch, enter: Callable[[bytes], None], leave: Callable[[bytes], None]) -> None:
        """*enter* is called for a directory that a hint led to, *leave* for what is no directory any more."""
        self._watch = watch
        self._enter = enter
        self._leave = leave
        self._in_hand: dict[bytes, Look] = {}
        self._unreadable = RepeatedWarning(logger, every=1000)
        self.is_first_walk = not watch.baseline.is_walked
        self.must_hash_all = False
        """Files are hashed again though they seem unchanged: with other algorithms than last time."""
        self.scan_jobs = 0
        """Files at the hashers that the scan of the whole tree waits for."""

    @property
    def in_hand(self) -> int:
        """How many files wait for a hasher or are at one."""
        return len(self._in_hand)

    def examine(self, dirty: DirtyPath) -> None:
        """Look at a path that is due."""
        self._watch.counters.add("paths_examined_total")
        path = dirty.path
        if path in self._in_hand:
            self._in_hand[path].come_again(dirty)
            return
        root = self._watch.root
        if root is None:
            return
        try:
            status = root.lstat(path)
        except _VANISHED:
            self.gone(path, dirty.detected_by)
        except OSError as error:
            if error.errno == errno.ELOOP:
                # A directory on the way has become a symbolic link: nothing that we watch is behind it.
                self.gone(path, dirty.detected_by)
                return
            self._cannot_tell(path, error)
        else:
            known = self._watch.baseline.known(path)
            if stat.S_ISDIR(status.st_mode):
                self._enter(path)
            elif known is not None and known.is_directory:
                self.gone_beneath(path, dirty.detected_by)
            if self._watch.scope.reports(path):
                self.look(path, status, Look(known, dirty.detected_by, dirty.is_new, dirty.is_content))

    def look(self, path: bytes, status: os.stat_result, look: Look) -> None:
        """Compare what `lstat` says with what is known; a file that may have other content is hashed first.

        Call it for a path only that the scope reports.
        """
        known = look.known
        is_regular = stat.S_ISREG(status.st_mode)
        must_hash = is_regular and (self.must_hash_all or look.is_content)
        if known is not None and not must_hash and is_as_known(known, status):
            return
        if self._watch.scope.is_own(status):
            return
        if path in self._in_hand:
            self._in_hand[path].come_again(look.as_dirty(path))
        elif is_regular and self._watch.settings.hashes and status.st_size <= self._watch.settings.max_file_bytes:
            self._in_hand[path] = look
            self.scan_jobs += look.in_scan
            self._watch.pool.submit(Job(path, status.st_size))
        else:
            self._settle_unhashed(path, status, look)

    def take(self, hashed: Hashed) -> None:
        """Take what a hasher says of a file."""
        look = self._in_hand.pop(hashed.path, None)
        if look is None:
            return
        self.scan_jobs -= look.in_scan
        if hashed.state is not None:
            self._settle(hashed.path, hashed.state, look)
            if hashed.state.hash_state == "unstable":
                self._watch.dirty.put_back(
                    DirtyPath(hashed.path, is_new=False, detected_by=look.detected_by), SETTLE_SECONDS
                )
        elif hashed.problem in ("unreadable", "quarantined"):
            self._take_unhashed(hashed, look)
        else:
            # Gone, or something else by now: what, is seen when it is looked at again.
            self._watch.dirty.put_back(look.as_dirty(hashed.path))
        if look.again is not None:
            self._watch.dirty.put_back(look.again)

    def gone(self, path: bytes, detected_by: DetectedBy) -> None:
        """Record that *path*, and all that was known beneath it, is not there any more."""
        known = self._watch.baseline.known(path)
        if known is None or known.is_directory:
            self._leave(path)
            self.gone_beneath(path, detected_by)
        if known is not None:
            self._record("deleted", path, known, None, detected_by)

    def gone_beneath(self, directory: bytes, detected_by: DetectedBy) -> None:
        """Record that all that was known beneath *directory* is not there any more, what lies deepest first."""
        self._leave(directory)
        prefix = directory + b"/" if directory else b""
        for path, look in self._in_hand.items():
            if path.startswith(prefix):
                look.come_again(DirtyPath(path, look.is_new, detected_by))
        for path in reversed(list(self._watch.baseline.known_beneath(directory))):
            known = self._watch.baseline.known(path)
            if known is not None and path not in self._in_hand:
                self._record("deleted", path, known, None, detected_by)

    def forget(self, path: bytes) -> None:
        """Forget, silently, what was known of *path* and beneath it: it is not watched any more."""
        self._watch.baseline.keep(path, None)
        for inner in self._watch.baseline.known_beneath(path):
            self._watch.baseline.keep(inner, None)

    def _take_unhashed(self, hashed: Hashed, look: Look) -> None:
        """Record a file whose content nobody can read."""
        path = hashed.path
        if hashed.problem == "quarantined" and hashed.error:
            text = f"it is not read any more: {hashed.error}"
            self._watch.note("quarantine", self._watch.scope.absolute(path), text, now_ns())
        elif hashed.problem == "unreadable":
            self._watch.counters.add("paths_unreadable_total")
        if self._watch.root is None:
            return
        try:
            status = self._watch.root.lstat(path)
        except OSError:
            self._watch.dirty.put_back(look.as_dirty(path))
        else:
            self._settle(path, state_of(status, checked_ns=time.time_ns(), hash_state=hashed.problem), look)

    def _settle_unhashed(self, path: bytes, status: os.stat_result, look: Look) -> None:
        checked_ns = time.time_ns()
        target, hash_state = None, NOT_HASHED
        if stat.S_ISLNK(status.st_mode):
            try:
                target = self._watch.root.readlink(path) if self._watch.root is not None else None
            except OSError:
                # It is something else by now.
                self._watch.dirty.put_back(look.as_dirty(path))
                return
        elif stat.S_ISREG(status.st_mode) and self._watch.settings.hashes:
            hash_state = "too_large"
        self._settle(path, state_of(status, checked_ns=checked_ns, target=target, hash_state=hash_state), look)

    def _settle(self, path: bytes, after: FileState, look: Look) -> None:
        """Record the difference between what was known and *after*."""
        before = look.known
        # While the tree is walked for the first time nobody can say what is new but the kernel.
        is_found = before is None and self.is_first_walk and not (look.is_new or self._watch.dirty.is_new(path))
        if is_found and not self._watch.settings.initial_events:
            self._watch.baseline.keep(path, after)
            return
        action = "initial_scan" if is_found else find_action(before, after, is_new=look.is_new)
        if action is not None:
            self._record(action, path, before, after, look.detected_by)
        elif before != after:
            self._watch.baseline.keep(path, after)

    def _record(
        self, action: Action, path: bytes, before: FileState | None, after: FileState | None, detected_by: DetectedBy
    ) -> None:
        change = FileChange(
            action=action,
            path=self._watch.scope.absolute(path),
            before=before,
            after=after,
            detected_by=detected_by,
            time_ns=now_ns() if after is None else after.checked_ns,
        )
        self._watch.baseline.append(change, path, after)
        self._watch.counters.add("changes_recorded_total")

    def _cannot_tell(self, path: bytes, error: OSError) -> None:
        """Leave what is known of a path that cannot be looked at: it may be there."""
        self._watch.counters.add("paths_unreadable_total")
        shown = os.fsdecode(self._watch.scope.absolute(path))
        self._unreadable.tell(
            "%s cannot be looked at, so it is not known whether it changed: %s", shown, error.strerror
        )
