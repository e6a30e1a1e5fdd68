"""From lines of audit logs to records: a type and `audit(…): body` each."""

from collections.abc import Callable
from functools import lru_cache

from auditline.workers.router.record_names import type_number

UNPARSED = -(1 << 31)
"""The type of a line that is no record at all."""
_NO_HEADER = "\n"
"""Stands before such a line, which has none in it: so it is never taken for a record whose header it begins with."""

MAX_TYPE_NAME = 64
"""A longer name is no record type; what is kept of names stays small."""
_MAX_PREFIX = 256

TakeOther = Callable[[str], tuple[int, str] | None]
"""Makes a record of a line that is none of auditd's; None drops it."""


def frame(lines: list[str], take_other: TakeOther = lambda line: (UNPARSED, line)) -> tuple[list[int], list[str]]:
    """Return the types and `audit(…): body` texts of log lines; a line that is no record has type UNPARSED.

    *take_other* is asked about each of those; unparsed_text() gives the line back.
    """
    if lines and lines[0].startswith("type="):
        prefixes, _, records = zip(*[line.partition(" msg=") for line in lines], strict=True)
        kinds = list(map(_prefixes.__getitem__, prefixes))
        if min(kinds) > _OTHER:
            return kinds, list(records)
    return _frame_one_by_one(lines, take_other)


class LinesByRecord:
    """The lines that records without a readable header were taken from; several may have given the same."""

    def __init__(self, lines: list[str], take_other: TakeOther = lambda _: None) -> None:
        """*take_other* is that of frame()."""
        self._lines: dict[str, list[str]] = {}
        for line in reversed(lines):
            for record in frame([line], take_other)[1]:
                self._lines.setdefault(record, []).append(line)

    def take(self, record: str) -> str:
        """Return the line of a record, each one's once: to be asked in the order of the lines."""
        lines = self._lines.get(record)
        return lines.pop() if lines else record


class _Prefixes(dict[str, int]):
    """From `type=SYSCALL` to the record's type; what is no plain type is looked at by parse_prefix()."""

    def __missing__(self, prefix: str) -> int:
        if len(self) > 4096:
            self.clear()
        kind, node = parse_prefix(prefix)
        kind = kind if not node else _OTHER
        if len(prefix) <= _MAX_PREFIX:
            self[prefix] = kind
        return kind


_OTHER = UNPARSED + 1
_prefixes = _Prefixes()


def parse_prefix(prefix: str) -> tuple[int, str]:
    """Return the type, and what goes before the header: `node=web1 type=SYSCALL` gives `node=web1 `."""
    return _parse_short_prefix(prefix) if len(prefix) <= _MAX_PREFIX else _parse_prefix(prefix)


def _parse_prefix(prefix: str) -> tuple[int, str]:
    node, separator, kind = prefix.rpartition("type=")
    if not separator or not kind or len(kind) > MAX_TYPE_NAME or not kind.isprintable() or " " in kind:
        return UNPARSED, ""
    if not node:
        return type_number(kind), ""
    name = node.removeprefix("node=").removesuffix(" ")
    if not node.startswith("node=") or not name or not name.isprintable() or " " in name:
        return UNPARSED, ""
    return type_number(kind), f"node={name} "


_parse_short_prefix = lru_cache(maxsize=4096)(_parse_prefix)


def _frame_one_by_one(lines: list[str], take_other: TakeOther) -> tuple[list[int], list[str]]:
    kinds, payloads = [], []
    for line in lines:
        if _is_separator(line):
            continue
        taken = _read_plain(line) or take_other(line)
        if taken is not None:
            kind, payload = taken
            kinds.append(kind)
            payloads.append(f"{_NO_HEADER}{payload}" if kind == UNPARSED else payload)
    return kinds, payloads


def _read_plain(line: str) -> tuple[int, str] | None:
    if not line.startswith(("type=", "node=")):
        return None
    prefix, _, record = line.partition(" msg=")
    kind, node = parse_prefix(prefix)
    return None if kind == UNPARSED else (kind, node + record)


def unparsed_text(payload: str) -> str:
    """Return the line of a record of type UNPARSED."""
    return payload.removeprefix(_NO_HEADER)


def _is_separator(line: str) -> bool:
    """True for what is no record but belongs there: an empty line, and what ausearch prints between events."""
    return not line.strip("- \t") or line.startswith("time->")
