"""The keys of a dict that are paths, so kept that those beneath a directory are found without looking at all others."""

from collections.abc import Container, Iterator


class PathIndex:
    """Knows the paths that are `in` *members*; tell it of each that comes and of each that has gone."""

    def __init__(self, members: Container[bytes]) -> None:
        self._members = members
        # Members and directories on their way, by the directory that they lie in; none of these sets is empty.
        self._inner: dict[bytes, set[bytes]] = {}

    def add(self, path: bytes) -> None:
        """Note that *path* is a member now."""
        while path:
            parent = path.rpartition(b"/")[0]
            inner = self._inner.get(parent)
            if inner is not None:
                inner.add(path)
                return
            self._inner[parent] = {path}
            path = parent

    def discard(self, path: bytes) -> None:
        """Note that *path* is no member any more."""
        while path and path not in self._inner and path not in self._members:
            parent = path.rpartition(b"/")[0]
            inner = self._inner.get(parent)
            if inner is None:
                return
            inner.discard(path)
            if inner:
                return
            del self._inner[parent]
            path = parent

    def beneath(self, directory: bytes) -> Iterator[bytes]:
        """Yield the members beneath *directory*; none may come or go meanwhile."""
        directories = [directory]
        for outer in directories:
            for path in self._inner.get(outer, ()):
                if path in self._members:
                    yield path
                if path in self._inner:
                    directories.append(path)

    def clear(self) -> None:
        """Note that there are no members any more."""
        self._inner.clear()
