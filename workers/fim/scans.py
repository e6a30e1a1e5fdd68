"""Comparisons of the whole tree, or of parts of it, with what is known: when they begin, and what is told of them."""

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict

from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.dirty import DirtyPath
from auditline.workers.fim.entered import Entered
from auditline.workers.fim.path_tree import is_in
from auditline.workers.fim.visit import Visit
from auditline.workers.fim.watch import Scan, Watch

logger = logging.getLogger(__name__)

_HASHED_WITH = "hashed_with"
_WATCHED_WITH = "watched_with"
_FOUND = "taken as found"


class Scans:
    """Begins and ends the scan of one watch; there is one at a time."""

    def __init__(
        self, watch: Watch, plan: WatchPlan, entered: Entered, list_later: Callable[[bytes, Visit], None]
    ) -> None:
        self._watch = watch
        self._entered = entered
        self._list_later = list_later
        self._hashed_with = " ".join(watch.settings.hashes)
        self._watched_with = json.dumps(asdict(plan), default=os.fsdecode)
        self._compared_ns = now_ns()
        self.compared_at = time.monotonic()
        """When the whole tree was compared last."""

    def start(self, reason: str, start_ns: int | None = None) -> None:
        """Compare the whole tree with what is known, because of what may have gone unseen since *start_ns*."""
        self._watch.gaps.expect(reason, now_ns() if start_ns is None else start_ns)
        is_new = self._watch.scan is None
        scan = self._extend([b""])
        if is_new:
            self._begin_round(scan)
        else:
            scan.must_repeat = True

    def repeat(self) -> None:
        """Compare the whole tree, though nothing is known to have gone unseen; if nothing has, nothing is told."""
        scan = self._extend([b""])
        scan.since_ns = self._compared_ns
        self._begin_round(scan)

    def compare(self, tops: Collection[bytes]) -> None:
        """Compare what lies at and beneath these directories with what is known; within a transaction."""
        scan = self._extend(tops)
        for top in tops:
            self._list_later(top, Visit(in_scan=True, is_found=scan.tops[top]))

    def list_again(self, paths: Iterable[bytes], most: int) -> int:
        """List the directories that hold *paths*; return how many these are, 0 if that would be more than *most*."""
        directories = {path.rpartition(b"/")[0] for path in paths}
        if len(directories) > most:
            return 0
        self._extend([])
        for directory in filter(self._watch.scope.enters, directories):
            self._list_later(directory, Visit("event"))
        return len(directories)

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

    def finish(self, scan: Scan) -> None:
        """End a round of the scan; with the last one tell what it was made for."""
        if scan.must_repeat:
            self._begin_round(scan)
            return
        self._see_to_orphans(scan)
        watch, backend = self._watch, self._watch.backend
        if scan.since_ns is not None and (scan.found or self._entered.unreadable):
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
            unreadable_directories=len(self._entered.unreadable),
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

    def tell_limits(self) -> None:
        """Tell once when directories begin to be polled, and when none is any more."""
        watch, backend = self._watch, self._watch.backend
        counts = {"watched_directories": backend.watched, "polled_directories": backend.polled}
        is_short = backend.limit_reached
        is_needed = {"limit": is_short, "backend": backend.polled > 0 and bool(backend.trouble) and not is_short}
        for reason, is_open in is_needed.items():
            if not is_open:
                watch.gaps.end(reason, watch.path, "watched", **counts)
            elif watch.gaps.begin(reason, watch.path, "polled", **counts, trouble=backend.trouble):
                shown, trouble = os.fsdecode(watch.path), backend.trouble
                logger.warning("%s: %d directories are polled: %s", shown, backend.polled, trouble)

    def _extend(self, tops: Iterable[bytes]) -> Scan:
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
            self._list_later(top, Visit(in_scan=True, is_found=is_found))

    def _see_to_orphans(self, scan: Scan) -> None:
        """See to what is known in directories that no visit came to: gone, or not watched any more."""
        baseline, scope, entered = self._watch.baseline, self._watch.scope, self._entered
        for directory in baseline.known_directories():
            if directory in scan.visited or not scan.covers(directory) or entered.is_beneath_unreadable(directory):
                continue
            if scope.enters(directory):
                self._watch.dirty.put_back(DirtyPath(directory, is_new=False, detected_by="scan"))
            else:
                for path in baseline.known_beneath(directory):
                    baseline.keep(path, None)
        unreadable = {scope.absolute(directory) for directory in entered.unreadable}
        gaps = self._watch.gaps
        # Of files, too, it is told that they cannot be read.
        open_paths = {*gaps.open_paths("unreadable"), *gaps.open_paths("read_error")}
        for path in (path for path in open_paths - unreadable if scan.covers(scope.relative(path))):
            if baseline.known(scope.relative(path)) is None or gaps.is_open("unreadable", path):
                gaps.end_unread(path, "gone")
