"""Schema `ecs`: `file`, the file that a system call was about."""

import re
from typing import Any

from auditline.workers.router.decode.calls import acted_path, decode_call
from auditline.workers.router.decode.places import RENAMES, SYMLINKS, is_in_root
from auditline.workers.router.event import Facts
from auditline.workers.router.render.ecs_user import People

_MODE = re.compile("[0-7]{1,8}")
_PERMISSIONS = 0o7777
_SAME = {"dev": "device", "inode": "inode", "ouid": "uid", "ogid": "gid"}
"""Fields of a PATH, and their names here."""


def ecs_file(facts: Facts, thing: dict[str, str], people: People) -> dict[str, Any]:
    """Return what a PATH says of the file, *thing*; of one that was renamed, what it is now."""
    renamed = _new_name(facts) if facts.value("syscall") in RENAMES else None
    path = thing if renamed is None else renamed
    name = _path_of(path, facts) if renamed is None else _new_path_of(path, facts)
    file: dict[str, Any] = {"path": name} if name else {}
    for key, member in _SAME.items():
        if key in path:
            file[member] = path[key]
    if _MODE.fullmatch(path.get("mode", "")):
        file["mode"] = f"{int(path['mode'], 8) & _PERMISSIONS:04o}"
    for key, kind, member in (("ouid", "uid", "owner"), ("ogid", "gid", "group")):
        if key in path and (owner := _name(facts, path, kind, path[key], people)):
            file[member] = owner
    if labels := {key[4:]: value for key, value in path.items() if key.startswith("obj_")}:
        file["selinux"] = labels
    return file


def _path_of(path: dict[str, str], facts: Facts) -> str | None:
    """Return a name as it is seen from the root, where the directory that it counts from is known for sure."""
    name, call = path.get("name"), facts.value("syscall")
    if name is not None and name.startswith("/") and call not in SYMLINKS:
        return None if call == "openat2" and is_in_root(facts) else name
    return acted_path(facts) or name


def _new_path_of(path: dict[str, str], facts: Facts) -> str | None:
    """The same for the new name of a rename."""
    name = path.get("name")
    if name is not None and name.startswith("/"):
        return name
    return decode_call(facts).members.get("new_path", name)


def _new_name(facts: Facts) -> dict[str, str] | None:
    """Return the first PATH that was made; of an exchange the second is the other file."""
    for path in facts.paths:
        if path.get("nametype", path.get("objtype")) == "CREATE":
            return path
    return None


def _name(facts: Facts, path: dict[str, str], kind: str, number: str, people: People) -> str | None:
    for candidate, names in zip(facts.paths, facts.path_names, strict=True):
        if candidate is path and (kind, number) in names:
            return names[(kind, number)]
    return people.name(kind, number)
