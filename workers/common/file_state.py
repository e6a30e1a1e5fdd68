"""What is known of a path at one moment: made by hashers and watchers, stored in baselines, rendered by the router."""

import os
import stat
from typing import Any, NamedTuple

STABLE = "stable"
"""The file's content was hashed, and it did not change meanwhile."""
GROWING = "growing"
"""Something was appended all the time: the hashes are those of the first `size` bytes, which stayed the same."""
UNSTABLE = "unstable"
"""It changed each time while it was read, so there are no hashes."""
NOT_HASHED = ""
"""There is nothing to hash, or hashing is switched off."""
TOO_LARGE, TIME_LIMIT = "too_large", "time_limit"
"""It was not read, or not to its end, because that is not wanted."""
UNREADABLE, FORBIDDEN, QUARANTINED = "unreadable", "forbidden", "quarantined"
"""Nobody could read it, nobody may, or it has ended hashers."""

HASHED = frozenset({STABLE, GROWING})
"""There are digests of what was there."""
UNREAD = frozenset({UNREADABLE, FORBIDDEN, QUARANTINED, TIME_LIMIT})
"""It should have been read: the hashes, if there are any, are older, for the next ones to be compared with."""

_INTEGERS = frozenset({int})


class FileState(NamedTuple):
    """The attributes of one path."""

    mode: int
    """`st_mode`: type and permissions."""
    uid: int
    gid: int
    size: int
    inode: int
    device: int
    """`st_dev`, the file system that it is on."""
    links: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int
    rdev: int
    """Which device a device node stands for."""
    target: bytes | None
    """What a symbolic link holds, as it stands there; None for all else."""
    hashes: bytes
    """`hashes.pack_digests`; empty if there are none."""
    hash_state: str
    """One of the words above."""
    checked_ns: int
    """When it was looked at, before the first look, in nanoseconds since 1970."""
    xattrs: bytes = b""
    """Its extended attributes, packed; empty if it has none."""
    flags: int = 0
    """Those of `struct statx`'s attributes that are kept: immutable, append only and the like."""

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


def state_of(
    status: os.stat_result,
    *,
    checked_ns: int,
    target: bytes | None = None,
    hashes: bytes = b"",
    hash_state: str = NOT_HASHED,
    xattrs: bytes = b"",
    flags: int = 0,
) -> FileState:
    """Return the state that `lstat` or `fstat` tells, with what it cannot tell beside it."""
    return FileState(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_ino,
        status.st_dev,
        status.st_nlink,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_atime_ns,
        status.st_rdev,
        target,
        hashes,
        hash_state,
        checked_ns,
        xattrs,
        flags,
    )


def to_plain(state: FileState | None) -> list[Any] | None:
    """Return *state* as JSON can hold it."""
    if state is None:
        return None
    target = None if state.target is None else os.fsdecode(state.target)
    return [*state[:11], target, state.hashes.hex(), *state[13:15], state.xattrs.hex(), state.flags]


def device_number(device: int) -> str:
    """Return `MAJOR:MINOR` in hex, as the kernel's records have it. Source: kernel/auditsc.c, audit_log_name()."""
    return f"{os.major(device):02x}:{os.minor(device):02x}"


def from_plain(plain: Any) -> FileState | None:
    """Return the state that `to_plain` was given.

    Raises:
        ValueError: *plain* is not of that form.
    """
    if plain is None:
        return None
    if not isinstance(plain, list) or len(plain) != len(FileState._fields):
        raise ValueError(f"a file's state has {len(FileState._fields)} values")
    *numbers, target, hashes, hash_state, checked_ns, xattrs, flags = plain
    if not _INTEGERS.issuperset(map(type, (*numbers, checked_ns, flags))) or not isinstance(hash_state, str):
        raise ValueError("a file's state has numbers, a target, hashes, the hashes' state, and a time")
    try:
        decoded_target = None if target is None else os.fsencode(target)
        packed = (bytes.fromhex(hashes), hash_state, checked_ns, bytes.fromhex(xattrs), flags)
        return FileState._make((*numbers, decoded_target, *packed))
    except TypeError as error:
        raise ValueError("a file's target, hashes and extended attributes are texts") from error
