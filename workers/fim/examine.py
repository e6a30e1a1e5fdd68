"""What one path is now, compared with what was known of it: the way from a dirty path to an entry in the outbox.

The life of one path: a hint makes it *dirty*; when it is quiet it is *due* and examined; a file that may have other
content is *in hand* of a hasher, and what comes meanwhile lets it *come again*; then the difference is *settled*.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Sequence

from auditline.workers.common.actor_messages import file_key
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.file_entry import DetectedBy
from auditline.workers.common.file_state import HASHED, QUARANTINED, UNREAD, UNREADABLE, UNSTABLE, FileState
from auditline.workers.common.process_info import Process
from auditline.workers.fim.compare import find_action, is_as_known, is_to_be_hashed
from auditline.workers.fim.directories_first import DirectoriesFirst
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.file_moves import FileMoves
from auditline.workers.fim.first_walk import FirstWalk
from auditline.workers.fim.in_hand import InHand
from auditline.workers.fim.inode_numbers import InodeNumbers
from auditline.workers.fim.link_search import LinkSearch
from auditline.workers.fim.links import Links
from auditline.workers.fim.look import FORBIDDEN, VANISHED, Entrance, Look
from auditline.workers.fim.pool import Hashed
from auditline.workers.fim.record import Recorder
from auditline.workers.fim.unhashed import Unhashed
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

EXAMINER_COUNTERS = ("paths_examined_total", "changes_recorded_total", "paths_unreadable_total")
FIRST_PAUSE_SECONDS = 1.0
"""Before a path is looked at again that gave no certain answer; twice as long each time,"""
LONGEST_PAUSE_SECONDS = 300.0
"""but no longer than this."""
_SHORT_PAUSE_SECONDS = 0.05
"""Before a path is looked at again that became something else while it was looked at."""
MOST_WAITING = 10_000
"""So many paths may be dirty before what listings find is looked at though nobody has said yet who made it."""
MOST_BENEATH = 2000
"""Of what lay beneath directories that are gone, so much is recorded in one transaction."""
_MOST_TROUBLED = 10_000


class Examiner:
    """Looks at paths and records what differs; call it within a transaction of the baseline."""

    def __init__(
        self, watch: Watch, enter: Callable[[bytes, "Entrance"], None], leave: Callable[[bytes], None]
    ) -> None:
        """*enter* is called for a directory that a hint led to, *leave* for what is no directory any more."""
        self._watch = watch
        self._enter = enter
        self._leave = leave
        self.links = Links()
        self.link_search = LinkSearch(watch, self.links)
        self.inode_numbers = InodeNumbers(watch)
        self.in_hand = InHand(watch, self.links)
        self.recorder = Recorder(watch, self.links)
        self.unhashed = Unhashed(watch)
        self.directories_first = DirectoriesFirst(watch, self.look)
        self.first_walk = FirstWalk(watch, self.in_hand, self.directories_first)
        self._moves = FileMoves(watch, self.recorder, self.in_hand, self.unhashed)
        self._recorded_beneath = 0
        """How much has been recorded in the transaction that goes on, of what lay beneath directories."""
        self._settled: list[tuple[bytes, Look]] = []
        """What hashers have answered in the transaction that goes on."""
        self._pauses: dict[bytes, float] = {}
        """Of paths that gave no certain answer: how long they wait next."""
        self._unreadable = RepeatedWarning(logger, every=1000)

    def examine_all(self, due: Sequence[DirtyPath]) -> None:
        """Look at paths that are due."""
        watch = self._watch
        watch.counters.add("paths_examined_total", len(due))
        self.directories_first.due = {dirty.path: dirty for dirty in due}
        watch.baseline.look_ahead(self.directories_first.due)
        with contextlib.nullcontext() if watch.root is None else watch.root.holding_parents():
            for dirty in due:
                self.examine(dirty)
                self._end(dirty.path)
        self.directories_first.due = {}

    def examine(self, dirty: DirtyPath) -> None:
        """Look at a path that is due."""
        watch, path = self._watch, dirty.path
        if path in self.in_hand and dirty.moved_from is None:
            self.in_hand.come_again(dirty)
            return
        if watch.root is None:
            # All is recorded as gone, and compared when something is there again.
            return
        try:
            status = watch.root.lstat(path)
        except OSError as error:
            if error.errno in VANISHED:
                self.gone(path, dirty.detected_by, dirty.processes)
            else:
                self._cannot_tell(dirty, error)
            return
        if dirty.moved_from is not None:
            self.directories_first.tell(path, Look(None, dirty.detected_by))
            if self._moves.record(dirty, status):
                return
        known = watch.baseline.known(path)
        if stat.S_ISDIR(status.st_mode):
            self._enter(path, Entrance(dirty.is_new, _has_other_rights(known, status)))
        elif watch.knows_directory(path, known) and not self.gone_beneath(path, dirty.detected_by, dirty.processes):
            watch.dirty.put_back(dirty)
            return
        if watch.scope.reports(path):
            look = Look(known, dirty.detected_by, dirty.is_new, dirty.is_content, processes=dirty.processes)
            self.look(path, status, look)

    def wait_for_actor(self, path: bytes, status: os.stat_result, since_ns: int, again: DirtyPath) -> bool:
        """Ask who made something after *since_ns*, and look at it, as *again* says, when there was time to answer.

        False: it must be looked at now.
        """
        watch = self._watch
        if not watch.actors.asks:
            return False
        watch.actors.note(watch.scope.absolute(path), None, since_ns, file_key(status.st_dev, status.st_ino))
        if len(watch.dirty) >= MOST_WAITING:
            return False
        watch.dirty.put_back(again, watch.settings.debounce_seconds)
        return True

    def is_certain(self, known: FileState, status: os.stat_result) -> bool:
        """Whether what `lstat` says leaves nothing to be looked at: the same as `look` finds, in less time."""
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            return False
        scan = self._watch.scan
        is_wanted = scan is not None and scan.must_hash_all
        return not is_wanted and is_as_known(known, status, self._watch.settings)

    def look(self, path: bytes, status: os.stat_result, look: Look) -> None:
        """Compare what `lstat` says with what is known; a file that may have other content is hashed first.

        Call it for a path only that the scope reports.
        """
        watch = self._watch
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            self._note_name(path, status, look)
        is_known = look.known is not None and self.inode_numbers.is_as_known(look.known, status, is_new=look.is_new)
        if (is_known and not self._must_hash(status, look)) or watch.scope.is_own(status):
            return
        if path in self.in_hand:
            self.in_hand.come_again(look.as_dirty(path))
        elif not is_to_be_hashed(status, watch.settings):
            self._settle_unhashed(path, status, look)
        elif status.st_nlink > 1:
            self._look_at_one_of_several(path, status, look)
        else:
            self.in_hand.submit(path, look, status.st_size)

    def take(self, hashed: Hashed) -> None:
        """Take what a hasher says of a file."""
        if not self.first_walk.take(hashed):
            self._take(hashed)
            self._end(hashed.path)

    def _end(self, path: bytes) -> None:
        """Let it be found out anew who makes the next change, once nothing is left to be found out about this one."""
        watch = self._watch
        if watch.actors.asks and path not in watch.dirty and path not in self.in_hand:
            watch.actors.forget(watch.scope.absolute(path))

    def _take(self, hashed: Hashed) -> None:
        path = hashed.path
        others, is_theirs = self.links.answered(path, hashed.state)
        for name in others:
            self._take_for(name, hashed if is_theirs else None)
        look = self.in_hand.take(path)
        if look is None:
            return
        if look.is_void:
            again = look.again or DirtyPath(path, is_new=False, detected_by=look.detected_by)
            self._watch.dirty.put_back(again._replace(is_content=True))
            return
        self._settled.append((path, look))
        if hashed.state is not None:
            self._settle(path, hashed.state, look)
        elif hashed.problem in UNREAD:
            self._take_unhashed(hashed, look)
        else:
            # Gone, or something else by now: what, is seen when it is looked at again.
            self._watch.dirty.put_back(look.as_dirty(path), _SHORT_PAUSE_SECONDS)
            return
        if look.again is not None:
            self._watch.dirty.put_back(look.again)

    def gone(self, path: bytes, detected_by: DetectedBy, processes: Sequence[Process] = ()) -> bool:
        """Record that *path*, and all that was known beneath it, is not there any more; *processes* did that.

        Returns False if there is more than one transaction may have: the rest is recorded when it is looked at again.
        """
        if path in self.in_hand:
            # A hasher may still say that it was there.
            again = DirtyPath(path, is_new=False, detected_by=detected_by, processes=tuple(processes))
            self.in_hand.come_again(again)
            return True
        self._pauses.pop(path, None)
        baseline = self._watch.baseline
        known = baseline.known(path)
        if self._watch.knows_directory(path, known):
            if not self.gone_beneath(path, detected_by, processes):
                rest = DirtyPath(path, is_new=False, detected_by=detected_by, processes=tuple(processes))
                self._watch.dirty.put_back(rest)
                return False
        elif known is None:
            self._leave(path)
        elif known.links > 1:
            # It is watched by itself, and is there by another name.
            self._watch.backend.forget(path)
        if known is not None:
            self.recorder.change("deleted", path, known, None, detected_by, processes=processes)
        return True

    def gone_beneath(self, directory: bytes, detected_by: DetectedBy, processes: Sequence[Process] = ()) -> bool:
        """Record that all that was known beneath *directory* is not there any more, what lies deepest first.

        Returns False if there is more than one transaction may have: call it again in the next one.
        """
        self._leave(directory)
        self.in_hand.gone_beneath(directory)
        return self.forget_rows(directory, detected_by, processes, in_slices=True)

    def forget_rows(
        self, directory: bytes, detected_by: DetectedBy, processes: Sequence[Process] = (), *, in_slices: bool = False
    ) -> bool:
        """Record the same, but of what hashers may still say that it was there; all at once, if not *in_slices*."""
        self.directories_first.forget()
        # Whoever removed the directory need not have removed all that was in it.
        inferred = tuple(process._replace(is_certain=False) for process in processes)
        for path in self._watch.baseline.known_backwards(directory):
            known = self._watch.baseline.known(path)
            if known is not None and path not in self.in_hand:
                if in_slices and not self._may_record():
                    return False
                # Who removed each is known better than who removed the directory, if it was told.
                removers = self.directories_first.processes(path) or inferred
                self.recorder.change("deleted", path, known, None, detected_by, processes=removers)
        return True

    def _may_record(self) -> bool:
        """Say whether one more change of what lies beneath directories may be recorded in this transaction."""
        if self._recorded_beneath >= MOST_BENEATH or self._watch.baseline.is_full:
            return False
        self._recorded_beneath += 1
        return True

    def forget(self, path: bytes) -> None:
        """Forget, silently, what was known of *path* and beneath it: it is not watched any more."""
        self.links.leave(path)
        self._watch.baseline.keep(path, None)
        for inner in self._watch.baseline.known_beneath(path):
            self._watch.baseline.keep(inner, None)

    def begin_again(self) -> None:
        """Look anew at all that was in hand when the transaction began: what was found out was not stored."""
        for path, look in [*self._settled, *self.in_hand.items()]:
            if not look.in_scan or look.is_new or look.is_content or look.again is not None:
                self._watch.dirty.put_back(look.as_dirty(path))
        self.is_stored()
        self.in_hand.drop(b"")

    def is_stored(self) -> None:
        """Note that the transaction was committed."""
        self.links.is_stored()
        self._recorded_beneath = 0
        self.directories_first.forget()
        self._settled.clear()

    def _must_hash(self, status: os.stat_result, look: Look) -> bool:
        scan = self._watch.scan
        wants_all = scan is not None and scan.must_hash_all
        return (wants_all or look.is_content) and is_to_be_hashed(status, self._watch.settings)

    def _note_name(self, path: bytes, status: os.stat_result, look: Look) -> None:
        """Remember one of several names of a file; a write through one that is not watched is told of the file."""
        if self.links.note(path, status):
            self.watch_alone(path)
        if look.known is None or look.known.inode != status.st_ino:
            self.link_search.want(status, in_scan=look.in_scan)

    def watch_alone(self, path: bytes) -> None:
        """Have it told what happens to a file by names elsewhere, or to a directory that is not entered."""
        root = self._watch.root
        if root is None:
            return
        try:
            parent_fd, _ = root.open_parent(path)
        except OSError:
            # Somebody has removed or renamed it meanwhile, which has a hint of its own.
            return
        try:
            self._watch.backend.watch_file(path, parent_fd)
        finally:
            os.close(parent_fd)

    def _look_at_one_of_several(self, path: bytes, status: os.stat_result, look: Look) -> None:
        """Take what a hasher said of the same file under another name, or is about to say; else ask one."""
        hashed = None if look.is_content else self.links.hashed(status)
        if hashed is not None:
            self._settle(path, hashed, look)
        elif self.links.wait(path, status, is_content=look.is_content):
            self.in_hand.wait(path, look)
        else:
            self.in_hand.submit(path, look, status.st_size)

    def _take_for(self, path: bytes, hashed: Hashed | None) -> None:
        """Take what a hasher says of a file under another name; None: that says nothing about this one."""
        if path not in self.in_hand:
            return
        if hashed is not None:
            self.take(hashed._replace(path=path))
        else:
            look = self.in_hand.take(path)
            if look is not None:
                self._watch.dirty.put_back(look.as_dirty(path)._replace(is_content=True))

    def _take_unhashed(self, hashed: Hashed, look: Look) -> None:
        """Record a file whose content nobody can read."""
        watch, path = self._watch, hashed.path
        if hashed.problem == QUARANTINED:
            watch.gaps.begin("quarantine", watch.scope.absolute(path), "not read any more", why=hashed.error)
        else:
            watch.counters.add("paths_unreadable_total")
        if hashed.problem == UNREADABLE:
            action = "what is known of it is kept; the next comparison tries again"
            watch.gaps.begin("read_error", watch.scope.absolute(path), action, error=hashed.error)
        try:
            if watch.root is None:
                return
            status = watch.root.lstat(path)
        except OSError:
            watch.dirty.put_back(look.as_dirty(path), _SHORT_PAUSE_SECONDS)
        else:
            self._settle_unhashed(path, status, look, hashed.problem)

    def _settle_unhashed(self, path: bytes, status: os.stat_result, look: Look, problem: str | None = None) -> None:
        after = self.unhashed.state(path, status, problem)
        if after is not None:
            self._settle(path, after, look)
        else:
            self._watch.dirty.put_back(look.as_dirty(path), _SHORT_PAUSE_SECONDS)

    def _settle(self, path: bytes, after: FileState, look: Look) -> None:
        """Record the difference between what was known and *after*."""
        watch, before = self._watch, look.known
        if before is None and not self.directories_first.tell(path, look):
            watch.dirty.put_back(look.as_dirty(path), _SHORT_PAUSE_SECONDS)
            return
        if after.hash_state in HASHED:
            self._pauses.pop(path, None)
            if watch.gaps.has_open:
                watch.gaps.end_unread(watch.scope.absolute(path), "read again")
        elif after.hash_state == UNSTABLE:
            dirty = DirtyPath(path, is_new=False, detected_by=look.detected_by, is_content=True)
            watch.dirty.put_back(dirty, self._next_pause(path))
        elif before is not None and after.hash_state in UNREAD:
            # What was known of the content is what the next hash is compared with.
            after = after._replace(hashes=before.hashes)
        is_new = look.is_new or (look.again is not None and look.again.is_new) or watch.dirty.is_new(path)
        before = self.inode_numbers.without_made_up(path, before, after, is_new=is_new)
        is_found = before is None and (watch.adopts or look.is_found) and not is_new
        if is_found and not watch.settings.initial_events:
            watch.baseline.keep(path, after)
            return
        action = "initial_scan" if is_found else find_action(before, after, is_new=look.is_new)
        if action is not None:
            self.recorder.change(action, path, before, after, look.detected_by, processes=look.processes)
        elif before != after:
            watch.baseline.keep(path, after)

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
