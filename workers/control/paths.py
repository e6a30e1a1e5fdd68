"""What a rule's paths may be, and whether this host has what they need."""

import errno
import os
import stat
from pathlib import Path

from auditline.workers.common.errors import RuleError
from auditline.workers.control.compile import KernelRule
from auditline.workers.control.fields import known_field
from auditline.workers.control.rule import Rule
from auditline.workers.control.words import shown

_MAX_PATH_BYTES = 4095
"""PATH_MAX without its NUL. Source: linux/limits.h."""

_MAX_NAME_BYTES = 255


def check_path(name: str, path: str) -> None:
    """Accept what the kernel takes as the value of *name*: path, dir or exe.

    Raises:
        RuleError: the kernel would refuse it with EINVAL or ENAMETOOLONG.
    """
    encoded = os.fsencode(path)
    if not path.startswith("/"):
        raise RuleError([f"{name}: {shown(path)} must begin with /"])
    if name != "dir" and path.endswith("/"):
        raise RuleError([f"{name}: {shown(path)} must not end with /"])
    if len(encoded) > _MAX_PATH_BYTES or max(map(len, encoded.split(b"/"))) > _MAX_NAME_BYTES:
        raise RuleError([f"{name}: {shown(path)} is longer than a path can be"])


def watch_warnings(path: str) -> list[str]:
    """Return what in a path that is to be watched does not mean what it seems to mean."""
    warnings = []
    if ".." in path.split("/"):
        warnings.append(f"the kernel watches {shown(path)} as it resolves now, .. included")
    if "*" in path or "?" in path:
        warnings.append(f"the kernel knows no wildcards: {shown(path)} is the name of one file")
    return warnings


def is_directory(path: str) -> bool:
    """Tell whether a watch of *path* is to be one of a directory; a path that is not there is watched as a file."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False


def missing_path(rule: Rule | KernelRule) -> Path | None:
    """Return what the kernel wants to exist before it loads the rule, and does not; None: nothing is missing.

    A directory has to be there itself; of a path or an executable only the parent has to, but below /proc, where no
    name is kept for what is missing. Measured on Linux 6.18.
    """
    wanted = {known_field("dir").number: False, known_field("path").number: True, known_field("exe").number: True}
    for field in rule.fields:
        if field.number in wanted:
            path = Path(os.fsdecode(field.string))
            needed = path.parent if wanted[field.number] and not path.is_relative_to("/proc") else path
            if _is_missing(needed):
                return needed
    return None


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return False
