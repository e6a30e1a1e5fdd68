"""Files that have several names: a change seen under one of them is one of all, and their content is read once."""

import os
from collections import OrderedDict

from auditline.workers.common.file_state import STABLE, FileState

MOST_NAMES = 50_000
"""Names that are remembered; a change seen under another one is seen under those that remain by scans."""
_MOST_RESULTS = 1000
"""Files that have been hashed lately."""

Identity = tuple[int, int]
"""Device and inode."""
Snapshot = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of modification and change: where all are the same, the content is."""


class Links:
    """The names of each file with several, as they were found; some may be out of date."""

    def __init__(self) -> None:
        self._names: dict[Identity, tuple[bytes, ...]] = {}
        self._count = 0
        self._results: OrderedDict[Snapshot, FileState] = OrderedDict()
        self._readers: dict[Snapshot, bytes] = {}
        """Under which name a file is at a hasher,"""
        self._waiting: dict[bytes, tuple[Snapshot, list[bytes]]] = {}
        """and the other names for which that one's answer counts as well."""

    def note(self, path: bytes, status: os.stat_result) -> bool:
        """Remember a name; return whether it is a new one."""
        identity = (status.st_dev, status.st_ino)
        names = self._names.get(identity, ())
        if path in names or self._count >= MOST_NAMES:
            return False
        self._names[identity] = (*names, path)
        self._count += 1
        return True

    def others(self, path: bytes, state: FileState) -> list[bytes]:
        """Return the other names of what has, or had, the name *path*."""
        return [name for name in self._names.get((state.device, state.inode), ()) if name != path]

    def forget(self, path: bytes, state: FileState) -> None:
        """Forget a name that is gone."""
        identity = (state.device, state.inode)
        names = self._names.get(identity, ())
        if path in names:
            self._count -= 1
            self._names[identity] = tuple(name for name in names if name != path)
            if len(names) == 1:
                del self._names[identity]

    def hashed(self, status: os.stat_result) -> FileState | None:
        """Return what a hasher has lately said of the same file, unchanged since, under another name."""
        return self._results.get(_snapshot(status))

    def wait(self, path: bytes, status: os.stat_result) -> bool:
        """Say whether the same file is at a hasher under another name, whose answer counts for *path* as well.

        If not, it is *path* from now on.
        """
        snapshot = _snapshot(status)
        reader = self._readers.setdefault(snapshot, path)
        if reader == path:
            self._waiting[path] = (snapshot, [])
            return False
        self._waiting[reader][1].append(path)
        return True

    def answered(self, path: bytes, state: FileState | None) -> tuple[list[bytes], bool]:
        """Return the other names that waited for an answer about *path*, and whether it is one for them."""
        snapshot, names = self._waiting.pop(path, (None, []))
        if snapshot is None:
            return [], False
        self._readers.pop(snapshot, None)
        if state is None or state.hash_state != STABLE or _snapshot_of(state) != snapshot:
            return names, False
        self._results[snapshot] = state
        if len(self._results) > _MOST_RESULTS:
            self._results.popitem(last=False)
        return names, True

    def clear_waiting(self) -> None:
        """Let nothing wait for answers any more."""
        self._readers.clear()
        self._waiting.clear()


def _snapshot(status: os.stat_result) -> Snapshot:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _snapshot_of(state: FileState) -> Snapshot:
    return (state.device, state.inode, state.size, state.mtime_ns, state.ctime_ns)
