"""What a person has approved beside a running watcher is applied by it, a part each turn."""

import logging
import time
from typing import TYPE_CHECKING

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import StorageError
from auditline.workers.fim.approval import REASON, Approval, apply, approval_path
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.database import BaselineDamaged

if TYPE_CHECKING:
    from collections.abc import Generator

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""So often it is looked whether something waits."""


class Approving:
    """Looks for approvals of one baseline."""

    def __init__(self, baseline: Baseline, counters: CounterPage) -> None:
        self._baseline = baseline
        self._counters = counters
        self._path = approval_path(baseline.path)
        self._steps: Generator[None, None, Approval | None] | None = None
        self._look_due = 0.0
        self._warning = RepeatedWarning(logger, every=60, level=logging.ERROR)

    @property
    def is_busy(self) -> bool:
        """Whether there is more to do at once; what comes is looked for in turns that there are anyway."""
        return self._steps is not None

    def go_on(self) -> None:
        """Look whether something waits, if it is time, and apply a part of it."""
        if self._steps is None:
            now = time.monotonic()
            if now < self._look_due:
                return
            self._look_due = now + LOOK_SECONDS
            if not self._path.exists():
                return
            self._steps = apply(self._baseline, self._path)
        try:
            next(self._steps)
        except StopIteration as end:
            self._steps = None
            if end.value is not None:
                self._counters.add(f"coverage_{REASON}_total")
                logger.info("approved (%s) by %s", end.value.kind, end.value.who.get("user"))
        except BaselineDamaged:
            raise
        except StorageError as error:
            self._steps = None
            self._warning.tell("what was approved is not applied: %s", error)
