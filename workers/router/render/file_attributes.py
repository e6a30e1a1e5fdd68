"""What is known of a file, attribute by attribute, as words of a document."""

import stat
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from auditline.workers.common.attributes import flag_words
from auditline.workers.common.file_state import (
    FORBIDDEN,
    GROWING,
    HASHED,
    QUARANTINED,
    STABLE,
    TIME_LIMIT,
    TOO_LARGE,
    UNREADABLE,
    UNSTABLE,
    FileState,
    device_number,
)
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_xattrs import xattr_members

HASH_LABELS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        STABLE: {"hash_state": "stable"},
        GROWING: {"hash_state": "growing"},
        UNSTABLE: {"hash_state": "unstable"},
        TOO_LARGE: {"hash_state": "partial", "hash_reason": "too_large"},
        TIME_LIMIT: {"hash_state": "partial", "hash_reason": "time_limit"},
        UNREADABLE: {"hash_state": "partial", "hash_reason": "read_error"},
        FORBIDDEN: {"hash_state": "partial", "hash_reason": "forbidden"},
        QUARANTINED: {"hash_state": "partial", "hash_reason": "quarantined"},
    }
)
"""What is said of a file's hashes, by `FileState.hash_state`."""
TYPES: Mapping[int, str] = MappingProxyType(
    {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "dir",
        stat.S_IFLNK: "symlink",
        stat.S_IFCHR: "char_device",
        stat.S_IFBLK: "block_device",
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
    }
)
"""The words are Auditbeat's."""
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)

ToText = Callable[[str, bytes], str]
"""Makes text of bytes; is told the key that they are for."""


class Shown(NamedTuple):
    """One state of a file, and what is needed to show it."""

    state: FileState
    names: IdNames
    to_text: ToText


class _Attribute(NamedTuple):
    """One key of a document."""

    key: str
    made_of: tuple[str, ...]
    """Fields of the state: if they are the same, so is the attribute."""
    show: Callable[[Shown], Any]
    """Returns its value; None: it has none."""


def schema_members(shown: Shown) -> dict[str, Any]:
    """Return what `audit.file` has a key for, but for the path and the hashes."""
    return {each.key: value for each in _OF_SCHEMA if (value := each.show(shown)) is not None}


def further_members(shown: Shown) -> dict[str, Any]:
    """Return what `audit.file` has no key for, but for the hashes.

    Raises:
        ValueError: the extended attributes are damaged.
    """
    members = {each.key: value for each in _FURTHER if (value := each.show(shown)) is not None}
    if shown.state.xattrs:
        members |= _xattrs(shown)
    return members


def digests_of(state: FileState) -> dict[str, str]:
    """Return the digests by their algorithms; none where those that are kept are of an older content.

    Raises:
        ValueError: they are damaged.
    """
    return unpack_digests(state.hashes) if state.hashes and state.hash_state in HASHED else {}


def differences(before: Shown, after: Shown) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes that differ, as they were and as they are.

    That a file was read is no difference.

    Raises:
        ValueError: what is packed in one of them is damaged.
    """
    was, is_now = before.state, after.state
    found = [
        (each.key, each.show(before), each.show(after))
        for number, (one, other) in enumerate(zip(was, is_now, strict=True))
        if one != other
        for each in _BY_FIELD[number]
    ]
    if was.hashes != is_now.hashes or was.hash_state != is_now.hash_state:
        found += _pairs(digests_of(was), digests_of(is_now))
    if was.xattrs != is_now.xattrs:
        found += _pairs(_xattrs(before), _xattrs(after))
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for key, one, other in found:
        # What changed within a millisecond has changed all the same.
        if one == other and key not in _TIMES:
            continue
        if key == "xattrs":
            # What is in both lists says nothing.
            _put(old, key, _without(one or [], other or []))
            _put(new, key, _without(other or [], one or []))
        else:
            _put(old, key, one)
            _put(new, key, other)
    return old, new


def _put(members: dict[str, Any], key: str, value: Any) -> None:
    if value is not None:
        members[key] = value


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, one.get(key), other.get(key)) for key in {**one, **other}]


def _without(entries: list[Any], others: list[Any]) -> list[Any] | None:
    return [entry for entry in entries if entry not in others] or None


def _xattrs(shown: Shown) -> dict[str, Any]:
    return xattr_members(shown.state.xattrs, shown.names)


def _type(shown: Shown) -> str:
    return TYPES.get(stat.S_IFMT(shown.state.mode), "unknown")


def _target(shown: Shown) -> str | None:
    target = shown.state.target
    return None if target is None else shown.to_text("target_path", target)


def _rdev(shown: Shown) -> str | None:
    return device_number(shown.state.rdev) if stat.S_IFMT(shown.state.mode) in _DEVICES else None


_OF_SCHEMA = (
    _Attribute("type", ("mode",), _type),
    _Attribute("target_path", ("target",), _target),
    _Attribute("gid", ("gid",), lambda shown: shown.state.gid),
    _Attribute("uid", ("uid",), lambda shown: shown.state.uid),
    _Attribute("owner", ("uid",), lambda shown: shown.names.name("uid", str(shown.state.uid))),
    _Attribute("group", ("gid",), lambda shown: shown.names.name("gid", str(shown.state.gid))),
    _Attribute("inode", ("inode",), lambda shown: str(shown.state.inode)),
    _Attribute("size", ("mode", "size"), lambda shown: shown.state.size if shown.state.is_regular else None),
    _Attribute("mode", ("mode",), lambda shown: f"{stat.S_IMODE(shown.state.mode):04o}"),
    _Attribute("mtime", ("mtime_ns",), lambda shown: timestamp_of_ns(shown.state.mtime_ns)),
    _Attribute("ctime", ("ctime_ns",), lambda shown: timestamp_of_ns(shown.state.ctime_ns)),
    _Attribute("atime", ("atime_ns",), lambda shown: timestamp_of_ns(shown.state.atime_ns)),
)
"""In the order of the document."""
_FURTHER = (
    _Attribute("device", ("device",), lambda shown: device_number(shown.state.device)),
    _Attribute("links", ("links",), lambda shown: shown.state.links),
    _Attribute("rdev", ("mode", "rdev"), _rdev),
    _Attribute("setuid", ("mode",), lambda shown: True if shown.state.mode & stat.S_ISUID else None),
    _Attribute("setgid", ("mode",), lambda shown: True if shown.state.mode & stat.S_ISGID else None),
    _Attribute("flags", ("flags",), lambda shown: flag_words(shown.state.flags) or None),
)
_BY_FIELD = tuple(
    tuple(each for each in (*_OF_SCHEMA, *_FURTHER) if field in each.made_of and each.key != "atime")
    for field in FileState._fields
)
"""What to look at if a field differs, by the field's place."""
_TIMES = frozenset({"mtime", "ctime"})
