"""The small file beside a baseline: locked by its one writer, and knowing what the database cannot know of itself.

A database whose write-ahead log was damaged is whole and merely older, and would give numbers a second time. So the
last number is kept here too, after it was given and before it is sent. What was found to be damaged is written
here as well, so that the next start, whenever it can, puts the database aside and says why.

One block, written in place, because that needs no room on a full disk:

    epoch 16 hex digits, space, last number 20 digits, newline, why the database is damaged, newline, spaces
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
_NUMBER_END = 16 + 1 + 20
_UNKNOWN = b"0" * 16 + b" " + b"0" * 20


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
        self.epoch = match[1].decode() if match else ""
        """Of which the last number is; "" if the file does not say."""
        self.last_number = int(match[2]) if match else 0
        self.damage = match[3].decode(errors="replace") if match else ""
        """Why the database is to be put aside."""
        self._has_failed = False
        if not match:
            self._write(_block(_UNKNOWN, ""))

    def tell_number(self, epoch: str, number: int) -> None:
        """Keep *number* as the last of *epoch* that may have been sent."""
        self._write(b"%b %020d" % (epoch.encode(), number))

    def tell_damage(self, reason: str) -> None:
        """Keep why the database must not be used again; "" when a new one has taken its place."""
        head = os.pread(self._fd, _NUMBER_END, 0) if reason else _UNKNOWN
        self._write(_block(head, reason))
        self.damage = reason

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
