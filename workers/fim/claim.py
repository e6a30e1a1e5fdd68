"""The small file beside a baseline: locked by its one writer, and knowing what the database cannot know of itself.

A database whose write-ahead log was damaged, or for which somebody put an older copy, is whole and merely older: it
would give numbers a second time. So its transactions are counted, in itself and here. What was found to be damaged is
written here as well, so that the next start, whenever it can, puts the database aside and says why.

One block, written in place, because that needs no room on a full disk:

    epoch 16 hex digits, space, transactions 20 digits, newline, why the database is damaged, newline, spaces
"""

import fcntl
import logging
import os
import re
from pathlib import Path

from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.text import make_safe

logger = logging.getLogger(__name__)

_FILE_MODE = 0o640
_BLOCK_BYTES = 4096
_MOST_REASON_BYTES = 1024
_CONTENT = re.compile(rb"([0-9a-f]{16}) ([0-9]{20})\n([^\n]*)\n *")
_NO_EPOCH = b"0" * 16
_UNKNOWN = _NO_EPOCH + b" " + b"0" * 20


class Claim:
    """What the file says, and the lock on it while it is open."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at *path*, and lock it.

        Raises:
            BusyError: another process has locked it.
            StorageError: it cannot be opened, made or read.
        """
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise StorageError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = os.pread(self._fd, _BLOCK_BYTES, 0)
        except BlockingIOError as error:
            os.close(self._fd)
            raise BusyError(f"baseline {path.stem} is in use by another process") from error
        except OSError as error:
            os.close(self._fd)
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        match = _CONTENT.fullmatch(content)
        self.epoch = match[1].decode() if match and match[1] != _NO_EPOCH else ""
        """Of the database beside it; "" if the file does not say."""
        self.transactions = int(match[2]) if match else 0
        """How many were committed, as far as was told."""
        self.damage = match[3].decode(errors="replace") if match else ""
        """Why the database is to be put aside."""
        self._has_failed = False
        if not match:
            self._write(_block(_UNKNOWN, ""))

    def tell(self, epoch: str, transactions: int) -> None:
        """Keep the database's present epoch and how many transactions were committed."""
        self._write(b"%b %020d" % (epoch.encode(), transactions))

    def tell_damage(self, reason: str) -> None:
        """Keep why the database must not be used again, until `begin`."""
        self.damage = reason
        self._write(_block(_UNKNOWN, reason))

    def begin(self, epoch: str) -> None:
        """Keep that there is a new database of that epoch."""
        self.epoch, self.transactions, self.damage = epoch, 0, ""
        self._write(_block(b"%b %020d" % (epoch.encode(), 0), ""))

    def close(self) -> None:
        """Let go of the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, content: bytes) -> None:
        """Write at the beginning; a failure is told once, because it costs only what this file protects from."""
        try:
            os.pwrite(self._fd, content, 0)
        except OSError as error:
            if not self._has_failed:
                logger.warning("%s: cannot be written: %s", self._path, error.strerror)
            self._has_failed = True


def _block(head: bytes, reason: str) -> bytes:
    reason_bytes = make_safe(reason).encode(errors="replace")[:_MOST_REASON_BYTES]
    return (head + b"\n" + reason_bytes + b"\n").ljust(_BLOCK_BYTES)
