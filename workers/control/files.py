"""Rules files as they lie on the disk and in the package."""

import errno
import glob
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from auditline.workers.common.errors import RuleError
from auditline.workers.common.text import make_safe

MAX_FILE_BYTES = 16 * 1024 * 1024


def find_files(pattern: str, base: Path) -> list[Path]:
    """Return the files that match, sorted by name; a relative pattern begins at *base*."""
    return sorted(base / match for match in glob.glob(pattern, root_dir=base, recursive=True))


def read_rules_file(path: Path, *, must_be_trusted: bool) -> str:
    """Return a rules file's text; bytes that are not UTF-8 as surrogates.

    A trusted file belongs to root or to us, and nobody else may write to it.

    Raises:
        RuleError: it cannot be read, is not a regular file, or is not trusted.
    """
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            problem = _problem(os.fstat(descriptor), must_be_trusted=must_be_trusted)
            if problem:
                raise RuleError([f"{printable(path)}: {problem}"])
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read().decode("utf-8", "surrogateescape")
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise RuleError([f"{printable(path)}: cannot be read: {_cause(error)}"]) from error


def shipped_set_names() -> list[str]:
    """Return the names by which `@name` asks for a set of the package."""
    return [_set_name(name) for name, _ in _shipped_files()]


def read_shipped_set(name: str) -> str | None:
    """Return the text of the package's rules.d/NN-name.rules; None: there is no such set."""
    for file_name, text in _shipped_files():
        if _set_name(file_name) == name:
            return text
    return None


def printable(path: Path | str) -> str:
    """Return a path for a message: on one line, and as UTF-8 where it is not."""
    return make_safe(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _problem(status: os.stat_result, *, must_be_trusted: bool) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_size > MAX_FILE_BYTES:
        return f"has {status.st_size} bytes, more than {MAX_FILE_BYTES}"
    if must_be_trusted and status.st_mode & stat.S_IWOTH:
        return "may be written by everybody: chmod o-w"
    if must_be_trusted and status.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {status.st_uid}, neither root nor us"
    return ""


def _cause(error: OSError | ValueError) -> str:
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    return os.strerror(number or errno.EIO)


def _shipped_files() -> Sequence[tuple[str, str]]:
    # Costs 20 ms that commands without rules should not pay.
    from importlib import resources

    folder = resources.files("auditline.conf") / "rules.d"
    files = [file for file in folder.iterdir() if file.name.endswith(".rules")]
    return [(file.name, file.read_text(encoding="utf-8")) for file in sorted(files, key=lambda file: file.name)]


def _set_name(file_name: str) -> str:
    return file_name.removesuffix(".rules").partition("-")[2]
