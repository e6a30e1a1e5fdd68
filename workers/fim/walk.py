"""Directories: watched first, then listed, one after the other; and scans of the whole tree."""

import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from auditline.workers.common.errors import StorageError
from auditline.workers.common.file_entry import DetectedBy
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.examine import Examiner, Look
from auditline.workers.fim.path_tree import PathTree
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

WALK_COUNTERS = ("directories_listed_total", "scans_total", "directories_unreadable_total")
SLICE_SECONDS = 0.02
"""Listing makes way for hints, hashers and the router after so long."""
MOST_SCAN_JOBS = 2_000
"""While so many files wait for a hasher, no further directories are listed."""
_HASHED_WITH = "hashed_with"
_WATCHED_UNTIL = "watched_until_ns"


class Why(Enum):
    """Why a directory is listed."""

    HINT = "hint"
    """Something in it was made or moved here."""
    TURN = "turn"
    """It is polled, and its turn has come."""
    SCAN = "scan"
    """The whole tree is compared."""

    @property
    def detected_by(self) -> DetectedBy:
        """How changes count that are found."""
        return "event" if self is Why.HINT else "scan"


@dataclass(slots=True)
class Scan:
    """One comparison of the whole tree with what is known."""

    reason: str
    start_ns: int
    began: float
    recorded_before: int
    files: int = 0
    directories: int = 0
    others: int = 0
    file_bytes: int = 0
    visited: set[bytes] = field(default_factory=set)
    must_repeat: bool = False
    """What it was made for happened again."""


class Walker:
    """Knows which directories are watched and which wait to be listed; works in slices, within a transaction."""

    def __init__(self, watch: Watch, take_hints: Callable[[], None]) -> None:
        """*take_hints* is called where what is new must be told from what is found."""
        self._watch = watch
        self.examiner = Examiner(watch, self.enter, self.leave)
        self._take_hints = take_hints
        self._hashed_with = " ".join(watch.settings.hashes)
        self._waiting: dict[bytes, Why] = {}
        self._entered: set[bytes] = set()
        self._places = PathTree()
        """All directories that were ever visited, for finding those beneath one."""
        self._unreadable: dict[bytes, int] = {}
        """Directories that may not be read, and since when."""
        self._limited_since_ns: int | None = None
        """Since when watches are lacking and it is not told; 0: it is told."""
        self._scan: Scan | None = None

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be listed and no scan goes on."""
        return not self._waiting and self._scan is None

    @property
    def can_go_on(self) -> bool:
        """There is something to do at once: it does not wait for hashers."""
        if self._waiting:
            return self.examiner.in_hand < MOST_SCAN_JOBS
        return self._scan is not None and not self.examiner.scan_jobs

    def start_scan(self, reason: str, start_ns: int | None = None) -> None:
        """Compare the whole tree with what is known."""
        self._watch.counters.add("scans_total")
        if self._scan is not None:
            self._scan.must_repeat = True
            return
        now, recorded = now_ns(), self._watch.counters.get("changes_recorded_total")
        self._scan = Scan(reason, now if start_ns is None else start_ns, time.monotonic(), recorded)
        self.examiner.must_hash_all = self._watch.baseline.note(_HASHED_WITH) not in ("", self._hashed_with)
        self._begin_round()

    def cancel(self) -> None:
        """List nothing of what waits: the watched directory is gone."""
        self._waiting.clear()
        self._scan = None

    def list_later(self, directory: bytes, why: Why) -> None:
        """List *directory* in one of the next slices."""
        self._waiting.setdefault(directory, why)

    def enter(self, directory: bytes) -> None:
        """Watch and list a directory that is not yet watched."""
        if directory not in self._entered and self._watch.scope.enters(directory):
            self.list_later(directory, Why.HINT)

    def leave(self, directory: bytes) -> None:
        """Watch nothing any more at and beneath a path that is gone or names another directory."""
        self._watch.backend.forget(directory)
        for path in self._places.take(directory):
            self._entered.discard(path)
            self._unreadable.pop(path, None)

    def go_on(self) -> None:
        """List for one slice of time; end the scan when all is done."""
        deadline = time.monotonic() + SLICE_SECONDS
        while self._waiting and self.examiner.in_hand < MOST_SCAN_JOBS:
            directory, why = self._waiting.popitem()
            began = time.monotonic()
            try:
                self._list(directory, why)
            except StorageError:
                # Nothing of it is stored: it is to be listed once more.
                self._waiting[directory] = why
                raise
            now = time.monotonic()
            if why is Why.TURN:
                self._watch.backend.polling_took(now - began)
            if now >= deadline:
                return
        if not self._waiting and not self.examiner.scan_jobs:
            self._finish()

    def note_alive(self) -> None:
        """Store that everything until now has been watched."""
        self._watch.baseline.set_note(_WATCHED_UNTIL, str(now_ns()))

    def watched_until_ns(self) -> int:
        """Return until when an earlier process watched; now, if that is not known."""
        stored = self._watch.baseline.note(_WATCHED_UNTIL)
        return int(stored) if stored.isdecimal() else now_ns()

    def _begin_round(self) -> None:
        self._waiting.clear()
        self._waiting[b""] = Why.SCAN

    def _list(self, directory: bytes, why: Why) -> None:
        """Watch *directory*, then compare what is in it with what is known."""
        scan = self._scan if why is Why.SCAN else None
        if scan is not None:
            scan.visited.add(directory)
        found = self._watch_and_read(directory)
        if found is None:
            return
        if self.examiner.is_first_walk:
            # Who made a name after the watch was there has told by now: that tells new files from those just found.
            self._take_hints()
        own_status, entries = found
        known = self._watch.baseline.known_in(directory)
        if not directory:
            self._look(b"", own_status, Look(self._watch.baseline.known(b""), why.detected_by), scan)
        prefix = directory + b"/" if directory else b""
        for name, status in entries:
            path = prefix + name
            look = Look(known.pop(name, None), why.detected_by, in_scan=scan is not None)
            if stat.S_ISDIR(status.st_mode):
                self._descend(path, scan, why)
            elif look.known is not None and look.known.is_directory:
                self.examiner.gone_beneath(path, why.detected_by)
            self._look(path, status, look, scan)
        for name in known:
            self._miss(prefix + name, why.detected_by)

    def _watch_and_read(self, directory: bytes) -> tuple[os.stat_result, list[tuple[bytes, os.stat_result]]] | None:
        """Return the directory's own status and its entries; None: it is not there, or may not be read."""
        if self._watch.root is None:
            return None
        try:
            descriptor = self._watch.root.open_directory(directory)
        except (FileNotFoundError, NotADirectoryError):
            self.leave(directory)
            self._watch.dirty.add(directory)
            return None
        except OSError as error:
            self._note_unreadable(directory, error)
            return None
        try:
            status = os.fstat(descriptor)
            if not self._watch.scope.opens(directory, status):
                return None
            if not self._watch.backend.watch(directory, descriptor) and self._limited_since_ns is None:
                self._limited_since_ns = now_ns()
            self._entered.add(directory)
            self._places.add(directory)
            self._note_readable(directory)
            self._watch.counters.add("directories_listed_total")
            return status, _read_entries(descriptor)
        except OSError as error:
            self._note_unreadable(directory, error)
            return None
        finally:
            os.close(descriptor)

    def _descend(self, path: bytes, scan: Scan | None, why: Why) -> None:
        if not self._watch.scope.enters(path):
            if scan is not None:
                for inner in self._watch.baseline.known_beneath(path):
                    self._watch.baseline.keep(inner, None)
        elif scan is not None or path not in self._entered:
            self._waiting[path] = why

    def _look(self, path: bytes, status: os.stat_result, look: Look, scan: Scan | None) -> None:
        if not self._watch.scope.reports(path):
            if scan is not None and look.known is not None:
                self._watch.baseline.keep(path, None)
            return
        if scan is not None:
            is_file, is_directory = stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode)
            scan.files += is_file
            scan.directories += is_directory
            scan.others += not is_file and not is_directory
            scan.file_bytes += status.st_size if is_file else 0
        self.examiner.look(path, status, look)

    def _miss(self, path: bytes, detected_by: DetectedBy) -> None:
        """Record that a known name is not in its directory any more, or forget it if it is none of ours now."""
        if self._watch.scope.reports(path):
            self.examiner.gone(path, detected_by)
        else:
            self.examiner.forget(path)

    def _finish(self) -> None:
        """End a scan, and tell what has become clear with it."""
        scan = self._scan
        if scan is not None and scan.must_repeat:
            scan.must_repeat = False
            scan.files = scan.directories = scan.others = scan.file_bytes = 0
            scan.visited.clear()
            self._begin_round()
            return
        if scan is not None:
            self._leave_unvisited(scan)
            self._end_scan(scan)
        if self._limited_since_ns:
            self._tell_limit(self._limited_since_ns)

    def _leave_unvisited(self, scan: Scan) -> None:
        """See to directories whose end no entry of their parents tells, because they are not reported themselves."""
        for directory in sorted(self._entered - scan.visited):
            self._watch.dirty.add(directory, detected_by="scan")

    def _end_scan(self, scan: Scan) -> None:
        changes = self._watch.counters.get("changes_recorded_total") - scan.recorded_before
        action = "filled the baseline" if self.examiner.is_first_walk else "compared everything with the baseline"
        self._watch.note(
            "first_walk" if self.examiner.is_first_walk and scan.reason == "restart" else scan.reason,
            self._watch.path,
            action,
            scan.start_ns,
            now_ns(),
            files=scan.files,
            directories=scan.directories,
            others=scan.others,
            bytes=scan.file_bytes,
            changes=changes,
            unreadable_directories=len(self._unreadable),
            watched_directories=self._watch.backend.watched,
            polled_directories=self._watch.backend.polled,
            seconds=round(time.monotonic() - scan.began, 3),
        )
        self._watch.baseline.mark_walked()
        self._watch.baseline.set_note(_HASHED_WITH, self._hashed_with)
        self.examiner.is_first_walk = self.examiner.must_hash_all = False
        self._scan = None

    def _tell_limit(self, since_ns: int) -> None:
        backend = self._watch.backend
        path, trouble = os.fsdecode(self._watch.path), backend.trouble
        logger.warning(
            "%s: %d directories are polled, %d are watched: %s", path, backend.polled, backend.watched, trouble
        )
        counts = {"watched_directories": backend.watched, "polled_directories": backend.polled}
        reason = "limit" if backend.limit_reached else "backend"
        self._watch.note(reason, self._watch.path, "polled", since_ns, None, **counts, trouble=trouble)
        # Told: 0 is no time that anything began at.
        self._limited_since_ns = 0

    def _note_unreadable(self, directory: bytes, error: OSError) -> None:
        """Tell once that a directory cannot be read; what is known of it stays."""
        self._entered.discard(directory)
        if directory in self._unreadable:
            return
        self._unreadable[directory] = now_ns()
        self._places.add(directory)
        self._watch.counters.add("directories_unreadable_total")
        path, reason = self._watch.scope.absolute(directory), error.strerror or "unknown error"
        logger.warning("%s cannot be read: %s; what is in it is not watched", os.fsdecode(path), reason)
        self._watch.note("unreadable", path, "left alone", self._unreadable[directory], None, error=reason)

    def _note_readable(self, directory: bytes) -> None:
        since_ns = self._unreadable.pop(directory, None)
        if since_ns is not None:
            path = self._watch.scope.absolute(directory)
            self._watch.note("unreadable", path, "listed", since_ns, now_ns())


def _read_entries(descriptor: int) -> list[tuple[bytes, os.stat_result]]:
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
