"""Reads audit logs as auditd writes them: files, compressed files, standard input."""

import bz2
import gzip
import lzma
import os
import select
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from io import FileIO

from auditline.workers.common.errors import StorageError
from auditline.workers.router.record_names import type_number

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 20
"""A longer line is cut here; no record of auditd comes near (8,970 bytes)."""

UNPARSED = -(1 << 31)
"""The type of a line that is no record at all."""

_COMPRESSED: Mapping[str, Callable[[str], gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File]] = {
    ".gz": gzip.GzipFile,
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
}

MAX_TYPE_NAME = 64
"""A longer name is no record type; what is kept of names stays small."""
_MAX_PREFIX = 256


def read_chunks(path: str) -> Iterator[list[str]]:
    """Yield the lines of a log in lists, as they come; `-` is standard input.

    Text is UTF-8 with surrogateescape.

    Raises:
        StorageError: the file cannot be opened, read or decompressed.
    """
    try:
        stream, read = _open(path)
        with stream:
            yield from _lines(read)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(f"{path}: {reason}") from error


def _open(path: str) -> tuple[AbstractContextManager[object], Callable[[int], bytes]]:
    """Return an open file, and how to read at most so many bytes of it, as soon as there are some.

    Waiting for more would delay what comes through a pipe, and lose what stands before damage in a compressed file.
    """
    if path == "-":
        stream = FileIO(os.dup(sys.stdin.fileno()))
        return stream, lambda size: _read_some(stream, size)
    opener = _COMPRESSED.get(os.path.splitext(path)[1])
    if opener is not None:
        compressed = opener(path)
        return compressed, compressed.read1
    plain = FileIO(path)
    return plain, lambda size: _read_some(plain, size)


def _read_some(stream: FileIO, size: int) -> bytes:
    """Read what is there; a pipe that somebody has made non-blocking is waited for."""
    while (some := stream.read(size)) is None:
        poller = select.poll()
        poller.register(stream, select.POLLIN)
        poller.poll()
    return some


def _lines(read: Callable[[int], bytes]) -> Iterator[list[str]]:
    rest = b""
    while chunk := read(CHUNK_BYTES):
        whole, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            rest += chunk
            if len(rest) < MAX_LINE_BYTES:
                continue
            whole, tail = rest, b""
            rest = b""
        yield _split(rest + whole)
        rest = tail
    if rest:
        yield _split(rest)


def _split(text: bytes) -> list[str]:
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").removesuffix(b"\r")
    return text.decode("utf-8", "surrogateescape").split("\n")


class _Prefixes(dict[str, int]):
    """From `type=SYSCALL` to the record's type; what is no plain type is looked at by _parse_prefix()."""

    def __missing__(self, prefix: str) -> int:
        if len(self) > 4096:
            self.clear()
        kind, node = _parse_prefix(prefix)
        kind = kind if not node else _WITH_NODE
        if len(prefix) <= _MAX_PREFIX:
            self[prefix] = kind
        return kind


_WITH_NODE = UNPARSED + 1
_prefixes = _Prefixes()


def _parse_prefix(prefix: str) -> tuple[int, str]:
    """Return the type, and what goes before the header: `node=web1 type=SYSCALL` gives `node=web1 `."""
    node, separator, kind = prefix.rpartition("type=")
    if not separator or not kind or len(kind) > MAX_TYPE_NAME or not kind.isprintable() or " " in kind:
        return UNPARSED, ""
    if not node:
        return type_number(kind), ""
    name = node.removeprefix("node=").removesuffix(" ")
    if not node.startswith("node=") or not name or not name.isprintable() or " " in name:
        return UNPARSED, ""
    return type_number(kind), f"node={name} "


def frame(lines: list[str]) -> tuple[list[int], list[str]]:
    """Return the types and `audit(…): body` texts of log lines; a line that is no record has type UNPARSED, whole."""
    parts = [line.partition(" msg=") for line in lines]
    kinds = [_prefixes[part[0]] for part in parts]
    if kinds and min(kinds) > _WITH_NODE:
        return kinds, [part[2] for part in parts]
    return _frame_one_by_one(lines)


def _frame_one_by_one(lines: list[str]) -> tuple[list[int], list[str]]:
    kinds, payloads = [], []
    for line in lines:
        if _is_separator(line):
            continue
        prefix, _, record = line.partition(" msg=")
        kind, node = _parse_prefix(prefix)
        kinds.append(kind)
        payloads.append(line if kind == UNPARSED else node + record)
    return kinds, payloads


def _is_separator(line: str) -> bool:
    """True for what is no record but belongs there: an empty line, and what ausearch prints between events."""
    return not line.strip("- \t") or line.startswith("time->")
