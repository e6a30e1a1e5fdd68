"""Schema `ecs`: a change of a file as Auditbeat's module file_integrity writes it.

Source: documents that Auditbeat 9.0 wrote, and auditbeat/module/file_integrity in elastic/beats.
"""

import stat
from collections.abc import Mapping
from typing import Any

from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.file_state import FileState

_TYPES = {"created": "creation", "deleted": "deletion", "initial_scan": "info"}
"""All else is a change."""
_NOT_KNOWN_TO_ECS = frozenset({"atime"})


def ecs_event(change: FileChange) -> dict[str, Any]:
    """Return what `event` has beside id and kind; a change of the content comes with one of the attributes."""
    actions: list[str] = [change.action]
    if change.action == "updated" and _attributes(change.before) != _attributes(change.after):
        actions.append("attributes_modified")
    return {
        "category": ["file"],
        "type": [_TYPES.get(change.action, "change")],
        "action": actions,
        "module": "file_integrity",
        "dataset": "file",
    }


def ecs_file(change: FileChange, known: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return `file`; *known* is what `audit.file` has of it, ids are texts here."""
    file = {key: value for key, value in known.items() if key not in _NOT_KNOWN_TO_ECS}
    for key in ("uid", "gid"):
        if key in file:
            file[key] = str(file[key])
    state = change.after if change.after is not None else change.before
    if state is not None and state.mode & stat.S_ISUID:
        file["setuid"] = True
    if state is not None and state.mode & stat.S_ISGID:
        file["setgid"] = True
    if digests:
        file["hash"] = dict(digests)
    return file


def _attributes(state: FileState | None) -> tuple[object, ...]:
    """Return what Auditbeat compares beside the content."""
    if state is None:
        return ()
    return state.mode, state.uid, state.gid, state.size, state.inode, state.mtime_ns, state.target
