"""Names of user and group ids: the local files first, then whoever else can be asked."""

import os
import time
from collections.abc import Callable
from pathlib import Path

ANSWERS_KEPT = 4096
"""Names from outside the files that are kept; beyond that all are asked for anew."""
ANSWERS_SECONDS = 300.0
"""So long they are believed, also that an id has no name, or that nobody answered."""
_LAST_ID = 4294967294
"""The number beyond it is (uid_t)-1: unset."""

Ask = Callable[[str, str], str | None]
"""Asked for ("uid" or "gid", number) that the files do not have; None: no such name, or no answer in time."""


class IdNames:
    """Turns ids into names; an id without a name stays the number.

    A file that cannot be read, and a line that is not of its form, have no names.
    """

    def __init__(
        self,
        passwd: Path | None,
        group: Path | None,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = {"uid": passwd, "gid": group}
        self._stamps: dict[str, tuple[int, int, int] | None] = {}
        self._names: dict[str, dict[str, str]] = {"uid": {}, "gid": {}}
        self._numbers: dict[str, dict[str, str]] = {"uid": {}, "gid": {}}
        self._ask = ask
        self._clock = clock
        self._answers: dict[tuple[str, str], str] = {}
        self._answers_stale = 0.0
        self.refresh()

    def refresh(self) -> bool:
        """Read a file again that has changed; return True if names may differ, so what was remembered is stale."""
        has_changed = False
        for kind, path in self._files.items():
            stamp = None if path is None else _stamp(path)
            if path is not None and stamp != self._stamps.get(kind):
                self._stamps[kind] = stamp
                names = self._names[kind] = _read_names(path)
                # Of several numbers with one name the first counts, as for whoever looks it up.
                self._numbers[kind] = {name: number for number, name in reversed(names.items())}
                has_changed = True
        if self._answers and self._clock() >= self._answers_stale:
            has_changed = True
        if has_changed:
            self._answers.clear()
        return has_changed

    def name(self, kind: str, number: str) -> str:
        """Return the name of a "uid" or "gid", or *number* itself."""
        known = self._names[kind].get(number)
        if known is not None:
            return known
        if self._ask is None or not _is_id(number):
            return number
        answer = self._answers.get((kind, number))
        if answer is None:
            if len(self._answers) >= ANSWERS_KEPT:
                self._answers.clear()
            if not self._answers:
                self._answers_stale = self._clock() + ANSWERS_SECONDS
            answer = self._answers[(kind, number)] = self._ask(kind, number) or number
        return answer

    def number(self, kind: str, name: str) -> str | None:
        """Return the number of a "uid" or "gid" by its name, if the files have it: nobody else is asked."""
        return self._numbers[kind].get(name)


class NoNames(IdNames):
    """Leaves every id a number."""

    def __init__(self) -> None:
        super().__init__(None, None)


def id_kind(field: str) -> str | None:
    """Return "uid" or "gid" for a field that holds such an id, else None; `id` is the account a record is about."""
    if field.endswith("uid") or field == "id":
        return "uid"
    return "gid" if field.endswith("gid") else None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LAST_ID


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read_names(path: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return names
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and fields[0] and _is_id(fields[2]):
            names.setdefault(str(int(fields[2])), fields[0])
    return names
