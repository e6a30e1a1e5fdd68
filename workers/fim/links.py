"""Files that have several names: a change seen under one of them is one of all, and their content is read once."""

import logging
import os
from collections import OrderedDict
from collections.abc import Collection

from auditline.workers.common.file_state import STABLE, FileState
from auditline.workers.fim.path_index import PathIndex

logger = logging.getLogger(__name__)

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
        self._identities: dict[bytes, Identity] = {}
        self._index = PathIndex(self._identities)
        self._is_limit_told = False
        self._results: OrderedDict[Snapshot, FileState] = OrderedDict()
        self._readers: dict[Snapshot, bytes] = {}
        """Under which name a file is at a hasher,"""
        self._fresh: set[Snapshot] = set()
        """those that were given to hashers in the transaction that goes on, and so after all that has been told,"""
        self._waiting: dict[bytes, tuple[Snapshot, list[bytes]]] = {}
        """and the other names for which that one's answer counts as well."""

    def __len__(self) -> int:
        return len(self._identities)

    def __contains__(self, path: bytes) -> bool:
        return path in self._identities

    def note(self, path: bytes, status: os.stat_result) -> bool:
        """Remember a name; return whether it is a new one."""
        identity = (status.st_dev, status.st_ino)
        known = self._identities.get(path)
        if known == identity:
            return False
        if known is not None:
            self._remove(path)
        if len(self._identities) >= MOST_NAMES:
            self._tell_limit()
            return False
        self._add(path, identity)
        return True

    def names(self, identity: Identity) -> tuple[bytes, ...]:
        """Return the names of a file that are remembered."""
        return self._names.get(identity, ())

    def others(self, path: bytes, state: FileState) -> list[bytes]:
        """Return the other names of what has, or had, the name *path*."""
        return [name for name in self._names.get((state.device, state.inode), ()) if name != path]

    def forget(self, path: bytes, state: FileState) -> None:
        """Forget a name of *state* that is gone."""
        if self._identities.get(path) == (state.device, state.inode):
            self._remove(path)

    def leave(self, directory: bytes) -> None:
        """Forget the names at and beneath a path that is not watched any more."""
        for path in [*self._index.beneath(directory), directory]:
            if path in self._identities:
                self._remove(path)

    def move(self, old: bytes, new: bytes) -> None:
        """Let the names beneath the directory *old* be beneath *new*."""
        for path in [*self._index.beneath(old)]:
            identity, place = self._identities[path], new + path[len(old) :]
            self._remove(path)
            if place in self._identities:
                self._remove(place)
            self._add(place, identity)

    def hashed(self, status: os.stat_result) -> FileState | None:
        """Return what a hasher has lately said of the same file, unchanged since, under another name."""
        return self._results.get(_snapshot(status))

    def wait(self, path: bytes, status: os.stat_result, *, is_content: bool = False) -> bool:
        """Say whether the same file is at a hasher under another name, whose answer counts for *path* as well.

        If not, it is *path* from now on. *is_content*: it was written to, which its times need not show, so that only
        what is read from now on counts.
        """
        snapshot = _snapshot(status)
        reader = self._readers.get(snapshot)
        if reader is None or reader == path or (is_content and snapshot not in self._fresh):
            self._readers[snapshot] = path
            self._fresh.add(snapshot)
            self._waiting[path] = (snapshot, [])
            return False
        self._waiting[reader][1].append(path)
        return True

    def is_stored(self) -> None:
        """Note that a transaction has ended: hints may be read, and hashers begin to read, from now on."""
        self._fresh.clear()

    def answered(self, path: bytes, state: FileState | None) -> tuple[list[bytes], bool]:
        """Return the other names that waited for an answer about *path*, and whether it is one for them."""
        snapshot, names = self._waiting.pop(path, (None, []))
        if snapshot is None:
            return [], False
        if self._readers.get(snapshot) == path:
            del self._readers[snapshot]
        if state is None or state.hash_state != STABLE or _snapshot_of(state) != snapshot:
            return names, False
        self._results[snapshot] = state
        if len(self._results) > _MOST_RESULTS:
            self._results.popitem(last=False)
        return names, True

    def drop(self, paths: Collection[bytes]) -> list[bytes]:
        """Let none of *paths* wait for an answer, nor any other wait for one about them; return these others."""
        left: list[bytes] = []
        for path in paths:
            left += self.answered(path, None)[0]
        for _, names in self._waiting.values():
            names[:] = [name for name in names if name not in paths]
        return [name for name in left if name not in paths]

    def _add(self, path: bytes, identity: Identity) -> None:
        self._names[identity] = (*self._names.get(identity, ()), path)
        self._identities[path] = identity
        self._index.add(path)

    def _remove(self, path: bytes) -> None:
        identity = self._identities.pop(path)
        self._index.discard(path)
        names = tuple(name for name in self._names[identity] if name != path)
        if names:
            self._names[identity] = names
        else:
            del self._names[identity]

    def _tell_limit(self) -> None:
        if not self._is_limit_told:
            self._is_limit_told = True
            logger.warning(
                "more than %d names of files that have several: a change through one of the others is told of the rest"
                " by the next comparison",
                MOST_NAMES,
            )


def _snapshot(status: os.stat_result) -> Snapshot:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _snapshot_of(state: FileState) -> Snapshot:
    return (state.device, state.inode, state.size, state.mtime_ns, state.ctime_ns)
