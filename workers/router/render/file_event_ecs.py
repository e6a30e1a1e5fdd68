"""Schema `ecs`: a change of a file as Auditbeat's module file_integrity writes it.

Source: documents that Auditbeat 9.0 wrote, and auditbeat/module/file_integrity in elastic/beats.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.router.decode.arguments import to_command_line
from auditline.workers.router.decode.facts import selinux_context

_TYPES = {"created": "creation", "deleted": "deletion", "initial_scan": "info"}
"""All else is a change."""
_NOT_KNOWN_TO_ECS = frozenset({"atime"})
_FROM_FURTHER = ("setuid", "setgid", "posix_acl_access")
_PROCESS = {
    "pid": "pid",
    "entity_id": "entity_id",
    "start": "start",
    "name": "name",
    "executable": "executable",
    "arguments": "args",
    "parent": "parent",
    "user": "user",
}
"""The key of `process`, by that of `auditline.actor`."""


def ecs_event(action: str, *, has_other_attributes: bool) -> dict[str, Any]:
    """Return what `event` has beside id and kind; a change of the content comes with one of the attributes."""
    actions = [action]
    if action == "updated" and has_other_attributes:
        actions.append("attributes_modified")
    return {
        "category": ["file"],
        "type": [_TYPES.get(action, "change")],
        "action": actions,
        "module": "file_integrity",
        "dataset": "file",
    }


def has_other_attributes(change: FileChange) -> bool:
    """Say whether more has changed than the content, as far as Auditbeat looks."""
    return _attributes(change.before) != _attributes(change.after)


def ecs_file(
    path: str, known: Mapping[str, Any], digests: Mapping[str, str], further: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `file`; *known* is what `audit.file` has, *further* what it has no key for. Ids are texts here."""
    file = {"path": path, **{key: value for key, value in known.items() if key not in _NOT_KNOWN_TO_ECS}}
    for key in ("uid", "gid"):
        if key in file:
            file[key] = str(file[key])
    if known.get("type") == "file" and (extension := extension_of(path)):
        file["extension"] = extension
    file |= {key: further[key] for key in _FROM_FURTHER if key in further}
    # In events of the kernel it is an object, too; Elasticsearch would refuse a text in the same place.
    if "selinux" in further and (context := selinux_context(further["selinux"])):
        file["selinux"] = context
    if digests:
        file["hash"] = dict(digests)
    return file


def ecs_actor(actor: Mapping[str, Any]) -> dict[str, Any]:
    """Return `process`, `user` and so on of *actor*, which is `auditline.actor`."""
    if not actor:
        return {}
    process = {key: actor[name] for name, key in _PROCESS.items() if name in actor}
    if "args" in process:
        process["command_line"] = _command_line(*process["args"])
    members: dict[str, Any] = {"process": process}
    user = dict(actor.get("user", {}))
    if "login_user" in actor:
        user["audit"] = actor["login_user"]
    if user:
        members["user"] = user
    if found := sorted({actor[key]["name"] for key in ("user", "login_user") if "name" in actor.get(key, {})}):
        members["related"] = {"user": found}
    if container := actor.get("container_id"):
        members["container"] = {"id": container}
    return members


@lru_cache(maxsize=256)
def _command_line(*arguments: str) -> str:
    return to_command_line(arguments)


def extension_of(path: str) -> str:
    """Return what stands behind the last dot of the name, if there is one."""
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    return extension if dot else ""


def _attributes(state: FileState | None) -> tuple[object, ...]:
    """Return what Auditbeat compares beside the content."""
    if state is None:
        return ()
    return state.mode, state.uid, state.gid, state.size, state.inode, state.mtime_ns, state.target
