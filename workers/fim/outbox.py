"""The entries of a baseline that the router has not yet done, in batches of one transaction's entries each."""

import zlib
from typing import NamedTuple

from auditline.workers.common.file_entry import Actor, Entry, FileChange, encode_entry, join_entries
from auditline.workers.fim.database import Database

MOST_BATCH_ENTRIES = 256
MOST_BATCH_BYTES = 1 << 18
"""With so many entries, or at least so many bytes, a batch is closed."""
# Beside max(), sqlite gives the other columns of the row that has it.
_LAST = "SELECT count(*), max(id), last_entry FROM outbox"


class Position(NamedTuple):
    """An end of a batch."""

    number: int
    """The batch's."""
    entry: int
    """That of its last entry, counted through all batches."""


class Outbox:
    """Gathers the entries of a transaction and numbers them; call it within one, but to read."""

    def __init__(self, database: Database, done: Position) -> None:
        """Go on behind what is stored; *done* is the last batch that is not."""
        self._database = database
        [(count, last_number, last_entry)] = database.rows(_LAST)
        self.last = Position(last_number, last_entry) if count else done
        """The last batch that is committed."""
        self._appended = self.last
        self._begin_batch()

    def _begin_batch(self) -> None:
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._last_actor: Actor | None = None

    @property
    def appended_entries(self) -> int:
        """The number of the last entry, committed or not."""
        return self._appended.entry + len(self._gathered)

    def append(self, entry: Entry) -> None:
        """Put an entry into the batch that is being made."""
        encoded = encode_entry(entry, self._last_actor)
        if isinstance(entry, FileChange):
            self._last_actor = entry.actor
        self._gathered.append(encoded)
        self._gathered_bytes += len(encoded)
        if len(self._gathered) >= MOST_BATCH_ENTRIES or self._gathered_bytes >= MOST_BATCH_BYTES:
            self.close_batch()

    def close_batch(self) -> None:
        """Store the batch that is being made."""
        if not self._gathered:
            return
        number, last_entry = self._appended.number + 1, self.appended_entries
        payload = join_entries(self._gathered)
        checksum = _checksum(number, last_entry, payload)
        self._database.change("INSERT INTO outbox VALUES (?, ?, ?, ?)", (number, last_entry, payload, checksum))
        self._appended = Position(number, last_entry)
        self._begin_batch()

    def is_committed(self) -> None:
        """Let others know of what was appended."""
        self.last = self._appended

    def is_rolled_back(self) -> None:
        """Know that nothing of a transaction is left."""
        self._appended = self.last
        self._begin_batch()

    def read(self, number: int) -> bytes:
        """Return a batch as it was stored."""
        row = self._database.row("SELECT last_entry, payload, checksum FROM outbox WHERE id = ?", (number,))
        if row is None:
            raise self._database.damaged(f"batch {number} is missing")
        last_entry, payload, checksum = row
        if not isinstance(payload, bytes) or checksum != _checksum(number, last_entry, payload):
            raise self._database.damaged(f"batch {number}: the checksum is wrong")
        return payload

    def position(self, number: int) -> Position:
        """Return where a batch that is kept ends."""
        row = self._database.row("SELECT last_entry FROM outbox WHERE id = ?", (number,))
        if row is None or not isinstance(row[0], int):
            raise self._database.damaged(f"batch {number} is missing")
        return Position(number, row[0])

    def delete(self, last: int) -> None:
        """Delete the batches up to *last*."""
        self._database.change("DELETE FROM outbox WHERE id <= ?", (last,))


def _checksum(number: int, last_entry: object, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(repr((number, last_entry)).encode()))
