"""Which path each watched directory has: by its key, which is what the kernel tells, and by its path."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from auditline.workers.fim.path_tree import PathTree

Key = TypeVar("Key", bound=Hashable)


class WatchedPaths(Generic[Key]):
    """Keys and relative paths; a directory that is mounted twice has several paths."""

    def __init__(self) -> None:
        self.first: dict[Key, bytes] = {}
        """The path of each key, or the first of them; `paths_of` gives all."""
        self._others: dict[Key, list[bytes]] = {}
        self._keys: dict[bytes, Key] = {}
        self._tree = PathTree()

    def __len__(self) -> int:
        return len(self.first)

    def __contains__(self, path: bytes) -> bool:
        return path in self._keys

    def key_of(self, path: bytes) -> Key | None:
        """Return the key of a path; None if that is unknown."""
        return self._keys.get(path)

    def paths_of(self, key: Key) -> list[bytes]:
        """Return all paths of a key; none if it is unknown."""
        first = self.first.get(key)
        return [] if first is None else [first, *self._others.get(key, ())]

    def link(self, path: bytes, key: Key) -> Key | None:
        """Note that *path* is that of *key*; return the key that has lost its last path by that."""
        old = self._keys.get(path)
        if old == key:
            return None
        orphan = None if old is None else self.unlink(path)
        self._keys[path] = key
        self._tree.add(path)
        if key in self.first:
            self._others.setdefault(key, []).append(path)
        else:
            self.first[key] = path
        return orphan

    def take(self, path: bytes) -> dict[Key, bytes]:
        """Forget *path* and all beneath it; return the keys that have no path any more, with the last they had."""
        orphans = ((self.unlink(inner), inner) for inner in self._tree.take(path))
        return {key: inner for key, inner in orphans if key is not None}

    def drop(self, key: Key) -> list[bytes]:
        """Forget a key; return the paths that it had. What lies beneath stays."""
        paths = self.paths_of(key)
        for path in paths:
            del self._keys[path]
        self.first.pop(key, None)
        self._others.pop(key, None)
        return paths

    def move(self, old: bytes, new: bytes) -> None:
        """Let *old* and all beneath it lie at *new*, where nothing is; unknown ones are no error."""
        for path in self._tree.take(old):
            key = self._keys.pop(path, None)
            if key is None:
                continue
            moved = new + path[len(old) :]
            self._keys[moved] = key
            self._tree.add(moved)
            if self.first[key] == path:
                self.first[key] = moved
            else:
                self._others[key] = [moved if other == path else other for other in self._others[key]]

    def unlink(self, path: bytes) -> Key | None:
        """Forget one path; return its key if that has none any more. Unknown ones are no error."""
        key = self._keys.pop(path, None)
        if key is None:
            return None
        paths = [other for other in self.paths_of(key) if other != path]
        self._others.pop(key, None)
        if not paths:
            del self.first[key]
            return key
        self.first[key] = paths[0]
        if len(paths) > 1:
            self._others[key] = paths[1:]
        return None
