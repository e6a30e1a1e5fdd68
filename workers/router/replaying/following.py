"""Reads a log while it is written, through its rotation."""

import os
import stat
import time
from collections.abc import Callable, Iterator

from auditline.workers.common.errors import StorageError
from auditline.workers.router.replaying.reading import CHUNK_BYTES, LineSplitter

IDLE_SECONDS = 2.0
"""After so long without a new line what is open will not become more, as for the reader of the kernel."""
POLL_SECONDS = 0.25
STOP_SECONDS = 1.0
"""So long what is in the log already is read when asked to stop."""
_COMPARED_BYTES = 512
"""Longer than what two records have in common."""
MAX_ROTATED = 999
"""The largest number of a rotated log.  Source: auditd.conf(5), num_logs."""

Tell = Callable[[str], None]
Wait = Callable[[float], bool]


def follow(log: "FollowedLog", wait: Wait, clock: Callable[[], float] = time.monotonic) -> Iterator[list[str] | None]:
    """Yield lines as they are written, and None when nothing has come for a while, until *wait* says so.

    *wait* sleeps for some seconds and returns whether to stop; what has been written by then is yielded first.
    """
    last, is_idle, must_stop = clock(), True, False
    while not must_stop:
        lines = log.read()
        if lines:
            last, is_idle = clock(), False
            yield lines
        elif lines is None and not is_idle and clock() - last >= IDLE_SECONDS:
            is_idle = True
            yield None
        must_stop = wait(POLL_SECONDS if lines is None else 0)
    stop_at = clock() + STOP_SECONDS
    while (lines := log.read()) is not None and clock() < stop_at:
        yield lines
    yield log.end()


class FollowedLog:
    """A log that somebody writes; whatever is put in its place is read after it.

    It is read to its end, then it is looked whether its name stands for another file. What was rotated away goes on to
    be read until there is something in the new file: its writer may take a while to see the change.
    """

    def __init__(self, path: str, tell: Tell) -> None:
        """*tell* is told what the reader of the events ought to know."""
        self._path = path
        self._tell = tell
        self._file: _File | None = None
        self._next_files: list[_File] = []
        self._splitter = LineSplitter()
        self._problem: str | None = None

    def close(self) -> None:
        """Close what is open."""
        for file in self._next_files if self._file is None else [self._file, *self._next_files]:
            file.close()
        self._file, self._next_files = None, []

    def read(self) -> list[str] | None:
        """Return lines that are new, or none where only a part of one is; None where nothing is new now.

        Raises:
            StorageError: the file cannot be read, or is not one that can be followed.
        """
        file = self._file or self._open()
        if file is None:
            return None
        chunk = file.read()
        if chunk is None:
            return self._begin_again(file)
        if chunk:
            return self._splitter.split(chunk)
        if not self._next_files:
            self._next_files = _find_next(self._path, file)
        if not self._next_files:
            return None
        # Between the last read and the change of the name something may have been written.
        if chunk := file.read():
            return self._splitter.split(chunk)
        file.close()
        self._file = self._next_files.pop(0)
        return self._splitter.end()

    def end(self) -> list[str]:
        """Return the last line if it has no end."""
        return self._splitter.end()

    def _begin_again(self, file: "_File") -> list[str]:
        """Read a file from its beginning; before it the rest of the copy that logrotate makes first (copytruncate)."""
        copy = _open_regular(f"{self._path}.1")
        if copy is not None and copy.go_on_from(file):
            self._next_files.insert(0, file)
            self._file = copy
            file.rewind()
            return []
        if copy is not None:
            copy.close()
        self._tell(f"{self._path}: it was emptied; what was written since the last look until then is not read")
        file.rewind()
        return self._splitter.end()

    def _open(self) -> "_File | None":
        self._file = _open_regular(self._path, self._take_problem)
        return self._file

    def _take_problem(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._tell(f"{self._path}: {problem}; waiting for it")


class _File:
    """An open file, and how far it has been read."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self.descriptor = descriptor
        self.position = 0
        self.last = b""
        """What stands before that position."""

    def read(self) -> bytes | None:
        """Return what comes next; None if the file was emptied: what was read last is not there, whatever is now.

        Both are looked at in one read, so that it does not matter how long ago the last one was.
        """
        start = self.position - len(self.last)
        try:
            found = os.pread(self.descriptor, len(self.last) + CHUNK_BYTES, start)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        if not found.startswith(self.last):
            return None
        chunk = found[len(self.last) :]
        self.position += len(chunk)
        self.last = found[-_COMPARED_BYTES:]
        return chunk

    def go_on_from(self, other: "_File") -> bool:
        """Go to where *other* was read to, if this is a copy of it."""
        if not other.has_before(self.descriptor):
            return False
        self.position, self.last = other.position, other.last
        return True

    def rewind(self) -> None:
        self.position, self.last = 0, b""

    def has_before(self, descriptor: int) -> bool:
        """Return whether what stands before our position stands there, too."""
        start = self.position - len(self.last)
        return os.pread(descriptor, len(self.last), start) == self.last

    def status(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    def is_same(self, other: "_File") -> bool:
        return os.path.sameopenfile(self.descriptor, other.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)


def _open_regular(path: str, take_problem: Callable[[str], None] = lambda _: None) -> _File | None:
    """Return the open file; None, and the reason to *take_problem*, if it cannot be opened now.

    Raises:
        StorageError: it is no regular file; nothing else can be followed.
    """
    try:
        # Opening a named pipe would wait for its writer.
        file = _File(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        take_problem(error.strerror or str(error))
        return None
    if not stat.S_ISREG(file.status().st_mode):
        file.close()
        raise StorageError(f"{path}: only a regular file can be followed")
    return file


def _find_next(path: str, current: _File) -> list[_File]:
    """Return what was written after the *current* file of a log, oldest first, once there is something in the newest.

    There may have been several rotations since the last look, if the reader of the events was slow.
    """
    newest = _open_regular(path)
    if newest is None:
        return []
    found = [newest]
    if not newest.is_same(current) and newest.status().st_size:
        for number in range(1, MAX_ROTATED + 1):
            rotated = _open_regular(f"{path}.{number}")
            if rotated is None:
                return found
            if rotated.is_same(current) or rotated.status().st_mtime_ns < current.status().st_mtime_ns:
                rotated.close()
                return found
            found.insert(0, rotated)
            if rotated.is_same(newest):
                # It was rotated away just now: look again.
                break
    for file in found:
        file.close()
    return []
