"""An answer of a service that is well, for tests to spoil."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

NOW = 1_800_000_000.0
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 100,
    "since": "2026-01-01T00:00:00.000Z",
    "processes": [
        {"name": name, "pid": pid, "state": "started", "restarts": 0, "cpu_seconds": 1.25, "rss_bytes": 30_000_000}
        for pid, name in enumerate(("supervisor", "control", "router", "audit", "fim-etc"), 100)
    ],
    "counters": {"router_batches_done_total": 7},
    "loss": {"kernel_lost": 0, "serial_gaps": 0},
    "outputs": {
        "stdout": {
            "type": "stdout", "state": "attached", "events": 12345, "pending": 0, "lag_seconds": 0.0,
            "last_error": None, "cursor": None,
        },
    },
    "watches": {"/etc": {"backend": "fanotify", "reason": "the best", "state": "watching", "files": 1234}},
    "kernel": {"mode": "unicast", "enabled": 1, "pid": 100, "backlog": 3, "lost": 0, "rules": 9},
    "cursors": {"/var/lib/shipper/cursor": {"lag_bytes": 0, "age_seconds": 4000.0, "problem": None}},
}  # fmt: skip
ABOUT: dict[str, Any] = {
    "now": NOW,
    "state_directory": "/nowhere",
    "stopped": [],
    "deaths": {"router": 2},
    "loss_told_at": 0,
    "audit": {
        "socket": "auto", "has_rules": True, "refused_rules": 0, "is_drifting": False, "told_at": NOW - 3,
        "has_reader": True,
    },
    "backends": {"/etc": "auto"},
    "outputs": {"stdout": {}},
}  # fmt: skip

Spoil = Callable[..., tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def spoil() -> Spoil:
    """Return status and about, with other values at dotted paths, such as `status.kernel.pid`."""

    def make(changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        whole: Any = {"status": copy.deepcopy(STATUS), "about": copy.deepcopy(ABOUT)}
        for path, value in changes.items():
            *steps, last = path.split(".")
            place = whole
            for step in steps:
                place = place[int(step)] if step.isdecimal() else place[step]
            place[last] = value
        return whole["status"], whole["about"]

    return make
