"""From EXECVE records to the arguments of a program, long ones put together from their pieces."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from auditline.workers.router.decode.records import Fields
from auditline.workers.router.decode.text import to_text

_KEY = re.compile(r"a(\d{1,9})(?:\[(\d{1,9})\])?")


@dataclass(slots=True)
class Arguments:
    """All that the records have of the arguments; *count* is what the kernel said there were."""

    count: int | None
    arguments: list[str] = field(default_factory=list)
    missing: int = 0
    undecodable: dict[int, bytes] = field(default_factory=dict)


def join_arguments(records: Sequence[Fields]) -> Arguments:
    """Return the arguments in order.

    A long argument comes as `a1_len=N a1[0]=… a1[1]=…` and may go on in the next record. The kernel leaves empty
    arguments out: one that is missing between others is empty.
    Source: kernel/auditsc.c, audit_log_execve_info().
    """
    whole: dict[int, str] = {}
    exact: dict[int, bytes] = {}
    pieces: dict[int, list[bytes]] = {}
    for record in records:
        for key, text in record.text.items():
            match = _KEY.fullmatch(key)
            if match is None:
                continue
            position = int(match[1])
            if match[2] is None:
                whole[position] = text
                if key in record.undecodable:
                    exact[position] = record.undecodable[key]
            else:
                pieces.setdefault(position, []).append(record.undecodable.get(key) or text.encode())
    for position, parts in pieces.items():
        raw = b"".join(parts)
        whole[position], is_readable_form = to_text(raw)
        if is_readable_form:
            exact[position] = raw
    return _in_order(_count(records), whole, exact)


def to_command_line(arguments: Sequence[str]) -> str:
    """Return the arguments as one line that a shell would split again."""
    return shlex.join(arguments)


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
    # A hostile a4294967295= must not make us fill up to it: gaps count as empty only up to argc.
    if count is not None and last < count:
        joined.arguments = [whole.get(position, "") for position in range(last + 1)] if count < 1_000_000 else []
        joined.missing = count - last - 1
        joined.undecodable = exact
    if not joined.arguments:
        joined.arguments = [whole[position] for position in positions]
        joined.undecodable = {positions.index(position): raw for position, raw in exact.items()}
        joined.missing = max(0, (count or 0) - len(positions))
    return joined
