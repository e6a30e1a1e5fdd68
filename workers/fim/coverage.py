"""Coverage: when, where and why changes may have gone unseen, as entries of their own."""

import secrets
import time

from auditline.workers.common.file_entry import Coverage

REASONS = {
    "first_walk": "the whole tree was read for the first time",
    "restart": "nobody watched between two runs, or while a killed watcher was away",
    "overflow": "the kernel, or we, could not keep all events",
    "limit": "no watches are left for some directories",
    "backend": "the file system tells of no changes, or not of all",
    "missing": "the watched path is not there",
    "replaced": "another directory, or another file system, is at the watched path now",
    "unreadable": "a directory may not be read",
    "quarantine": "a file has ended three hashers and is not read any more",
    "baseline_rebuilt": "the baseline could not be read and was made anew",
    "baseline_behind": "the baseline is an older one than was written last",
    "storage": "changes could not be stored",
}
"""Every reason that a watcher gives; docs/events.md says more of each."""


class CoverageNotes:
    """Makes the entries of one watcher's process."""

    def __init__(self) -> None:
        self._run_id = secrets.token_hex(4)
        self._count = 0

    def entry(
        self,
        reason: str,
        path: bytes,
        action: str,
        start_ns: int,
        end_ns: int | None = None,
        **detail: float | str,
    ) -> Coverage:
        """Return an entry; *reason* is one of REASONS, *path* absolute."""
        if reason not in REASONS:
            raise ValueError(reason)
        self._count += 1
        return Coverage(
            identity=f"{self._run_id}-{self._count}",
            path=path,
            reason=reason,
            action=action,
            start_ns=start_ns,
            end_ns=end_ns,
            detail=detail,
        )


def now_ns() -> int:
    """Return the time of day, as entries have it."""
    return time.time_ns()
