"""Which profile a path has, and whether a file is what it was but for what was appended."""

import os
from collections.abc import Sequence

from auditline.workers.common.beneath import NotRegularError, Root, open_regular
from auditline.workers.common.file_state import HASHED, FileState
from auditline.workers.common.hashes import pack_digests, start_digests, unpack_digests
from auditline.workers.common.patterns import PathFilter
from auditline.workers.common.profiles import PROFILES, OverrideSettings, Profile
from auditline.workers.common.watch_plan import WatchPlan

_CHUNK_BYTES = 1 << 20


class Profiles:
    """Of the paths of one watch."""

    def __init__(self, plan: WatchPlan) -> None:
        self._usual = PROFILES[plan.profile]
        self._overrides = [
            (PathFilter(each.match), _overridden(self._usual, each), each.profile) for each in reversed(plan.override)
        ]

    def of(self, path: bytes) -> Profile:
        """Return what matters of an absolute path."""
        return next((profile for paths, profile, _ in self._overrides if paths.takes(path)), self._usual)

    def name_of(self, path: bytes) -> str | None:
        """Return what the profile is called that an override gives it; None: it has that of the watch."""
        return next((name for paths, _, name in self._overrides if paths.takes(path)), None)


def has_grown(root: Root, path: bytes, before: FileState | None, after: FileState | None) -> bool:
    """Say whether a file begins with all that it held, by all digests that are known of that."""
    if before is None or after is None or not (before.is_regular and after.is_regular):
        return False
    if after.size <= before.size or before.hash_state not in HASHED:
        return False
    names = tuple(unpack_digests(before.hashes))
    try:
        return _digests_of_head(root, path, names, before.size) == before.hashes
    except (OSError, NotRegularError):
        return False


def _digests_of_head(root: Root, path: bytes, names: Sequence[str], size: int) -> bytes | None:
    parent_fd, name = root.open_parent(path)
    try:
        fd, _ = open_regular(name, parent_fd)
    finally:
        os.close(parent_fd)
    digests = start_digests(names)
    with os.fdopen(fd, "rb", buffering=0) as file:
        while size and (chunk := file.read(min(size, _CHUNK_BYTES))):
            size -= len(chunk)
            for digest in digests:
                digest.update(chunk)
    return None if size else pack_digests(names, digests)


def _overridden(usual: Profile, override: OverrideSettings) -> Profile:
    profile = usual if override.profile is None else PROFILES[override.profile]
    if override.attributes:
        profile = profile._replace(attributes=frozenset(override.attributes))
    return profile if override.weight is None else profile._replace(weight=override.weight)
