"""Writing to stdout, whatever it is, without waiting for its reader and without touching the descriptor's flags.

The open file behind stdout is shared with other processes, so O_NONBLOCK would change it for them too.
"""

import fcntl
import os
import select
import socket
import stat
import struct
import termios
from errno import EBADF, ECONNRESET, EINVAL, EIO, ENOSYS, ENOTCONN, EOPNOTSUPP, EPIPE
from typing import Protocol

from auditline.workers.common.errors import StorageError

PIPE_BUF = 4096
"""The most that a pipe takes in one piece or not at all: pipe(7), `PIPE_BUF` of linux/limits.h on every machine."""
FILE_PIECE_BYTES = 1 << 20
TERMINAL_PIECE_BYTES = 256
"""drivers/tty/tty_buffer.c gives room in units of 256 bytes."""

_READER_IS_GONE = frozenset({EPIPE, ECONNRESET, ENOTCONN, EBADF})
_NO_SUCH_FLAG = frozenset({EOPNOTSUPP, ENOSYS, EINVAL})


class Stream(Protocol):
    """One way to write to an open descriptor."""

    piece_bytes: int
    """The most to give to one `write`."""
    atomic_bytes: int
    """Up to this many bytes are written whole or not at all, also when the process is killed; 0: never sure."""
    waits: bool
    """Polling tells when there is room again."""

    def write(self, data: bytes) -> int:
        """Write the first bytes of *data* and return how many; 0: there is no room now.

        Raises:
            OSError: it cannot be written.
        """

    def has_room(self) -> bool:
        """Say whether a `write` would write something now."""

    def fitting_bytes(self) -> int:
        """Return how many bytes one `write` takes as a whole now, if it takes any; at least `piece_bytes`."""

    def unread_bytes(self) -> int:
        """Return an upper bound of what was written and not yet read by the other end."""

    def is_gone(self) -> bool:
        """Say whether nobody can ever read what is written."""

    def close(self) -> None:
        """Let go of everything but the descriptor, which belongs to others."""


def open_stream(descriptor: int) -> Stream:
    """Return the right way to write to *descriptor*.

    Raises:
        StorageError: it is closed.
    """
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError as error:
        raise StorageError(f"stdout: descriptor {descriptor} is not open") from error
    if stat.S_ISFIFO(mode):
        return PipeStream(descriptor)
    if stat.S_ISSOCK(mode):
        return SocketStream(descriptor)
    return TerminalStream(descriptor) if os.isatty(descriptor) else FileStream(descriptor)


def is_reader_gone(error: OSError) -> bool:
    """Say whether *error* of a write means that there is nobody to write to."""
    return error.errno in _READER_IS_GONE


class PipeStream:
    """A pipe or FIFO: at most PIPE_BUF bytes at a time, or as much as an empty one takes: atomic, and never waiting.

    Writable means that a whole page is free, so PIPE_BUF bytes fit (fs/pipe.c, pipe_poll), however small the pipe is.
    Unless somebody else who shares the pipe (`2>&1`) is quicker: RWF_NOWAIT closes that gap where the kernel has it for
    pipes, from 6.4 on.
    """

    piece_bytes = PIPE_BUF
    atomic_bytes = PIPE_BUF
    waits = True

    def __init__(self, descriptor: int, *, use_nowait: bool = True) -> None:
        self._descriptor = descriptor
        self._use_nowait = use_nowait

    def write(self, data: bytes) -> int:
        """Write *data*, at most PIPE_BUF or `fitting_bytes`: all or nothing."""
        if self._use_nowait:
            try:
                return os.pwritev(self._descriptor, (data,), -1, os.RWF_NOWAIT)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno not in _NO_SUCH_FLAG:
                    raise
                self._use_nowait = False
        return _poll_and_write(self._descriptor, data)

    def has_room(self) -> bool:
        """Say whether a piece fits now."""
        return bool(_poll(self._descriptor) & select.POLLOUT)

    def fitting_bytes(self) -> int:
        """Return the size of the pipe while it is empty: then all its pages are free (fs/pipe.c, pipe_write)."""
        if self._use_nowait and not self.unread_bytes():
            return max(PIPE_BUF, fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ))
        return PIPE_BUF

    def unread_bytes(self) -> int:
        """Return what lies in the pipe, also what others put there."""
        return _ask_size(self._descriptor, termios.FIONREAD)

    def is_gone(self) -> bool:
        """Say whether all readers have closed it."""
        return bool(_poll(self._descriptor) & select.POLLERR)

    def close(self) -> None:
        """Nothing is held."""


class SocketStream:
    """A socket: any piece may be cut short."""

    piece_bytes = FILE_PIECE_BYTES
    atomic_bytes = 0
    waits = True

    def __init__(self, descriptor: int) -> None:
        # A duplicate: closing the socket object leaves the descriptor open.
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Send what there is room for."""
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def has_room(self) -> bool:
        """Say whether a piece fits now."""
        return bool(_poll(self._descriptor) & select.POLLOUT)

    def fitting_bytes(self) -> int:
        """Return the size of a piece."""
        return self.piece_bytes

    def unread_bytes(self) -> int:
        """Return what the peer has not read (Unix: plus the kernel's overhead) or not confirmed (TCP)."""
        return _ask_size(self._descriptor, termios.TIOCOUTQ)

    def is_gone(self) -> bool:
        """Say whether the connection is over."""
        return bool(_poll(self._descriptor) & (select.POLLERR | select.POLLHUP))

    def close(self) -> None:
        """Close the duplicate."""
        self._socket.close()


class TerminalStream:
    """A terminal: pieces so small that they cannot wait once polling says that there is room.

    The line discipline asks the driver for room once per run of plain characters and again for each newline, and
    waits if there is none, so a newline goes alone. Source: drivers/tty/n_tty.c, n_tty_write, process_output_block.
    Tried with a pseudo-terminal that nobody reads: pieces with a newline inside did wait.
    """

    piece_bytes = TERMINAL_PIECE_BYTES
    atomic_bytes = 0
    waits = True

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_hung_up = False

    def write(self, data: bytes) -> int:
        """Write *data* up to a newline, or the newline."""
        text = data.partition(b"\n")[0]
        try:
            return _poll_and_write(self._descriptor, text or data[:1])
        except OSError as error:
            self._is_hung_up = error.errno == EIO
            raise

    def has_room(self) -> bool:
        """Say whether a piece fits now."""
        return bool(_poll(self._descriptor) & select.POLLOUT)

    def fitting_bytes(self) -> int:
        """Return the size of a piece."""
        return self.piece_bytes

    def unread_bytes(self) -> int:
        """Return 0: what a terminal has taken is out."""
        return 0

    def is_gone(self) -> bool:
        """Say whether the terminal was hung up."""
        return self._is_hung_up or bool(_poll(self._descriptor) & (select.POLLERR | select.POLLHUP))

    def close(self) -> None:
        """Nothing is held."""


class FileStream:
    """A regular file or a device that never waits for anybody."""

    piece_bytes = FILE_PIECE_BYTES
    atomic_bytes = 0
    waits = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Write what there is space for."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0

    def has_room(self) -> bool:
        """Return True: only writing tells."""
        return True

    def fitting_bytes(self) -> int:
        """Return the size of a piece."""
        return self.piece_bytes

    def unread_bytes(self) -> int:
        """Return 0: written is safe."""
        return 0

    def is_gone(self) -> bool:
        """Return False: a file has no reader that could go."""
        return False

    def close(self) -> None:
        """Nothing is held."""


def _poll(descriptor: int) -> int:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return next((events for _, events in poll.poll(0)), 0)


def _poll_and_write(descriptor: int, data: bytes) -> int:
    # With an error pending (no reader) the write says which.
    if not _poll(descriptor):
        return 0
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # somebody who shares it has set O_NONBLOCK
        return 0


def _ask_size(descriptor: int, request: int) -> int:
    answer = bytearray(4)
    try:
        fcntl.ioctl(descriptor, request, answer)
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])
