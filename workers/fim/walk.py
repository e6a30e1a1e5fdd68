"""Directories: watched first, then listed and compared with what is known, in slices of time."""

import contextlib
import errno
import itertools
import logging
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator

from auditline.workers.common.file_state import FileState
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.fim.compare import is_to_be_hashed
from auditline.workers.fim.coverage import reason_of
from auditline.workers.fim.directory_moves import DirectoryMove, DirectoryMoves
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.entered import Entered
from auditline.workers.fim.examine import Examiner
from auditline.workers.fim.listing import Entries, Listing
from auditline.workers.fim.look import FORBIDDEN, VANISHED, Entrance, Look
from auditline.workers.fim.path_tree import is_in, join
from auditline.workers.fim.pseudo import PseudoFileSystems
from auditline.workers.fim.scans import Scans
from auditline.workers.fim.visit import Visit
from auditline.workers.fim.watch import Scan, Watch

logger = logging.getLogger(__name__)

WALK_COUNTERS = ("directories_listed_total", "scans_total", "directories_unreadable_total")
SLICE_SECONDS = 0.02
"""Listing makes way for hints, hashers and the router after so long."""
MOST_IN_HAND = 2_000
"""While so many files wait for a hasher, no further directory is listed and no further path examined."""
MOST_UNBROKEN = 256
"""When a slice is over, the rest of a part of a directory is seen to all the same if it has no more entries than this:
what is looked at after a pause must be looked up again."""
MOST_AHEAD = 63
"""So many directories that are listed next are looked for together with the one that is listed now."""
RETRY_SECONDS = 10.0
"""Before a directory is tried again that could not be opened, for another reason than rights."""


class Walker:
    """Knows which directories are watched and which wait to be listed; works in slices, within transactions."""

    def __init__(self, watch: Watch, plan: WatchPlan, take_hints: Callable[[], None]) -> None:
        """*take_hints* is called where what is new must be told from what is found."""
        self._watch = watch
        self._take_hints = take_hints
        self._entered = Entered()
        self.examiner = Examiner(watch, self.enter, self.leave)
        self.moves = DirectoryMoves(watch, self.examiner, self._entered)
        self.scans = Scans(watch, plan, self._entered, self.list_later)
        self._waiting: dict[bytes, Visit] = {}
        self._listing: Iterator[None] | None = None
        self._listed, self._is_turn = b"", False
        """The directory that is being listed, and whether that is because it is polled."""
        self._slice_end = 0.0
        self._reports_all = False
        """All that is in a directory that is listed is reported: ask for none of it."""
        self._pseudo = PseudoFileSystems(watch.scope)

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be listed and no scan goes on."""
        return not self._waiting and self._listing is None and self._watch.scan is None

    @property
    def can_go_on(self) -> bool:
        """There is something to do at once: it does not wait for hashers."""
        if self._waiting or self._listing is not None:
            return len(self.examiner.in_hand) < MOST_IN_HAND
        return self._watch.scan is not None and not self.examiner.in_hand.scan_jobs

    def cancel(self) -> None:
        """List nothing of what waits: the watched directory is gone."""
        self.begin_again()
        self._watch.scan = None

    def begin_again(self) -> None:
        """List nothing of what waits: what was found out has not been stored, and the whole tree is to be compared."""
        self._waiting.clear()
        self._listing = None

    def list_later(self, directory: bytes, visit: Visit) -> None:
        """List *directory* in one of the next slices."""
        self._waiting[directory] = visit.merged(self._waiting.get(directory))

    def enter(self, directory: bytes, entrance: Entrance) -> None:
        """Watch and list a directory that is not yet watched, or that we may not read any more or read at last."""
        watch = self._watch
        if not watch.scope.enters(directory):
            if watch.scope.reports(directory):
                self.examiner.watch_alone(directory)
            return
        if directory in self._entered and not entrance.has_other_rights:
            return
        # What was known before it was closed tells what is new in it.
        is_found = directory in self._entered.unreadable and not watch.baseline.has_directory(directory)
        self.list_later(directory, Visit("event", is_new=entrance.is_new and not is_found, is_found=is_found))

    def leave(self, directory: bytes) -> None:
        """Watch nothing any more at and beneath a path that is gone or names another directory."""
        self._watch.backend.forget(directory)
        self._entered.leave(directory)
        self.examiner.links.leave(directory)

    def move(self, move: DirectoryMove) -> None:
        """Take note that a directory was renamed, as the backend has: what was known beneath it goes with it."""
        self.moves.take(move)
        if self._listing is not None and (is_in(self._listed, move.old) or is_in(self._listed, move.new)):
            # What it has read is of another directory than what is known there now.
            self._listing = None
        ways = ((move.old, move.new), (move.new, move.old)) if move.is_exchange else ((move.old, move.new),)
        visits = [(new, self._waiting.pop(old, Visit("event"))) for old, new in ways]
        for new, visit in visits:
            self.list_later(new, visit._replace(is_deep=True, in_scan=visit.in_scan or self._watch.scan is not None))

    def drop(self, directory: bytes) -> None:
        """Leave a path and let go of all that goes on at and beneath it: something else stands there now."""
        watch = self._watch
        self.leave(directory)
        self._waiting = {path: visit for path, visit in self._waiting.items() if not is_in(path, directory)}
        if self._listing is not None and is_in(self._listed, directory):
            self._listing = None
        self.examiner.in_hand.drop(directory)
        watch.pool.drop(directory)
        for dirty in watch.dirty.take_due(len(watch.dirty), at_once=True):
            if not is_in(dirty.path, directory):
                watch.dirty.put_back(dirty)

    def go_on(self) -> None:
        """List for one slice of time; end the scan when all is done."""
        began = time.monotonic()
        self._slice_end = began + SLICE_SECONDS
        self._reports_all = self._watch.scope.reports_alike()
        self._pseudo.begin_slice()
        with contextlib.nullcontext() if self._watch.root is None else self._watch.root.holding_parents():
            has_turn = self._list_waiting()
        if has_turn:
            self._watch.backend.polling_took(time.monotonic() - began)
        if self._listing is None and not self._waiting:
            self.scans.tell_limits()
            if self._watch.scan is not None and not self.examiner.in_hand.scan_jobs:
                self.scans.finish(self._watch.scan)

    def _list_waiting(self) -> bool:
        """List until the slice is over; return whether any of these directories is polled and had its turn."""
        has_turn = False
        while (self._listing is not None or self._waiting) and len(self.examiner.in_hand) < MOST_IN_HAND:
            if self._listing is None:
                directory, visit = self._waiting.popitem()
                if self._watch.baseline.must_look_for(directory):
                    next_ones = itertools.islice(reversed(self._waiting), MOST_AHEAD)
                    self._watch.baseline.look_for([directory, *next_ones])
                self._listing, self._listed, self._is_turn = self._list(directory, visit), directory, visit.is_turn
            has_turn = has_turn or self._is_turn
            if next(self._listing, _DONE) is _DONE:
                self._listing = None
            if self._is_slice_over:
                break
        return has_turn

    @property
    def _is_slice_over(self) -> bool:
        return time.monotonic() >= self._slice_end

    def _list(self, directory: bytes, visit: Visit) -> Iterator[None]:
        """Watch *directory*, then compare what is in it with what is known; yield when the slice is over."""
        scan = self._watch.scan if visit.in_scan else None
        if scan is not None:
            scan.visited.add(directory)
        listing = self._open(directory)
        if listing is None:
            return
        with contextlib.closing(listing):
            try:
                yield from self._compare_all(directory, listing, visit, scan)
            except OSError as error:
                self._cannot_list(directory, error)
                return
        if directory not in self._entered:
            # It was removed or renamed: what is known of it is not what is listed.
            self.list_later(directory, visit)

    def _compare_all(self, directory: bytes, listing: Listing, visit: Visit, scan: Scan | None) -> Iterator[None]:
        entries = listing.read()
        if self._watch.gaps.has_open:
            # Not sooner: a directory of a device that fails can be opened, and not listed.
            self._watch.gaps.end_unread(self._watch.scope.absolute(directory), "listed")
        if directory and not entries and not self._watch.baseline.has_directory(directory):
            return
        if not self._catch_up(directory):
            return
        if not directory:
            self._look(b"", listing.status, self._watch.baseline.known(b""), visit, scan)
        known = dict(self._watch.baseline.known_page(directory, b"", Listing.most_at_once + 1))
        if listing.is_at_end and len(known) <= Listing.most_at_once:
            is_fresh = yield from self._compare_each(directory, entries, known, visit, scan)
            for name in known if directory in self._entered else ():
                self._miss(join(directory, name), visit, is_fresh=is_fresh)
            return
        del known
        while entries:
            yield from self._compare_each(directory, entries, None, visit, scan)
            entries = listing.read()
            if not self._catch_up(directory):
                return
        yield from self._look_for_gone(directory, visit)

    def _compare_each(
        self,
        directory: bytes,
        entries: Entries,
        known: dict[bytes, FileState] | None,
        visit: Visit,
        scan: Scan | None,
    ) -> Generator[None, None, bool]:
        """Compare entries with *known* and take them out of it, or with what is looked up.

        Returns whether all was done within one slice, so that *known* holds still.
        """
        is_fresh, left, first_walk = True, len(entries), self.examiner.first_walk
        is_first = first_walk.is_one(visit, scan)
        for name, status in entries:
            left -= 1
            path = join(directory, name)
            state = None if known is None else known.pop(name, None)
            if known is None or not is_fresh:
                state = self._watch.baseline.known(path)
            if not (state is None and is_first and self._reports_all and first_walk.find(path, status, visit, scan)):
                self._compare(path, status, state, visit, scan, is_fresh=is_fresh)
            if left > MOST_UNBROKEN and self._is_slice_over:
                is_fresh = False
                yield
                if directory not in self._entered:
                    break
        return is_fresh

    def _catch_up(self, directory: bytes) -> bool:
        """Take the hints that have come until its entries were read; return whether it is still that directory.

        Who made, removed or renamed something after it was watched has told by now: that tells new files from those
        just found, and what was renamed from what is gone.
        """
        self._take_hints()
        self.moves.record()
        return directory in self._entered and self._listing is not None

    def _look_for_gone(self, directory: bytes, visit: Visit) -> Iterator[None]:
        """See to all known names in a directory that are not there: it has more than may be kept at once."""
        last = b""
        while page := self._watch.baseline.known_page(directory, last, Listing.most_at_once):
            for name, _ in page:
                last, path = name, join(directory, name)
                if self._is_gone(path):
                    self._miss(path, visit, is_fresh=True)
                if self._is_slice_over:
                    yield
                    if directory not in self._entered:
                        return

    def _is_gone(self, path: bytes) -> bool:
        root = self._watch.root
        try:
            if root is not None:
                root.lstat(path)
        except OSError as error:
            return error.errno in VANISHED
        return False

    def _compare(
        self,
        path: bytes,
        status: os.stat_result,
        state: FileState | None,
        visit: Visit,
        scan: Scan | None,
        *,
        is_fresh: bool,
    ) -> None:
        """Compare an entry with what is known; *status* may be from before the last slice."""
        if state is None and self._has_hint(path):
            return
        is_other_kind = state is not None and not state.is_regular
        # What hashers look at themselves may be as old as that.
        if not is_fresh and (is_other_kind or not is_to_be_hashed(status, self._watch.settings)):
            try:
                status = self._watch.root.lstat(path) if self._watch.root is not None else status
            except OSError:
                self._watch.dirty.put_back(DirtyPath(path, is_new=False, detected_by=visit.detected_by))
                return
        if stat.S_ISDIR(status.st_mode):
            self._descend(path, scan, visit)
        elif state is not None and state.is_directory and not self.examiner.gone_beneath(path, visit.detected_by):
            self._watch.dirty.put_back(DirtyPath(path, is_new=False, detected_by=visit.detected_by))
            return
        self._look(path, status, state, visit, scan)

    def _has_hint(self, path: bytes) -> bool:
        """Whether an event has told that something not known came or went: it is looked at as that one says."""
        dirty = self._watch.dirty
        return dirty.is_new(path) if self._watch.adopts else path in dirty

    def _open(self, directory: bytes) -> Listing | None:
        """Watch a directory, then open it for listing; None: it is not there, not ours, or may not be read."""
        watch = self._watch
        if watch.root is None:
            return None
        try:
            descriptor = watch.root.open_directory(directory)
        except OSError as error:
            self._cannot_list(directory, error)
            return None
        listing = None
        try:
            status = os.fstat(descriptor)
            is_pseudo = self._pseudo.is_one(directory, descriptor, status.st_dev)
            if not watch.scope.opens(directory, status) or is_pseudo:
                return None
            watch.backend.watch(directory, descriptor)
            listing = Listing(descriptor, status)
        except OSError as error:
            self._cannot_list(directory, error)
            return None
        finally:
            if listing is None:
                os.close(descriptor)
        self._entered.add(directory)
        watch.counters.add("directories_listed_total")
        return listing

    def _descend(self, path: bytes, scan: Scan | None, visit: Visit) -> None:
        if not self._watch.scope.enters(path):
            if self._watch.scope.reports(path):
                self.examiner.watch_alone(path)
            if scan is not None:
                for inner in self._watch.baseline.known_beneath(path):
                    self._watch.baseline.keep(inner, None)
        elif scan is not None or visit.is_deep or path not in self._entered:
            self.list_later(path, visit._replace(is_turn=False) if visit.is_turn else visit)

    def _look(
        self, path: bytes, status: os.stat_result, state: FileState | None, visit: Visit, scan: Scan | None
    ) -> None:
        if not (self._reports_all or self._watch.scope.reports(path)):
            if scan is not None and state is not None:
                self._watch.baseline.keep(path, None)
            return
        if scan is not None:
            scan.count(status)
        if state is not None and self.examiner.is_certain(state, status):
            return
        if state is None and visit.since_ns and scan is None and not visit.is_found:
            again = DirtyPath(path, visit.is_new, visit.detected_by)
            if self.examiner.wait_for_actor(path, status, visit.since_ns, again):
                return
        look = Look(
            state,
            visit.detected_by,
            is_new=visit.is_new,
            is_found=visit.is_found or (scan is not None and scan.tops.get(path, False)),
            in_scan=scan is not None,
        )
        self.examiner.look(path, status, look)

    def _miss(self, path: bytes, visit: Visit, *, is_fresh: bool) -> None:
        """See to a known name that was not in its directory: it is gone, or none of ours now."""
        if not self._watch.scope.reports(path):
            self.examiner.forget(path)
        elif is_fresh and path not in self._watch.dirty:
            self.examiner.gone(path, visit.detected_by)
        else:
            self._watch.dirty.put_back(DirtyPath(path, is_new=False, detected_by=visit.detected_by))

    def _cannot_list(self, directory: bytes, error: OSError) -> None:
        """Tell once that a directory cannot be read; what is known of it stays."""
        if error.errno in VANISHED:
            self.leave(directory)
            self._watch.dirty.put_back(DirtyPath(directory, is_new=False, detected_by="scan"))
            return
        if error.errno == errno.ESTALE:
            # Another directory is at the watched path, which is seen to soon.
            return
        self._entered.close(directory)
        if directory:
            # That it may be read some day is told in no other way.
            self.examiner.watch_alone(directory)
        path, reason = self._watch.scope.absolute(directory), error.strerror or "unknown error"
        if self._watch.gaps.begin(reason_of(error), path, "what is known of it is kept", error=reason):
            self._watch.counters.add("directories_unreadable_total")
            logger.warning("%s cannot be read: %s; what is in it is not watched", os.fsdecode(path), reason)
        if error.errno not in FORBIDDEN:
            self._watch.dirty.put_back(DirtyPath(directory, is_new=False, detected_by="scan"), RETRY_SECONDS)


_DONE = object()
