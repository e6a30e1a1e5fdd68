"""Schema `audit`: a change of a file, `audit.file.*`, and what was different before."""

import hashlib
import os
import stat
from typing import Any, get_args

from auditline.workers.common.file_entry import Action, DetectedBy, FileChange
from auditline.workers.common.file_state import NOT_HASHED, STABLE, FileState
from auditline.workers.common.hashes import ALGORITHMS, unpack_digests
from auditline.workers.router.names import IdNames
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
_OURS = frozenset({"device", "links", "rdev"})
"""Attributes that it has no key for: they are told when they change."""
_TIMES = {"mtime": "mtime_ns", "ctime": "ctime_ns"}
_ACTIONS = frozenset(get_args(Action))
_DETECTED_BY = frozenset(get_args(DetectedBy))

Attributes = dict[str, Any]
"""What is known of a path, by the keys of `audit.file`; what a link holds is still bytes."""


class FileRenderer:
    """Renders changes of files, one document each."""

    def __init__(self, names: IdNames) -> None:
        """Take the names of owners and groups from *names*."""
        self._names = names

    def render(self, change: FileChange, host: str, host_name: str, position: str) -> tuple[str, str]:
        """Return the event's id and its line without the newline.

        *host* is the host's 16 hex digits, *position* the batch's epoch and number.

        Raises:
            ValueError: *change* holds what no watcher says; a value that has no JSON raises others.
        """
        if change.action not in _ACTIONS or change.detected_by not in _DETECTED_BY:
            raise ValueError("neither the action nor how it was detected may be anything else than is listed")
        identity = file_event_id(host, change, position)
        before, after = self._attributes(change.before), self._attributes(change.after)
        known, undecodable = after or before, Undecodable()
        document = {
            "@timestamp": timestamp_of_ns(change.time_ns),
            "event": {"id": identity},
            "host": {"name": host_name},
            "audit": {"file": _file(change, known, undecodable)},
            "auditline": {
                "complete": True,
                "change": {"detected_by": change.detected_by, **_difference(change, before, after, undecodable)},
                **_further(change, known),
                **undecodable.member(),
            },
        }
        return identity, to_json(document)

    def _attributes(self, state: FileState | None) -> Attributes:
        """Return all that is known; nothing of None."""
        if state is None:
            return {}
        return {
            "type": _TYPES.get(stat.S_IFMT(state.mode), "unknown"),
            **({} if state.target is None else {"target_path": state.target}),
            "gid": state.gid,
            "uid": state.uid,
            "owner": self._names.name("uid", str(state.uid)),
            "group": self._names.name("gid", str(state.gid)),
            "inode": str(state.inode),
            **({"size": state.size} if state.is_regular else {}),
            "mode": f"{stat.S_IMODE(state.mode):04o}",
            "mtime": timestamp_of_ns(state.mtime_ns),
            "ctime": timestamp_of_ns(state.ctime_ns),
            "atime": timestamp_of_ns(state.atime_ns),
            **unpack_digests(state.hashes),
            "device": _device(state.device),
            "links": state.links,
            "rdev": _device(state.rdev),
        }


def _file(change: FileChange, known: Attributes, undecodable: Undecodable) -> Attributes:
    """Return `audit.file`; of what is gone the last that was known."""
    file: Attributes = {"action": change.action}
    if known:
        file["type"] = known["type"]
    file["path"] = undecodable.to_text("path", change.path)
    file |= {key: value for key, value in known.items() if key not in _OURS and key not in ALGORITHMS}
    if not ALGORITHMS.keys().isdisjoint(known):
        file["hashed"] = True
        file |= {key: value for key, value in known.items() if key in _SCHEMA_DIGESTS}
    return undecodable.to_texts("", file)


def _difference(
    change: FileChange, before: Attributes, after: Attributes, undecodable: Undecodable
) -> dict[str, Attributes]:
    """Return the attributes that differ, `before` and `after`; of what is gone all, of what is new none."""
    if change.before is None:
        before, after = {}, {}
    elif change.after is not None:
        same = {key for key, value in before.items() if after.get(key) == value}
        # What changed within a millisecond has changed all the same.
        same -= {key for key, field in _TIMES.items() if getattr(change.before, field) != getattr(change.after, field)}
        # That a file was read is no change of it.
        same.add("atime")
        before, after = ({key: value for key, value in each.items() if key not in same} for each in (before, after))
    if change.moved_from is not None:
        before, after = {"path": change.moved_from} | before, {"path": change.path} | after
    sides = {"before": before, "after": after}
    return {side: undecodable.to_texts(f"change.{side}.", values) for side, values in sides.items() if values}


def _further(change: FileChange, known: Attributes) -> dict[str, Any]:
    """Return what `audit.file` has no key for."""
    further: dict[str, Any] = {}
    state = change.after if change.after is not None else change.before
    hashes = {key: value for key, value in known.items() if key in ALGORITHMS and key not in _SCHEMA_DIGESTS}
    if hashes:
        further["hashes"] = hashes
    if state is not None and state.hash_state not in (STABLE, NOT_HASHED):
        further["hash_state"] = state.hash_state
    return further


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
    numbers = b" ".join(b"%d" % number for number in (*state[:9], state.rdev))
    target = b"-" if state.target is None else b"%d:%b" % (len(state.target), state.target)
    return b"%b %b %b" % (numbers, target, state.hashes)
