"""What a finding means: added, removed, changed in which attributes, or nothing that anybody wants to know."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from auditline.workers.common.file_state import FileState
from auditline.workers.common.profiles import ATTRIBUTES, Profile
from auditline.workers.router.decode.text import surrogates_to_text
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_attributes import Shown, differences
from auditline.workers.scan.comparing import Finding

Kind = Literal["added", "removed", "changed", "unreadable"]

_OF_DIRECTORIES = frozenset(ATTRIBUTES) - {"size", "mtime", "ctime", "links"}
"""The others say only that something in it has changed."""
_ATTRIBUTE_OF: Mapping[str, str] = MappingProxyType(
    {
        "type": "type", "rdev": "type", "target_path": "target", "uid": "owner", "owner": "owner", "gid": "group",
        "group": "group", "inode": "inode", "size": "size", "mode": "mode", "setuid": "mode", "setgid": "mode",
        "mtime": "mtime", "ctime": "ctime", "device": "device", "links": "links", "flags": "flags",
        "capabilities": "capabilities", "posix_acl_access": "acl", "posix_acl_default": "acl", "selinux": "selinux",
        "xattrs": "xattrs", "ima": "xattrs", "evm": "xattrs",
    }
)  # fmt: skip
"""By the keys of documents; all others are digests."""
_WITH_CONTENT = frozenset({"size", "inode", "device", "links", "mtime", "ctime", "target", "hashes"})
_RIGHTS_TO_RUN = 0o111
_SET_ID = 0o6000


class AttributeChange(NamedTuple):
    """One line of a change."""

    attribute: str
    key: str
    """As documents have it; a digest's algorithm, too."""
    before: Any
    after: Any
    """None: there is none."""


class Difference(NamedTuple):
    """A path that is not as it was approved."""

    kind: Kind
    finding: Finding
    weight: int
    """How much it may matter, 0 to 100."""
    attributes: tuple[AttributeChange, ...] = ()
    package: str = ""
    """Which package's upgrade made it, with the version."""

    @property
    def may_be_of_package(self) -> bool:
        """Whether it is of the kind that an upgrade makes: content and what goes with it."""
        after = self.finding.after
        if after is None or self.kind not in ("added", "changed"):
            return False
        if self.kind == "added":
            return not (after.is_regular and after.mode & _SET_ID)
        return {each.attribute for each in self.attributes} <= _WITH_CONTENT


def find_difference(
    finding: Finding, names: IdNames, profile: Profile, *, has_grown: bool = False
) -> Difference | None:
    """Return what *finding* means; None: nothing that *profile* wants to know.

    *has_grown*: something was appended, and nothing else was done to the content.
    """
    before, after = finding.before, finding.after
    weight = _weigh(before, after) if profile.weight is None else profile.weight
    if finding.problem:
        return Difference("unreadable", finding, weight)
    if before is None:
        return None if after is None else Difference("added", finding, weight)
    if after is None:
        return Difference("removed", finding, weight)
    wanted = profile.attributes & _OF_DIRECTORIES if after.is_directory else profile.attributes
    if has_grown:
        wanted -= {"size", "hashes"}
    found = tuple(each for each in _attribute_changes(before, after, names) if each.attribute in wanted)
    return Difference("changed", finding, weight, found) if found else None


def _weigh(*states: FileState | None) -> int:
    """Return how much a difference matters: of files that run with others' rights most, then of those that run."""
    known = [state for state in states if state is not None]
    if any(state.is_regular and state.mode & _SET_ID for state in known):
        return 100
    if any(state.is_regular and state.mode & _RIGHTS_TO_RUN for state in known):
        return 75
    return 25 if known and all(state.is_directory for state in known) else 50


def _attribute_changes(before: FileState, after: FileState, names: IdNames) -> list[AttributeChange]:
    old, new = differences(Shown(before, names, _to_text), Shown(after, names, _to_text))
    found = [
        AttributeChange(_ATTRIBUTE_OF.get(key, "hashes"), key, old.get(key), new.get(key)) for key in {**old, **new}
    ]
    return sorted(found, key=lambda each: ATTRIBUTES.index(each.attribute))


def _to_text(_key: str, raw: bytes) -> str:
    return surrogates_to_text(os.fsdecode(raw))[0]
