"""The reasons that watchers give in coverage entries; docs/events.md says what each means."""

import errno
import time

REASONS = frozenset(
    {
        "first_walk",
        "restart",
        "overflow",
        "limit",
        "backend",
        "missing",
        "replaced",
        "mount",
        "rescan",
        "read_error",
        "unreadable",
        "quarantine",
        "baseline_rebuilt",
        "baseline_behind",
        "storage",
        "approved",
    }
)

_FAILING = frozenset(
    (errno.EIO, errno.EREMOTEIO, errno.EUCLEAN, errno.EBADMSG, errno.ENXIO, errno.ENODEV, errno.ESHUTDOWN)
)
"""What the kernel says of devices that fail and of file systems that are damaged."""


def reason_of(error: OSError) -> str:
    """Return why what lies in a directory that gives this error cannot be seen."""
    return "read_error" if error.errno in _FAILING else "unreadable"


def now_ns() -> int:
    """Return the time of day, as entries have it."""
    return time.time_ns()
