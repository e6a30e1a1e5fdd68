"""Reads logs in pieces of whole lines: files, compressed files, standard input."""

import bz2
import gzip
import importlib
import lzma
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from io import FileIO
from typing import Any, Self

from auditline.workers.common.errors import StorageError

CHUNK_BYTES = 1 << 17
"""What is made of so much stays in a processor's cache."""
MAX_LINE_BYTES = 1 << 20
"""A longer line is cut into pieces of this size; no record of auditd comes near (8,970 bytes)."""

STDIN = "-"
_ZSTD_MODULES = ("compression.zstd", "backports.zstd")
"""Python's own from 3.14 on, and the same for older ones."""


class CountingFile(FileIO):
    """A file that knows how many of its bytes have been read."""

    taken_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read what is there, at most *size*; a pipe that somebody has made non-blocking is waited for."""
        while (some := super().read(-1 if size is None else size)) is None:
            poller = select.poll()
            poller.register(self, select.POLLIN)
            poller.poll()
        self.taken_bytes += len(some)
        return some


def read_chunks(path: str) -> Iterator[tuple[list[str], int]]:
    """Yield the lines of a log in lists, as they come, each with the bytes of the file that have been read by then.

    `-` is standard input. Text is UTF-8 with surrogateescape.

    Raises:
        StorageError: the file cannot be opened, read or decompressed.
    """
    try:
        with ExitStack() as closing:
            file = closing.enter_context(_open(path))
            read = _reader_of(path, file, closing)
            for lines in split_lines(read):
                yield lines, file.taken_bytes
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(f"{path}: {reason}") from error


def total_bytes(paths: Iterable[str]) -> int | None:
    """Return how many bytes there are to read; None if a pipe or the like is among the files."""
    total = 0
    for path in paths:
        try:
            status = os.fstat(sys.stdin.fileno()) if path == STDIN else os.stat(path)
        except OSError:
            # It will be told when it is this file's turn.
            continue
        if not stat.S_ISREG(status.st_mode):
            return None
        total += status.st_size
    return total


def _open(path: str) -> CountingFile:
    return CountingFile(os.dup(sys.stdin.fileno()) if path == STDIN else path)


def _reader_of(path: str, file: CountingFile, closing: ExitStack) -> Callable[[int], bytes]:
    """Return how to read at most so many bytes of the text, as soon as there are some.

    Waiting for more would delay what comes through a pipe, and lose what stands before damage in a compressed file.
    """
    unpack = COMPRESSED.get(os.path.splitext(path)[1])
    if unpack is None:
        return file.read
    unpacked = closing.enter_context(unpack(file))
    read: Callable[[int], bytes] = unpacked.read1
    return read


def _unpack_gzip(file: FileIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file)


def _unpack_zstd(file: FileIO) -> Any:
    for name in _ZSTD_MODULES:
        try:
            zstd = importlib.import_module(name)
        except ImportError:
            continue
        return _ZstdFile(zstd, file)
    wanted = "to read .zst, install the Python package backports.zstd, or unpack it: zstd -dc FILE | auditline replay"
    raise OSError(wanted)


class _ZstdFile:
    """A file that is decompressed as it is read; damage in it is an EOFError as elsewhere."""

    def __init__(self, zstd: Any, file: FileIO) -> None:
        self._error = zstd.ZstdError
        self._file = zstd.ZstdFile(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read1(self, size: int) -> bytes:
        """Return at most *size* bytes, as soon as there are some."""
        try:
            some: bytes = self._file.read1(size)
        except self._error as error:
            raise EOFError(str(error)) from error
        return some


COMPRESSED: Mapping[str, Callable[[FileIO], Any]] = {
    ".gz": _unpack_gzip,
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
    ".zst": _unpack_zstd,
}


def split_lines(read: Callable[[int], bytes]) -> Iterator[list[str]]:
    """Yield the lines of what *read* gives in lists; the same lines however it comes in pieces."""
    splitter = LineSplitter()
    while chunk := read(CHUNK_BYTES):
        if lines := splitter.split(chunk):
            yield lines
    if lines := splitter.end():
        yield lines


class LineSplitter:
    """Makes lines of pieces of text, and keeps the beginning of the one that is not there yet."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def split(self, chunk: bytes) -> list[str]:
        """Return the lines that *chunk*, at most `MAX_LINE_BYTES`, completes, without their ends."""
        whole, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            self._begun += chunk
            return self._take_pieces()
        first, newline, others = whole.partition(b"\n")
        self._begun += first
        lines = self._take_pieces() + _decode(bytes(self._begun))
        if newline:
            lines += _decode(others)
        self._begun[:] = tail
        return lines + self._take_pieces()

    def end(self) -> list[str]:
        """Return the last line, which has no end."""
        last, self._begun = bytes(self._begun), bytearray()
        return _decode(last) if last else []

    def _take_pieces(self) -> list[str]:
        """Cut what is begun where it is too long for a line."""
        pieces = []
        while len(self._begun) > MAX_LINE_BYTES:
            pieces.append(self._begun[:MAX_LINE_BYTES].decode("utf-8", "surrogateescape"))
            del self._begun[:MAX_LINE_BYTES]
        return pieces


def _decode(text: bytes) -> list[str]:
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").removesuffix(b"\r")
    return text.decode("utf-8", "surrogateescape").split("\n")
