"""Searching for a pattern of the configuration in text of strangers, who may make it take for ever.

The standard library knows no regular expressions without back-tracking, but its search looks for signals now and
then: a timer ends it. Source: CPython, Modules/_sre/sre_lib.h, PyErr_CheckSignals.
"""

import logging
import signal
import time
from types import FrameType

from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.patterns import compile_pattern

logger = logging.getLogger(__name__)

MOST_SECONDS = 0.1
"""Of processor time for one search; a usual one takes a microsecond."""
REST_SECONDS = 100 * MOST_SECONDS
"""So long a pattern that took too long is not searched for: however hostile the texts, a hundredth of the time."""


class SearchGivenUp(Exception):
    """It is not known whether the pattern is in the text."""


class BoundedSearch:
    """One pattern; only for a process's main thread, which is the one that gets signals."""

    _is_under_way = False
    """Of the search of this process, there is one at a time."""

    def __init__(self, pattern: str) -> None:
        """*pattern* has passed `check_pattern`."""
        self._pattern = pattern
        self._search = compile_pattern(pattern).search
        self._rests_until = 0.0
        self._warning = RepeatedWarning(logger, every=100)
        signal.signal(signal.SIGVTALRM, _give_up)

    def __call__(self, text: str) -> bool:
        """Say whether the pattern is found in *text*.

        Raises:
            SearchGivenUp: that takes too long, or did so a moment ago.
        """
        if self._rests_until and time.monotonic() < self._rests_until:
            raise SearchGivenUp
        try:
            try:
                BoundedSearch._is_under_way = True
                signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
                return self._search(text) is not None
            finally:
                # A signal that is late does nothing.
                BoundedSearch._is_under_way = False
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except SearchGivenUp:
            self._rests_until = time.monotonic() + REST_SECONDS
            text = "%r took more than %s s to search for: for %d s its filter lets everything through"
            self._warning.tell(text, self._pattern, MOST_SECONDS, REST_SECONDS)
            raise


def _give_up(_number: int, _frame: FrameType | None) -> None:
    if BoundedSearch._is_under_way:  # noqa: SLF001  # the handler is the other half of the class
        raise SearchGivenUp
