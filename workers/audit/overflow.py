"""What is lost because the journal takes nothing: counted, told at once, and named by its serials."""

import logging
import re

from auditline.workers.audit.netlink import Received
from auditline.workers.common.batch import BatchKind
from auditline.workers.common.counters import CounterPage

logger = logging.getLogger(__name__)

OVERFLOW_COUNTERS = (
    "records_overflow_total",
    "batches_overflow_total",
    "overflow_first_serial",
    "overflow_last_serial",
)
"""The serials are those of the latest time that the journal took nothing; 0: no record had one."""

_BATCHES_BETWEEN_LINES = 1000
_SERIAL = re.compile(rb"audit\([0-9]{1,19}\.[0-9]{1,9}:([0-9]{1,10})\)")
"""Source: kernel/audit.c, audit_log_start()."""
_LONGEST_HEAD_BYTES = 512
"""In a line of a log a node's name and the type stand before it."""


class Overflow:
    """Keeps account of dropped batches; an episode lasts from the first one until a batch is taken again."""

    def __init__(self, counters: CounterPage) -> None:
        self._counters = counters
        self._batches = self._records = 0

    def add(self, received: Received, reason: str) -> None:
        """Count a batch that the journal refused for *reason*."""
        first, last = find_serials(received)
        if self._batches == 0:
            self._counters.set("overflow_first_serial", first)
        self._counters.set("overflow_last_serial", last)
        self._counters.add("records_overflow_total", received.count)
        self._counters.add("batches_overflow_total", 1)
        self._batches += 1
        self._records += received.count
        if self._batches == 1 or self._batches % _BATCHES_BETWEEN_LINES == 0:
            self._tell("records are being lost, because the journal takes none: %s", reason)

    def end(self) -> None:
        """Close the episode, if there is one: a batch was taken."""
        if self._batches:
            self._tell("the journal takes records again")
            self._batches = self._records = 0

    def _tell(self, text: str, *arguments: str) -> None:
        first, last = self._counters.get("overflow_first_serial"), self._counters.get("overflow_last_serial")
        text = f"{text}; %d records with serials from %d to %d are lost"
        logger.error(text, *arguments, self._records, first, last)


def find_serials(received: Received) -> tuple[int, int]:
    """Return the serials of the first and the last record of a batch; 0 where one has none."""
    is_log = received.kind == BatchKind.LINES
    separator = b"\n" if is_log else b"\0"
    payload = received.payload.removesuffix(b"\n") if is_log else received.payload
    return _serial_of(payload.partition(separator)[0]), _serial_of(payload.rpartition(separator)[2])


def _serial_of(text: bytes) -> int:
    match = _SERIAL.search(text, 0, _LONGEST_HEAD_BYTES)
    return int(match[1]) if match else 0
