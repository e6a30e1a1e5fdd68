"""A change of a file, and what was different before: schema `audit` (`audit.file.*`), and the way to the other one."""

import hashlib
import os
import stat
from typing import Any, NamedTuple, get_args

from auditline.workers.common.file_entry import Action, DetectedBy, FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.envelope import ecs_envelope, own_document
from auditline.workers.router.render.file_attributes import HASH_LABELS
from auditline.workers.router.render.file_event_ecs import ecs_event, ecs_file
from auditline.workers.router.render.lines import Undecodable, timestamp_of_ns, to_json

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char_device",
    stat.S_IFBLK: "block_device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
"""The words are Auditbeat's."""
_SCHEMA_DIGESTS = frozenset(
    {
        "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256",
        "sha3_224", "sha3_256", "sha3_384", "sha3_512",
    }
)  # fmt: skip
"""Those that `audit.file` has a key for. Source: the field reference of Auditbeat 6.0."""
_BYTES = ("path", "target_path")
_TIMES = {"mtime": "mtime_ns", "ctime": "ctime_ns"}
_ACTIONS = frozenset(get_args(Action))
_DETECTED_BY = frozenset(get_args(DetectedBy))


class Attributes(NamedTuple):
    """What is known of a path; each part by the keys that it has in the document."""

    file: dict[str, Any]
    """Of `audit.file`; what a link holds is still bytes."""
    digests: dict[str, str]
    others: dict[str, Any]
    """What `audit.file` has no key for: told when it changes."""

    @property
    def all(self) -> dict[str, Any]:
        """All as one, in the order of the document."""
        return {**self.file, **self.digests, **self.others}


_NOTHING = Attributes({}, {}, {})


class FileRenderer:
    """Renders changes of files, one document each."""

    def __init__(self, names: IdNames) -> None:
        """Take the names of owners and groups from *names*."""
        self._names = names

    def render(
        self, change: FileChange, host: str, host_name: str, position: str, schema: str = "audit"
    ) -> tuple[str, str]:
        """Return the event's id and its line without the newline.

        *host* is the host's 16 hex digits, *position* the batch's epoch and number.

        Raises:
            ValueError: *change* holds what no watcher says; a value that has no JSON raises others.
        """
        if change.action not in _ACTIONS or change.detected_by not in _DETECTED_BY:
            raise ValueError("neither the action nor how it was detected may be anything else than is listed")
        identity = file_event_id(host, change, position)
        before, after = self._attributes(change.before), self._attributes(change.after)
        known, undecodable = before if change.after is None else after, Undecodable()
        timestamp = timestamp_of_ns(change.time_ns)
        file = _to_texts(known.file | {"path": change.path}, "", undecodable)
        if schema == "ecs":
            document = ecs_envelope(timestamp, identity, host_name, ecs_event(change)) | {
                "file": ecs_file(change, file, known.digests)
            }
        else:
            document = own_document(schema, timestamp, identity, host_name, {}) | {
                "audit": {"file": _file(change, file, known.digests)}
            }
        document["auditline"] = {
            "complete": True,
            "change": {"detected_by": change.detected_by, **_difference(change, before, after, undecodable)},
            **(_further(change, known) if schema == "audit" else _hash_state(change)),
            **undecodable.member(),
        }
        return identity, to_json(document)

    def _attributes(self, state: FileState | None) -> Attributes:
        """Return all that is known, of None nothing."""
        if state is None:
            return _NOTHING
        file: dict[str, Any] = {"type": _TYPES.get(stat.S_IFMT(state.mode), "unknown")}
        if state.target is not None:
            file["target_path"] = state.target
        file["gid"] = state.gid
        file["uid"] = state.uid
        file["owner"] = self._names.name("uid", str(state.uid))
        file["group"] = self._names.name("gid", str(state.gid))
        file["inode"] = str(state.inode)
        if state.is_regular:
            file["size"] = state.size
        file["mode"] = f"{stat.S_IMODE(state.mode):04o}"
        file["mtime"] = timestamp_of_ns(state.mtime_ns)
        file["ctime"] = timestamp_of_ns(state.ctime_ns)
        file["atime"] = timestamp_of_ns(state.atime_ns)
        others = {"device": _device(state.device), "links": state.links}
        if file["type"] in ("char_device", "block_device"):
            others["rdev"] = _device(state.rdev)
        return Attributes(file, unpack_digests(state.hashes), others)


def _file(change: FileChange, known: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    """Return `audit.file`; of what is gone the last that was known."""
    file: dict[str, Any] = {"action": change.action}
    if "type" in known:
        file["type"] = known["type"]
    file["path"] = known["path"]
    file |= known
    if digests:
        file["hashed"] = True
        file |= {name: digest for name, digest in digests.items() if name in _SCHEMA_DIGESTS}
    return file


def _difference(
    change: FileChange, before: Attributes, after: Attributes, undecodable: Undecodable
) -> dict[str, dict[str, Any]]:
    """Return the attributes that differ, `before` and `after`; of what is gone all, of what is new none."""
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    if change.moved_from is not None:
        old["path"], new["path"] = change.moved_from, change.path
    if change.before is not None and change.after is None:
        old |= before.all
    elif change.before is not None and change.after is not None:
        was, is_now = before.all, after.all
        same = {key for key, value in was.items() if is_now.get(key) == value}
        # What changed within a millisecond has changed all the same.
        same -= {key for key, field in _TIMES.items() if getattr(change.before, field) != getattr(change.after, field)}
        # That a file was read is no change of it.
        same.add("atime")
        old |= {key: value for key, value in was.items() if key not in same}
        new |= {key: value for key, value in is_now.items() if key not in same}
    sides = {"before": old, "after": new}
    return {side: _to_texts(values, f"change.{side}.", undecodable) for side, values in sides.items() if values}


def _to_texts(values: dict[str, Any], place: str, undecodable: Undecodable) -> dict[str, Any]:
    """Return *values*, in which what was bytes is text now; *place* is that of *values* in the document."""
    for key in _BYTES:
        if key in values:
            values[key] = undecodable.to_text(place + key, values[key])
    return values


def _further(change: FileChange, known: Attributes) -> dict[str, Any]:
    """Return what `audit.file` has no key for."""
    further: dict[str, Any] = {}
    hashes = {name: digest for name, digest in known.digests.items() if name not in _SCHEMA_DIGESTS}
    if hashes:
        further["hashes"] = hashes
    return further | _hash_state(change)


def _hash_state(change: FileChange) -> dict[str, str]:
    state = change.after if change.after is not None else change.before
    return {} if state is None else dict(HASH_LABELS.get(state.hash_state, ()))


def _device(number: int) -> str:
    """Return `MAJOR:MINOR` in hex, as the kernel writes it in its records."""
    return f"{os.major(number):02x}:{os.minor(number):02x}"


def file_event_id(host: str, change: FileChange, position: str) -> str:
    """Return the stable id of a change: the same one has it in whichever process, and after a power cut.

    A path may go from one state to another, back, and there again, with all its times, when a directory above it is
    moved or unmounted. When what was there before had been looked at tells such changes apart; where nothing had
    been there, when the change was seen does.
    """
    if change.action in ("config_change", "initial_scan"):
        occasion = position
    else:
        occasion = str(change.time_ns if change.before is None else change.before.checked_ns)
    parts = (
        change.action.encode(),
        change.path,
        b"" if change.moved_from is None else b"/%b" % change.moved_from,
        _fingerprint(change.before),
        _fingerprint(change.after),
        occasion.encode(),
    )
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts))
    return f"{host}-f-{digest.hexdigest()[:32]}"


def _fingerprint(state: FileState | None) -> bytes:
    """Return bytes that tell *state* from every other, but for when it was read or looked at, and how hashing went."""
    if state is None:
        return b""
    numbers = b"%d %d %d %d %d %d %d %d %d %d" % (*state[:9], state.rdev)
    target = b"-" if state.target is None else b"%d:%b" % (len(state.target), state.target)
    told = b"%b %b %b" % (numbers, target, state.hashes)
    # Most have neither, and keep the id that they had before anybody looked for them.
    return b"%d %d:%b %b" % (state.flags, len(state.xattrs), state.xattrs, told) if state.xattrs or state.flags else told
