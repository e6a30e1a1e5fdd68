"""A change of a file, and what was different before: schema `audit` (`audit.file.*`), and the way to the other one."""

import hashlib
from typing import Any, NamedTuple, get_args

from auditline.workers.common.file_entry import Action, DetectedBy, FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.envelope import ecs_envelope, own_document
from auditline.workers.router.render.file_actor import actor_member
from auditline.workers.router.render.file_attributes import (
    HASH_LABELS,
    Shown,
    ToText,
    differences,
    digests_of,
    further_members,
    schema_members,
)
from auditline.workers.router.render.file_event_ecs import ecs_actor, ecs_event, ecs_file, has_other_attributes
from auditline.workers.router.render.lines import Undecodable, to_json

SCHEMA_DIGESTS = frozenset(
    {
        "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256",
        "sha3_224", "sha3_256", "sha3_384", "sha3_512",
    }
)  # fmt: skip
"""Those that `audit.file` has a key for. Source: the field reference of Auditbeat 6.0."""
_ID_PARTS = b"%d:%b" * 6
_ACTIONS = frozenset(get_args(Action))
_DETECTED_BY = frozenset(get_args(DetectedBy))


class _Parts(NamedTuple):
    """What documents of both schemas have of one change."""

    change: FileChange
    position: str
    identity: str
    timestamp: str
    path: str
    file: dict[str, Any]
    """Of `audit.file`, of what is gone the last that was known; without path and hashes."""
    digests: dict[str, str]
    further: dict[str, Any]
    """What `audit.file` has no key for."""
    actor: dict[str, Any]
    ours: dict[str, Any]
    """`auditline`,"""
    ours_json: str
    """and how it is written."""


class FileRenderer:
    """Renders changes of files, one document each."""

    def __init__(self, names: IdNames) -> None:
        """Take the names of owners and groups from *names*."""
        self._names = names
        self._last: _Parts | None = None

    def render(
        self, change: FileChange, host: str, host_name: str, position: str, schema: str = "audit"
    ) -> tuple[str, str]:
        """Return the event's id and its line without the newline.

        *host* is the host's 16 hex digits, *position* the place of the change: the epoch, the batch, and in it.

        Raises:
            ValueError: *change* holds what no watcher says; a value that has no JSON raises others.
        """
        parts = self._last
        # The same change is asked for in one schema after the other.
        if parts is None or parts.change is not change or parts.position != position:
            parts = self._last = self._take_apart(change, host, position)
        if schema == "ecs":
            event = ecs_event(change.action, has_other_attributes=has_other_attributes(change))
            document = ecs_envelope(parts.timestamp, parts.identity, host_name, event)
            document["file"] = ecs_file(parts.path, parts.file, parts.digests, parts.further)
            document |= ecs_actor(parts.actor)
            return parts.identity, _joined(document, parts.ours_json)
        document = own_document(schema, parts.timestamp, parts.identity, host_name, {})
        document["audit"] = {"file": _audit_file(parts)}
        hashes = {name: digest for name, digest in parts.digests.items() if name not in SCHEMA_DIGESTS}
        ours_json = to_json(parts.ours | {"hashes": hashes}) if hashes else parts.ours_json
        return parts.identity, _joined(document, ours_json)

    def _take_apart(self, change: FileChange, host: str, position: str) -> _Parts:
        check_words(change)
        identity = file_event_id(host, change, position)
        timestamp = timestamp_of_ns(change.time_ns)
        undecodable = Undecodable()
        path = undecodable.to_text("path", change.path)
        state = change.after if change.after is not None else change.before
        file: dict[str, Any] = {}
        digests: dict[str, str] = {}
        further: dict[str, Any] = {}
        if state is not None:
            shown = Shown(state, self._names, undecodable.to_text)
            file, digests = schema_members(shown), digests_of(state)
            further = further_members(shown)
        ours = {"complete": True, "change": self._change(change, undecodable)}
        if further:
            ours["file"] = further
        if state is not None:
            ours |= HASH_LABELS.get(state.hash_state, {})
        actor = {} if change.actor is None else actor_member(change.actor, self._names, undecodable)
        if actor:
            ours["actor"] = actor
        ours |= undecodable.member()
        return _Parts(change, position, identity, timestamp, path, file, digests, further, actor, ours, to_json(ours))

    def _change(self, change: FileChange, undecodable: Undecodable) -> dict[str, Any]:
        """Return how it was found and what differs; of what is gone all that was known, of what is new nothing."""
        before, after = (
            None if state is None else Shown(state, self._names, _prefixed(undecodable, f"change.{side}."))
            for side, state in (("before", change.before), ("after", change.after))
        )
        old: dict[str, Any] = {}
        new: dict[str, Any] = {}
        if before is not None and after is not None:
            old, new = differences(before, after)
        elif before is not None:
            old = schema_members(before) | digests_of(before.state) | further_members(before)
        told: dict[str, Any] = {"detected_by": change.detected_by}
        if change.moved_from is not None:
            if change.action == "moved":
                old = {"path": undecodable.to_text("change.before.path", change.moved_from), **old}
                new = {"path": undecodable.to_text("change.after.path", change.path), **new}
            else:
                told["moved_from"] = undecodable.to_text("change.moved_from", change.moved_from)
        if old:
            told["before"] = old
        if new:
            told["after"] = new
        return told


def check_words(change: FileChange) -> None:
    """Raise ValueError if the action, or how it was detected, is none of the words for it."""
    if change.action not in _ACTIONS or change.detected_by not in _DETECTED_BY:
        raise ValueError("neither the action nor how it was detected may be anything else than is listed")


def _joined(document: dict[str, Any], ours_json: str) -> str:
    """Return the line: what both schemas have is written once for both."""
    return f'{to_json(document)[:-1]},"auditline":{ours_json}}}'


def _prefixed(undecodable: Undecodable, place: str) -> ToText:
    return lambda key, raw: undecodable.to_text(place + key, raw)


def _audit_file(parts: _Parts) -> dict[str, Any]:
    file: dict[str, Any] = {"action": parts.change.action}
    if parts.file:
        file["type"] = parts.file["type"]
    file["path"] = parts.path
    file |= parts.file
    if parts.digests:
        file["hashed"] = True
        file |= {name: digest for name, digest in parts.digests.items() if name in SCHEMA_DIGESTS}
    return file


def file_event_id(host: str, change: FileChange, position: str) -> str:
    """Return the stable id of a change: the same one has it in whichever process, and after a power cut.

    A path may go from one state to another, back, and there again, with all its times, when a directory above it is
    moved or unmounted. When what was there before had been looked at tells such changes apart; where nothing had
    been there, and of what was moved and is known from the other name, when the change was seen does.
    """
    if change.action in ("config_change", "initial_scan"):
        occasion = position
    else:
        occasion = str(
            change.time_ns if change.before is None or change.action == "moved" else change.before.checked_ns
        )
    action, path = change.action.encode(), change.path
    moved_from = b"" if change.moved_from is None else b"/%b" % change.moved_from
    before, after = _fingerprint(change.before), _fingerprint(change.after)
    parts = (len(action), action, len(path), path, len(moved_from), moved_from, len(before), before, len(after), after)
    digest = hashlib.sha256(_ID_PARTS % (*parts, len(occasion), occasion.encode()))
    return f"{host}-f-{digest.hexdigest()[:32]}"


def _fingerprint(state: FileState | None) -> bytes:
    """Return bytes that tell *state* from every other, but for when it was read or looked at, and how hashing went."""
    if state is None:
        return b""
    numbers = b"%d %d %d %d %d %d %d %d %d %d" % (*state[:9], state.rdev)
    target = b"-" if state.target is None else b"%d:%b" % (len(state.target), state.target)
    told = b"%b %b %b" % (numbers, target, state.hashes)
    # Most have neither, and keep the id that they had before anybody looked for them.
    return (
        b"%d %d:%b %b" % (state.flags, len(state.xattrs), state.xattrs, told) if state.xattrs or state.flags else told
    )
