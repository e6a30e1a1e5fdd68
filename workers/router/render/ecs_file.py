"""Schema `ecs`: `file`, the file that a system call was about."""

import re
from typing import Any

from auditline.workers.router.event import Facts, Meaning
from auditline.workers.router.render.ecs_user import People

_MODE = re.compile("[0-7]{1,8}")
_PERMISSIONS = 0o7777
_SAME = {"dev": "device", "inode": "inode", "ouid": "uid", "ogid": "gid"}
"""Fields of a PATH, and their names here."""


def ecs_file(facts: Facts, meaning: Meaning, decoded: dict[str, Any], people: People) -> dict[str, Any]:
    """Return what a PATH says of the file; of one that was renamed, what it is now."""
    path = _new_name(facts) if meaning.action == "renamed" else None
    if path is None:
        path = meaning.path or {}
        absolute = decoded.get("path")
    else:
        absolute = decoded.get("new_path")
    file: dict[str, Any] = {}
    if name := absolute or path.get("name"):
        file["path"] = name
    for key, member in _SAME.items():
        if key in path:
            file[member] = path[key]
    if _MODE.fullmatch(path.get("mode", "")):
        file["mode"] = f"{int(path['mode'], 8) & _PERMISSIONS:04o}"
    for key, kind, member in (("ouid", "uid", "owner"), ("ogid", "gid", "group")):
        if key in path and (name := _name(facts, path, kind, path[key], people)):
            file[member] = name
    if labels := {key[4:]: value for key, value in path.items() if key.startswith("obj_")}:
        file["selinux"] = labels
    return file


def _new_name(facts: Facts) -> dict[str, str] | None:
    """Return the last PATH that was made: the kernel writes the old name first."""
    for path in reversed(facts.paths):
        if path.get("nametype", path.get("objtype")) == "CREATE":
            return path
    return None


def _name(facts: Facts, path: dict[str, str], kind: str, number: str, people: People) -> str | None:
    for candidate, names in zip(facts.paths, facts.path_names, strict=True):
        if candidate is path and (kind, number) in names:
            return names[(kind, number)]
    return people.name(kind, number)
