"""What a watcher tells the router, some entries per batch: a change of a path, or a gap in what could be seen."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ujson

from auditline.workers.common.file_state import FileState, from_plain, to_plain

Action = Literal["created", "deleted", "moved", "updated", "attributes_modified", "config_change", "initial_scan"]
DetectedBy = Literal["event", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path that differs from what was known of it."""

    action: Action
    path: bytes
    """Absolute; of a move the new one."""
    before: FileState | None
    """What was known; None: nothing."""
    after: FileState | None
    """What is; None: it is gone."""
    detected_by: DetectedBy
    time_ns: int
    """When it was seen, in nanoseconds since 1970."""
    moved_from: bytes | None = None
    """The old path of a move; absolute."""
    actor: Mapping[str, Any] | None = None
    """Who did it, as the document has it; None: nothing is known of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """A time, a place and a reason why changes may have gone unseen, or the end of such a time."""

    identity: str
    """`<run id>-<n>`, different for every entry of every run."""
    path: bytes
    """Where."""
    reason: str
    """Of the listed ones: see docs/events.md."""
    action: str
    """What was done about it."""
    start_ns: int
    end_ns: int | None = None
    """None: it goes on."""
    detail: Mapping[str, int | float | str] = field(default_factory=dict)


Entry = FileChange | Coverage


def encode_entry(entry: Entry) -> bytes:
    """Return JSON in ASCII on one line; paths are UTF-8 with surrogateescape."""
    if isinstance(entry, Coverage):
        kind, values = (
            "coverage",
            {
                "identity": entry.identity,
                "path": os.fsdecode(entry.path),
                "reason": entry.reason,
                "action": entry.action,
                "start_ns": entry.start_ns,
                "end_ns": entry.end_ns,
                "detail": dict(entry.detail),
            },
        )
    else:
        kind, values = (
            "change",
            {
                "action": entry.action,
                "path": os.fsdecode(entry.path),
                "before": to_plain(entry.before),
                "after": to_plain(entry.after),
                "detected_by": entry.detected_by,
                "time_ns": entry.time_ns,
                "moved_from": None if entry.moved_from is None else os.fsdecode(entry.moved_from),
                "actor": None if entry.actor is None else dict(entry.actor),
            },
        )
    return ujson.dumps({kind: values}, escape_forward_slashes=False).encode()


def decode_entry(encoded: bytes) -> Entry:
    """Return the entry that `encode_entry` was given.

    Raises:
        ValueError: *encoded* is not of that form.
    """
    try:
        [(kind, values)] = ujson.loads(encoded).items()
        return _coverage(values) if kind == "coverage" else _change(values)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"an entry of a watcher is damaged: {error}") from error


def join_entries(encoded: Sequence[bytes]) -> bytes:
    """Return the payload of a batch."""
    return b"\n".join(encoded)


def split_entries(payload: bytes) -> list[bytes]:
    """Return the entries of a batch, each as it was encoded, however damaged others are."""
    return payload.split(b"\n")


def _coverage(values: dict[str, Any]) -> Coverage:
    return Coverage(**values | {"path": os.fsencode(values["path"])})


def _change(values: dict[str, Any]) -> FileChange:
    moved_from = values["moved_from"]
    decoded = {
        "path": os.fsencode(values["path"]),
        "before": from_plain(values["before"]),
        "after": from_plain(values["after"]),
        "moved_from": None if moved_from is None else os.fsencode(moved_from),
    }
    return FileChange(**values | decoded)
