"""The table `seen`: one state per path, written in the order of its rows, and read with what is not yet written."""

from collections.abc import Collection, Iterator
from itertools import chain

from auditline.workers.common.file_state import FileState
from auditline.workers.fim.database import Database, in_parts
from auditline.workers.fim.directories import Directories, prefix_of, split_path
from auditline.workers.fim.rows import Row, decode_row, encode_state

_MOST_UNWRITTEN = 4096
_NAMES_AT_ONCE = 1000
_BEFORE_ALL = float("-inf")
"""Less than all that a damaged row may have for a name: it is to be found, too."""

_STORE = "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)"
_REMOVE = "DELETE FROM seen WHERE directory = ? AND name = ?"
_ONE = "SELECT state FROM seen WHERE directory = ? AND name = ?"
_SOME = """
    WITH wanted (directory, name) AS (VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?),
    (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?))
    SELECT directory, name, state FROM wanted CROSS JOIN seen USING (directory, name)
"""
_MOST_AT_ONCE = _SOME.count("(?, ?)")
"""Rows that one statement looks for: each of them costs half as much as by itself."""
_LEAST_AT_ONCE = 6
_PAGE_OF = "SELECT directory, name, state FROM seen WHERE directory = ? AND name > ? ORDER BY name LIMIT ?"
_NAMES_OF = "SELECT name FROM seen WHERE directory = ? AND name > ? ORDER BY name LIMIT ?"
_COUNT = """
    SELECT count(*) FROM seen WHERE directory IN
    (SELECT id FROM directories WHERE path = x'00' OR path NOT BETWEEN x'00' AND x'00ff')
"""


class Seen:
    """Paths are relative to the root; to write, call it within a transaction, and `write` before its end.

    A row costs half as much when it is written with others, and one page has place for some of a directory.
    """

    def __init__(self, database: Database, directories: Directories) -> None:
        self._database = database
        self._directories = directories
        self._unwritten: dict[tuple[int, bytes], bytes | None] = {}
        """States by directory and name; None: nothing is there any more."""
        self._ahead: dict[tuple[int, bytes], bytes | None] = {}
        """What was read because it will be asked for, likewise."""

    def get(self, path: bytes) -> FileState | None:
        """Return the state of *path*, None if there is none."""
        directory_path, name = split_path(path)
        directory = self._directories.find(directory_path)
        if directory is None:
            return None
        place = directory, name
        for packed_states in (self._unwritten, self._ahead):
            if place in packed_states:
                packed = packed_states[place]
                return None if packed is None else self._state((directory, name, packed))
        row = self._database.row(_ONE, place)
        return None if row is None else self._state((directory, name, row[0]))

    def look_ahead(self, paths: Collection[bytes]) -> None:
        """Read what `get`, and `Directories.has`, will be asked for each of *paths*, some at a time."""
        self._ahead = {}
        places = [split_path(path) for path in paths]
        self._directories.look_ahead({*paths, *(directory_path for directory_path, _ in places)})
        wanted = []
        for directory_path, name in places:
            directory = self._directories.find(directory_path)
            if directory is not None and (directory, name) not in self._unwritten:
                wanted.append((directory, name))
        for some in in_parts(wanted, _MOST_AT_ONCE, _LEAST_AT_ONCE):
            self._ahead.update(dict.fromkeys(some))
            for directory, name, packed in self._database.rows(_SOME, [*chain.from_iterable(some)]):
                self._ahead[directory, name] = packed

    def page_of(self, directory_path: bytes, after: bytes, most: int) -> list[tuple[bytes, FileState]]:
        """Return the first *most* names greater than *after* in a directory, in their order, with their states."""
        directory = self._directories.find(directory_path)
        if directory is None:
            return []
        self.write()
        return [
            (row[1], self._state(row)) for row in self._database.each(_PAGE_OF, (directory, after or _BEFORE_ALL, most))
        ]

    def beneath(self, directory_path: bytes) -> Iterator[bytes]:
        """Yield the paths beneath a directory, each directory before what is in it; the caller may write meanwhile."""
        self.write()
        for directory, path in self._directories.beneath(directory_path):
            prefix = prefix_of(path)
            for name in self._names_of(directory):
                yield prefix + name

    def beneath_backwards(self, directory_path: bytes) -> Iterator[bytes]:
        """Yield the same, each directory after what is in it."""
        self.write()
        for directory, path in self._directories.beneath_backwards(directory_path):
            prefix = prefix_of(path)
            for name in self._names_of(directory):
                yield prefix + name

    def count(self) -> int:
        """Return how many states there are, those on shelves apart."""
        self.write()
        count: int = self._database.rows(_COUNT)[0][0]
        return count

    def put(self, path: bytes, state: FileState | None) -> None:
        """Let *path* have *state*, None: nothing is there."""
        directory_path, name = split_path(path)
        if state is not None:
            directory = self._directories.find_or_make(directory_path)
            self._unwritten[directory, name] = encode_state(directory, name, state)
        else:
            known_directory = self._directories.find(directory_path)
            if known_directory is None:
                return
            self._unwritten[known_directory, name] = None
            self._directories.may_be_empty(directory_path, known_directory)
        if len(self._unwritten) >= _MOST_UNWRITTEN:
            self.write()

    def write(self) -> None:
        """Write what is not yet written, and drop directories in which nothing is left."""
        if not self._unwritten:
            return
        rows = sorted((*place, packed) for place, packed in self._unwritten.items())
        self._unwritten, self._ahead = {}, {}
        self._database.change_many(_REMOVE, [row[:2] for row in rows if row[2] is None])
        self._database.change_many(_STORE, [row for row in rows if row[2] is not None])
        self._directories.drop_empty()

    def is_rolled_back(self) -> None:
        """Know that nothing of a transaction is left."""
        self._unwritten, self._ahead = {}, {}

    def _names_of(self, directory: int) -> Iterator[bytes]:
        last = b""
        # Each page anew, because the caller may write between two.
        while rows := self._database.rows(_NAMES_OF, (directory, last or _BEFORE_ALL, _NAMES_AT_ONCE)):
            for (name,) in rows:
                if not isinstance(name, bytes) or name <= last:
                    raise self._database.damaged(f"{name!r} follows {last!r} in directory {directory}")
                last = name
                yield name
            self.write()

    def _state(self, row: Row) -> FileState:
        try:
            return decode_row(row)
        except ValueError as error:
            raise self._database.damaged(f"the row of {row[1]!r}: {error}") from error
