"""Which files a log consists of, oldest first: `audit.log.2.gz`, `audit.log.1`, `audit.log`."""

import os
import re
from collections.abc import Iterable, Sequence

from auditline.workers.common.errors import StorageError

LOG_NAME = "audit.log"
"""What is looked for in a directory: auditd's name, auditd.conf(5)."""

_ROTATED = re.compile(
    r"(?P<log>.+?)(?:\.(?P<number>[0-9]{1,6})|[-.](?P<date>[0-9]{8}[0-9T:_-]*))?(?P<packed>\.(?:gz|xz|bz2|zst))?"
).fullmatch
"""How auditd and logrotate(8) call older parts: by number, the highest is the oldest, or by date (`dateext`)."""

_DATED, _NUMBERED, _NEWEST = range(3)
_Age = tuple[int, int, str]


def oldest_first(paths: Iterable[str]) -> list[str]:
    """Return the files to read: parts of one log in the order they were written in, wherever they stand in *paths*.

    Of a directory, its `audit.log` with the older parts. Else the order of *paths* is kept.

    Raises:
        StorageError: a directory cannot be listed, or has no such log.
    """
    logs: dict[str, list[str]] = {}
    for path in paths:
        for part in _parts_in(path) if os.path.isdir(path) else [path]:
            logs.setdefault(_log_and_age(part)[0], []).append(part)
    return [part for parts in logs.values() for part in _sort(parts)]


def _sort(parts: Sequence[str]) -> list[str]:
    return sorted(parts, key=lambda part: _log_and_age(part)[1])


def _log_and_age(path: str) -> tuple[str, _Age]:
    """Return the path of the log that a file is a part of, and what sorts its parts."""
    directory, name = os.path.split(path)
    match = _ROTATED(name)
    if match is None:
        return path, (_NEWEST, 0, "")
    log = os.path.join(directory, match["log"])
    if match["number"]:
        return log, (_NUMBERED, -int(match["number"]), "")
    if match["date"]:
        return log, (_DATED, 0, match["date"])
    return log, (_NEWEST, 0, "")


def _parts_in(directory: str) -> list[str]:
    """Return the parts of a directory's log, each once.

    While logrotate compresses a part it is there twice; the one that is not compressed is whole.
    """
    try:
        names = sorted(os.listdir(directory), key=len, reverse=True)
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    log = os.path.join(directory, LOG_NAME)
    parts: dict[_Age, str] = {}
    for path in (os.path.join(directory, name) for name in names):
        part_of, age = _log_and_age(path)
        if part_of == log and os.path.isfile(path):
            parts[age] = path
    if not parts:
        raise StorageError(f"{directory}: there is no {LOG_NAME} in this directory")
    return list(parts.values())
