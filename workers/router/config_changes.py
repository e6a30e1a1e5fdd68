"""Who changed the kernel's audit: what its own records of that say, kept until the control process asks."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from auditline.workers.common.drift_entry import Drift, Trace, Value
from auditline.workers.router.decode import types
from auditline.workers.router.decode.fields import kernel_fields
from auditline.workers.router.decode.text import NULL_VALUES, decode_hex, is_hex, surrogates_to_text, unquote
from auditline.workers.router.event import Event
from auditline.workers.router.names import IdNames

MOST_CHANGES = 512
"""Records that are kept; a whole set of rules is a record each."""
CLOCK_SLACK_NS = 20_000_000
"""The kernel's time of a record is that of its last tick, up to 10 ms ago."""

_SECOND, _MILLISECOND = 1_000_000_000, 1_000_000
_UNSET = "4294967295"


@dataclass(frozen=True, slots=True)
class _Change:
    time_ns: int
    fields: Mapping[str, str]
    event_id: str
    actor: Mapping[str, Any]


class ConfigChanges:
    """The latest records of type CONFIG_CHANGE."""

    def __init__(self, names: IdNames) -> None:
        self._names = names
        self._changes: deque[_Change] = deque(maxlen=MOST_CHANGES)

    def note(self, event: Event, event_id: str) -> None:
        """Take what *event* says, if it has such a record."""
        bodies = [body for kind, body in zip(event.types, event.bodies, strict=True) if kind == types.CONFIG_CHANGE]
        if not bodies:
            return
        time_ns = int(event.seconds) * _SECOND + int(event.milliseconds) * _MILLISECOND
        caller = (
            dict(kernel_fields(event.bodies[event.types.index(types.SYSCALL)])) if types.SYSCALL in event.types else {}
        )
        for body in bodies:
            fields = dict(kernel_fields(body))
            self._changes.append(_Change(time_ns, fields, event_id, dict(self._describe({**fields, **caller}))))

    def find(self, drift: Drift) -> dict[str, Any] | None:
        """Return who left the traces of *drift*, and in which event; None: no such record came."""
        since = drift.since_ns - CLOCK_SLACK_NS
        # Records without a call's come 2 s late, so the latest to come need not be the latest change.
        for change in sorted(self._changes, key=lambda change: change.time_ns, reverse=True):
            if since <= change.time_ns <= drift.time_ns and _has_left(drift, change.fields):
                return {**change.actor, "event": {"id": change.event_id}}
        return None

    def _describe(self, fields: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        """Yield what is known of the process that did it; without its SYSCALL record that is its login alone."""
        for name in ("auid", "uid"):
            if name in fields:
                yield name, "unset" if fields[name] == _UNSET else self._names.name("uid", fields[name])
        if fields.get("ses", _UNSET) != _UNSET:
            yield "session", fields["ses"]
        if fields.get("pid", "").isdecimal():
            yield "pid", int(fields["pid"])
        for name in ("comm", "exe"):
            if fields.get(name, "") not in NULL_VALUES:
                yield name, surrogates_to_text(_text(fields[name]))[0]


def _has_left(drift: Drift, fields: Mapping[str, str]) -> bool:
    return any(_fits(trace, drift.found, fields) for trace in drift.traces)


def _fits(trace: Trace, found: Value, fields: Mapping[str, str]) -> bool:
    if trace.rule_list is None:
        return fields.get(trace.field) == str(found)
    # Older kernels quote the operation.
    operation = unquote(fields.get("op", ""))
    key = fields.get("key", "")
    is_same_key = ("" if key in NULL_VALUES else _text(key)) == trace.key
    return operation == trace.operation and fields.get("list") == str(trace.rule_list) and is_same_key


def _text(value: str) -> str:
    """Return a value that the kernel quotes, or encodes where it has bytes that do not bear that."""
    return os.fsdecode(decode_hex(value)) if is_hex(value) else unquote(value)
