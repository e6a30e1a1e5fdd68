"""From EXECVE records to the arguments of a program, long ones put together from their pieces."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from auditline.workers.router.decode.records import Fields
from auditline.workers.router.decode.text import to_text

_KEY = re.compile(r"a([0-9]{1,9})(?:\[([0-9]{1,9})\]|(_len))?")

MAX_LEFT_OUT = 1024
"""So many arguments may be left out for being empty; more in a record of a few bytes are somebody's joke."""


@dataclass(slots=True)
class Arguments:
    """All that the records have of the arguments; *count* is what the kernel said there were."""

    count: int | None
    arguments: list[str] = field(default_factory=list)
    missing: int = 0
    """How many arguments are in no record."""
    cut: list[int] = field(default_factory=list)
    """Which arguments lack some of their pieces."""
    repeated: list[int] = field(default_factory=list)
    """Which arguments came again, which the kernel never does; the first counts."""
    undecodable: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Found:
    """What the records have, by position."""

    whole: dict[int, str] = field(default_factory=dict)
    exact: dict[int, bytes] = field(default_factory=dict)
    pieces: dict[int, dict[int, bytes]] = field(default_factory=dict)
    wanted_lengths: dict[int, int] = field(default_factory=dict)
    """How many characters the pieces of an argument have in the records, without their quotes."""
    lengths: dict[int, int] = field(default_factory=dict)
    """How many of them there are."""
    repeated: list[int] = field(default_factory=list)


def join_arguments(records: Sequence[Fields]) -> Arguments:
    """Return the arguments in order.

    A long argument comes as `a1_len=N a1[0]=… a1[1]=…` and may go on in the next record. Kernels before 6 leave
    empty arguments out: one that is missing between others is empty.
    Source: kernel/auditsc.c, audit_log_execve_info(), and records of Linux 6.18.
    """
    found = _Found()
    for record in records:
        for key in record.text:
            _take(key, record, found)
    cut = []
    for position, pieces in found.pieces.items():
        raw = b"".join(pieces[number] for number in sorted(pieces))
        if max(pieces) >= len(pieces) or found.lengths[position] < found.wanted_lengths.get(position, 0):
            cut.append(position)
        found.whole[position], is_readable_form = to_text(raw)
        if is_readable_form:
            found.exact[position] = raw
    joined = _in_order(_count(records), found.whole, found.exact)
    joined.cut, joined.repeated = sorted(cut), sorted(set(found.repeated))
    return joined


def to_command_line(arguments: Sequence[str]) -> str:
    """Return the arguments as one line that a shell would split again."""
    return shlex.join(arguments)


def _take(key: str, record: Fields, found: _Found) -> None:
    match = _KEY.fullmatch(key)
    if match is None:
        return
    position, text, exact = int(match[1]), record.text[key], record.undecodable.get(key)
    if match[3]:
        found.wanted_lengths.setdefault(position, int(text) if re.fullmatch("[0-9]{1,9}", text) else 0)
    elif match[2]:
        number = int(match[2])
        if position in found.whole or number in found.pieces.get(position, {}):
            found.repeated.append(position)
            return
        piece, length = (text.encode(), len(text)) if exact is None else (exact, len(exact) * 2)
        found.pieces.setdefault(position, {})[number] = piece
        found.lengths[position] = found.lengths.get(position, 0) + length
    elif position in found.whole or position in found.pieces:
        found.repeated.append(position)
    else:
        found.whole[position] = text
        if exact is not None:
            found.exact[position] = exact


def _count(records: Sequence[Fields]) -> int | None:
    for record in records:
        text = record.text.get("argc", "")
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
    return None


def _in_order(count: int | None, whole: dict[int, str], exact: dict[int, bytes]) -> Arguments:
    joined = Arguments(count)
    positions = sorted(whole)
    last = positions[-1] if positions else -1
    # A hostile a4294967295= must not make us fill up to it: gaps count as empty only up to argc, and not too many.
    if count is not None and last < count and last + 1 - len(positions) <= MAX_LEFT_OUT:
        joined.arguments = [whole.get(position, "") for position in range(last + 1)]
        joined.missing = count - last - 1
        joined.undecodable = exact
    else:
        places = {position: place for place, position in enumerate(positions)}
        joined.arguments = [whole[position] for position in positions]
        joined.undecodable = {places[position]: raw for position, raw in exact.items()}
        joined.missing = max(0, (count or 0) - len(positions))
    return joined
