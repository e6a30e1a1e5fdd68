"""Gaps in what could be seen: told as coverage entries when they begin and when they end, also over restarts.

Two kinds. A gap of a place (a directory that may not be read, watches that are lacking) is told at both ends. A time in
which events were lost is told once, when the scan that makes up for it has ended. What is open of either is kept in
the baseline, in the transaction that tells it, so that neither a rollback nor a kill leaves one without its end.
"""

import json
import os
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_entry import Coverage
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.coverage import REASONS, now_ns

MOST_OPEN = 1000
"""So many places are told apart; more are logged and counted only."""
GAP_COUNTERS = tuple(f"coverage_{reason}_total" for reason in sorted(REASONS))
UNREAD_REASONS = ("unreadable", "read_error", "quarantine")
"""Of gaps at a path that is there."""
_OPEN, _EXPECTED = "open gaps", "expected scans"

Detail = Mapping[str, float | str]


class Expected(NamedTuple):
    """What the scan that goes on makes up for."""

    start_ns: int
    path: str
    """Where, absolute; "": the scan says."""
    action: str
    """What will have been done about it; "": the scan says."""
    detail: Detail


class Gaps:
    """The gaps of one watch; begin, end and finish within a transaction of the baseline."""

    def __init__(self, baseline: Baseline, counters: CounterPage) -> None:
        self._baseline = baseline
        self._counters = counters
        self._run_id = secrets.token_hex(4)
        self._count = 0
        self._open = _read_open(baseline.note(_OPEN))
        self._expected = _read_expected(baseline.note(_EXPECTED))
        self._finished: dict[str, Expected] = {}
        self._told: list[str] = []
        """Reasons of what is told in the transaction that goes on."""

    def begin(
        self,
        reason: str,
        path: bytes,
        action: str,
        start_ns: int | None = None,
        subject: str = "",
        /,
        **detail: float | str,
    ) -> bool:
        """Tell that a gap begins at *path* (absolute); return False if that has been told already.

        *subject* tells gaps apart that have the same reason and path. Here and below, what is not of the detail goes by
        position alone: the names are the callers'.
        """
        key = _key(reason, path, subject)
        if key in self._open or len(self._open) >= MOST_OPEN:
            return False
        self._open[key] = now_ns() if start_ns is None else start_ns
        self._tell(reason, path, action, self._open[key], None, detail)
        self._baseline.set_note(_OPEN, json.dumps(self._open))
        return True

    def end(self, reason: str, path: bytes, action: str, subject: str = "", /, **detail: float | str) -> None:
        """Tell that a gap has ended, if it was told that it began."""
        start_ns = self._open.pop(_key(reason, path, subject), None)
        if start_ns is not None:
            self._tell(reason, path, action, start_ns, now_ns(), detail)
            self._baseline.set_note(_OPEN, json.dumps(self._open))

    def end_unread(self, path: bytes, action: str) -> None:
        """Tell that what could not be read at *path*, whatever the reason, can be, or is not there any more."""
        if self._open:
            for reason in UNREAD_REASONS:
                self.end(reason, path, action)

    def tell(self, reason: str, path: bytes, action: str, start_ns: int, /, **detail: float | str) -> None:
        """Tell of a gap that is over."""
        self._tell(reason, path, action, start_ns, now_ns(), detail)

    @property
    def has_open(self) -> bool:
        """Whether any gap has begun and not ended: for callers for whom it matters what asking costs."""
        return bool(self._open)

    def take_up(self, reason: str, path: bytes, action: str = "", subject: str = "", /, **detail: float | str) -> None:
        """Let the next scan tell of the end of a gap that has begun, if there is one; in these words, if any."""
        start_ns = self._open.pop(_key(reason, path, subject), None)
        if start_ns is not None:
            self.expect(reason, start_ns, path if action else b"", action, **detail)
            self._baseline.set_note(_OPEN, json.dumps(self._open))

    def is_open(self, reason: str, path: bytes, subject: str = "") -> bool:
        """Say whether such a gap has begun and not ended."""
        return _key(reason, path, subject) in self._open

    def open_paths(self, reason: str) -> list[bytes]:
        """Return where gaps for that reason are open."""
        prefix = f"{reason} "
        return [
            os.fsencode(key.removeprefix(prefix).partition("\0")[0]) for key in self._open if key.startswith(prefix)
        ]

    def expect(self, reason: str, start_ns: int, path: bytes = b"", action: str = "", /, **detail: float | str) -> None:
        """Note that events may have been lost from *start_ns* on, until the next scan has ended.

        *path*, *action* and *detail*: where, and what is told then; without, what the scan says.
        """
        key = _key(reason, path)
        earlier = self._expected.get(key)
        if earlier is not None:
            start_ns = min(start_ns, earlier.start_ns)
        self._expected[key] = Expected(start_ns, os.fsdecode(path), action, detail)

    def give_up(self, reason: str, path: bytes) -> None:
        """Expect no more that the next scan makes up for that."""
        self._expected.pop(_key(reason, path), None)

    def seen_until_ns(self) -> int:
        """Return until when everything has been seen."""
        return min([now_ns(), *(expected.start_ns for expected in self._expected.values())])

    def finish(self, path: bytes, action: str, **detail: float | str) -> None:
        """Tell each reason that the scan which has just ended was made for."""
        for key, (start_ns, where, done, own_detail) in self._expected.items():
            place = os.fsencode(where) if where else path
            self._tell(key.partition(" ")[0], place, done or action, start_ns, now_ns(), {**own_detail, **detail})
        self._finished, self._expected = self._expected, {}

    def store(self) -> None:
        """Keep what is expected; in each transaction."""
        text = json.dumps(self._expected)
        if text != (self._baseline.note(_EXPECTED) or "{}"):
            self._baseline.set_note(_EXPECTED, text)

    def is_stored(self) -> None:
        """Note that the transaction was committed."""
        for reason in self._told:
            self._counters.add(f"coverage_{reason}_total")
        self._told.clear()
        self._finished = {}

    def is_rolled_back(self) -> None:
        """Note that it was not: what was told in it has not been told."""
        self._told.clear()
        self._open = _read_open(self._baseline.note(_OPEN))
        for key, (start_ns, path, action, detail) in self._finished.items():
            self.expect(key.partition(" ")[0], start_ns, os.fsencode(path), action, **detail)
        self._finished = {}

    def _tell(
        self,
        reason: str,
        path: bytes,
        action: str,
        start_ns: int,
        end_ns: int | None,
        detail: Detail,
    ) -> None:
        if reason not in REASONS:
            raise ValueError(reason)
        self._told.append(reason)
        self._count += 1
        entry = Coverage(
            identity=f"{self._run_id}-{self._count}",
            path=path,
            reason=reason,
            action=action,
            # Somebody may have set the clock back meanwhile.
            start_ns=start_ns if end_ns is None else min(start_ns, end_ns),
            end_ns=end_ns,
            detail=detail,
        )
        self._baseline.append(entry, None, None)


def _key(reason: str, path: bytes, subject: str = "") -> str:
    return f"{reason} {os.fsdecode(path)}" + (f"\0{subject}" if subject else "")


def _read_open(text: str) -> dict[str, int]:
    """Return what was stored; the baseline's checksums say that nobody else wrote it."""
    return {str(key): int(start_ns) for key, start_ns in json.loads(text or "{}").items()}


def _read_expected(text: str) -> dict[str, Expected]:
    return {str(key): Expected(*values) for key, values in json.loads(text or "{}").items()}
