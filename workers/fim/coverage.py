"""The reasons that watchers give in coverage entries; docs/events.md says what each means."""

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
    }
)


def now_ns() -> int:
    """Return the time of day, as entries have it."""
    return time.time_ns()
