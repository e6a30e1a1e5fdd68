"""The entries of a baseline that the router has not yet done, each with what `seen` becomes when it has."""

import zlib
from collections.abc import Iterator

from auditline.workers.common.file_state import FileState
from auditline.workers.fim.database import Database
from auditline.workers.fim.rows import COLUMNS, STATE_COLUMNS, Row, decode_row, encode_row

_NO_STATE: Row = (None,) * len(STATE_COLUMNS)
_CHUNK = 1000
"""Entries moved by one statement, so that one never needs much memory."""

_APPEND = f"INSERT INTO outbox VALUES ({', '.join('?' * (5 + len(STATE_COLUMNS)))})"  # noqa: S608  # constant
_READ = "SELECT directory, name, entry, entry_checksum FROM outbox WHERE id = ?"
_NEWEST = f"SELECT {COLUMNS} FROM outbox WHERE directory = ? AND name = ? ORDER BY id DESC LIMIT 1"  # noqa: S608  # constant
# Beside max(), sqlite gives the other columns of the row that has it.
_NEWEST_IN = f"SELECT {COLUMNS}, max(id) FROM outbox INDEXED BY outbox_paths WHERE directory = ? GROUP BY name"  # noqa: S608
_NEWEST_NAMES = """
    SELECT name, mode IS NOT NULL, EXISTS (SELECT 1 FROM seen WHERE directory = ?1 AND name = outbox.name), max(id)
    FROM outbox INDEXED BY outbox_paths WHERE directory = ?1 GROUP BY name
"""

_NEWEST_NUMBER = "SELECT max(id) FROM outbox WHERE directory = ? AND name = ?"
_AMEND = f"UPDATE outbox SET ({', '.join(STATE_COLUMNS)}) = ({', '.join('?' * len(STATE_COLUMNS))}) WHERE id = ?"  # noqa: S608

# By number, not by the index: these are few among many.
_CLEAR_SEEN = """
    DELETE FROM seen WHERE (directory, name) IN
    (SELECT directory, name FROM outbox NOT INDEXED WHERE id BETWEEN ? AND ? AND name IS NOT NULL)
"""
_FILL_SEEN = f"""
    INSERT INTO seen SELECT {COLUMNS} FROM
    (SELECT *, max(id) FROM outbox NOT INDEXED WHERE id BETWEEN ? AND ? AND name IS NOT NULL GROUP BY directory, name)
    WHERE mode IS NOT NULL
"""  # noqa: S608
_EMPTIED = """
    SELECT DISTINCT directory FROM outbox NOT INDEXED
    WHERE id BETWEEN ? AND ? AND name IS NOT NULL AND mode IS NULL
"""
_DELETE = "DELETE FROM outbox WHERE id BETWEEN ? AND ?"

GONE = object()
"""Of a path whose newest entry says that it is gone."""


class Outbox:
    """The table's statements; the numbers are the baseline's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, number: int, entry: bytes, place: tuple[int, bytes] | None, state: FileState | None) -> None:
        """Store an entry; when it is done, *place* (directory's id and name) has *state*, None: it is gone."""
        directory, name = place or (None, None)
        state_columns = _NO_STATE if place is None or state is None else encode_row(*place, state)[2:]
        checksum = _entry_checksum(number, directory, name, entry)
        self._database.change(_APPEND, (number, entry, checksum, directory, name, *state_columns))

    def amend(self, place: tuple[int, bytes], state: FileState | None) -> bool:
        """Let *place* have *state* when the newest entry about it is done; return False if there is none."""
        number = self._database.rows(_NEWEST_NUMBER, place)[0][0]
        if number is None:
            return False
        state_columns = _NO_STATE if state is None else encode_row(*place, state)[2:]
        self._database.change(_AMEND, (*state_columns, number))
        return True

    def read(self, number: int) -> bytes:
        """Return an entry as it was appended."""
        row = self._database.row(_READ, (number,))
        if row is None:
            raise self._database.damaged(f"entry {number} is missing")
        directory, name, entry, checksum = row
        if not isinstance(entry, bytes) or checksum != _entry_checksum(number, directory, name, entry):
            raise self._database.damaged(f"entry {number}: the checksum is wrong")
        return entry

    def newest(self, directory: int, name: bytes) -> FileState | object | None:
        """Return the newest state of a path, GONE, or None if no entry is about it."""
        row = self._database.row(_NEWEST, (directory, name))
        return None if row is None else self._state(row)

    def newest_in(self, directory: int) -> Iterator[tuple[bytes, FileState | object]]:
        """Yield name and newest state, or GONE, of all in that directory that entries are about."""
        for row in self._database.rows(_NEWEST_IN, (directory,)):
            yield row[1], self._state(row[:-1])

    def newest_names(self, directory: int) -> tuple[set[bytes], set[bytes]]:
        """Return the names in that directory that are gone, and those that are new there, by their newest entries."""
        rows = self._database.rows(_NEWEST_NAMES, (directory,))
        if not all(isinstance(row[0], bytes) for row in rows):
            raise self._database.damaged(f"an entry about something in directory {directory} has no name")
        gone = {name for name, exists, _, _ in rows if not exists}
        new = {name for name, exists, is_seen, _ in rows if exists and not is_seen}
        return gone, new

    def finish(self, first: int, last: int) -> tuple[int, set[int]]:
        """Let `seen` be what the entries from *first* to *last* say, and delete them.

        Returns by how many rows `seen` has grown, and directories that may be empty now.
        """
        grown = 0
        emptied: set[int] = set()
        for low in range(first, last + 1, _CHUNK):
            bounds = (low, min(low + _CHUNK - 1, last))
            emptied.update(row[0] for row in self._database.rows(_EMPTIED, bounds))
            grown -= self._database.change(_CLEAR_SEEN, bounds)
            grown += self._database.change(_FILL_SEEN, bounds)
            self._database.change(_DELETE, bounds)
        return grown, emptied

    def _state(self, row: Row) -> FileState | object:
        if row[2:] == _NO_STATE:
            return GONE
        try:
            return decode_row(row)
        except ValueError as error:
            raise self._database.damaged(f"an entry about {row[1]!r}: {error}") from error


def _entry_checksum(number: int, directory: int | None, name: bytes | None, entry: bytes) -> int:
    return zlib.crc32(entry, zlib.crc32(repr((number, directory, name)).encode()))
