"""Makes, writes, renames and removes files and directories at random, as fast as it can.

usage: storm.py DIRECTORY DIRECTORIES COUNT SEED WHO

Several of these work in the same directories and take one another's files away: what fails is passed over.
"""

import os
import random
import sys
from contextlib import suppress

FILES = 12
"""So many names there are in each directory: they are used again and again."""


class Storm:
    """One process's part."""

    def __init__(self, root: str, directories: int, seed: int, who: str) -> None:
        self._root = root
        self._directories = directories
        self._chance = random.Random(f"{seed} {who}")
        self._who = who
        self._count = 0

    def blow(self, count: int) -> None:
        """Do *count* things."""
        weights = {
            self.create: 30,
            self.write: 25,
            self.rename: 20,
            self.replace: 8,
            self.remove: 12,
            self.change_mode: 2,
            self.link: 1,
            self.rename_directory: 1,
            self.remake_directory: 1,
        }
        for way in self._chance.choices(list(weights), list(weights.values()), k=count):
            self._count += 1
            with suppress(OSError):
                way()

    def create(self) -> None:
        """Make a file."""
        with open(self._path(), "xb") as file:
            file.write(self._content())

    def write(self) -> None:
        """Write at the end of one, or write it anew."""
        path = self._path()
        os.stat(path)
        with open(path, self._chance.choice(("ab", "r+b"))) as file:
            file.write(self._content())

    def rename(self) -> None:
        """Give one another name, perhaps in another directory, perhaps that of another file."""
        os.rename(self._path(), self._path())

    def replace(self) -> None:
        """Write a file that is renamed then."""
        new = f"{self._directory()}/.{self._who}.tmp"
        with open(new, "wb") as file:
            file.write(self._content())
        os.rename(new, self._path())

    def remove(self) -> None:
        """Remove one."""
        os.unlink(self._path())

    def change_mode(self) -> None:
        """Give one another mode."""
        os.chmod(self._path(), self._chance.choice((0o600, 0o640, 0o644)))

    def link(self) -> None:
        """Make a symbolic link."""
        os.symlink(f"{self._who}-{self._count}", self._path())

    def rename_directory(self) -> None:
        """Give a directory another name, which may be back to what it was."""
        number = self._chance.randrange(self._directories)
        one, other = f"{self._root}/{number}", f"{self._root}/{number}-moved"
        with suppress(FileNotFoundError):
            os.rename(one, other)
            return
        os.rename(other, one)

    def remake_directory(self) -> None:
        """Make one within another, or remove it if it is there."""
        path = f"{self._directory()}/inner"
        try:
            os.mkdir(path)
        except FileExistsError:
            for name in os.listdir(path):
                os.unlink(f"{path}/{name}")
            os.rmdir(path)
        else:
            with open(f"{path}/file", "xb") as file:
                file.write(self._content())

    def _directory(self) -> str:
        return f"{self._root}/{self._chance.randrange(self._directories)}"

    def _path(self) -> str:
        return f"{self._directory()}/{self._chance.randrange(FILES)}"

    def _content(self) -> bytes:
        return b"%s %d " % (self._who.encode(), self._count) * self._chance.randrange(1, 40)


def main() -> None:
    """Do it."""
    root, directories, count, seed, who = sys.argv[1:]
    Storm(root, int(directories), int(seed), who).blow(int(count))


if __name__ == "__main__":
    main()
