"""A baseline as it is read by others than its one writer, which goes on meanwhile."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditline.workers.common.errors import StorageError
from auditline.workers.common.text import make_safe
from auditline.workers.fim.approval import NOTE, Approval
from auditline.workers.fim.approved import Approved
from auditline.workers.fim.database import SQLITE_ERRORS, Database, connect
from auditline.workers.fim.directories import Directories
from auditline.workers.fim.schema import Unusable, check_database, read_meta
from auditline.workers.fim.seen import Seen
from auditline.workers.fim.shelves import Shelves


class Reading:
    """What was seen, and what is approved."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._database = Database(path, connection, lambda _reason: None)
        directories = Directories(self._database)
        self.seen = Seen(self._database, directories)
        self.approved = Approved(self.seen, directories, Shelves(self._database, directories))
        self._meta = read_meta(connection)

    @property
    def approval(self) -> Approval | None:
        """The last one; None: nothing was ever approved."""
        return Approval.of(str(self._meta.get(f"note {NOTE}", "")))

    @property
    def transactions(self) -> int:
        """How many were committed."""
        return int(self._meta.get("transactions", 0))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


@contextmanager
def open_reading(path: Path) -> Iterator[Reading | None]:
    """Open the baseline at *path* for reading; None: there is none.

    Raises:
        StorageError: it is damaged, of another version, or cannot be read.
    """
    if not path.exists():
        yield None
        return
    reading = None
    try:
        connection = connect(path)
        try:
            connection.execute("PRAGMA query_only = ON")
            check_database(connection)
            reading = Reading(path, connection)
        except BaseException:
            connection.close()
            raise
    except Unusable as error:
        raise StorageError(f"baseline {path} {make_safe(str(error))}") from error
    except SQLITE_ERRORS as error:
        raise StorageError(f"baseline {path} cannot be read: {error}") from error
    try:
        yield reading
    finally:
        reading.close()
