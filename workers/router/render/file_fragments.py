"""Changes of files, the fast way: the same bytes as `file_event.FileRenderer`, put together from what repeats.

What is not of the commonest form goes the plain way. tests/router/test_file_fragments.py compares the two ways, byte
for byte.
"""

import re
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.file_state import FileState, device_number
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.envelope import ecs_envelope, own_document
from auditline.workers.router.render.file_actor import actor_member
from auditline.workers.router.render.file_attributes import (
    HASH_LABELS,
    TYPES,
    Shown,
    differences,
    digests_of,
)
from auditline.workers.router.render.file_event import SCHEMA_DIGESTS, FileRenderer, check_words, file_event_id
from auditline.workers.router.render.file_event_ecs import ecs_actor, ecs_event, extension_of, has_other_attributes
from auditline.workers.router.render.lines import Undecodable, to_json
from auditline.workers.router.render.memo import Memo

_is_plain = re.compile(rb"[ !#-\[\]-~]*").fullmatch
"""Whether a path stands in JSON as it is."""
_LARGEST_NUMBER = (1 << 63) - 1
_PLAIN_TYPES = (stat.S_IFREG, stat.S_IFDIR)
_HASH_LABELS = {state: "," + to_json(dict(label))[1:-1] for state, label in HASH_LABELS.items()}
_ID = "id of an event"


class _Actor(NamedTuple):
    """Who did it: members with a comma before them, empty if nothing is known."""

    ours: str
    ecs: str


_NOBODY = _Actor("", "")


class _Mode(NamedTuple):
    """What a mode says."""

    kind: str
    permissions: str
    set_ids: str
    """With a comma before them."""
    is_regular: bool


class _State(NamedTuple):
    """The members of one state, in pieces: schema `audit` has other ones between them than schema `ecs`."""

    mode: _Mode
    owners: tuple[str, str]
    body: str
    """From the inode to the times, but for that of the last access."""
    atime: str
    further: str
    digests: Mapping[str, str]

    @property
    def schema_members(self) -> str:
        return f"{self.mode.kind},{self.owners[0]},{self.body},{self.atime}"


class _Parts(NamedTuple):
    """What documents of both schemas have of one change."""

    change: FileChange
    position: str
    identity: str
    timestamp: str
    path: str
    state: _State
    actor: _Actor
    ours: str
    """`auditline`, but for its last brace."""


class FileFragmentRenderer:
    """Renders like FileRenderer, in a third of the time where paths are of ASCII and attributes the usual ones."""

    def __init__(self, names: IdNames) -> None:
        """Take the names of owners and groups from *names*."""
        self._names = names
        self._plain = FileRenderer(names)
        self._owners = Memo(self._make_owners)
        self._modes = Memo(_make_mode)
        self._devices = Memo(device_number)
        self._beginnings = Memo(_make_beginning)
        self._actor: tuple[Mapping[str, Any] | None, _Actor | None] = (None, _NOBODY)
        self._last: _Parts | None = None

    def forget_names(self) -> None:
        """Names of ids have changed: what was rendered with the old ones must go."""
        self._owners.clear()
        self._actor = (None, _NOBODY)

    def render(
        self, change: FileChange, host: str, host_name: str, position: str, schema: str = "audit"
    ) -> tuple[str, str]:
        """Return the event's id and its line without the newline: see `FileRenderer.render`.

        Raises:
            ValueError: *change* holds what no watcher says; a value that has no JSON raises others.
        """
        parts = self._last
        if parts is None or parts.change is not change or parts.position != position:
            parts = self._last = self._take_apart(change, host, position)
        if parts is None:
            return self._plain.render(change, host, host_name, position, schema)
        if schema == "ecs":
            has_more = change.action == "updated" and has_other_attributes(change)
            beginning = self._beginnings[(host_name, change.action, has_more)]
            inside = f"{beginning}{_ecs_file(parts)}}}{parts.actor.ecs}"
        else:
            inside = f"{self._beginnings[(host_name, '', False)]}{_audit_file(parts)}}}}}"
        hashes = "" if schema == "ecs" else _further_digests(parts.state.digests)
        beginning = f'{{"@timestamp":"{parts.timestamp}","event":{{"id":"{parts.identity}"'
        return parts.identity, f'{beginning}{inside},"auditline":{parts.ours}{hashes}}}}}'

    def _take_apart(self, change: FileChange, host: str, position: str) -> _Parts | None:
        """Return the parts; None: this one must go the plain way."""
        check_words(change)
        before, after, moved_from = change.before, change.after, change.moved_from
        shown = before if after is None else after
        if shown is None or not _is_plain(change.path) or (moved_from is not None and not _is_plain(moved_from)):
            return None
        if not (_is_usual(shown) and (after is None or before is None or _is_usual(before))):
            return None
        actor = self._find_actor(change.actor)
        if actor is None:
            return None
        state = self._make_state(shown)
        ours = (
            f'{{"complete":true,"change":{{"detected_by":"{change.detected_by}"{self._changed(change, state)}}},'
            f'"file":{{{state.further}}}{_HASH_LABELS.get(shown.hash_state, "")}{actor.ours}'
        )
        identity, timestamp = file_event_id(host, change, position), timestamp_of_ns(change.time_ns)
        return _Parts(change, position, identity, timestamp, change.path.decode(), state, actor, ours)

    def _make_state(self, state: FileState) -> _State:
        mode = self._modes[state.mode]
        size = f'"size":{state.size},' if mode.is_regular else ""
        modified, changed = timestamp_of_ns(state.mtime_ns), timestamp_of_ns(state.ctime_ns)
        return _State(
            mode,
            self._owners[(state.uid, state.gid)],
            f'"inode":"{state.inode}",{size}{mode.permissions},"mtime":"{modified}","ctime":"{changed}"',
            f'"atime":"{timestamp_of_ns(state.atime_ns)}"',
            f'"device":"{self._devices[state.device]}","links":{state.links}{mode.set_ids}',
            digests_of(state),
        )

    def _changed(self, change: FileChange, shown: _State) -> str:
        """Return what stands behind how it was found: what differs, or of what is gone all that was known."""
        before, after, moved_from = change.before, change.after, change.moved_from
        old = new = told = ""
        if before is not None and after is not None:
            no_text = Undecodable().to_text
            differing = differences(Shown(before, self._names, no_text), Shown(after, self._names, no_text))
            old, new = (to_json(each)[1:-1] for each in differing)
        elif before is not None:
            old = f"{shown.schema_members}{_members(shown.digests)},{shown.further}"
        if moved_from is not None:
            if change.action == "moved":
                old = _joined(f'"path":"{moved_from.decode()}"', old)
                new = _joined(f'"path":"{change.path.decode()}"', new)
            else:
                told = f',"moved_from":"{moved_from.decode()}"'
        return f"{told}{_object('before', old)}{_object('after', new)}"

    def _make_owners(self, ids: tuple[int, int]) -> tuple[str, str]:
        """Return what is said of owner and group in schema `audit` and in schema `ecs`."""
        uid, gid = ids
        owner, group = self._names.name("uid", str(uid)), self._names.name("gid", str(gid))
        names = to_json({"owner": owner, "group": group})[1:-1]
        return f'"gid":{gid},"uid":{uid},{names}', f'"gid":"{gid}","uid":"{uid}",{names}'

    def _find_actor(self, actor: Mapping[str, Any] | None) -> _Actor | None:
        """Return what is said of *actor*, mostly that of the change before; None: it has what is not text."""
        if actor is not self._actor[0]:
            undecodable, made = Undecodable(), _NOBODY
            if member := actor_member(actor, self._names, undecodable) if actor else {}:
                made = _Actor(f',"actor":{to_json(member)}', f",{to_json(ecs_actor(member))[1:-1]}")
            self._actor = (actor, None if undecodable.member() else made)
        return self._actor[1]


def _is_usual(state: FileState) -> bool:
    """Say whether a state is of a file or directory, and has nothing that most have not."""
    mode, uid, gid, size, inode, device, links, mtime_ns, ctime_ns, atime_ns, _, target, _, _, _, xattrs, flags = state
    if target is not None or xattrs or flags or stat.S_IFMT(mode) not in _PLAIN_TYPES:
        return False
    numbers = (uid, gid, size, inode, device, links, mtime_ns, ctime_ns, atime_ns)
    return min(numbers) >= 0 and max(numbers) <= _LARGEST_NUMBER


def _make_mode(mode: int) -> _Mode:
    set_uid = ',"setuid":true' if mode & stat.S_ISUID else ""
    set_gid = ',"setgid":true' if mode & stat.S_ISGID else ""
    kind = f'"type":"{TYPES[stat.S_IFMT(mode)]}"'
    return _Mode(kind, f'"mode":"{stat.S_IMODE(mode):04o}"', set_uid + set_gid, stat.S_ISREG(mode))


def _make_beginning(key: tuple[str, str, bool]) -> str:
    """Return what stands between the id and the members of the file; with an action, in schema `ecs`."""
    host_name, action, has_more = key
    if action:
        document = ecs_envelope("", _ID, host_name, ecs_event(action, has_other_attributes=has_more))
        opening = '"file":{'
    else:
        document = own_document("audit", "", _ID, host_name, {})
        opening = '"audit":{"file":{'
    behind_id = to_json(document).partition(f'"{_ID}"')[2][:-1]
    return f"{behind_id},{opening}"


def _audit_file(parts: _Parts) -> str:
    state = parts.state
    kind, (owners, _) = state.mode.kind, state.owners
    members = f'"action":"{parts.change.action}",{kind},"path":"{parts.path}",{owners},{state.body},{state.atime}'
    if not state.digests:
        return members
    known = {name: digest for name, digest in state.digests.items() if name in SCHEMA_DIGESTS}
    return f'{members},"hashed":true{_members(known)}'


def _ecs_file(parts: _Parts) -> str:
    state = parts.state
    extension = extension_of(parts.path) if state.mode.is_regular else ""
    extension = f',"extension":"{extension}"' if extension else ""
    hashes = f',"hash":{{{_members(state.digests)[1:]}}}' if state.digests else ""
    members = f'"path":"{parts.path}",{state.mode.kind},{state.owners[1]},{state.body}'
    return f"{members}{extension}{state.mode.set_ids}{hashes}"


def _further_digests(digests: Mapping[str, str]) -> str:
    """Return those that `audit.file` has no key for."""
    further = {name: digest for name, digest in digests.items() if name not in SCHEMA_DIGESTS}
    return f',"hashes":{{{_members(further)[1:]}}}' if further else ""


def _members(texts: Mapping[str, str]) -> str:
    """Return members of an object, which need no escapes, each with a comma before it."""
    return "".join([f',"{name}":"{text}"' for name, text in texts.items()])


def _joined(first: str, second: str) -> str:
    return f"{first},{second}" if second else first


def _object(key: str, members: str) -> str:
    return f',"{key}":{{{members}}}' if members else ""
