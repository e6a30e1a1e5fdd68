"""What one path is now, compared with what was known of it: the way from a dirty path to an entry in the outbox.

The life of one path: a hint makes it *dirty*; when it is quiet it is *due* and examined; a file that may have other
content is *in hand* of a hasher, and what comes meanwhile lets it *come again*; then the difference is *settled*.
"""

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.file_entry import Action, DetectedBy, FileChange
from auditline.workers.common.file_state import NOT_HASHED, STABLE, FileState, state_of
from auditline.workers.fim.compare import find_action, is_as_known, is_to_be_hashed
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.pool import Hashed, Job
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

EXAMINER_COUNTERS = ("paths_examined_total", "changes_recorded_total", "paths_unreadable_total")
FIRST_PAUSE_SECONDS = 1.0
"""Before a path is looked at again that gave no certain answer; twice as long each time,"""
LONGEST_PAUSE_SECONDS = 300.0
"""but no longer than this."""
_SHORT_PAUSE_SECONDS = 0.05
"""Before a path is looked at again that became something else while it was looked at."""
_MOST_TROUBLED = 10_000
VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""The last one: a directory on the way has become a symbolic link; nothing that we watch is behind it."""
FORBIDDEN = (errno.EACCES, errno.EPERM)
"""That rights are given is an event of its own: such a path need not be tried again by itself."""


class Entrance(NamedTuple):
    """What led to a directory."""

    is_new: bool
    """An event said that its name was made."""
    has_other_rights: bool
    """Who may read it has changed: perhaps we."""


@dataclass(slots=True)
class Look:
    """How it came that a path is looked at, and what was known of it then; kept while a hasher has the file."""

    known: FileState | None
    detected_by: DetectedBy
    is_new: bool = False
    """An event said that the name was made, or that of a directory on its way."""
    is_content: bool = False
    """An event said that it was written to."""
    is_found: bool = False
    """Nobody could have looked at it before: if it is not known, it is not new for that."""
    in_scan: bool = False
    """The scan of the whole tree waits for it."""
    again: DirtyPath | None = None
    """What came meanwhile."""

    def come_again(self, dirty: DirtyPath) -> None:
        """Note a hint that came meanwhile."""
        self.again = dirty.merged(self.again)

    def as_dirty(self, path: bytes) -> DirtyPath:
        """Return what is to be done again for *path*."""
        return DirtyPath(path, self.is_new, self.detected_by, self.is_content).merged(self.again)


class Examiner:
    """Looks at paths and records what differs; call it within a transaction of the baseline."""

    def __init__(
        self, watch: Watch, enter: Callable[[bytes, "Entrance"], None], leave: Callable[[bytes], None]
    ) -> None:
        """*enter* is called for a directory that a hint led to, *leave* for what is no directory any more."""
        self._watch = watch
        self._enter = enter
        self._leave = leave
        self._in_hand: dict[bytes, Look] = {}
        self._pauses: dict[bytes, float] = {}
        """Of paths that gave no certain answer: how long they wait next."""
        self._unreadable = RepeatedWarning(logger, every=1000)

    @property
    def in_hand(self) -> int:
        """How many files wait for a hasher or are at one."""
        return len(self._in_hand)

    def examine(self, dirty: DirtyPath) -> None:
        """Look at a path that is due."""
        watch, path = self._watch, dirty.path
        watch.counters.add("paths_examined_total")
        if path in self._in_hand:
            self._in_hand[path].come_again(dirty)
            return
        if watch.root is None:
            # All is recorded as gone, and compared when something is there again.
            return
        try:
            status = watch.root.lstat(path)
        except OSError as error:
            if error.errno in VANISHED:
                self.gone(path, dirty.detected_by)
            else:
                self._cannot_tell(dirty, error)
            return
        known = watch.baseline.known(path)
        if stat.S_ISDIR(status.st_mode):
            self._enter(path, Entrance(dirty.is_new, _has_other_rights(known, status)))
        elif known.is_directory if known is not None else watch.baseline.has_directory(path):
            self.gone_beneath(path, dirty.detected_by)
        if watch.scope.reports(path):
            self.look(path, status, Look(known, dirty.detected_by, dirty.is_new, dirty.is_content))

    def look(self, path: bytes, status: os.stat_result, look: Look) -> None:
        """Compare what `lstat` says with what is known; a file that may have other content is hashed first.

        Call it for a path only that the scope reports.
        """
        watch = self._watch
        is_known = look.known is not None and is_as_known(look.known, status, watch.settings)
        if (is_known and not self._must_hash(status, look)) or watch.scope.is_own(status):
            return
        if path in self._in_hand:
            self._in_hand[path].come_again(look.as_dirty(path))
        elif is_to_be_hashed(status, watch.settings):
            self._in_hand[path] = look
            if watch.scan is not None:
                watch.scan.jobs += look.in_scan
            watch.pool.submit(Job(path, status.st_size))
        else:
            self._settle_unhashed(path, status, look)

    def take(self, hashed: Hashed) -> None:
        """Take what a hasher says of a file."""
        path = hashed.path
        look = self._in_hand.pop(path, None)
        if look is None:
            return
        if self._watch.scan is not None:
            self._watch.scan.jobs -= look.in_scan
        if hashed.state is not None:
            self._settle(path, hashed.state, look)
        elif hashed.problem in ("unreadable", "quarantined"):
            self._take_unhashed(hashed, look)
        else:
            # Gone, or something else by now: what, is seen when it is looked at again.
            self._watch.dirty.put_back(look.as_dirty(path), _SHORT_PAUSE_SECONDS)
            return
        if look.again is not None:
            self._watch.dirty.put_back(look.again)

    def gone(self, path: bytes, detected_by: DetectedBy) -> None:
        """Record that *path*, and all that was known beneath it, is not there any more."""
        if path in self._in_hand:
            # A hasher may still say that it was there.
            self._in_hand[path].come_again(DirtyPath(path, is_new=False, detected_by=detected_by))
            return
        self._pauses.pop(path, None)
        baseline = self._watch.baseline
        known = baseline.known(path)
        if known.is_directory if known is not None else baseline.has_directory(path):
            self.gone_beneath(path, detected_by)
        elif known is None:
            self._leave(path)
        if known is not None:
            self._record("deleted", path, known, None, detected_by)

    def gone_beneath(self, directory: bytes, detected_by: DetectedBy) -> None:
        """Record that all that was known beneath *directory* is not there any more, what lies deepest first."""
        self._leave(directory)
        prefix = directory + b"/" if directory else b""
        for path, look in self._in_hand.items():
            if path.startswith(prefix):
                look.come_again(DirtyPath(path, is_new=False, detected_by=detected_by))
        for path in reversed(list(self._watch.baseline.known_beneath(directory))):
            known = self._watch.baseline.known(path)
            if known is not None and path not in self._in_hand:
                self._record("deleted", path, known, None, detected_by)

    def forget(self, path: bytes) -> None:
        """Forget, silently, what was known of *path* and beneath it: it is not watched any more."""
        self._watch.baseline.keep(path, None)
        for inner in self._watch.baseline.known_beneath(path):
            self._watch.baseline.keep(inner, None)

    def drop_in_hand(self) -> None:
        """Want no answers any more for what is at the hashers."""
        self._in_hand.clear()
        if self._watch.scan is not None:
            self._watch.scan.jobs = 0

    def begin_again(self) -> None:
        """Look anew at all that was in hand: what was found out may not have been stored."""
        for path, look in self._in_hand.items():
            if not look.in_scan or look.is_new or look.is_content or look.again is not None:
                self._watch.dirty.put_back(look.as_dirty(path))
        self.drop_in_hand()

    def _must_hash(self, status: os.stat_result, look: Look) -> bool:
        scan = self._watch.scan
        wants_all = scan is not None and scan.must_hash_all
        return (wants_all or look.is_content) and is_to_be_hashed(status, self._watch.settings)

    def _take_unhashed(self, hashed: Hashed, look: Look) -> None:
        """Record a file whose content nobody can read."""
        watch, path = self._watch, hashed.path
        if hashed.problem == "quarantined":
            watch.gaps.begin("quarantine", watch.scope.absolute(path), "not read any more", why=hashed.error)
        else:
            watch.counters.add("paths_unreadable_total")
        try:
            if watch.root is None:
                return
            status = watch.root.lstat(path)
        except OSError:
            watch.dirty.put_back(look.as_dirty(path), _SHORT_PAUSE_SECONDS)
        else:
            self._settle(path, state_of(status, checked_ns=time.time_ns(), hash_state=hashed.problem), look)

    def _settle_unhashed(self, path: bytes, status: os.stat_result, look: Look) -> None:
        checked_ns = time.time_ns()
        target, hash_state = None, NOT_HASHED
        if stat.S_ISLNK(status.st_mode) and self._watch.root is not None:
            try:
                target = self._watch.root.readlink(path)
            except OSError as error:
                if error.errno in (*VANISHED, errno.EINVAL):
                    # It is something else by now.
                    self._watch.dirty.put_back(look.as_dirty(path), _SHORT_PAUSE_SECONDS)
                    return
                hash_state = "unreadable"
        elif stat.S_ISREG(status.st_mode) and self._watch.settings.hashes:
            hash_state = "too_large"
        self._settle(path, state_of(status, checked_ns=checked_ns, target=target, hash_state=hash_state), look)

    def _settle(self, path: bytes, after: FileState, look: Look) -> None:
        """Record the difference between what was known and *after*."""
        watch, before = self._watch, look.known
        if after.hash_state == STABLE:
            self._pauses.pop(path, None)
            if watch.gaps.has_open:
                watch.gaps.end("quarantine", watch.scope.absolute(path), "read again")
        elif after.hash_state == "unstable":
            dirty = DirtyPath(path, is_new=False, detected_by=look.detected_by, is_content=True)
            watch.dirty.put_back(dirty, self._next_pause(path))
        elif before is not None and after.hash_state in ("unreadable", "quarantined"):
            # What was known of the content is what the next hash is compared with.
            after = after._replace(hashes=before.hashes)
        is_new = look.is_new or (look.again is not None and look.again.is_new) or watch.dirty.is_new(path)
        is_found = before is None and (watch.adopts or look.is_found) and not is_new
        if is_found and not watch.settings.initial_events:
            watch.baseline.keep(path, after)
            return
        action = "initial_scan" if is_found else find_action(before, after, is_new=look.is_new)
        if action is not None:
            self._record(action, path, before, after, look.detected_by)
        elif before != after:
            watch.baseline.keep(path, after)

    def _record(
        self, action: Action, path: bytes, before: FileState | None, after: FileState | None, detected_by: DetectedBy
    ) -> None:
        watch = self._watch
        absolute = watch.scope.absolute(path)
        change = FileChange(
            action=action,
            path=absolute,
            before=before,
            after=after,
            detected_by=detected_by,
            time_ns=now_ns() if after is None else after.checked_ns,
        )
        watch.baseline.append(change, path, after)
        watch.counters.add("changes_recorded_total")
        if watch.scan is not None:
            watch.scan.changes += 1
        if after is None and watch.gaps.has_open:
            watch.gaps.end("quarantine", absolute, "deleted")
            watch.gaps.end("unreadable", absolute, "deleted")

    def _cannot_tell(self, dirty: DirtyPath, error: OSError) -> None:
        """Leave what is known of a path that cannot be looked at: it may be there."""
        self._watch.counters.add("paths_unreadable_total")
        shown = os.fsdecode(self._watch.scope.absolute(dirty.path))
        self._unreadable.tell("%s cannot be looked at, so nobody knows whether it changed: %s", shown, error.strerror)
        if error.errno not in FORBIDDEN:
            self._watch.dirty.put_back(dirty, self._next_pause(dirty.path))

    def _next_pause(self, path: bytes) -> float:
        if len(self._pauses) > _MOST_TROUBLED:
            self._pauses.clear()
        pause_seconds = self._pauses.get(path, FIRST_PAUSE_SECONDS)
        self._pauses[path] = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        return pause_seconds


def _has_other_rights(known: FileState | None, status: os.stat_result) -> bool:
    return known is not None and (known.mode, known.uid, known.gid) != (status.st_mode, status.st_uid, status.st_gid)
