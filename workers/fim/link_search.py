"""The other names of files that had but one when they were looked at: nobody tells of these that a name was added."""

import math
import os
import time
from collections.abc import Iterator

from auditline.workers.common.file_state import FileState
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.links import Identity, Links
from auditline.workers.fim.watch import Watch

SLICE_SECONDS = 0.01
"""So much of one transaction goes to it."""
MOST_WANTED = 50_000
"""Files that are searched for together; if there are more, the whole tree is compared instead."""
MOST_DIRTY = 10_000
"""While so many paths wait to be looked at, none is added."""
CLOCK_SECONDS = 2.0
"""Times of files may be behind the clock by so much."""
REST_FACTOR = 9
"""After a search it rests for so many times as long as that took: who makes links all day does not keep us busy."""


class LinkSearch:
    """Goes through all that is known in slices, once for all that is wanted, and lets what it finds be looked at."""

    def __init__(self, watch: Watch, links: Links) -> None:
        self._watch = watch
        self._links = links
        self._wanted: dict[Identity, int] = {}
        """How many names each has."""
        self._inodes: set[int] = set()
        """What is searched for now: without devices, whose numbers may have been others then."""
        self._known: Iterator[tuple[bytes, FileState]] | None = None
        self._spent_seconds = 0.0
        self._begins_at = 0.0
        self.must_compare = False
        """More was wanted than is searched for; whoever begins to compare the whole tree sets this back."""

    @property
    def seconds_until_due(self) -> float:
        """When `go_on` will have something to do."""
        if self.is_over or len(self._watch.dirty) >= MOST_DIRTY:
            return math.inf
        return 0.0 if self._known else max(0.0, self._begins_at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether nothing is searched for."""
        return not (self._wanted or self._known)

    def want(self, status: os.stat_result, *, in_scan: bool) -> None:
        """Search for the other names of a file that has a new one; a scan comes to all those made before it began."""
        if in_scan and self._is_older_than_scan(status):
            return
        if not self._wanted:
            # Until then most that are made together are known.
            self._begins_at = max(self._begins_at, time.monotonic() + self._watch.settings.debounce_seconds)
        if len(self._wanted) < MOST_WANTED:
            self._wanted[status.st_dev, status.st_ino] = status.st_nlink
        else:
            self.must_compare = True

    def go_on(self) -> None:
        """Search for one slice of time; call it within a transaction of the baseline."""
        if self.seconds_until_due > 0:
            return
        began = time.monotonic()
        if self._known is None:
            self._begin()
        known, self._known = self._known, None
        try:
            is_over = self._search(known or iter(()), began + SLICE_SECONDS)
        except BaseException:
            # An iterator that has failed would seem to be at its end.
            self._known = self._watch.baseline.known_states()
            raise
        self._spent_seconds += time.monotonic() - began
        if not is_over:
            self._known = known
            return
        self._inodes = set()
        self._begins_at = time.monotonic() + REST_FACTOR * self._spent_seconds
        self._spent_seconds = 0.0

    def _is_older_than_scan(self, status: os.stat_result) -> bool:
        scan = self._watch.scan
        if scan is None:
            return False
        began_ns = now_ns() - int((time.monotonic() - scan.began + CLOCK_SECONDS) * 1e9)
        # A new name is a change of the file.
        return status.st_ctime_ns < began_ns

    def _begin(self) -> None:
        """Search for what is wanted, but for files all of whose names have become known since."""
        dirty = self._watch.dirty
        for identity, links in self._wanted.items():
            if sum(name not in dirty for name in self._links.names(identity)) < links:
                self._inodes.add(identity[1])
        self._wanted.clear()
        if self._inodes:
            self._known = self._watch.baseline.known_states()

    def _search(self, known: Iterator[tuple[bytes, FileState]], end: float) -> bool:
        """Return whether all has been looked through."""
        dirty = self._watch.dirty
        for path, state in known:
            if state.inode in self._inodes and state.is_regular and path not in self._links and path not in dirty:
                dirty.add(path)
            if time.monotonic() >= end or len(dirty) >= MOST_DIRTY:
                return False
        return True
