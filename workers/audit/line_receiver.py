"""Takes log lines from a descriptor, as auditd gives them to its plugins."""

import errno
import logging
import os
import select

from auditline.workers.audit.line_buffer import LONGEST_LINE_BYTES, LineBuffer
from auditline.workers.audit.netlink import Count, Received
from auditline.workers.common.batch import BatchKind
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import KernelError

logger = logging.getLogger(__name__)

_BUSY_BYTES = 16 * 1024
"""Whoever writes so much in a few milliseconds writes more; a socket of auditd holds some 40 KiB of lines."""


class LineReceiver:
    """Takes what lines there are on a pipe, a socket or a file, without waiting; implements `netlink.Receiver`.

    What it gives is kept for a successor until it is dropped: `LineBuffer`.
    """

    def __init__(self, fd: int, buffer: LineBuffer, count: Count) -> None:
        self.is_over = False
        """The other end was closed, and there is nothing more to read."""
        self.buffer = buffer
        self.given_bytes = 0
        """How much of the buffer was given last."""
        self._fd = fd
        self._count = count
        self._poller = select.poll()
        self._poller.register(fd, select.POLLIN)
        self._cut_warning = RepeatedWarning(logger)

    def receive(self) -> Received | None:
        """See `Receiver`; the payload is lines, each with its newline."""
        is_full = self._read() >= _BUSY_BYTES
        text = self.buffer.whole_lines(is_over=self.is_over)
        if not text:
            return None
        self.given_bytes = len(text)
        if not text.endswith(b"\n"):
            if not self.is_over:
                self._count("lines_cut_total", 1)
                self._cut_warning.tell("a line was longer than %d bytes and is cut there", LONGEST_LINE_BYTES)
            text += b"\n"
        return Received(b"", text, text.count(b"\n"), is_full, BatchKind.LINES)

    def close(self) -> None:
        """See `Receiver`."""

    def _read(self) -> int:
        """Read what is there into the buffer; return how much it was."""
        # Never O_NONBLOCK: whoever has the same pipe open would have it too.
        if self.is_over or not self._poller.poll(0):
            return 0
        try:
            size = os.readv(self._fd, [self.buffer.room()])
        except BlockingIOError:
            return 0
        except ConnectionResetError:
            size = 0
        except OSError as error:
            raise KernelError("read standard input", error.errno or errno.EIO, error.strerror or str(error)) from error
        self.buffer.fill(size)
        self.is_over = size == 0
        return size
