"""The directories of segments outputs: made and given to the workers' user, and tried again where that fails.

An output without one keeps nobody from working: the router detaches it, or waits for it if it is the only one.
"""

import logging
import time
from collections.abc import Callable

from auditline.workers.common.errors import StorageError
from auditline.workers.common.privileges import Account
from auditline.workers.common.settings import SegmentsSettings, Settings
from auditline.workers.supervisor.directories import make_kept_directory
from auditline.workers.supervisor.reach import refuse_unreachable

RETRY_SECONDS = 5.0
"""The router tries each second, where its own rights are enough."""

logger = logging.getLogger(__name__)


class OutputDirectories:
    """Those that cannot be had yet, and when they are tried again."""

    def __init__(
        self, settings: Settings, account: Account | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._account = account
        self._clock = clock
        self._wanted = [output for output in settings.enabled_outputs if isinstance(output, SegmentsSettings)]
        self._told: dict[str, str] = {}
        """What was last told of each output."""
        self._due_at = clock()

    @property
    def seconds_until_due(self) -> float | None:
        """When `do_due` has something to do; None: never again."""
        return max(0.0, self._due_at - self._clock()) if self._wanted else None

    def do_due(self) -> None:
        """Try those that are wanted, if it is time, and tell what is wrong with one when that is news."""
        now = self._clock()
        if now >= self._due_at:
            self._due_at = now + RETRY_SECONDS
            self._wanted = [output for output in self._wanted if not self._has_made(output)]

    def _has_made(self, output: SegmentsSettings) -> bool:
        try:
            make_kept_directory(output.directory, self._account)
            refuse_unreachable([output.directory], self._account)
        except StorageError as error:
            if self._told.get(output.name) != str(error):
                logger.error("outputs.%s: %s", output.name, error)  # noqa: TRY400  # it says all that the user needs
            self._told[output.name] = str(error)
            return False
        return True
