"""Inode numbers that a file system makes up as it goes: the same file has another one later, so they tell nothing.

Which one does so is seen, not supposed: many of the same kind have numbers that last, and these tell that another file
is in the place of one, whatever else is the same.
"""

import os

from auditline.workers.common.file_state import FileState
from auditline.workers.fim.compare import is_as_known
from auditline.workers.fim.file_systems import may_make_up_inodes
from auditline.workers.fim.watch import Watch


class InodeNumbers:
    """Knows, of the file systems of one watch, on which of them the number is no evidence."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._are_made_up: dict[int, bool] = {}
        """By device; only of those where a number has been seen to change by itself."""

    def forget(self) -> None:
        """Find it out anew: devices have other numbers, or are others, after a mount."""
        self._are_made_up.clear()

    def is_as_known(self, known: FileState, status: os.stat_result, *, is_new: bool) -> bool:
        """Say what `compare.is_as_known` does, by all but the number where that is made up.

        *is_new*: an event said that the name was made, so that another file stands there.
        """
        if is_as_known(known, status, self._watch.settings):
            return True
        if is_new or known.inode == status.st_ino or not self._are_made_up.get(status.st_dev):
            return False
        return is_as_known(known._replace(inode=status.st_ino), status, self._watch.settings)

    def without_made_up(
        self, path: bytes, before: FileState | None, after: FileState, *, is_new: bool
    ) -> FileState | None:
        """Return *before*, with the number that *after* has if that is made up; learn from the two whether it is."""
        if before is None or is_new or before.inode == after.inode or before.device != after.device:
            return before
        same = before._replace(inode=after.inode, atime_ns=after.atime_ns, checked_ns=after.checked_ns)
        if after.device not in self._are_made_up and same == after:
            self._learn(path, after)
        return before._replace(inode=after.inode) if self._are_made_up.get(after.device) else before

    def _learn(self, path: bytes, state: FileState) -> None:
        root, directory = self._watch.root, path if state.is_directory else path.rpartition(b"/")[0]
        if root is None:
            return
        try:
            directory_fd = root.open_for_lookup(directory)
        except OSError:
            return
        try:
            # A file can be mounted by itself: then its directory tells nothing about it.
            if os.fstat(directory_fd).st_dev == state.device:
                self._are_made_up[state.device] = may_make_up_inodes(directory_fd)
        finally:
            os.close(directory_fd)
