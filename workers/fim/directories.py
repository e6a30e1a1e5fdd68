"""The directories of a baseline: each path is stored once, and what lies in it names it by a number.

Some have paths that begin with NUL, which no real path has: what lies in these is hidden.
"""

from collections.abc import Iterable, Iterator

from auditline.workers.fim.database import Database, in_parts
from auditline.workers.fim.rows import Row, directory_checksum

_ABOVE_THE_ROOT = b"\0"
"""The root itself lies here, so that it is not in the directory that it is."""
_LAST_HIDDEN = b"\0\xff"
_AFTER_ALL = b"\xff" * 256
"""Greater than every path, because the name of a file has at most 255 bytes."""
_MOST_REMEMBERED = 4096
_PAGE = 256

_DROP_EMPTY = """
    DELETE FROM directories WHERE path = ?1
    AND NOT EXISTS (SELECT 1 FROM seen WHERE directory = ?2)
"""
_ONE = "SELECT id, path, checksum FROM directories WHERE path = ?"
_SOME = """
    SELECT id, path, checksum FROM directories WHERE path IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_MOST_AT_ONCE = _SOME.count("?")
"""Directories that one statement looks for: each of them costs half as much as by itself."""
_LEAST_AT_ONCE = 6
_ADD = "INSERT INTO directories VALUES (?, ?, ?)"
_RENAME_ONE = "UPDATE directories SET path = ?1, checksum = directory_checksum(?1, id) WHERE path = ?2"
# What concatenation gives is text to sqlite, whatever it was before.
_RENAME_BENEATH = """
    UPDATE directories SET path = CAST(?1 || substr(path, ?2) AS BLOB),
    checksum = directory_checksum(CAST(?1 || substr(path, ?2) AS BLOB), id) WHERE path > ?3 AND path < ?4
"""


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """Return the directory and the name of *path*; the root, b"", is the nameless one in a hidden directory."""
    if not path:
        return _ABOVE_THE_ROOT, b""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def prefix_of(directory: bytes) -> bytes:
    """Return what the paths beneath *directory* begin with."""
    return directory + b"/" if directory else b""


class Directories:
    """Only those with something in them are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[bytes, int | None] = {}
        """Of directories that were asked for lately; None: there is no such directory."""
        self._missing: set[bytes] = set()
        """Paths that were looked for with others; there are no such directories."""
        self._may_be_empty: dict[bytes, int] = {}
        self._last_id: int | None = None
        """The highest that was given; None: not yet looked for."""

    def find(self, path: bytes) -> int | None:
        """Return the id of the directory *path*; None: nothing in it is known."""
        try:
            return self._ids[path]
        except KeyError:
            if path in self._missing:
                return None
            row = self._database.row(_ONE, (path,))
            return self._remember(path, None if row is None else self._check(row))

    def has(self, path: bytes) -> bool:
        """Return whether anything in a directory of that path is known; most paths asked for are none."""
        if path in self._missing:
            return False
        known = self._ids.get(path, -1)
        if known == -1:
            return self._database.row("SELECT 1 FROM directories WHERE path = ?", (path,)) is not None
        return known is not None

    def has_beneath(self, path: bytes) -> bool:
        """Return whether anything in a directory beneath that path is known."""
        return bool(self._database.rows("SELECT 1 FROM directories WHERE path > ? AND path < ? LIMIT 1", _bounds(path)))

    def is_remembered(self, path: bytes) -> bool:
        """Return whether it is known without a statement what `find` and `has` say."""
        return path in self._ids or path in self._missing

    def look_ahead(self, paths: Iterable[bytes]) -> None:
        """Find out what `find` and `has` will be asked for each of *paths*, some at a time."""
        self._missing = set()
        wanted = [path for path in paths if path not in self._ids]
        for some in in_parts(wanted, _MOST_AT_ONCE, _LEAST_AT_ONCE):
            self._missing.update(some)
            for row in self._database.rows(_SOME, some):
                directory, path = self._check(row), row[1]
                self._missing.discard(path)
                self._remember(path, directory)

    def find_or_make(self, path: bytes) -> int:
        """Return the id of the directory *path*, within a transaction."""
        known = self.find(path)
        if known is None:
            known = (self._find_last_id() if self._last_id is None else self._last_id) + 1
            self._database.change(_ADD, (path, known, directory_checksum(path, known)))
            self._last_id = known
            self._remember(path, known)
        return known

    def may_be_empty(self, path: bytes, directory: int) -> None:
        """Note that something in the directory of that path and id is deleted."""
        self._may_be_empty[path] = directory

    def drop_empty(self) -> None:
        """Delete those directories that may be empty, and to which nothing refers any more."""
        for path, directory in self._may_be_empty.items():
            if self._database.change(_DROP_EMPTY, (path, directory)):
                self._remember(path, None)
        self._may_be_empty = {}

    def rename(self, old: bytes, new: bytes) -> None:
        """Give *old* and all directories beneath it the paths they have with *new* in its place; nothing is there.

        *new* may not be beneath *old*, but for the root, which can only become a hidden one.
        """
        self._ids.clear()
        self._missing.clear()
        low, high = _bounds(old)
        self._database.change(_RENAME_ONE, (new, old))
        self._database.change(_RENAME_BENEATH, (prefix_of(new), len(prefix_of(old)) + 1, low, high))

    def beneath(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield id and path of the directory *path* and all beneath it, each before what is in it.

        Hidden ones are beneath hidden ones only.
        """
        own = self.find(path)
        if own is not None:
            yield own, path
        last, end = _bounds(path)
        # Each page anew, because the caller may write between two.
        while rows := self._page(last, end):
            for row in rows:
                directory, found = self._check(row), row[1]
                if found <= last:
                    raise self._database.damaged(f"directory {found!r} follows {last!r}")
                last = found
                yield directory, found

    def beneath_backwards(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the same, each after what is in it."""
        statement = "SELECT id, path, checksum FROM directories WHERE path > ? AND path < ? ORDER BY path DESC LIMIT ?"
        first, last = _bounds(path)
        while rows := self._database.rows(statement, (first, last, _PAGE)):
            for row in rows:
                directory, found = self._check(row), row[1]
                if found >= last:
                    raise self._database.damaged(f"directory {found!r} comes before {last!r}")
                last = found
                yield directory, found
        own = self.find(path)
        if own is not None:
            yield own, path

    def forget_ids(self) -> None:
        """Forget what is remembered: a transaction was rolled back."""
        self._ids.clear()
        self._missing.clear()
        self._may_be_empty.clear()
        self._last_id = None

    def _page(self, last: bytes, end: bytes) -> list[Row]:
        """Return the next directories behind *last* and before *end*."""
        statement = "SELECT id, path, checksum FROM directories WHERE path > ? AND path < ? ORDER BY path LIMIT ?"
        return self._database.rows(statement, (last, end, _PAGE))

    def _find_last_id(self) -> int:
        last_id = self._database.rows("SELECT coalesce(max(id), 0) FROM directories")[0][0]
        if not isinstance(last_id, int):
            raise self._database.damaged(f"a directory has the id {last_id!r}")
        return last_id

    def _check(self, row: Row) -> int:
        """Return the id in a row of id, path and checksum."""
        directory, path, checksum = row
        if (
            not isinstance(directory, int)
            or not isinstance(path, bytes)
            or checksum != directory_checksum(path, directory)
        ):
            raise self._database.damaged(f"directory {path!r}: the checksum is wrong")
        return directory

    def _remember(self, path: bytes, directory: int | None) -> int | None:
        if len(self._ids) >= _MOST_REMEMBERED:
            self._ids.clear()
        self._ids[path] = directory
        self._missing.discard(path)
        return directory


def _bounds(path: bytes) -> tuple[bytes, bytes]:
    """Return what is less than all beneath *path*, and what is greater; b"/" is followed by b"0"."""
    return (path + b"/", path + b"0") if path else (_LAST_HIDDEN, _AFTER_ALL)
