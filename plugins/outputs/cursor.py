"""The file in which a reader keeps up to where its events are delivered: one reader at a time, and never behind."""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from auditline.plugins.outputs.positions import NotRegularError, Position, parse_position, read_position
from auditline.workers.common.disk import replace_file
from auditline.workers.common.errors import BusyError, StorageError

_MODE = 0o640


class Cursor:
    """A position that survives kill -9 and power cuts; beside it lies a file that is locked while a reader runs.

    Its form is that of `plugins/outputs/positions.py`, so that the service keeps what a reader still needs. The key
    `host` says whose segments it belongs to, `missed_segments` how many were deleted unread.
    """

    def __init__(self, path: Path, host: str, lock_fd: int) -> None:
        self.path = path
        self.note = ""
        """What is odd about what was found, for diagnostics; then the reader begins with the oldest event."""
        self._host = host
        self._lock_fd = lock_fd
        self.sent: Position | None = None
        """Up to here lines were sent, or were about to be, by a process that may not have heard the answer."""
        self.missed_segments = 0
        """Segments that were deleted before this cursor came to them, over its whole life; stored when it moves."""
        self.position = self._read()
        """Everything before it is delivered; None: begin with the oldest event that is there."""

    @classmethod
    def open(cls, path: Path, host: str) -> "Cursor":
        """Lock the cursor at *path* and read it; it need not be there.

        Raises:
            BusyError: another reader has it.
            StorageError: it cannot be locked, or read.
        """
        lock_path = path.with_name(f"{path.name}.lock")
        try:
            lock_fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise StorageError(f"cursor {path}: {lock_path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(path, host, lock_fd)
        except BlockingIOError as error:
            os.close(lock_fd)
            raise BusyError(f"cursor {path}: another reader uses it") from error
        except BaseException:
            os.close(lock_fd)
            raise

    def commit(self, position: Position) -> None:
        """Let everything before *position* be delivered, also after a power cut.

        Raises:
            StorageError: it cannot be written; the old position holds.
        """
        if position != self.position:
            self._store(position, self.sent)

    def note_sent(self, begin: Position, end: Position) -> None:
        """Write down, before it is done, that what lies between *begin* and *end* is sent; *begin* is delivered up to.

        Raises:
            StorageError: it cannot be written; then do not send it.
        """
        if (begin, end) != (self.position, self.sent):
            self._store(begin, end)

    def _store(self, position: Position, sent: Position | None) -> None:
        values: dict[str, object] = {**position._asdict(), "host": self._host}
        if sent is not None:
            values["sent"] = sent._asdict()
        if self.missed_segments:
            values["missed_segments"] = self.missed_segments
        try:
            replace_file(self.path, json.dumps(values).encode("ascii"))
        except OSError as error:
            raise StorageError(f"cursor {self.path}: cannot be written: {error.strerror}") from error
        self.position, self.sent = position, sent

    def close(self) -> None:
        """Let another reader have it."""
        os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Position | None:
        try:
            position, values = read_position(self.path)
            sent = parse_position(values["sent"]) if "sent" in values else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cursor {self.path}: cannot be read: {error.strerror}") from error
        except NotRegularError as error:
            # To put that aside would take /dev/null from everybody.
            raise StorageError(f"cursor {self.path}: {error}, and is left as it is") from error
        except ValueError as error:
            self._put_aside(f"holds no position ({error})")
            return None
        if values.get("host", self._host) != self._host:
            self._put_aside("belongs to another host")
            return None
        self.sent = sent
        missed = values.get("missed_segments")
        self.missed_segments = missed if isinstance(missed, int) else 0
        return position

    def _put_aside(self, what: str) -> None:
        """Keep what was found for whoever wants to know, and say that all is delivered again: nothing is lost."""
        aside = self.path.with_name(f"{self.path.name}.damaged")
        with suppress(OSError):
            self.path.replace(aside)
        self.note = f"cursor {self.path} {what}: begins with the oldest event; what was there is in {aside}"
