"""The router's process: batches in, events out, acknowledgements back."""

import logging
import time
from pathlib import Path
from typing import Any

from auditline.plugins.outputs.api import OutputContext
from auditline.workers.common.bus import Arrival, Bye, Hello, Hub, endpoint
from auditline.workers.common.host import host_id, host_name
from auditline.workers.common.lifecycle import EXIT_OUTPUT_GONE, Life
from auditline.workers.common.settings import Settings
from auditline.workers.router.audit_stream import AuditStream, Lines
from auditline.workers.router.destinations import Destinations
from auditline.workers.router.health import Health, ProcessFeed
from auditline.workers.router.ledger import Ledger
from auditline.workers.router.memory import relax_collector
from auditline.workers.router.name_service import NameServiceClient
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.fragments import FragmentRenderer

logger = logging.getLogger(__name__)

AUDIT_SOURCE = "audit"
TURN_SECONDS = 1.0
MESSAGES_PER_TURN = 64
"""Messages taken before the outputs have their turn."""
DRAIN_SECONDS = 2.0
"""After SIGTERM: how long the producers' byes and the outputs are waited for."""
CLOSE_SECONDS = 0.7
GREETING_SECONDS = 0.5
"""After SIGTERM: how long a producer that has not yet greeted is waited for."""
NAMES_SECONDS = 1.0


def run(life: Life, settings: Settings, stdout_fd: int, supervisor_pipe_fd: int, names_socket_fd: int) -> None:
    """Route until told to stop.

    Raises:
        SystemExit: EXIT_OUTPUT_GONE, when nobody is left to write to.
        AuditlineError: an output cannot be opened.
    """
    context = OutputContext(stdout_fd=stdout_fd, state_directory=settings.state.directory, counters=life.counters)
    feed = ProcessFeed(supervisor_pipe_fd)
    names = _open_names(settings, names_socket_fd)
    router = Router(
        life, settings, Hub(endpoint(settings.run.directory)), Destinations.open(settings, context), feed, names
    )
    relax_collector()
    life.ready()
    router.run()


def _open_names(settings: Settings, names_socket_fd: int) -> IdNames:
    if not settings.audit.resolve_ids:
        return NoNames()
    return IdNames(Path("/etc/passwd"), Path("/etc/group"), NameServiceClient(names_socket_fd).ask)


class Router:
    """The router's loop and what it knows between two turns."""

    def __init__(
        self,
        life: Life,
        settings: Settings,
        hub: Hub,
        destinations: Destinations,
        feed: ProcessFeed,
        names: IdNames,
    ) -> None:
        self._life = life
        self._hub = hub
        self._destinations = destinations
        self._feed = feed
        self._names = names
        self._names_due = 0.0
        self._host = (host_id(settings.state.directory), host_name())
        self._lines = Lines()
        self._renderer = FragmentRenderer(names)
        self._streams: dict[str, AuditStream] = {}
        self._resends_ended = False
        self._state_changed = False
        self._sources = {AUDIT_SOURCE} if settings.audit.enabled else set()
        self._ledger = Ledger(life.counters, settings.run.directory / "counters")
        self._health = Health(self._lines, self._host, settings.health.period_seconds, feed, self._measure)
        self._byes: dict[str, Bye] = {}

    def run(self) -> None:
        """Take turns until told to stop, then see everything out."""
        while not self._life.stopping:
            self._turn(TURN_SECONDS)
            if self._destinations.is_gone:
                self._close(0.0)
                raise SystemExit(EXIT_OUTPUT_GONE)
        self._drain()
        self._health.tell("state")
        self._destinations.write(self._lines.take())
        self._close(CLOSE_SECONDS)

    def _turn(self, most_seconds: float) -> None:
        destinations = self._destinations
        takes_batches = not destinations.is_blocked
        readable = [self._life.wakeup_fd] if self._feed.fd is None else [self._life.wakeup_fd, self._feed.fd]
        self._hub.wait(
            readable,
            destinations.write_fds,
            min(most_seconds, self._health.seconds_until_due),
            takes_batches=takes_batches,
        )
        self._life.drain_wakeup()
        self._refresh_names()
        if takes_batches:
            self._take_messages()
        self._state_changed = self._feed.read() or self._state_changed
        # An output that takes nothing would have to keep what there is to tell: it is told when it takes again.
        if takes_batches:
            self._health.tick(state_changed=self._state_changed)
            self._state_changed = False
        destinations.write(self._lines.take())
        self._acknowledge()

    def _take_messages(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            message = self._hub.receive()
            if message is None:
                return
            if isinstance(message, Arrival):
                self._take_batch(message)
            elif isinstance(message, Hello):
                self._greet(message)
            else:
                self._byes[message.source] = message
                if message.source in self._streams:
                    self._streams[message.source].inflow.last_number = message.last_number

    def _greet(self, hello: Hello) -> None:
        if hello.source not in self._sources:
            logger.warning("a producer of unknown source %r greeted: it is not listened to", hello.source)
            return
        stream = self._streams.get(hello.source)
        if stream is None or stream.inflow.epoch != hello.epoch:
            stream = AuditStream(hello, self._lines, self._renderer, self._host, self._feed.pids)
            self._streams[hello.source] = stream
        inflow = stream.inflow
        inflow.peer = hello.peer
        # A bye was said by a process that is no more.
        inflow.last_number = None
        self._byes.pop(hello.source, None)
        self._hub.resume(hello, inflow.received + 1)

    def _take_batch(self, arrival: Arrival) -> None:
        stream = self._streams.get(arrival.source)
        if stream is None or stream.inflow.epoch != arrival.epoch or stream.inflow.peer != arrival.peer:
            return
        inflow = stream.inflow
        if arrival.stored_done:
            inflow.confirm(arrival.stored_done)
        if arrival.batch.number == inflow.received + 1:
            stream.take(arrival.batch)

    def _acknowledge(self) -> None:
        done_sequence = self._destinations.done_sequence
        for stream in self._streams.values():
            inflow = stream.inflow
            finished = inflow.advance(done_sequence)
            if finished:
                self._ledger.commit(inflow, finished)
                self._hub.done(inflow.peer, inflow.epoch, inflow.done, inflow.resume_state(finished[-1]))
            # Beside `done`, which tells of older batches: or a producer whose window is full would wait for ever.
            if inflow.acknowledged < inflow.received:
                self._hub.received(inflow.peer, inflow.epoch, inflow.received)
            inflow.acknowledged = inflow.received
        self._confirm()

    def _confirm(self) -> None:
        """Tell the outputs what will never come again, and when all resends are over."""
        firsts = [stream.inflow.first_unconfirmed for stream in self._streams.values()]
        known = [first for first in firsts if first is not None]
        self._destinations.confirm(min(known) - 1 if known else self._lines.sequence)
        if not self._resends_ended and self._streams.keys() >= self._sources:
            inflows = [stream.inflow for stream in self._streams.values()]
            if all(inflow.received >= inflow.resends_until for inflow in inflows):
                self._resends_ended = True
                self._destinations.end_resends()

    def _refresh_names(self) -> None:
        now = time.monotonic()
        if now >= self._names_due:
            self._names_due = now + NAMES_SECONDS
            if self._names.refresh():
                self._renderer.forget_names()

    def _drain(self) -> None:
        """Take what the producers still send until they have said bye, and write what there is."""
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < DRAIN_SECONDS and not self._is_drained(elapsed):
            self._turn(0.05)

    def _is_drained(self, elapsed_seconds: float) -> bool:
        if not self._streams.keys() >= self._sources and elapsed_seconds < GREETING_SECONDS:
            return False
        inflows = [stream.inflow for stream in self._streams.values()]
        all_is_in = all(inflow.last_number is not None and inflow.received >= inflow.last_number for inflow in inflows)
        return all_is_in and self._destinations.done_sequence >= self._lines.sequence

    def _close(self, seconds: float) -> None:
        self._destinations.close(seconds)
        self._acknowledge()
        for bye in self._byes.values():
            self._hub.end(bye.peer)
        self._hub.close()

    def _measure(self) -> dict[str, Any]:
        outputs = self._destinations.counts()
        open_tally = self._ledger.open_tally(stream.inflow for stream in self._streams.values())
        return {
            "counters": self._ledger.counters(),
            "loss": self._ledger.loss(open_tally, outputs),
            "balance": {"records": self._ledger.record_balance(), "outputs": outputs},
        }
