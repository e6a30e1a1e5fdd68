"""Which paths of a watched directory are a watcher's affair."""

import logging
import os
import stat
from collections.abc import Iterable

from auditline.workers.common.own_files import OwnFiles, identity_of, is_segment_name
from auditline.workers.common.patterns import PathFilter
from auditline.workers.common.text import make_safe
from auditline.workers.common.watch_plan import WatchPlan, is_within

logger = logging.getLogger(__name__)

_MOST_REMEMBERED = 4096


class Scope:
    """What is watched, listed and reported; paths are relative to `root`, which itself is `b""`.

    A path that is no directory, or that does not exist yet, is watched as one name in its parent.
    """

    def __init__(self, plan: WatchPlan, own: OwnFiles, *, is_directory: bool | None = None) -> None:
        """*is_directory*: what it was, if that is known; see `is_outdated`."""
        parent, _, name = plan.path.rpartition(b"/")
        if is_directory is None:
            is_directory = _is_directory(plan.path)
        self.path: bytes = plan.path
        """What is watched, absolute."""
        self.root: bytes = plan.path if is_directory else parent or b"/"
        """The directory to open."""
        self.single: bytes | None = None if is_directory else name
        """The only name that is reported; None: the directory is."""
        self._depth = plan.depth
        self._one_filesystem = plan.one_filesystem
        self._mount_points: frozenset[bytes] = frozenset()
        self._prefix = self.root.rstrip(b"/") + b"/"
        self._filter = PathFilter(plan.include, plan.exclude)
        self._has_patterns = bool(plan.include or plan.exclude)
        self._own = own
        self._is_own_root = self._lies_in_own_directory()
        self._closed = self._paths_beneath(*own.directories, *(path for path, depth in plan.inner if not depth))
        self._inner_depths = {self.relative(path): depth for path, depth in plan.inner if depth}
        self._most_inner_depth = max(self._inner_depths.values(), default=0)
        self._segment_directories = self._paths_beneath(*own.segment_directories)
        self._segment_mounts: set[bytes] = set()
        is_parted = self.single is not None or self._depth or self._one_filesystem or self._closed or self._inner_depths
        self._is_whole = not (self._has_patterns or is_parted or self._segment_directories)
        """Nothing is left out; where our segments come to be mounted is seen only later."""
        self._entered: dict[bytes, bool] = {}
        self._told: set[bytes] = set()

    def is_outdated(self) -> bool:
        """Whether the path has become a directory, or something else than one: that needs another scope."""
        try:
            return stat.S_ISDIR(os.lstat(self.path).st_mode) != (self.single is None)
        except OSError:
            return False

    def absolute(self, relative: bytes) -> bytes:
        """Return the path that people know."""
        return self._prefix + relative if relative else self.root

    def relative(self, path: bytes) -> bytes:
        """Return *path*, which is at or beneath the root, as it is called here."""
        return path[len(self._prefix) :]

    def enters(self, relative_directory: bytes) -> bool:
        """Whether the directory is watched and listed."""
        if self._is_whole:
            return not self._is_own_root
        way = [relative_directory]
        while (entered := self._entered.get(way[-1])) is None and way[-1]:
            way.append(way[-1].rpartition(b"/")[0])
        if entered is None:
            entered = self._enters_root()
        if len(self._entered) > _MOST_REMEMBERED:
            self._entered.clear()
        for directory in reversed(way):
            entered = entered and (not directory or self._enters_from_parent(directory))
            self._entered[directory] = entered
        return entered

    def set_mount_points(self, mount_points: Iterable[bytes]) -> None:
        """Take note of where other file systems are mounted beneath the root; they may be left out."""
        self._mount_points = frozenset(mount_points)
        self._entered.clear()

    def opens(self, relative_directory: bytes, status: os.stat_result) -> bool:
        """Whether the directory that was opened is to be watched and listed: not if it is ours under another path."""
        path = self._own.identities.get(identity_of(status))
        if path is None or not _is_still(path, status):
            self._segment_mounts.discard(relative_directory)
            return True
        if path in self._own.segment_directories:
            self._segment_mounts.add(relative_directory)
            return True
        if relative_directory not in self._told:
            self._told.add(relative_directory)
            self._tell_own(self.absolute(relative_directory), path)
        return False

    def reports(self, relative: bytes) -> bool:
        """Whether changes of that path are reported: it may be known from earlier, under other settings."""
        if self._is_whole and not self._segment_mounts:
            return not self._is_own_root
        if self.single is not None:
            return relative == self.single and self.enters(b"") and self._filter.takes(self.path)
        if not relative:
            return self.enters(b"") and self._filter.takes(self.root)
        parent, _, name = relative.rpartition(b"/")
        if not self.enters(parent) or relative in self._closed or self._is_of_inner(relative):
            return False
        if (parent in self._segment_directories or parent in self._segment_mounts) and is_segment_name(name):
            return False
        return self._filter.takes(self._prefix + relative)

    def reports_alike(self) -> bool:
        """Whether, where a directory is reported, all beneath it is: then nothing is lost by moving it."""
        return self._is_whole and not self._segment_mounts

    def is_own(self, status: os.stat_result) -> bool:
        """Whether it is what our stdout or stderr is written to."""
        return identity_of(status) in self._own.file_identities

    def _enters_root(self) -> bool:
        if self._is_own_root:
            return False
        return self.single is not None or not self._filter.excludes(self.root)

    def _enters_from_parent(self, directory: bytes) -> bool:
        if self.single is not None or directory in self._closed:
            return False
        if self._depth and directory.count(b"/") + 1 >= self._depth:
            return False
        if self._one_filesystem and directory in self._mount_points:
            return False
        return not self._filter.excludes(self._prefix + directory)

    def _is_of_inner(self, relative: bytes) -> bool:
        """Whether a watch within this one has the path, though what lies deeper is ours."""
        at = relative
        for steps in range(self._most_inner_depth + 1 if self._inner_depths else 0):
            if steps <= self._inner_depths.get(at, -1):
                return True
            at = at.rpartition(b"/")[0]
        return False

    def _paths_beneath(self, *paths: bytes) -> set[bytes]:
        """Return those of *paths* that are the root or beneath it, relative to it."""
        return {self.relative(path) for path in paths if is_within(path, self.root)}

    def _lies_in_own_directory(self) -> bool:
        for directory in self._own.directories:
            if is_within(self.path, directory):
                self._tell_own(self.path, directory)
                return True
        return False

    @staticmethod
    def _tell_own(path: bytes, directory: bytes) -> None:
        shown = [make_safe(os.fsdecode(each)) for each in (path, directory)]
        logger.warning("%s is our own directory %s, or in it: nothing of it is reported", *shown)


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_still(path: bytes, status: os.stat_result) -> bool:
    """Whether that directory is at *path*: where it was removed, another one may have got its inode."""
    try:
        return identity_of(os.lstat(path)) == identity_of(status)
    except OSError:
        return False
