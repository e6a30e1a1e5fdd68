"""Which directories are watched, and which cannot be."""

from auditline.workers.fim.path_tree import PathTree


class Entered:
    """The directories of one watch that were listed, and those that could not be."""

    def __init__(self) -> None:
        self._entered: set[bytes] = set()
        self.unreadable: set[bytes] = set()
        self._tree = PathTree()
        """All of these, for finding those beneath one."""

    def __contains__(self, directory: bytes) -> bool:
        return directory in self._entered

    def add(self, directory: bytes) -> None:
        """Note that *directory* is watched and listed."""
        self._entered.add(directory)
        self.unreadable.discard(directory)
        self._tree.add(directory)

    def close(self, directory: bytes) -> None:
        """Note that it cannot be read."""
        self._entered.discard(directory)
        self.unreadable.add(directory)
        self._tree.add(directory)

    def leave(self, directory: bytes) -> None:
        """Forget it and all beneath it."""
        for path in self._tree.take(directory):
            self._entered.discard(path)
            self.unreadable.discard(path)

    def move(self, old: bytes, new: bytes) -> None:
        """Let what is watched at and beneath *old* be watched at *new*; what cannot be read is to be tried again."""
        for path in self._tree.take(old):
            self.unreadable.discard(path)
            if path in self._entered:
                self._entered.remove(path)
                self.add(new + path[len(old) :])

    def is_beneath_unreadable(self, directory: bytes) -> bool:
        """Whether it, or one on the way to it, cannot be read."""
        while directory and directory not in self.unreadable:
            directory = directory.rpartition(b"/")[0]
        return directory in self.unreadable
