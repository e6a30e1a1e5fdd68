"""Paths of directories, so kept that those beneath one are found without looking at all others."""

from collections.abc import Iterable


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of a directory's entry; b"" is the root."""
    return directory + b"/" + name if directory else name


class PathTree:
    """A set of relative paths; to take one takes time for what lies beneath it, not for all."""

    def __init__(self) -> None:
        self._children: dict[bytes, set[bytes]] = {}

    def add(self, path: bytes) -> None:
        """Remember *path*, and that it lies beneath each directory on its way."""
        while path:
            parent = path.rpartition(b"/")[0]
            children = self._children.setdefault(parent, set())
            if path in children:
                return
            children.add(path)
            path = parent

    def take(self, path: bytes) -> list[bytes]:
        """Forget *path* and what lies beneath it, and return all of it; directories on the way may be among it."""
        taken = [path]
        for directory in taken:
            taken += self._children.pop(directory, ())
        if path:
            self._unlink(path)
        return taken

    def _unlink(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        siblings = self._children.get(parent, set())
        siblings.discard(path)
        if not siblings:
            self._children.pop(parent, None)


def moved(paths: Iterable[bytes], old: bytes, new: bytes) -> set[bytes]:
    """Return *paths* as they are when what is at *old* and beneath it is at *new*."""
    return {new + path[len(old) :] if is_in(path, old) else path for path in paths}


def is_in(path: bytes, directory: bytes) -> bool:
    """Whether *path* is *directory* or lies beneath it; both relative to the root, which is b""."""
    return not directory or path == directory or path.startswith(directory + b"/")
