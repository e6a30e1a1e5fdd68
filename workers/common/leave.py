"""How a producer leaves the bus: the router is to have all that was kept, if it comes to that in time."""

import time
from collections.abc import Sequence
from typing import Protocol

BYE_SECONDS = 2.0
"""So long the router is waited for."""
GREETING_SECONDS = 0.5
"""A router that has not greeted in so long will not come, because none is started any more."""
_LULL_SECONDS = 0.05


class Leaver(Protocol):
    """What is needed of `bus.Producer`."""

    is_greeted: bool
    is_finished: bool

    def wait(self, fds: Sequence[int], timeout_seconds: float) -> set[int]:
        """See `Producer`."""

    def pump(self) -> None:
        """See `Producer`."""

    def say_bye(self) -> None:
        """See `Producer`."""


def take_leave(producer: Leaver) -> None:
    """See that the router has all that is kept; what it has not stays in the store for the next start."""
    start = time.monotonic()
    producer.say_bye()
    while not producer.is_finished:
        patience_seconds = BYE_SECONDS if producer.is_greeted else GREETING_SECONDS
        if time.monotonic() - start > patience_seconds:
            break
        producer.wait([], _LULL_SECONDS)
        producer.pump()
