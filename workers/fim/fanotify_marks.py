"""Which directories and file systems fanotify has marks on."""

import logging

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
        # Directories that are watched no more and may exist: they are unmarked when a descriptor is at hand.
        self._strays: dict[bytes, set[bytes]] = {}
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
        fsid = key[:FSID_BYTES]
        if fsid not in self._marked_file_systems:
            self._strays.setdefault(fsid, set()).add(key)

    def remove_strays(self, key: bytes, directory_fd: int) -> None:
        """Remove some of the marks that are of no use any more, on the file system of *key*."""
        fsid = key[:FSID_BYTES]
        strays = self._strays.get(fsid)
        if not strays:
            return
        is_marked = fsid in self._marked_file_systems
        for _ in range(min(len(strays), MOST_REMOVED_AT_ONCE)):
            stray = strays.pop()
            if is_marked or stray not in self._directories.first:
                calls.unmark(self._group_fd, ENTRIES | ITSELF, directory_fd, stray)

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
            marked = {key for key, path in self._directories.first.items() if path and key.startswith(fsid)}
            self._strays.setdefault(fsid, set()).update(marked)
        return True
