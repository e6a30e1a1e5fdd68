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


class _Prefixes(dict[str, int]):
    """From `type=SYSCALL` to the record's type; what is no plain type is looked at by _parse_prefix()."""

    def __missing__(self, prefix: str) -> int:
        if len(self) > 4096:
            self.clear()
        kind, node = _parse_prefix(prefix)
        self[prefix] = kind if not node else _WITH_NODE
        return self[prefix]


_WITH_NODE = UNPARSED + 1
_prefixes = _Prefixes()


def _parse_prefix(prefix: str) -> tuple[int, str]:
    """Return the type, and what goes before the header: `node=web1 type=SYSCALL` gives `node=web1 `."""
    node, separator, kind = prefix.rpartition("type=")
    if not separator or " " in kind or not kind:
        return UNPARSED, ""
    if not node:
        return type_number(kind), ""
    name = node.removeprefix("node=").removesuffix(" ")
    if not node.startswith("node=") or not name or " " in name:
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
    return not line.strip() or line.startswith(("----", "time->"))
