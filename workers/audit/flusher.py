"""Slow work on a disk, done in a thread so that the reader never waits for it."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

_FAILURES_BETWEEN_LINES = 1000


class Flusher:
    """Calls *work* in its thread whenever it was asked to, once for all requests that came meanwhile."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._wanted = threading.Event()
        self._is_closing = False
        self._thread: threading.Thread | None = None

    def request(self) -> None:
        """Let *work* be done soon; never waits."""
        if self._thread is None:
            # A daemon: a disk that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._serve, name="journal flusher", daemon=True)
            self._thread.start()
        self._wanted.set()

    def close(self, patience_seconds: float = 0.2) -> None:
        """End the thread, unless it hangs for longer than that."""
        if self._thread is not None:
            self._is_closing = True
            self._wanted.set()
            self._thread.join(patience_seconds)

    def _serve(self) -> None:
        failures = 0
        while self._wanted.wait() and not self._is_closing:
            self._wanted.clear()
            try:
                self._work()
            except OSError as error:
                failures += 1
                if failures == 1 or failures % _FAILURES_BETWEEN_LINES == 0:
                    logger.error("the journal cannot be forced to the disk: %s (%d times so far)", error, failures)  # noqa: TRY400
