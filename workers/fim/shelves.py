"""What was known beneath a directory that is hidden by now: put on a shelf, and taken back when it shows again.

To put it there is to rename its directories to hidden ones. What is dropped is hidden for good at once, and deleted a
part at a time, because a tree may have a million files.
"""

import secrets

from auditline.workers.fim.database import Database
from auditline.workers.fim.directories import Directories

MOST_SHELVES = 32
_SHELF = b"\0shelf/%d"
_PASSAGE = b"\0passage"
"""Where a directory is for a moment that moves to a place within or around it."""
_DROPPED = b"\0dropped"
_MOST_AT_ONCE = 2000
"""Rows deleted in one transaction."""

_DELETE_ROWS = """
    DELETE FROM seen WHERE (directory, name) IN (SELECT directory, name FROM seen WHERE directory = ? LIMIT ?)
"""
_TOO_OLD = "SELECT key FROM shelves ORDER BY id DESC LIMIT -1 OFFSET ?"


class Shelves:
    """Moves directories with all that is known in and beneath them; call it within a transaction."""

    def __init__(self, database: Database, directories: Directories) -> None:
        self._database = database
        self._directories = directories
        self._has_dropped = True
        """Something may be left to be deleted."""

    def move(self, old: bytes, new: bytes) -> None:
        """Let what is known in and beneath *old* be known in and beneath *new* instead, and nothing else there."""
        self._directories.rename(old, _PASSAGE)
        self._drop(new)
        self._directories.rename(_PASSAGE, new)

    def exchange(self, one: bytes, other: bytes) -> None:
        """Let what is known in and beneath each of them be known in and beneath the other instead."""
        self._directories.rename(one, _PASSAGE)
        self._directories.rename(other, one)
        self._directories.rename(_PASSAGE, other)

    def put(self, directory: bytes, key: bytes) -> None:
        """Put all that is known in and beneath *directory* on the shelf *key*; what was there is dropped."""
        self._drop_shelf(key)
        self._database.change("INSERT INTO shelves (key) VALUES (?)", (key,))
        number = self._database.rows("SELECT last_insert_rowid()")[0][0]
        self._directories.rename(directory, _SHELF % number)
        for row in self._database.rows(_TOO_OLD, (MOST_SHELVES,)):
            self._drop_shelf(row[0])

    def take(self, directory: bytes, key: bytes) -> bool:
        """Let what is on the shelf *key* be all that is known in and beneath *directory*; False: there is none."""
        row = self._database.row("SELECT id FROM shelves WHERE key = ?", (key,))
        if row is None:
            return False
        self._drop(directory)
        self._directories.rename(_SHELF % row[0], directory)
        self._database.change("DELETE FROM shelves WHERE id = ?", (row[0],))
        return True

    def drop(self, directory: bytes) -> None:
        """Let nothing be known any more in and beneath *directory*, however much it is."""
        self._drop(directory)

    def delete_some(self) -> None:
        """Delete a part of what was dropped."""
        if not self._has_dropped:
            return
        left = _MOST_AT_ONCE
        for directory, path in self._directories.beneath(_DROPPED):
            left -= self._database.change(_DELETE_ROWS, (directory, left))
            if left <= 0:
                return
            self._directories.may_be_empty(path, directory)
            self._directories.drop_empty()
        self._has_dropped = False

    def is_rolled_back(self) -> None:
        """Know that nothing of a transaction is left."""
        self._has_dropped = True

    def _drop_shelf(self, key: bytes) -> None:
        """Drop the shelf *key*, if there is one."""
        row = self._database.row("SELECT id FROM shelves WHERE key = ?", (key,))
        if row is not None:
            self._drop(_SHELF % row[0])
            self._database.change("DELETE FROM shelves WHERE id = ?", (row[0],))

    def _drop(self, directory: bytes) -> None:
        self._directories.rename(directory, b"%b/%b" % (_DROPPED, secrets.token_hex(8).encode()))
        self._has_dropped = True
