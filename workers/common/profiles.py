"""What of a path matters, by what the path is for: which attributes are compared, and whether a file may grow."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, get_args

from auditline.workers.common.settings_file import Range

ATTRIBUTES = (
    "type", "mode", "owner", "group", "size", "inode", "device", "links", "mtime", "ctime", "target", "xattrs", "acl",
    "capabilities", "selinux", "flags", "hashes",
)  # fmt: skip
"""All that a path has, in the order of reports."""
ProfileName = Literal["static", "config", "log", "rotating-log", "secrets", "executables", "volatile"]
_ALL = frozenset(ATTRIBUTES)
_WHO = frozenset({"type", "mode", "owner", "group", "xattrs", "acl", "capabilities", "selinux", "flags", "target"})
"""What it is, and who may do what with it."""


class Profile(NamedTuple):
    """What a difference is."""

    attributes: frozenset[str]
    may_grow: bool = False
    """What was appended to a file is none, as long as its beginning is what was approved."""
    weight: int | None = None
    """How much a difference matters, 0 to 100; None: by what may be done with the file."""


PROFILES: Mapping[ProfileName, Profile] = MappingProxyType(
    {
        # A file in the place of another that is the same in everything else is no difference.
        "static": Profile(_ALL - {"inode", "device", "ctime"}),
        # Editors and package managers write them anew with the content that they had.
        "config": Profile(_ALL - {"inode", "device", "ctime", "mtime"}),
        # Another inode: it was replaced, which is the way to cut it.
        "log": Profile(_WHO | {"inode", "links", "size", "hashes"}, may_grow=True),
        "rotating-log": Profile(_WHO),
        # Also what somebody did and undid.
        "secrets": Profile(_ALL, weight=90),
        "executables": Profile(_ALL - {"device", "ctime"}, weight=80),
        "volatile": Profile(frozenset({"type", "owner", "group"}), weight=10),
    }
)
PROFILE_NAMES: tuple[ProfileName, ...] = get_args(ProfileName)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideSettings:
    """`[[fim.watch.override]]`: what matters of some paths in a watch."""

    match: tuple[str, ...] = ()
    """Patterns as `common/patterns.py` reads them; of several tables that match a path the last one counts."""
    profile: ProfileName | None = None
    """None: that of the watch."""
    attributes: tuple[str, ...] = ()
    """In place of the profile's; none: the profile's."""
    weight: Annotated[int, Range(0, 100)] | None = None
    """In place of the profile's."""
