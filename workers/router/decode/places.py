"""Whole paths of what a system call acted on, where the records say them for sure.

A PATH record has the name as the program gave it. What follows was measured on Linux 6.18, and is in kernel/auditsc.c
(audit_log_name(), __audit_inode_child()) since 3.x:

* The names of a call without a descriptor, or with AT_FDCWD, are relative to CWD.
* The PARENT of a name without a slash has CWD's path even if the name is relative to another directory by its
  descriptor, and else the name's own first part: no record ever has the path of that directory.
* rename: PARENT, PARENT, then DELETE the old name, DELETE what the new one was before, CREATE the new one; an exchange
  has DELETE, DELETE, CREATE, CREATE in the same order.
* link: PARENT, NORMAL the old name, CREATE the new one.
* symlink: PARENT, UNKNOWN what it points to, CREATE. If what it points to ends like the link, and its beginning has the
  length of the link's directory, the kernel takes the one for the other: UNKNOWN is missing, and CREATE's name is what
  the link points to.
* mount: where, then, if that is a file, what.
* A working directory that is deleted ends in ` (deleted)`, as may the name of one that is not.
"""

import re
from collections.abc import Sequence

from auditline.workers.router.event import Facts

RENAMES = frozenset({"rename", "renameat", "renameat2"})
LINKS = frozenset({"link", "linkat"})
SYMLINKS = frozenset({"symlink", "symlinkat"})
MOUNTS = frozenset({"mount"})

_AT_FDCWD = 0xFFFFFF9C
_IN_ROOT = 0x10
"""Makes names relative that begin with a slash. Source: linux/openat2.h, RESOLVE_IN_ROOT."""

_HEX = re.compile("[0-9a-f]{1,16}")
_RESOLVE = re.compile("0x[0-9a-f]{1,16}|0")
_LOST_ITEMS = frozenset({"missing_path_items", "truncated_record"})


def find_places(call: str, directories: Sequence[int] | None, facts: Facts) -> dict[str, bytes]:
    """Return the paths that are known for sure, each absolute.

    `path`: of what was acted on, if the record's own is relative; `old_path` and `new_path`: both names of a rename
    or link; `target`: of a symlink, as it is, beside the `path` of the link; `mount_point`: where something that has a
    path is mounted. *directories* are the registers with descriptors that the names are relative to: none for the
    working directory, None where that is not known.
    """
    if not facts.paths:
        return {}
    where = _Where(call, directories, facts)
    if call in RENAMES:
        return where.both(where.first("DELETE"), where.first("CREATE"))
    if call in LINKS:
        return where.both(where.first("NORMAL"), where.first("CREATE"))
    if call in SYMLINKS:
        return where.symlink()
    position = acted_item(facts.paths, call)
    places = {}
    if position is not None and not facts.paths[position].get("name", "/").startswith("/"):
        places["path"] = where.path(position)
    if position and call in MOUNTS:
        places["mount_point"] = where.mount_point()
    return {name: place for name, place in places.items() if place is not None}


def names_both(call: str) -> bool:
    """True if a call's record has two names that belong together."""
    return call in RENAMES or call in LINKS or call in SYMLINKS


def absolute_path(position: int, call: str, directories: Sequence[int] | None, facts: Facts) -> bytes | None:
    """Return the whole path of the PATH record at *position*, None where it is not known for sure."""
    return _Where(call, directories, facts).path(position)


def acted_item(paths: Sequence[dict[str, str]], call: str) -> int | None:
    """Return the position of the PATH record that the action was on.

    Not a parent directory, not one that only was looked for, not where something is mounted, if there is another one.
    """
    first = 1 if call in MOUNTS and len(paths) > 1 else 0
    for unwanted in (("PARENT", "UNKNOWN"), ("PARENT",), ()):
        for position in range(first, len(paths)):
            if _name_type(paths[position]) not in unwanted:
                return position
    return None


def is_in_root(facts: Facts) -> bool:
    """True if names that begin with a slash are known to begin at the directory of openat2()'s descriptor."""
    resolve = _resolve(facts)
    return resolve is not None and bool(resolve & _IN_ROOT)


def join_path(directory: bytes, name: bytes) -> bytes:
    """Return the path of *name* in *directory*, which is the kernel's own, so without symbolic links.

    `.` and empty parts go away. `..` does only where it stands at the beginning: behind another part of a name,
    that may be a symbolic link to anywhere.
    """
    is_absolute = name.startswith(b"/")
    parts = [] if is_absolute else [part for part in directory.split(b"/") if part]
    is_plain = True
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b".." and is_plain:
            # The directory above the root is the root.
            del parts[-1:]
        else:
            parts.append(part)
            is_plain = False
    return b"/" + b"/".join(parts)


class _Where:
    """The names of one event, and what they are relative to."""

    def __init__(self, call: str, directories: Sequence[int] | None, facts: Facts) -> None:
        self._paths = facts.paths
        self._exact = dict(facts.undecodable)
        self._cwd = self._working_directory(facts)
        self._is_whole = _LOST_ITEMS.isdisjoint(facts.reasons)
        self._is_at_root = call == "openat2" and (_resolve(facts) is None or is_in_root(facts))
        self._is_known_call = directories is not None
        self._is_relative_to_cwd = [
            _is_working_directory(facts.value(f"a{register}")) for register in directories or ()
        ]

    def path(self, position: int, directory: int = 0) -> bytes | None:
        """Return the whole path of an item, whose name is relative to the call's *directory*-th descriptor."""
        name = self._name(position)
        is_relative_to_cwd = self._is_known(directory)
        if not name or self._is_at_root:
            return None
        if _name_type(self._paths[position]) == "PARENT" and not is_relative_to_cwd and name == self._cwd:
            return None
        return self._join(name, is_relative_to_cwd=is_relative_to_cwd)

    def both(self, old: int | None, new: int | None) -> dict[str, bytes]:
        """Return the paths of a rename's or link's items."""
        directories = range(2)
        found = zip(("old_path", "new_path"), (old, new), directories, strict=True)
        paths = ((name, self.path(item, number)) for name, item, number in found if item is not None)
        return {name: path for name, path in paths if path is not None}

    def first(self, name_type: str) -> int | None:
        """Return the position of the first item of a type; None if an item is missing that may have been before it."""
        found = (position for position, path in enumerate(self._paths) if _name_type(path) == name_type)
        return next(found, None) if self._is_whole else None

    def mount_point(self) -> bytes | None:
        """Return where something is mounted; None if an item is missing that may have been that."""
        return self.path(0) if self._is_whole else None

    def symlink(self) -> dict[str, bytes]:
        """Return the path of a symbolic link and what it points to."""
        link, target, parent = self.first("CREATE"), self.first("UNKNOWN"), self.first("PARENT")
        if target is not None:
            places = {"target": self._name(target), "path": self.path(link) if link is not None else None}
        elif link is not None and parent is not None:
            places = {"target": self._name(link), "path": self._merged_link(parent, link)}
        else:
            places = {}
        return {name: place for name, place in places.items() if place}

    def _merged_link(self, parent: int, item: int) -> bytes | None:
        """Return the path of a link that the kernel wrote down under the name of its target."""
        directory, target = self._name(parent), self._name(item)
        if not directory or not target or self._cwd is None:
            return None
        # Without an end in a slash it is the working directory, put there because the link's name has no slash.
        length = len(directory) if directory.endswith(b"/") else 0
        candidates = {name for name in (target, target[length:]) if name and b"/" not in name}
        if len(candidates) != 1 or directory == b"/" == self._cwd:
            return None
        prefix = directory if length else b""
        return self._join(prefix + candidates.pop(), is_relative_to_cwd=self._is_known(0))

    def _join(self, name: bytes, *, is_relative_to_cwd: bool) -> bytes | None:
        if name.startswith(b"/"):
            return join_path(b"/", name)
        return join_path(self._cwd, name) if is_relative_to_cwd and self._cwd is not None else None

    def _is_known(self, directory: int) -> bool:
        if not self._is_relative_to_cwd:
            return self._is_known_call
        return self._is_relative_to_cwd[directory] if directory < len(self._is_relative_to_cwd) else False

    def _name(self, position: int) -> bytes:
        return self._bytes(f"paths.{position}.name", self._paths[position].get("name", ""))

    def _working_directory(self, facts: Facts) -> bytes | None:
        cwd = facts.data.get("cwd")
        if not isinstance(cwd, str):
            return None
        raw = self._bytes("data.cwd", cwd)
        return raw if raw.startswith(b"/") and not raw.endswith(b" (deleted)") else None

    def _bytes(self, field: str, text: str) -> bytes:
        return self._exact.get(field) or text.encode("utf-8", "surrogatepass")


def _name_type(path: dict[str, str]) -> str | None:
    """Return an item's type; kernels before 3.15 call the field objtype."""
    return path.get("nametype", path.get("objtype"))


def _is_working_directory(register: str | None) -> bool:
    # Only the lower half counts: the kernel takes an int.
    return register is not None and _HEX.fullmatch(register) is not None and int(register, 16) & 0xFFFFFFFF == _AT_FDCWD


def _resolve(facts: Facts) -> int | None:
    resolve = facts.value("resolve")
    return int(resolve, 16) if resolve is not None and _RESOLVE.fullmatch(resolve) is not None else None
