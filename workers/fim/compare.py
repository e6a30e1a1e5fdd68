"""Whether two states of a path differ, and what the difference is called."""

import os
import stat

from auditline.workers.common.file_entry import Action
from auditline.workers.common.file_state import (
    HASHED,
    NOT_HASHED,
    STABLE,
    TIME_LIMIT,
    TOO_LARGE,
    UNREAD,
    UNSTABLE,
    FileState,
)
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.common.settings import FimSettings

RACY_NS = 20_000_000
"""A file changed so shortly before it was looked at may have been changed again with the same times: kernels before
6.13 give times in steps of a tick, at most 10 ms. Source: Documentation/filesystems/multigrain-ts.rst."""


def is_as_known(known: FileState, status: os.stat_result, settings: FimSettings) -> bool:
    """Say whether what `lstat` tells rules out that anything else about the path has changed.

    The time of change is set by the kernel alone and with every change of content or attributes: forging the time of
    modification does not hide one.
    """
    is_same = (
        known.ctime_ns == status.st_ctime_ns
        and known.mtime_ns == status.st_mtime_ns
        and known.inode == status.st_ino
        and known.size == status.st_size
        and known.mode == status.st_mode
        and known.device == status.st_dev
        and known.links == status.st_nlink
    )
    if not is_same or not known.is_regular:
        return is_same
    # To read once more what takes too long would take as long again.
    if known.hash_state == STABLE or (known.hash_state == TIME_LIMIT and is_to_be_hashed(status, settings)):
        return known.ctime_ns < known.checked_ns - RACY_NS
    return not is_to_be_hashed(status, settings) and known.hash_state in (NOT_HASHED, TOO_LARGE)


def is_same_file(known: FileState, status: os.stat_result) -> bool:
    """Say whether *status* is of the file, or directory, that is *known*, whatever its attributes are now."""
    return known.inode == status.st_ino and stat.S_IFMT(known.mode) == stat.S_IFMT(status.st_mode)


def is_to_be_hashed(status: os.stat_result, settings: FimSettings) -> bool:
    """Say whether the configuration wants hashes of such a file."""
    return stat.S_ISREG(status.st_mode) and bool(settings.hashes) and status.st_size <= settings.max_file_bytes


def find_action(before: FileState | None, after: FileState | None, *, is_new: bool = False) -> Action | None:
    """Return what happened to a path; None: nothing that is worth an event.

    *is_new*: an event said that the name was made, so another file stands there even if it has the old inode number.
    """
    if before is None:
        return None if after is None else "created"
    if after is None:
        return "deleted"
    if _has_other_content(before, after):
        return "updated"
    if _attributes(before) != _attributes(after):
        return "updated" if is_new else "attributes_modified"
    return _action_of_hashes(before, after)


def _action_of_hashes(before: FileState, after: FileState) -> Action | None:
    """Return what it means that all but the hashes is the same."""
    if after.hash_state not in HASHED or _algorithms(after) <= _algorithms(before):
        return None
    if before.hash_state == UNSTABLE:
        # It was told without a hash, and has one at last.
        return "updated"
    # What nobody could read may have had this content all the time.
    return None if before.hash_state in UNREAD else "config_change"


def _has_other_content(before: FileState, after: FileState) -> bool:
    if stat.S_IFMT(before.mode) != stat.S_IFMT(after.mode) or before.target != after.target:
        return True
    # A file put in the place of another is what "updated" is for, also where both have the same content. Whatever
    # puts it there sets its time of change: where that is the same, it is the file system that gives the same file
    # another number, as those in user space may. The device says nothing: that of many is another with each mount.
    if before.inode != after.inode and before.ctime_ns != after.ctime_ns:
        return True
    if not after.is_regular:
        return False
    if before.size != after.size:
        return True
    known, found = unpack_digests(before.hashes), unpack_digests(after.hashes)
    common = known.keys() & found.keys()
    if not common:
        # Nobody has compared the content: that it was written is all there is to know.
        return before.mtime_ns != after.mtime_ns
    return any(known[name] != found[name] for name in common)


def _attributes(state: FileState) -> tuple[object, ...]:
    """Return what may differ without other content.

    The times, sizes and link counts of directories say only that something in them has changed, which has an event of
    its own.
    """
    common = (state.mode, state.uid, state.gid, state.rdev, state.xattrs, state.flags)
    return (*common, state.mtime_ns, state.links) if state.is_regular else common


def _algorithms(state: FileState) -> frozenset[str]:
    return frozenset(unpack_digests(state.hashes))
