"""A baseline's sqlite database, opened: its statements, its transactions, and what its errors mean."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from auditline.workers.common.errors import StorageError
from auditline.workers.common.text import make_safe
from auditline.workers.fim.rows import Row

_LOCK_SECONDS = 1.0
"""So long another program, such as the sqlite3 shell, may hold the write lock before we give up."""
_SETTINGS = (
    # Of what others may have changed, nothing is run.
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA journal_mode = WAL",
    # A kill loses nothing, a power cut the last commits: another boot begins a new epoch.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_size_limit = 16777216",
    # Or sqlite's temporary files would come and go in a directory that may be watched.
    "PRAGMA temp_store = MEMORY",
)
_VACUUM_FROM_PAGES = 1024
_VACUUM_PAGES = 512

_PRIMARY_CODE = 0xFF
_CANNOT = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    )
)
"""The disk, the memory or another program is in the way; with all else, the database is not what it was."""


class BaselineDamaged(StorageError):
    """A baseline does not hold what was written to it: close it, and open it anew."""


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether *error* is about what the file holds, and not about a disk, memory or lock."""
    # Text that is not UTF-8 has no code.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY_CODE not in _CANNOT


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing database.

    Raises:
        sqlite3.Error: it is damaged, or cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_LOCK_SECONDS, isolation_level=None
    )
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


class Database:
    """Statements in and out of transactions; each error becomes a `StorageError` or a `BaselineDamaged`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, tell_damage: Callable[[str], None]) -> None:
        self._path = path
        self._connection = connection
        self._tell_damage = tell_damage
        self.is_writing = False
        """A transaction is open."""
        self._refusal = ""

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows that a SELECT gives."""
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._failure("cannot be read", error) from error

    def row(self, statement: str, parameters: Sequence[Any] = ()) -> Row | None:
        """Return the one row that a SELECT gives, None if there is none."""
        rows = self.rows(statement, parameters)
        return rows[0] if rows else None

    def change(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement that writes, within a transaction; return how many rows it changed."""
        if self._refusal:
            raise StorageError(self._refusal)
        try:
            return self._connection.execute(statement, parameters).rowcount
        except sqlite3.Error as error:
            raise self._refuse(error) from error

    def begin(self) -> None:
        """Open a transaction."""
        self._refusal = ""
        self._run("BEGIN IMMEDIATE")
        self.is_writing = True

    def commit(self) -> None:
        """End the transaction, and make the file smaller if much of it is unused."""
        if self._refusal:
            raise StorageError(self._refusal)
        self._shrink()
        self._run("COMMIT")
        self.is_writing = False

    def roll_back(self) -> None:
        """End the transaction as if it had not been."""
        self.is_writing = False
        self._refusal = ""
        # Sqlite may have rolled back already.
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def damaged(self, what: str) -> BaselineDamaged:
        """Return the error that says so."""
        reason = f"is damaged: {make_safe(what)}"
        self._tell_damage(reason)
        return BaselineDamaged(f"baseline {self._path} {reason}")

    def _run(self, statement: str) -> None:
        try:
            self._connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise self._refuse(error) from error

    def _refuse(self, error: sqlite3.Error) -> StorageError:
        """Let nothing more into the transaction, of which sqlite may have rolled back a part."""
        failure = self._failure("cannot be written", error)
        self._refusal = str(failure)
        return failure

    def _failure(self, what: str, error: sqlite3.Error) -> StorageError:
        if is_damage(error):
            return self.damaged(str(error))
        return StorageError(f"baseline {self._path} {what}: {error}")

    def _shrink(self) -> None:
        """Give unused pages back, some at a time, once they are many and a quarter of the file."""
        free_pages, pages = self.rows("PRAGMA freelist_count")[0][0], self.rows("PRAGMA page_count")[0][0]
        if free_pages > max(_VACUUM_FROM_PAGES, pages // 4):
            self._run(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
