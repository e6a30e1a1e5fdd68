"""Reads audit logs as auditd writes them: files, compressed files, standard input."""

import bz2
import gzip
import lzma
import os
import sys
from collections.abc import Iterator
from typing import IO

from auditline.workers.common.errors import StorageError
from auditline.workers.router.record_names import type_number

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 20
"""A longer line is cut here; no record of auditd comes near (8,970 bytes)."""

UNPARSED = -(1 << 31)
"""The type of a line that is no record at all."""

_OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


def read_chunks(path: str) -> Iterator[list[str]]:
    """Yield the lines of a log in lists, as they come; `-` is standard input.

    Text is UTF-8 with surrogateescape.

    Raises:
        StorageError: the file cannot be opened, read or decompressed.
    """
    try:
        with _open(path) as stream:
            yield from _lines(stream)
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(f"{path}: {reason}") from error


def _open(path: str) -> IO[bytes]:
    if path == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    opener = _OPENERS.get(os.path.splitext(path)[1])
    if opener is None:
        return open(path, "rb", buffering=0)
    return opener(path, "rb")


def _lines(stream: IO[bytes]) -> Iterator[list[str]]:
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        whole, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            rest += chunk
            if len(rest) < MAX_LINE_BYTES:
                continue
            whole, tail = rest, b""
            rest = b""
        yield (rest + whole).decode("utf-8", "surrogateescape").split("\n")
        rest = tail
    if rest:
        yield [rest.decode("utf-8", "surrogateescape")]


class _Prefixes(dict[str, tuple[int, str]]):
    """From `type=SYSCALL`, or `node=web1 type=SYSCALL`, to the record's type and what goes before its header."""

    def __missing__(self, prefix: str) -> tuple[int, str]:
        if len(self) > 4096:
            self.clear()
        parsed = self[prefix] = _parse_prefix(prefix)
        return parsed


def _parse_prefix(prefix: str) -> tuple[int, str]:
    node, separator, kind = prefix.rpartition("type=")
    if not separator or " " in kind or not kind:
        return UNPARSED, ""
    if not node:
        return type_number(kind), ""
    name = node.removeprefix("node=").removesuffix(" ")
    if not node.startswith("node=") or not name or " " in name:
        return UNPARSED, ""
    return type_number(kind), f"node={name} "


_prefixes = _Prefixes()


def frame(lines: list[str]) -> tuple[list[int], list[str]]:
    """Return the types and `audit(…): body` texts of log lines; a line that is no record has type UNPARSED, whole."""
    parts = [line.partition(" msg=") for line in lines]
    prefixes = [_prefixes[part[0]] for part in parts]
    if all(not node and kind != UNPARSED for kind, node in prefixes):
        return [kind for kind, _ in prefixes], [part[2] for part in parts]
    kinds, payloads = [], []
    for line, part, (kind, node) in zip(lines, parts, prefixes, strict=True):
        if _is_separator(line):
            continue
        kinds.append(kind)
        payloads.append(line if kind == UNPARSED else node + part[2])
    return kinds, payloads


def _is_separator(line: str) -> bool:
    """True for what is no record but belongs there: an empty line, and what ausearch prints between events."""
    return not line.strip() or line.startswith(("----", "time->"))
