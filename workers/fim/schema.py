"""The tables of a baseline's database: how a new one is made, and whether one that was found is whole and ours."""

import os
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

VERSION = 6
APPLICATION_ID = 0x41444C42
"""Marks the file as ours, for `file` and for people: "ADLB"."""
FILE_MODE = 0o640

# A table whose rows are not to follow `seen` when directories are renamed, hidden by a mount or dropped (states that a
# person has approved, say) needs directories of its own: all that refers to these goes with them.
# No column has a type but where text is stored: a type would make sqlite convert what a damaged row holds.
_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value, checksum) WITHOUT ROWID",
    "CREATE TABLE directories (path PRIMARY KEY CHECK (typeof(path) = 'blob'), id, checksum) WITHOUT ROWID",
    "CREATE TABLE seen (directory, name, state, PRIMARY KEY (directory, name)) WITHOUT ROWID",
    "CREATE TABLE shelves (id INTEGER PRIMARY KEY, key UNIQUE)",
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, last_entry, payload, checksum)",
)
STORE_META = "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)"
_READ_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"

MetaValue = int | str | bytes
Meta = dict[str, MetaValue]


class Unusable(Exception):
    """A database that was found cannot be used; the text says why, as the rest of a sentence about it."""


def make_database(path: Path, meta: Mapping[str, MetaValue]) -> None:
    """Make an empty database with *meta* at *path*; it is there as a whole or not at all.

    Raises:
        OSError, sqlite3.Error: it cannot be made.
    """
    new_path = path.with_name(f"{path.name}.new")
    new_path.unlink(missing_ok=True)
    new_path.with_name(f"{new_path.name}-journal").unlink(missing_ok=True)
    os.close(os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    with closing(sqlite3.connect(new_path, isolation_level=None)) as connection:
        # Before the first table, or it would have no effect.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("BEGIN")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        for statement in _TABLES:
            connection.execute(statement)
        connection.executemany(STORE_META, [meta_row(name, value) for name, value in meta.items()])
        connection.execute("COMMIT")
    os.replace(new_path, path)


def check_database(connection: sqlite3.Connection) -> None:
    """Look whether all that a database holds is well-formed and as `make_database` made it.

    What rows say is checked by their checksums when they are read.

    Raises:
        Unusable: it is not.
        sqlite3.Error: it is damaged, or cannot be read.
    """
    [(application,)] = connection.execute("PRAGMA application_id")
    [(version,)] = connection.execute("PRAGMA user_version")
    if application != APPLICATION_ID:
        raise Unusable("is no baseline")
    if version != VERSION:
        raise Unusable(f"is of version {version}, not {VERSION}")
    with closing(sqlite3.connect(":memory:")) as model:
        for statement in _TABLES:
            model.execute(statement)
        if connection.execute(_READ_SCHEMA).fetchall() != model.execute(_READ_SCHEMA).fetchall():
            raise Unusable("has other tables")
    # Not quick_check: only the long form, which takes hardly longer, sees rows that are not in their order.
    [(result,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if result != "ok":
        raise Unusable(f"is damaged: {str(result).splitlines()[-1]}")


def read_meta(connection: sqlite3.Connection) -> Meta:
    """Return all that was stored.

    Raises:
        Unusable: it does not hold what was stored.
    """
    meta: Meta = {}
    for name, value, checksum in connection.execute("SELECT name, value, checksum FROM meta"):
        if checksum != _checksum(name, value):
            raise Unusable(f"is damaged: the checksum of {str(name)!r} is wrong")
        meta[name] = value
    return meta


def meta_row(name: str, value: MetaValue) -> tuple[str, MetaValue, int]:
    """Return the row of `STORE_META`."""
    return name, value, _checksum(name, value)


def _checksum(*values: object) -> int:
    return zlib.crc32(repr(values).encode())
