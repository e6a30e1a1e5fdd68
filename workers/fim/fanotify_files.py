"""Files that are marked by themselves, because they can be written to by a name that lies elsewhere."""

import contextlib
import os
from collections.abc import Container

from auditline.workers.common.process_info import Process
from auditline.workers.fim import fanotify_calls as calls
from auditline.workers.fim.backend import MOST_WATCHED_FILES, HintKind
from auditline.workers.fim.fanotify_marks import Strays
from auditline.workers.fim.fanotify_records import Record
from auditline.workers.fim.file_systems import FSID_BYTES, file_system_of
from auditline.workers.fim.hint_batch import ATTRIB, IS_DIRECTORY, WRITTEN, HintBatch
from auditline.workers.fim.watched_paths import WatchedPaths

_MASK = calls.FAN_MODIFY | calls.FAN_CLOSE_WRITE | calls.FAN_ATTRIB | calls.FAN_DELETE_SELF | calls.FAN_ONDIR


class FileMarks:
    """A group of its own: its records name files, and not the directory and the name by which it was done."""

    def __init__(self, reported: int) -> None:
        """*reported*: what records have beside that, for `fanotify_init`.

        Raises:
            OSError: the kernel refuses.
        """
        self.fd = calls.open_group(
            calls.FAN_REPORT_FID | calls.FAN_UNLIMITED_QUEUE | calls.FAN_UNLIMITED_MARKS | reported
        )
        self._paths: WatchedPaths[bytes] = WatchedPaths()
        self._strays = Strays(self.fd, _MASK)
        self._handles = calls.Handles()

    def __len__(self) -> int:
        return len(self._paths)

    def watch(self, path: bytes, parent_fd: int) -> None:
        """Mark what lies at *path*; if that cannot be, or there are too many, nothing is done."""
        if len(self._paths) >= MOST_WATCHED_FILES and path not in self._paths:
            return
        name = path.rpartition(b"/")[2]
        if calls.mark(self.fd, calls.FAN_MARK_ADD | calls.FAN_MARK_DONT_FOLLOW, _MASK, parent_fd, name):
            return
        with contextlib.suppress(OSError):
            key = self._handles.key_of(file_system_of(parent_fd).fsid, parent_fd, name)
            orphan = self._paths.link(path, key)
            if orphan is not None:
                self._strays.add(orphan)
            self.remove_strays(key, parent_fd)

    def forget(self, path: bytes) -> None:
        """Tell nothing of what lies at or beneath *path* any more."""
        self._strays.add(*self._paths.take(path))

    def remove_strays(self, key: bytes, directory_fd: int) -> None:
        """Remove some of the marks that are of no use any more, on the file system of *key*."""
        self._strays.remove_some(key[:FSID_BYTES], directory_fd, self._paths.first)

    def move(self, old: bytes, new: bytes) -> None:
        """Let what lies at *old*, and all beneath it, lie at *new*."""
        self.forget(new)
        self._paths.move(old, new)

    @property
    def keys(self) -> Container[bytes | None]:
        """The keys of what is marked."""
        return self._paths.first

    def tell(self, record: Record, process: Process | None, batch: HintBatch[bytes]) -> None:
        """Add what a record says, of all names of the file."""
        mask, file = record.mask, record.directory
        if mask & calls.FAN_Q_OVERFLOW:
            batch.tell(HintKind.OVERFLOW)
        elif file is not None:
            if mask & (WRITTEN | ATTRIB):
                for path in self._paths.paths_of(file):
                    batch.look_at(path, mask & (WRITTEN | ATTRIB | IS_DIRECTORY), process)
            if mask & calls.FAN_DELETE_SELF:
                self._paths.drop(file)

    def close(self) -> None:
        """Tell nothing any more."""
        os.close(self.fd)
