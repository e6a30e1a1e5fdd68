"""The entries of a baseline that the router has not yet done."""

import zlib

from auditline.workers.fim.database import Database


class Outbox:
    """The table's statements; the numbers are the baseline's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, number: int, entry: bytes) -> None:
        """Store an entry."""
        self._database.change("INSERT INTO outbox VALUES (?, ?, ?)", (number, entry, _checksum(number, entry)))

    def read(self, number: int) -> bytes:
        """Return an entry as it was appended."""
        row = self._database.row("SELECT entry, checksum FROM outbox WHERE id = ?", (number,))
        if row is None:
            raise self._database.damaged(f"entry {number} is missing")
        entry, checksum = row
        if not isinstance(entry, bytes) or checksum != _checksum(number, entry):
            raise self._database.damaged(f"entry {number}: the checksum is wrong")
        return entry

    def delete(self, last: int) -> None:
        """Delete the entries up to *last*."""
        self._database.change("DELETE FROM outbox WHERE id <= ?", (last,))


def _checksum(number: int, entry: bytes) -> int:
    return zlib.crc32(entry, zlib.crc32(b"%d" % number))
