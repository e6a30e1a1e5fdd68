"""What the control process tells the router, one entry per batch: the kernel's audit is not as it should be."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONTROL_SOURCE = "control"
"""Name of the producer on the bus."""

Value = int | str | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """How the record of who did it must look: one of type CONFIG_CHANGE."""

    operation: str
    """`op=` of the record: add_rule, remove_rule or set."""
    field: str = ""
    """Of `set`: what was set, such as audit_enabled."""
    rule_list: int | None = None
    """Of a rule: the number of its list."""
    key: str = ""
    """Of a rule: its key, bytes that are no UTF-8 as surrogates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A difference between the wanted and the found state, and when it came about."""

    what: str
    """`rules`, or a field of the kernel's status such as `enabled`."""
    wanted: Value
    found: Value
    since_ns: int
    """When it was last as wanted, in nanoseconds since 1970."""
    time_ns: int
    """When the difference was seen."""
    repaired: bool
    traces: tuple[Trace, ...] = ()


def encode_drift(drift: Drift) -> bytes:
    """Return JSON in ASCII."""
    values: dict[str, Any] = {
        "what": drift.what,
        "wanted": drift.wanted,
        "found": drift.found,
        "since_ns": drift.since_ns,
        "time_ns": drift.time_ns,
        "repaired": drift.repaired,
        "traces": [[trace.operation, trace.field, trace.rule_list, trace.key] for trace in drift.traces],
    }
    return json.dumps({"drift": values}, ensure_ascii=True, separators=(",", ":")).encode()


def decode_drift(payload: bytes) -> Drift:
    """Return the drift that `encode_drift` was given.

    Raises:
        ValueError: *payload* is not of that form.
    """
    try:
        values = json.loads(payload)["drift"]
        return Drift(
            what=_text(values["what"]),
            wanted=_value(values["wanted"]),
            found=_value(values["found"]),
            since_ns=int(values["since_ns"]),
            time_ns=int(values["time_ns"]),
            repaired=values["repaired"] is True,
            traces=tuple(_trace(*trace) for trace in values["traces"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"no drift: {error!r}") from error


def _trace(operation: object, field: object, rule_list: object, key: object) -> Trace:
    number = None if rule_list is None else int(str(rule_list))
    return Trace(operation=_text(operation), field=_text(field), rule_list=number, key=_text(key))


def _value(value: object) -> Value:
    if isinstance(value, list):
        return tuple(map(_text, value))
    return value if isinstance(value, int) else _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
