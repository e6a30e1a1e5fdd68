"""What a watcher tells the router, some entries per batch: a change of a path, or a gap in what could be seen."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ujson

from auditline.workers.common.file_state import FileState, from_plain, to_plain

Action = Literal["created", "deleted", "moved", "updated", "attributes_modified", "config_change", "initial_scan"]
DetectedBy = Literal["event", "scan"]
Actor = Mapping[str, Any]


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
    actor: Actor | None = None
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

SAME_ACTOR = "same"
"""In place of an actor: that of the change before it in the batch; most that come together are one process's."""


def encode_entry(entry: Entry, last_actor: Actor | None = None) -> bytes:
    """Return JSON in ASCII on one line; paths are UTF-8 with surrogateescape.

    *last_actor* is that of the change before it in the batch.
    """
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
                "actor": _plain_actor(entry.actor, last_actor),
            },
        )
    return ujson.dumps({kind: values}, escape_forward_slashes=False).encode()


def decode_entry(encoded: bytes, last_actor: Actor | None = None) -> Entry:
    """Return the entry that `encode_entry` was given.

    Raises:
        ValueError: *encoded* is not of that form.
    """
    try:
        [(kind, values)] = ujson.loads(encoded).items()
        return _coverage(values) if kind == "coverage" else _change(values, last_actor)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"an entry of a watcher is damaged: {error}") from error


def join_entries(encoded: Sequence[bytes]) -> bytes:
    """Return the payload of a batch."""
    return b"\n".join(encoded)


def decode_entries(payload: bytes) -> Iterator[tuple[bytes, Entry | ValueError]]:
    """Yield each entry of a batch as it was encoded, and decoded or why it cannot be, however damaged others are."""
    last_actor: Actor | None = None
    for encoded in payload.split(b"\n"):
        try:
            entry = decode_entry(encoded, last_actor)
        except ValueError as error:
            last_actor = None
            yield encoded, error
        else:
            last_actor = entry.actor if isinstance(entry, FileChange) else last_actor
            yield encoded, entry


def _plain_actor(actor: Actor | None, last_actor: Actor | None) -> Mapping[str, Any] | str | None:
    if actor is None:
        return None
    return SAME_ACTOR if actor == last_actor else dict(actor)


def _coverage(values: dict[str, Any]) -> Coverage:
    return Coverage(**values | {"path": os.fsencode(values["path"])})


def _change(values: dict[str, Any], last_actor: Actor | None) -> FileChange:
    values["path"] = os.fsencode(values["path"])
    values["before"] = from_plain(values["before"])
    values["after"] = from_plain(values["after"])
    if values["moved_from"] is not None:
        values["moved_from"] = os.fsencode(values["moved_from"])
    if values["actor"] == SAME_ACTOR:
        values["actor"] = last_actor
    return FileChange(**values)
