"""Which directories and file systems fanotify has marks on."""

import logging
from collections.abc import Container

from auditline.workers.fim import fanotify_calls as calls
from auditline.workers.fim.file_systems import FSID_BYTES
from auditline.workers.fim.watched_paths import WatchedPaths

logger = logging.getLogger(__name__)

MOST_INODE_MARKS = 50_000
"""Each keeps an inode in memory, 1 KB or more: beyond this the whole file system is marked instead."""
MOST_REMOVED_AT_ONCE = 256

ENTRIES = (
    calls.FAN_CREATE
    | calls.FAN_DELETE
    | calls.FAN_RENAME
    | calls.FAN_MODIFY
    | calls.FAN_CLOSE_WRITE
    | calls.FAN_ATTRIB
    | calls.FAN_EVENT_ON_CHILD
    | calls.FAN_ONDIR
)
"""What is told of the entries of a directory."""
ITSELF = calls.FAN_DELETE_SELF | calls.FAN_MOVE_SELF
"""What is told of a directory itself, where that is not told of it as an entry of another one."""


class Strays:
    """Marks that are of no use any more; they are removed when a descriptor of their file system is at hand."""

    def __init__(self, group_fd: int, mask: int) -> None:
        self._group_fd = group_fd
        self._mask = mask
        self._keys: dict[bytes, set[bytes]] = {}

    def add(self, *keys: bytes) -> None:
        """Have the marks of what these keys name removed; of what is deleted they are gone by themselves."""
        for key in keys:
            self._keys.setdefault(key[:FSID_BYTES], set()).add(key)

    def remove_some(self, fsid: bytes, directory_fd: int, used: Container[bytes]) -> None:
        """Remove some of the marks on the file system *fsid*, *directory_fd* being one of its directories."""
        keys = self._keys.get(fsid, set())
        for _ in range(min(len(keys), MOST_REMOVED_AT_ONCE)):
            stray = keys.pop()
            if stray not in used:
                calls.unmark(self._group_fd, self._mask, directory_fd, stray)


class Marks:
    """A mark on each directory; with very many, or if it is wanted, one on each file system."""

    def __init__(self, group_fd: int, directories: WatchedPaths[bytes], most_inode_marks: int) -> None:
        """*directories* are those that are watched."""
        self.has_file_systems = False
        """Whether file systems are marked, where the kernel allows that."""
        self.reason = ""
        """Why they are, if that was not so from the beginning."""
        self._group_fd = group_fd
        self._directories = directories
        self._most_inode_marks = most_inode_marks
        self._strays = Strays(group_fd, ENTRIES | ITSELF)
        self._marked_file_systems: set[bytes] = set()

    def add(self, relative: bytes, directory_fd: int, key: bytes) -> int:
        """Mark a directory, or its file system; return the error's number, or 0."""
        if not self.has_file_systems and len(self._directories) >= self._most_inode_marks:
            self.has_file_systems = True
            self.reason = f"more than {self._most_inode_marks} directories are watched: whole file systems are marked"
            logger.info("fanotify-filesystem from now on: %s", self.reason)
        needs_itself = not relative or relative.rpartition(b"/")[0] not in self._directories
        if self.has_file_systems and self._add_file_system(key[:FSID_BYTES], directory_fd):
            return self._add_directory(ITSELF | calls.FAN_ONDIR, directory_fd) if needs_itself else 0
        return self._add_directory(ENTRIES | ITSELF if needs_itself else ENTRIES, directory_fd)

    def let_go(self, key: bytes) -> None:
        """Remove a mark when a descriptor of its file system is at hand; of what is deleted it is gone by itself."""
        if key[:FSID_BYTES] not in self._marked_file_systems:
            self._strays.add(key)

    def remove_strays(self, key: bytes, directory_fd: int) -> None:
        """Remove some of the marks that are of no use any more, on the file system of *key*."""
        fsid = key[:FSID_BYTES]
        used: Container[bytes] = () if fsid in self._marked_file_systems else self._directories.first
        self._strays.remove_some(fsid, directory_fd, used)

    def _add_directory(self, mask: int, directory_fd: int) -> int:
        return calls.mark(self._group_fd, calls.FAN_MARK_ADD | calls.FAN_MARK_ONLYDIR, mask, directory_fd)

    def _add_file_system(self, fsid: bytes, directory_fd: int) -> bool:
        """Mark the file system that a directory is on, each time: if it was unmounted meanwhile, its mark is gone."""
        flags = calls.FAN_MARK_ADD | calls.FAN_MARK_FILESYSTEM
        if calls.mark(self._group_fd, flags, ENTRIES, directory_fd):
            return False
        if fsid not in self._marked_file_systems:
            self._marked_file_systems.add(fsid)
            # Those that were marked one by one need that no more.
            self._strays.add(*(key for key, path in self._directories.first.items() if path and key.startswith(fsid)))
        return True
