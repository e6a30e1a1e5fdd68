"""Lines that say that a stream is alive though nothing happens; each an event of its own."""

import json
import os
import time

from auditline.workers.common.timestamps import timestamp_of_ns


class Heartbeat:
    """Due every so many seconds; the ids are `<host>-heartbeat-<run id>-<n>`."""

    def __init__(self, period_seconds: float, host: str, host_name: str) -> None:
        """*period_seconds* 0: never."""
        self._period_seconds = period_seconds
        self._host, self._host_name = host, host_name
        self._run_id = os.urandom(4).hex()
        self._count = 0
        self._due = time.monotonic() + period_seconds

    def take_due(self) -> bytes | None:
        """Return the line if it is due."""
        now = time.monotonic()
        if not self._period_seconds or now < self._due:
            return None
        self._due = now + self._period_seconds
        self._count += 1
        document = {
            "@timestamp": timestamp_of_ns(time.time_ns()),
            "event": {"id": f"{self._host}-heartbeat-{self._run_id}-{self._count}", "kind": "metric"},
            "host": {"name": self._host_name},
            "auditline": {"complete": True},
        }
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"
