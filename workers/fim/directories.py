"""The directories of a baseline: each path is stored once, and what lies in it names it by a number."""

from collections.abc import Iterable, Iterator

from auditline.workers.fim.database import Database
from auditline.workers.fim.rows import Row

_MOST_REMEMBERED = 4096
_PAGE = 256

_DROP_EMPTY = """
    DELETE FROM directories WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM seen WHERE directory = ?1)
    AND NOT EXISTS (SELECT 1 FROM approved WHERE directory = ?1)
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE directory = ?1)
"""


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """Return the directory and the name of *path*; the root, b"", is the nameless one in itself."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


class Directories:
    """Only those with something in them are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[bytes, int] = {}

    def find(self, path: bytes) -> int | None:
        """Return the id of the directory *path*; None: nothing in it is known."""
        known = self._ids.get(path)
        if known is None:
            row = self._database.row("SELECT id FROM directories WHERE path = ?", (path,))
            if row is None:
                return None
            known = self._remember(path, row[0])
        return known

    def find_or_make(self, path: bytes) -> int:
        """Return the id of the directory *path*, within a transaction."""
        known = self.find(path)
        if known is None:
            self._database.change("INSERT INTO directories (path) VALUES (?)", (path,))
            known = self._remember(path, self._database.rows("SELECT last_insert_rowid()")[0][0])
        return known

    def drop_empty(self, ids: Iterable[int]) -> None:
        """Delete those of *ids* that nothing refers to any more."""
        for directory in ids:
            if self._database.change(_DROP_EMPTY, (directory,)):
                self._ids.clear()

    def beneath(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield id and path of the directory *path* and all beneath it, each before what is in it."""
        own = self.find(path)
        if own is not None:
            yield own, path
        last, end = (path + b"/", path + b"0") if path else (b"", None)
        # Each page anew, because the caller may write between two.
        while rows := self._page(last, end):
            for directory, found in rows:
                if not isinstance(found, bytes) or found <= last:
                    raise self._database.damaged(f"directory {found!r} follows {last!r}")
                last = found
                yield directory, found

    def forget_ids(self) -> None:
        """Forget what is remembered: a transaction was rolled back."""
        self._ids.clear()

    def _page(self, last: bytes, end: bytes | None) -> list[Row]:
        """Return the next directories behind *last*; b"/" is followed by b"0", so *end* ends what is beneath one."""
        statement = (
            "SELECT id, path FROM directories WHERE path > ?1 AND (?2 IS NULL OR path < ?2) ORDER BY path LIMIT ?3"
        )
        return self._database.rows(statement, (last, end, _PAGE))

    def _remember(self, path: bytes, directory: int) -> int:
        if len(self._ids) >= _MOST_REMEMBERED:
            self._ids.clear()
        self._ids[path] = directory
        return directory
