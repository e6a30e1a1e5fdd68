"""Directories: watched first, then listed, in slices of time; and scans of the whole tree."""

import errno
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict
from typing import NamedTuple

from auditline.workers.common.file_entry import DetectedBy
from auditline.workers.common.file_state import FileState
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.fim.coverage import now_ns, reason_of
from auditline.workers.fim.directory_moves import DirectoryMove, DirectoryMoves
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.examine import Examiner
from auditline.workers.fim.file_systems import pseudo_kind
from auditline.workers.fim.look import FORBIDDEN, VANISHED, Entrance, Look
from auditline.workers.fim.path_tree import PathTree, is_in
from auditline.workers.fim.watch import Scan, Watch

logger = logging.getLogger(__name__)

WALK_COUNTERS = ("directories_listed_total", "scans_total", "directories_unreadable_total")
SLICE_SECONDS = 0.02
"""Listing makes way for hints, hashers and the router after so long."""
MOST_IN_HAND = 2_000
"""While so many files wait for a hasher, no further directory is listed and no further path examined."""
RETRY_SECONDS = 10.0
"""Before a directory is tried again that could not be opened, for another reason than rights."""
_HASHED_WITH = "hashed_with"
_WATCHED_WITH = "watched_with"
_FOUND = "taken as found"

Entries = list[tuple[bytes, os.stat_result]]


class Visit(NamedTuple):
    """Why a directory is listed, and what that says of what is found in it."""

    detected_by: DetectedBy = "scan"
    in_scan: bool = False
    """The whole tree is compared."""
    is_new: bool = False
    """An event said that the directory was made: all that is in it is new."""
    is_found: bool = False
    """It could not be read before: what is not known in it is not new for that."""
    is_turn: bool = False
    """It is polled, and its turn has come."""
    is_deep: bool = False
    """All beneath it is compared as well."""

    def merged(self, other: "Visit | None") -> "Visit":
        """Return one for both."""
        if other is None:
            return self
        detected_by: DetectedBy = "event" if "event" in (self.detected_by, other.detected_by) else "scan"
        flags = (mine or its for mine, its in zip(self[1:], other[1:], strict=True))
        return Visit(detected_by, *flags)


class Walker:
    """Knows which directories are watched and which wait to be listed; works in slices, within transactions."""

    def __init__(self, watch: Watch, plan: WatchPlan, take_hints: Callable[[], None]) -> None:
        """*take_hints* is called where what is new must be told from what is found."""
        self._watch = watch
        self._take_hints = take_hints
        self.examiner = Examiner(watch, self.enter, self.leave)
        self.moves = DirectoryMoves(watch, self.examiner)
        self._hashed_with = " ".join(watch.settings.hashes)
        self._watched_with = json.dumps(asdict(plan), default=os.fsdecode)
        self._waiting: dict[bytes, Visit] = {}
        self._listing: Iterator[None] | None = None
        self._listed = b""
        """The directory that is being listed."""
        self._slice_end = 0.0
        self._compared_ns = now_ns()
        self.compared_at = time.monotonic()
        """When the whole tree was compared last."""
        self._entered: set[bytes] = set()
        self._unreadable: set[bytes] = set()
        self._places = PathTree()
        """All of these, for finding those beneath one."""
        self._skipped: set[bytes] = set()
        """Where the kernel's own file systems are mounted."""

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

    def start_scan(self, reason: str, start_ns: int | None = None) -> None:
        """Compare the whole tree with what is known, because of what may have gone unseen since *start_ns*."""
        self._watch.gaps.expect(reason, now_ns() if start_ns is None else start_ns)
        is_new = self._watch.scan is None
        scan = self._extend_scan([b""])
        if is_new:
            self._begin_round(scan)
        else:
            scan.must_repeat = True

    def rescan(self) -> None:
        """Compare the whole tree, though nothing is known to have gone unseen; if nothing has, nothing is told."""
        scan = self._extend_scan([b""])
        scan.since_ns = self._compared_ns
        self._begin_round(scan)

    def compare(self, tops: Collection[bytes]) -> None:
        """Compare what lies at and beneath these directories with what is known; within a transaction."""
        scan = self._extend_scan(tops)
        for top in tops:
            self.list_later(top, Visit(in_scan=True, is_found=scan.tops[top]))

    def take_as_found(self, tops: Iterable[bytes]) -> None:
        """Let what the next comparison finds in and beneath *tops* be known, and not new; within a transaction.

        Also if that comparison is made by the next process.
        """
        self._store_found({*self._tops_found(), *tops})

    def expect_new(self, directory: bytes) -> bool:
        """Take nothing at and beneath *directory* as found any more; return whether any of it was to be."""
        found = self._tops_found()
        left = {top for top in found if not is_in(top, directory)}
        if len(left) < len(found):
            self._store_found(left)
        return len(left) < len(found)

    def cancel(self) -> None:
        """List nothing of what waits: the watched directory is gone."""
        self._waiting.clear()
        self._listing = None
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
        is_watched = directory in self._entered and not entrance.has_other_rights
        if is_watched or not watch.scope.enters(directory):
            return
        # What was known before it was closed tells what is new in it.
        is_found = directory in self._unreadable and not watch.baseline.has_directory(directory)
        self.list_later(directory, Visit("event", is_new=entrance.is_new and not is_found, is_found=is_found))

    def leave(self, directory: bytes) -> None:
        """Watch nothing any more at and beneath a path that is gone or names another directory."""
        self._watch.backend.forget(directory)
        for path in self._places.take(directory):
            self._entered.discard(path)
            self._unreadable.discard(path)

    def move(self, move: DirectoryMove) -> None:
        """Take note that a directory was renamed, as the backend has: what was known beneath it goes with it."""
        old, new = move.old, move.new
        for path in self._places.take(old):
            place = new + path[len(old) :]
            if path in self._entered:
                self._entered.remove(path)
                self._entered.add(place)
                self._places.add(place)
            # It is tried again under its new name.
            self._unreadable.discard(path)
        self.examiner.in_hand.move(old, new)
        self._watch.dirty.move(old, new)
        self.moves.add(move)
        visit = self._waiting.pop(old, Visit("event"))._replace(is_deep=True)
        self.list_later(new, visit if self._watch.scan is None else visit._replace(in_scan=True))

    def drop(self, directory: bytes) -> None:
        """Leave a path and let go of all that goes on at and beneath it: something else stands there now."""
        watch = self._watch
        self.leave(directory)
        self._waiting = {path: visit for path, visit in self._waiting.items() if not is_in(path, directory)}
        if self._listing is not None and is_in(self._listed, directory):
            self._listing = None
        self.examiner.drop_in_hand(directory)
        watch.pool.drop(directory)
        for dirty in watch.dirty.take_due(len(watch.dirty), at_once=True):
            if not is_in(dirty.path, directory):
                watch.dirty.put_back(dirty)

    def go_on(self) -> None:
        """List for one slice of time; end the scan when all is done."""
        began = time.monotonic()
        self._slice_end = began + SLICE_SECONDS
        has_turn = False
        while (self._listing is not None or self._waiting) and len(self.examiner.in_hand) < MOST_IN_HAND:
            if self._listing is None:
                directory, visit = self._waiting.popitem()
                has_turn = has_turn or visit.is_turn
                self._listing, self._listed = self._list(directory, visit), directory
            if next(self._listing, _DONE) is _DONE:
                self._listing = None
            if self._is_slice_over:
                break
        if has_turn:
            self._watch.backend.polling_took(time.monotonic() - began)
        if self._listing is None and not self._waiting:
            self._tell_limits()
            if self._watch.scan is not None and not self.examiner.in_hand.scan_jobs:
                self._finish(self._watch.scan)

    @property
    def _is_slice_over(self) -> bool:
        return time.monotonic() >= self._slice_end

    def _extend_scan(self, tops: Iterable[bytes]) -> Scan:
        """Return the scan that goes on, or a new one, with these tops, too."""
        watch = self._watch
        watch.counters.add("scans_total")
        if watch.scan is None:
            watch.scan = Scan(time.monotonic(), adopts=False, must_hash_all=False, tops={})
        scan, note = watch.scan, watch.baseline.note
        found = self._tops_found()
        scan.tops.update((top, top in found) for top in tops)
        if scan.is_whole:
            scan.tops.update((top, True) for top in found)
            scan.adopts = not watch.baseline.is_walked or note(_WATCHED_WITH) not in ("", self._watched_with)
            scan.must_hash_all = note(_HASHED_WITH) not in ("", self._hashed_with)
        return scan

    def _tops_found(self) -> list[bytes]:
        return [os.fsencode(top) for top in json.loads(self._watch.baseline.note(_FOUND) or "[]")]

    def _store_found(self, tops: Collection[bytes]) -> None:
        self._watch.baseline.set_note(_FOUND, json.dumps(sorted(map(os.fsdecode, tops))) if tops else "")

    def _begin_round(self, scan: Scan) -> None:
        scan.begin_round()
        for top, is_found in scan.tops.items():
            self._waiting[top] = Visit(in_scan=True, is_found=is_found)

    def _list(self, directory: bytes, visit: Visit) -> Iterator[None]:
        """Watch *directory*, then compare what is in it with what is known; yield when the slice is over."""
        scan = self._watch.scan if visit.in_scan else None
        if scan is not None:
            scan.visited.add(directory)
        found = self._watch_and_read(directory)
        if found is None:
            return
        # Who made, removed or renamed something after the watch was there has told by now: that tells new files from
        # those just found, and what was renamed from what is gone.
        self._take_hints()
        self.moves.record()
        if directory not in self._entered:
            # It was removed or renamed: what is known of it is not what is listed.
            self.list_later(directory, visit)
            return
        own_status, entries = found
        known = self._watch.baseline.known_in(directory)
        if not directory:
            self._look(b"", own_status, self._watch.baseline.known(b""), visit, scan)
        is_fresh = True
        prefix = directory + b"/" if directory else b""
        for name, status in entries:
            self._compare(prefix + name, status if is_fresh else None, known.pop(name, None), visit, scan)
            if self._is_slice_over:
                is_fresh = False
                yield
                if directory not in self._entered:
                    return
        for name in known:
            self._miss(prefix + name, visit, is_fresh=is_fresh)

    def _compare(
        self, path: bytes, status: os.stat_result | None, state: FileState | None, visit: Visit, scan: Scan | None
    ) -> None:
        """Compare an entry with what is known; without *status* both are from before the last slice."""
        if state is None and self._has_hint(path):
            return
        if status is None:
            state = self._watch.baseline.known(path)
            try:
                status = self._watch.root.lstat(path) if self._watch.root is not None else None
            except OSError:
                status = None
            if status is None:
                self._watch.dirty.put_back(DirtyPath(path, is_new=False, detected_by=visit.detected_by))
                return
        if stat.S_ISDIR(status.st_mode):
            self._descend(path, scan, visit)
        elif state is not None and state.is_directory:
            self.examiner.gone_beneath(path, visit.detected_by)
        self._look(path, status, state, visit, scan)

    def _has_hint(self, path: bytes) -> bool:
        """Whether an event has told that something not known came or went: it is looked at as that one says."""
        dirty = self._watch.dirty
        return dirty.is_new(path) if self._watch.adopts else path in dirty

    def _watch_and_read(self, directory: bytes) -> tuple[os.stat_result, Entries] | None:
        """Return the directory's own status and its entries; None: it is not there, not ours, or may not be read."""
        watch = self._watch
        if watch.root is None:
            return None
        try:
            descriptor = watch.root.open_directory(directory)
        except OSError as error:
            self._cannot_list(directory, error)
            return None
        try:
            status = os.fstat(descriptor)
            if not watch.scope.opens(directory, status) or self._is_pseudo(directory, descriptor):
                return None
            watch.backend.watch(directory, descriptor)
            entries = _read_entries(descriptor)
        except OSError as error:
            self._cannot_list(directory, error)
            return None
        finally:
            os.close(descriptor)
        self._entered.add(directory)
        self._places.add(directory)
        self._unreadable.discard(directory)
        if watch.gaps.has_open:
            watch.gaps.end_unread(watch.scope.absolute(directory), "listed")
        watch.counters.add("directories_listed_total")
        return status, entries

    def _is_pseudo(self, directory: bytes, descriptor: int) -> bool:
        """Say whether a directory is of the kernel's own making; the watched one itself is wanted all the same."""
        kind = pseudo_kind(descriptor) if directory else None
        if kind is not None and directory not in self._skipped and len(self._skipped) < MOST_IN_HAND:
            self._skipped.add(directory)
            shown = os.fsdecode(self._watch.scope.absolute(directory))
            logger.info("%s is not watched: what is in a %s file system is made when it is read", shown, kind)
        return kind is not None

    def _descend(self, path: bytes, scan: Scan | None, visit: Visit) -> None:
        if not self._watch.scope.enters(path):
            if scan is not None:
                for inner in self._watch.baseline.known_beneath(path):
                    self._watch.baseline.keep(inner, None)
        elif scan is not None or visit.is_deep or path not in self._entered:
            self.list_later(path, visit._replace(is_turn=False))

    def _look(
        self, path: bytes, status: os.stat_result, state: FileState | None, visit: Visit, scan: Scan | None
    ) -> None:
        if not self._watch.scope.reports(path):
            if scan is not None and state is not None:
                self._watch.baseline.keep(path, None)
            return
        if scan is not None:
            is_file, is_directory = stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode)
            scan.files += is_file
            scan.directories += is_directory
            scan.others += not is_file and not is_directory
            scan.file_bytes += status.st_size if is_file else 0
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
        self._entered.discard(directory)
        self._unreadable.add(directory)
        self._places.add(directory)
        path, reason = self._watch.scope.absolute(directory), error.strerror or "unknown error"
        if self._watch.gaps.begin(reason_of(error), path, "what is known of it is kept", error=reason):
            self._watch.counters.add("directories_unreadable_total")
            logger.warning("%s cannot be read: %s; what is in it is not watched", os.fsdecode(path), reason)
        if error.errno not in FORBIDDEN:
            self._watch.dirty.put_back(DirtyPath(directory, is_new=False, detected_by="scan"), RETRY_SECONDS)

    def _tell_limits(self) -> None:
        """Tell once when directories begin to be polled, and when none is any more."""
        watch, backend = self._watch, self._watch.backend
        counts = {"watched_directories": backend.watched, "polled_directories": backend.polled}
        is_needed = {"limit": backend.limit_reached, "backend": backend.polled > 0 and not backend.limit_reached}
        for reason, is_open in is_needed.items():
            if not is_open:
                watch.gaps.end(reason, watch.path, "watched", **counts)
            elif watch.gaps.begin(reason, watch.path, "polled", **counts, trouble=backend.trouble):
                shown, trouble = os.fsdecode(watch.path), backend.trouble
                logger.warning("%s: %d directories are polled: %s", shown, backend.polled, trouble)

    def _finish(self, scan: Scan) -> None:
        """End a round of the scan; with the last one tell what it was made for."""
        if scan.must_repeat:
            self._begin_round(scan)
            return
        self._see_to_orphans(scan)
        watch, backend = self._watch, self._watch.backend
        if scan.since_ns is not None and (scan.found or self._unreadable):
            watch.gaps.expect("rescan", scan.since_ns)
        is_first = scan.is_whole and not watch.baseline.is_walked
        watch.gaps.finish(
            watch.path,
            "filled the baseline" if is_first else "compared everything with the baseline",
            files=scan.files,
            directories=scan.directories,
            others=scan.others,
            bytes=scan.file_bytes,
            changes=scan.changes,
            unreadable_directories=len(self._unreadable),
            watched_directories=backend.watched,
            polled_directories=backend.polled,
            backend=backend.name,
            seconds=round(time.monotonic() - scan.began, 3),
        )
        if scan.is_whole:
            watch.baseline.mark_walked()
            watch.baseline.set_note(_HASHED_WITH, self._hashed_with)
            watch.baseline.set_note(_WATCHED_WITH, self._watched_with)
            self._compared_ns, self.compared_at = now_ns(), time.monotonic()
        self._store_found(())
        watch.scan = None

    def _see_to_orphans(self, scan: Scan) -> None:
        """See to what is known in directories that no visit came to: gone, or not watched any more."""
        baseline, scope = self._watch.baseline, self._watch.scope
        for directory in baseline.known_directories():
            if directory in scan.visited or not scan.covers(directory) or self._is_beneath_unreadable(directory):
                continue
            if scope.enters(directory):
                self._watch.dirty.put_back(DirtyPath(directory, is_new=False, detected_by="scan"))
            else:
                for path in baseline.known_beneath(directory):
                    baseline.keep(path, None)
        unreadable = {scope.absolute(directory) for directory in self._unreadable}
        gaps = self._watch.gaps
        # Of files, too, it is told that they cannot be read.
        open_paths = {*gaps.open_paths("unreadable"), *gaps.open_paths("read_error")}
        for path in (path for path in open_paths - unreadable if scan.covers(scope.relative(path))):
            if baseline.known(scope.relative(path)) is None or gaps.is_open("unreadable", path):
                gaps.end_unread(path, "gone")

    def _is_beneath_unreadable(self, directory: bytes) -> bool:
        while directory and directory not in self._unreadable:
            directory = directory.rpartition(b"/")[0]
        return directory in self._unreadable


_DONE = object()


def _read_entries(descriptor: int) -> Entries:
    """Return the names in a directory with their status; what goes away meanwhile is left out."""
    entries = []
    with os.scandir(descriptor) as listing:
        for entry in listing:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            entries.append((os.fsencode(entry.name), status))
    return entries
