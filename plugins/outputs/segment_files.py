"""Segment files: their names and order, how they are begun, and who may write in their directory.

A name is `auditline-<counter>-<random>.jsonl`: twelve digits, so that names sort as they were written, and eight
random hex digits, so that no name is ever used twice, whatever happens to directory and state.
"""

import fcntl
import os
import re
import stat
from dataclasses import dataclass
from errno import EEXIST, ENOSPC, EPERM
from pathlib import Path

from auditline.workers.common.segment_names import SEGMENT_PATTERN

SEGMENT_MODE = 0o640
DIRECTORY_MODE = 0o750

_NAME = re.compile(SEGMENT_PATTERN, re.ASCII)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment as it was found in the directory."""

    counter: int
    path: Path
    size: int


def parse_counter(name: str) -> int | None:
    """Return the counter in a segment's name; None: it is no segment of ours."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def segment_name(counter: int) -> str:
    """Return a new name for the segment that has *counter* as its place in the series."""
    return f"auditline-{counter:012}-{os.urandom(4).hex()}.jsonl"


def list_segments(directory: Path) -> list[SegmentFile]:
    """Return the segments in *directory*, oldest first; none if it is not there.

    Raises:
        OSError: it cannot be read.
    """
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                counter = parse_counter(entry.name)
                if counter is not None and entry.is_file(follow_symlinks=False):
                    found.append(SegmentFile(counter, directory / entry.name, _size(entry)))
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda segment: (segment.counter, segment.path.name))


def count_lines(path: Path, offset: int) -> int:
    """Return how many line ends are in the file from *offset* on; 0 if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0


class SegmentWriter:
    """The segment that is being written. It only grows, and it is never opened again."""

    def __init__(self, directory: Path, counter: int) -> None:
        """Begin a new file; an OSError says why that cannot be done."""
        self.counter = counter
        self.path = directory / segment_name(counter)
        self.offset = 0
        self.descriptor = os.open(self.path, _NEW_FILE, SEGMENT_MODE)
        os.fchmod(self.descriptor, SEGMENT_MODE)  # whatever the umask is
        self._identity = _identity(os.fstat(self.descriptor))

    def find_damage(self) -> str | None:
        """Say what somebody else did to the file; None: it is where it was and as long as we left it."""
        try:
            status = self.path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return "was moved or deleted"
        if _identity(status) != self._identity:
            return "was replaced"
        return None if status.st_size == self.offset else f"has {status.st_size} bytes instead of {self.offset}"

    def write(self, data: bytes) -> int:
        """Append *data*, or as much as there is space for; return how many bytes."""
        written = os.write(self.descriptor, data)
        if not written:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        self.offset += written
        return written


class DirectoryLock:
    """Keeps a second instance out of the directory, by a lock on the directory itself: no file to be left behind."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if it is missing, and lock it.

        Raises:
            BlockingIOError: somebody else writes there.
            OSError: it cannot be made or opened, or everybody may write to it.
        """
        self._directory = directory
        self._descriptor = _lock_directory(directory)

    def refresh(self) -> None:
        """Make and lock the directory again if somebody has removed or replaced it; errors as before."""
        try:
            if _identity(self._directory.stat()) == _identity(os.fstat(self._descriptor)):
                return
        except FileNotFoundError:
            pass
        descriptor = _lock_directory(self._directory)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others write there."""
        os.close(self._descriptor)


def _lock_directory(directory: Path) -> int:
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True)
        directory.chmod(DIRECTORY_MODE)  # whatever the umask is
    except OSError as error:
        if error.errno != EEXIST:
            raise
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_mode & stat.S_IWOTH:
            raise PermissionError(EPERM, "all users may write to it", os.fspath(directory))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
