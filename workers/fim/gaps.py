"""Gaps in what could be seen: told as coverage entries when they begin and when they end, also over restarts.

Two kinds. A gap of a place (a directory that may not be read, watches that are lacking) is told at both ends. A time in
which events were lost is told once, when the scan that makes up for it has ended. What is open of either is kept in
the baseline, in the transaction that tells it, so that neither a rollback nor a kill leaves one without its end.
"""

import json
import os
import secrets

from auditline.workers.common.file_entry import Coverage
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.coverage import REASONS, now_ns

MOST_OPEN = 1000
"""So many places are told apart; more are logged and counted only."""
_OPEN, _EXPECTED = "open gaps", "expected scans"


class Gaps:
    """The gaps of one watch; begin, end and finish within a transaction of the baseline."""

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline
        self._run_id = secrets.token_hex(4)
        self._count = 0
        self._open = _read(baseline.note(_OPEN))
        self._expected = _read(baseline.note(_EXPECTED))
        self._finished: dict[str, int] = {}

    def begin(self, reason: str, path: bytes, action: str, start_ns: int | None = None, **detail: float | str) -> bool:
        """Tell that a gap begins at *path* (absolute); return False if that has been told already."""
        key = _key(reason, path)
        if key in self._open or len(self._open) >= MOST_OPEN:
            return False
        self._open[key] = now_ns() if start_ns is None else start_ns
        self._tell(reason, path, action, self._open[key], None, detail)
        self._baseline.set_note(_OPEN, json.dumps(self._open))
        return True

    def end(self, reason: str, path: bytes, action: str, **detail: float | str) -> None:
        """Tell that a gap has ended, if it was told that it began."""
        start_ns = self._open.pop(_key(reason, path), None)
        if start_ns is not None:
            self._tell(reason, path, action, start_ns, now_ns(), detail)
            self._baseline.set_note(_OPEN, json.dumps(self._open))

    @property
    def has_open(self) -> bool:
        """Whether any gap has begun and not ended: for callers for whom it matters what asking costs."""
        return bool(self._open)

    def take_up(self, reason: str, path: bytes) -> None:
        """Let the next scan tell of the end of a gap that has begun, if there is one."""
        start_ns = self._open.pop(_key(reason, path), None)
        if start_ns is not None:
            self.expect(reason, start_ns)
            self._baseline.set_note(_OPEN, json.dumps(self._open))

    def is_open(self, reason: str, path: bytes) -> bool:
        """Say whether such a gap has begun and not ended."""
        return _key(reason, path) in self._open

    def open_paths(self, reason: str) -> list[bytes]:
        """Return where gaps for that reason are open."""
        prefix = f"{reason} "
        return [os.fsencode(key.removeprefix(prefix)) for key in self._open if key.startswith(prefix)]

    def expect(self, reason: str, start_ns: int) -> None:
        """Note that events may have been lost from *start_ns* on, until the next scan has ended."""
        self._expected[reason] = min(start_ns, self._expected.get(reason, start_ns))

    def seen_until_ns(self) -> int:
        """Return until when everything has been seen."""
        return min([now_ns(), *self._expected.values()])

    def finish(self, path: bytes, action: str, **detail: float | str) -> None:
        """Tell each reason that the scan which has just ended was made for."""
        for reason, start_ns in self._expected.items():
            self._tell(reason, path, action, start_ns, now_ns(), detail)
        self._finished, self._expected = self._expected, {}

    def store(self) -> None:
        """Keep what is expected; in each transaction."""
        text = json.dumps(self._expected)
        if text != (self._baseline.note(_EXPECTED) or "{}"):
            self._baseline.set_note(_EXPECTED, text)

    def is_stored(self) -> None:
        """Note that the transaction was committed."""
        self._finished = {}

    def is_rolled_back(self) -> None:
        """Note that it was not: what was told in it has not been told."""
        self._open = _read(self._baseline.note(_OPEN))
        for reason, start_ns in self._finished.items():
            self.expect(reason, start_ns)
        self._finished = {}

    def _tell(
        self,
        reason: str,
        path: bytes,
        action: str,
        start_ns: int,
        end_ns: int | None,
        detail: dict[str, float | str],
    ) -> None:
        if reason not in REASONS:
            raise ValueError(reason)
        self._count += 1
        entry = Coverage(
            identity=f"{self._run_id}-{self._count}",
            path=path,
            reason=reason,
            action=action,
            start_ns=start_ns,
            end_ns=end_ns,
            detail=detail,
        )
        self._baseline.append(entry, None, None)


def _key(reason: str, path: bytes) -> str:
    return f"{reason} {os.fsdecode(path)}"


def _read(text: str) -> dict[str, int]:
    """Return what was stored; the baseline's checksums say that nobody else wrote it."""
    return {str(key): int(start_ns) for key, start_ns in json.loads(text or "{}").items()}
