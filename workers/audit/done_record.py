"""What a journal's router said last is done: a number and an opaque state, in two files written in turn.

A kill in the middle of a write spoils one file and leaves the other. Renaming a new file over the old one would do as
well, but costs twenty times as much, because ext4 starts writing such a file to the disk at once (auto_da_alloc), and
needs room on a full disk, which writing in place does not.
"""

import errno
import os
import struct
import zlib
from pathlib import Path

_NAMES = ("done.0", "done.1")
_MAGIC = b"ALD1"
_HEAD = struct.Struct("<4sIQI")
"""Magic, crc32 of all that follows, number, bytes of state."""
_CHECKED = struct.Struct("<QI")
_BLOCK_BYTES = 4096
_MOST_BYTES = 64 * 1024 * 1024
_FILE_MODE = 0o640


class DoneRecord:
    """The two files of one journal directory; `number` is 0 and `state` empty when neither holds anything."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fds: dict[str, int] = {}
        self.number, self.state = 0, b""
        self.damaged = 0
        """How many of the files hold something else than a whole record, such as one that a kill left half written."""
        self._next_name = _NAMES[0]
        for name, other in (_NAMES, _NAMES[::-1]):
            self._consider(name, other)

    @property
    def paths(self) -> list[Path]:
        """Where it is stored."""
        return [self._directory / name for name in _NAMES]

    def store(self, number: int, state: bytes) -> None:
        """Put *number* and *state* in place of the last but one.

        Raises:
            OSError: they cannot be written; the last ones still count.
        """
        checked = _CHECKED.pack(number, len(state)) + state
        content = _MAGIC + zlib.crc32(checked).to_bytes(4, "little") + checked
        # In whole blocks, so that what is larger later needs no room on a full disk that was not taken already.
        content += bytes(-len(content) % _BLOCK_BYTES)
        if os.pwrite(self._open(self._next_name), content, 0) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.number, self.state = number, state
        self._next_name = _NAMES[1 - _NAMES.index(self._next_name)]

    def close(self) -> None:
        """Close the files."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def _open(self, name: str) -> int:
        if name not in self._fds:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
            self._fds[name] = os.open(self._directory / name, flags, _FILE_MODE)
        return self._fds[name]

    def _consider(self, name: str, other: str) -> None:
        """Take over what the file *name* holds if it is newer than what is known; *other* is written next then."""
        try:
            with (self._directory / name).open("rb") as file:
                content = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return
        except OSError:
            content = b""
        found = _decode(content)
        if found is None:
            self.damaged += 1
        elif found[0] > self.number:
            self.number, self.state = found
            self._next_name = other


def _decode(content: bytes) -> tuple[int, bytes] | None:
    if len(content) < _HEAD.size:
        return None
    magic, checksum, number, state_bytes = _HEAD.unpack_from(content)
    end = _HEAD.size + state_bytes
    if magic != _MAGIC or end > len(content) or checksum != zlib.crc32(content[_HEAD.size - _CHECKED.size : end]):
        return None
    return number, content[_HEAD.size : end]
