"""The producers that the router listens to, and the stream of each."""

import logging
from collections.abc import Callable, Iterable

from auditline.workers.common.bus import Arrival, Bye, Hello, Stored
from auditline.workers.router.inflow import Inflow
from auditline.workers.router.stream import Stream

logger = logging.getLogger(__name__)

MOST_STRANGERS = 64
"""Greetings of sources that nobody has named that are kept."""


class Streams:
    """All streams by source; a producer is listened to once its source has been named."""

    def __init__(self, sources: Iterable[str], open_stream: Callable[[Hello], Stream]) -> None:
        self._sources = set(sources)
        self._open_stream = open_stream
        self._streams: dict[str, Stream] = {}
        self._strangers: dict[str, Hello] = {}
        self._byes: dict[str, Bye] = {}

    def name(self, sources: Iterable[str]) -> list[Hello]:
        """Listen to these sources too, and return the greetings of those among them that came too early."""
        new = set(sources) - self._sources
        self._sources |= new
        return [self._strangers.pop(source) for source in sorted(new & self._strangers.keys())]

    def greet(self, hello: Hello) -> Inflow | None:
        """Begin or go on with the stream of *hello*'s source; None: nobody has named it."""
        if hello.source not in self._sources:
            logger.warning("a producer of unknown source %r greeted: it is not listened to", hello.source)
            if len(self._strangers) < MOST_STRANGERS or hello.source in self._strangers:
                self._strangers[hello.source] = hello
            return None
        stream = self._streams.get(hello.source)
        if stream is None or stream.inflow.epoch != hello.epoch:
            stream = self._streams[hello.source] = self._open_stream(hello)
        inflow = stream.inflow
        inflow.peer = hello.peer
        inflow.confirm(hello.done_number)
        # A bye was said by a process that is no more.
        inflow.last_number = None
        self._byes.pop(hello.source, None)
        return inflow

    def take(self, arrival: Arrival) -> None:
        """Take a batch, if it is the next one of whoever greeted last."""
        stream = self._find(arrival)
        if stream is None:
            return
        if arrival.stored_done:
            stream.inflow.confirm(arrival.stored_done)
        if arrival.batch.number == stream.inflow.received + 1:
            stream.take(arrival.batch)

    def confirm(self, stored: Stored) -> None:
        """Note what a producer has stored as done."""
        stream = self._find(stored)
        if stream is not None:
            stream.inflow.confirm(stored.number)

    def take_leave(self, bye: Bye) -> None:
        """Note that nothing more will come from a producer than what it says."""
        self._byes[bye.source] = bye
        if bye.source in self._streams:
            self._streams[bye.source].inflow.last_number = bye.last_number

    @property
    def inflows(self) -> list[Inflow]:
        """What came from each producer that has greeted."""
        return [stream.inflow for stream in self._streams.values()]

    def have_all_greeted(self, gone: set[str]) -> bool:
        """Return whether there is a stream of every source that was named, those *gone* apart."""
        return self._streams.keys() >= self._sources - gone

    @property
    def leaving_peers(self) -> list[bytes]:
        """Producers that have said bye and wait for an answer."""
        return [bye.peer for bye in self._byes.values()]

    def take_settled_peers(self) -> list[bytes]:
        """Return, each once, those that have said bye and whose last batch is done: nothing more is to be said."""
        settled = [inflow.source for inflow in self.inflows if inflow.is_settled and inflow.source in self._byes]
        return [self._byes.pop(source).peer for source in settled]

    def is_all_in(self, given_up: set[str]) -> bool:
        """Return whether nothing more will come from any producer; of those *given_up* nothing does."""
        return all(
            inflow.last_number is not None and inflow.received >= inflow.last_number
            for inflow in self.inflows
            if inflow.source not in given_up
        )

    def are_resends_over(self, gone: set[str]) -> bool:
        """Return whether all that may have been handed over to a router before us has come again."""
        return self.have_all_greeted(gone) and all(inflow.received >= inflow.resends_until for inflow in self.inflows)

    def _find(self, message: Arrival | Stored) -> Stream | None:
        stream = self._streams.get(message.source)
        if stream is None or stream.inflow.epoch != message.epoch or stream.inflow.peer != message.peer:
            return None
        return stream
