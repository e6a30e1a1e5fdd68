"""Writes all of a piece of text, whatever the other end takes at a time."""

import select
from io import FileIO
from typing import BinaryIO


def write_all(out: BinaryIO | FileIO, text: bytes) -> None:
    """Write *text* to a file without a buffer; one that somebody has made non-blocking is waited for.

    A signal may cut a write to a pipe short.
    """
    rest = memoryview(text)
    while rest:
        written = out.write(rest)
        if written is None:
            poller = select.poll()
            poller.register(out, select.POLLOUT)
            poller.poll()
        else:
            rest = rest[written:]
