"""Schema `ecs`: `file`, the file that a system call was about."""

import re
from typing import Any

from auditline.workers.router.event import Facts, Meaning
from auditline.workers.router.render.ecs_user import People

_MODE = re.compile("[0-7]{1,8}")
_PERMISSIONS = 0o7777
_SAME = {"dev": "device", "inode": "inode", "ouid": "uid", "ogid": "gid"}
"""Fields of a PATH, and their names here."""

_DIRECTORY_ARGUMENTS = {"renameat": "a2", "renameat2": "a2", "symlinkat": "a1"} | dict.fromkeys(
    (
        "openat", "openat2", "linkat", "unlinkat", "mkdirat", "mknodat", "fchmodat", "fchmodat2", "fchownat",
        "futimesat", "utimensat", "utimensat_time64", "newfstatat", "fstatat64", "statx", "faccessat", "faccessat2",
        "readlinkat",
        "execveat", "name_to_handle_at", "open_tree", "open_tree_attr", "move_mount", "mount_setattr", "fspick",
        "setxattrat", "getxattrat", "listxattrat", "removexattrat",
    ),
    "a0",
)  # fmt: skip
"""System calls that say in an argument from which directory a name counts."""
_HERE = frozenset({"ffffff9c", "ffffffffffffff9c"})
"""AT_FDCWD. Source: include/uapi/linux/fcntl.h."""


def ecs_file(facts: Facts, meaning: Meaning, decoded: dict[str, Any], people: People) -> dict[str, Any]:
    """Return what a PATH says of the file; of one that was renamed, what it is now."""
    path = _new_name(facts) if meaning.action == "renamed" else None
    if path is None:
        path = meaning.path or {}
        absolute = decoded.get("path")
    else:
        absolute = decoded.get("new_path")
    file: dict[str, Any] = {}
    if name := absolute or _absolute(path.get("name"), facts):
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


def _absolute(name: str | None, facts: Facts) -> str | None:
    """Return a name as it is seen from the root, where the directory that it counts from is known."""
    directory = facts.value("cwd")
    call = facts.value("syscall") or ""
    if name is None or directory is None or name.startswith("/") or not directory.startswith("/"):
        return name
    if call in _DIRECTORY_ARGUMENTS and facts.value(_DIRECTORY_ARGUMENTS[call]) not in _HERE:
        return name
    # A `..` behind a symbolic link leads elsewhere than to the directory before it.
    parts = [part for part in f"{directory}/{name}".split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


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
