"""A baseline's sqlite database, opened: its statements, its transactions, and what its errors mean."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from auditline.workers.common.errors import StorageError
from auditline.workers.common.text import make_safe
from auditline.workers.fim.rows import Row, directory_checksum

_LOCK_SECONDS = 1.0
"""So long another program, such as the sqlite3 shell, may hold the write lock before we give up."""
_SETTINGS = (
    # Of what others may have changed, nothing is run.
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    # A kill loses nothing, a power cut the last commits: another boot begins a new epoch.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_size_limit = 4194304",
    # Or sqlite's temporary files would come and go in a directory that may be watched.
    "PRAGMA temp_store = MEMORY",
)
T = TypeVar("T")

_VACUUM_FROM_PAGES = 1024
"""Unused; fewer are sooner used again."""

PRIMARY_CODE = 0xFF
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


SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the module raises; the second when the text of an error quotes a damaged name."""


class BaselineDamaged(StorageError):
    """A baseline does not hold what was written to it: close it, and open it anew."""


def is_damage(error: Exception) -> bool:
    """Say whether *error* is about what the file holds, and not about a disk, memory or lock."""
    # Text that is not UTF-8 has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code == sqlite3.SQLITE_READONLY_DBMOVED or code & PRIMARY_CODE not in _CANNOT


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing database, for reading at first: see `let_write`.

    Raises:
        sqlite3.Error: it is damaged, or cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_LOCK_SECONDS, isolation_level=None
    )
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
        connection.create_function("directory_checksum", 2, directory_checksum, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def let_write(connection: sqlite3.Connection) -> None:
    """Let others read while we write; changes a database in which that was not set."""
    connection.execute("PRAGMA journal_mode = WAL")


def in_parts(values: Sequence[T], most: int, least: int) -> Iterator[list[T]]:
    """Yield *values* in lists of *most*, for statements that take so many; the last one is filled up with its last.

    If fewer than *least* are left, these are left out: each is looked for by itself in less time.
    """
    for start in range(0, len(values) - least + 1, most):
        part = [*values[start : start + most]]
        yield part + part[-1:] * (most - len(part))


class Database:
    """Statements in and out of transactions; each error becomes a `StorageError` or a `BaselineDamaged`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, tell_damage: Callable[[str], None]) -> None:
        self.path = path
        self._connection = connection
        self._tell_damage = tell_damage
        self.is_writing = False
        """A transaction is open."""
        self._refusal: StorageError | None = None

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows that a SELECT gives."""
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except SQLITE_ERRORS as error:
            raise self._failure("cannot be read", error) from error

    def each(self, statement: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Yield the rows that a SELECT gives; nothing may be written meanwhile."""
        try:
            yield from self._connection.execute(statement, parameters)
        except SQLITE_ERRORS as error:
            raise self._failure("cannot be read", error) from error

    def row(self, statement: str, parameters: Sequence[Any] = ()) -> Row | None:
        """Return the one row that a SELECT gives, None if there is none."""
        rows = self.rows(statement, parameters)
        return rows[0] if rows else None

    def change(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement that writes, within a transaction; return how many rows it changed."""
        if self._refusal:
            raise self._refusal
        try:
            return self._connection.execute(statement, parameters).rowcount
        except SQLITE_ERRORS as error:
            raise self._refuse(error) from error

    def change_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement that writes once for each of *rows*, within a transaction."""
        if self._refusal:
            raise self._refusal
        try:
            self._connection.executemany(statement, rows)
        except SQLITE_ERRORS as error:
            raise self._refuse(error) from error

    def begin(self) -> None:
        """Open a transaction."""
        self._refusal = None
        self._run("BEGIN IMMEDIATE")
        self.is_writing = True

    def commit(self) -> None:
        """End the transaction."""
        if self._refusal:
            raise self._refusal
        self._run("COMMIT")
        self.is_writing = False

    def roll_back(self) -> None:
        """End the transaction as if it had not been."""
        self.is_writing = False
        self._refusal = None
        # Sqlite may have rolled back already.
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def shrink(self) -> None:
        """Give pages back that nothing uses, once they are many and a quarter of the file; a part of them each time.

        Out of transactions. A database would otherwise never become smaller.
        """
        try:
            [(free_pages,)] = self._connection.execute("PRAGMA freelist_count")
            [(pages,)] = self._connection.execute("PRAGMA page_count")
            if free_pages > max(_VACUUM_FROM_PAGES, pages // 4):
                # Only a script takes more than the first step of this statement, which frees one page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({free_pages // 4})")
        except SQLITE_ERRORS as error:
            # On a full disk there is no room for this either, and nothing is lost.
            if is_damage(error):
                raise self._failure("cannot be made smaller", error) from error

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def damaged(self, what: str) -> BaselineDamaged:
        """Return the error that says so."""
        reason = f"is damaged: {make_safe(what)}"
        self._tell_damage(reason)
        return BaselineDamaged(f"baseline {self.path} {reason}")

    def _run(self, statement: str) -> None:
        try:
            self._connection.execute(statement).fetchall()
        except SQLITE_ERRORS as error:
            raise self._refuse(error) from error

    def _refuse(self, error: Exception) -> StorageError:
        """Let nothing more into the transaction, of which sqlite may have rolled back a part."""
        self._refusal = self._failure("cannot be written", error)
        return self._refusal

    def _failure(self, what: str, error: Exception) -> StorageError:
        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
            # A mistake of ours, not the file's.
            raise error
        if is_damage(error):
            return self.damaged(str(error))
        return StorageError(f"baseline {self.path} {what}: {error}")
