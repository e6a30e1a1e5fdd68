"""The router's process: batches in, events out, acknowledgements back."""

import time
from collections.abc import Collection
from functools import partial
from typing import Any

from auditline.plugins.outputs.api import OutputContext
from auditline.workers.common.bus import Arrival, Hello, Hub, Questions, Stored, endpoint
from auditline.workers.common.counters import read_facts
from auditline.workers.common.drift_entry import CONTROL_SOURCE
from auditline.workers.common.host import boot_id, host_id, host_name
from auditline.workers.common.lifecycle import EXIT_OUTPUT_GONE, Life
from auditline.workers.common.memory import relax_collector
from auditline.workers.common.settings import Settings
from auditline.workers.common.status_slots import LOSS_TOLD_AT
from auditline.workers.router.actors import Actors
from auditline.workers.router.audit_stream import AuditStream
from auditline.workers.router.compiling import tell_what_runs
from auditline.workers.router.config_changes import ConfigChanges
from auditline.workers.router.destinations import Destinations
from auditline.workers.router.drift_stream import DriftStream
from auditline.workers.router.file_stream import FileStream
from auditline.workers.router.health import Health, ProcessFeed
from auditline.workers.router.ledger import Ledger
from auditline.workers.router.output_states import OutputStates
from auditline.workers.router.process_table import ProcessTable
from auditline.workers.router.renderers import Renderers
from auditline.workers.router.stream import Lines, Stream, is_watcher
from auditline.workers.router.streams import Streams

AUDIT_SOURCE = "audit"
TURN_SECONDS = 1.0
QUIET_TURN_SECONDS = 5.0
"""So long is a turn where nothing has come for QUIET_SECONDS, and nothing can be lost meanwhile."""
QUIET_SECONDS = 10.0
MESSAGES_PER_TURN = 64
"""Messages taken before acknowledgements are sent,"""
TAKE_SECONDS = 0.25
"""or fewer, where they take longer: nothing else happens meanwhile, and after SIGTERM there are `DRAIN_SECONDS`."""
DRAIN_SECONDS = 2.0
"""After SIGTERM: how long the producers' byes and the outputs are waited for."""
CLOSE_SECONDS = 0.7
GREETING_SECONDS = 0.5
"""After SIGTERM: how long a producer that has not yet greeted is waited for."""


def run(
    life: Life,
    settings: Settings,
    stdout_fd: int,
    supervisor_pipe_fd: int,
    names_socket_fd: int,
    sources: Collection[str],
) -> None:
    """Route until told to stop; *sources* are the producers that will come, more may be named by the supervisor.

    Raises:
        SystemExit: EXIT_OUTPUT_GONE, when nobody is left to write to.
        AuditlineError: an output cannot be opened.
    """
    context = OutputContext(stdout_fd=stdout_fd, state_directory=settings.state.directory, counters=life.counters)
    destinations = Destinations.open(settings, context)
    has_watches = any(map(is_watcher, sources))
    router = Router(
        life,
        settings,
        Hub(endpoint(settings.run.directory)),
        destinations,
        ProcessFeed(supervisor_pipe_fd, partial(read_facts, settings.run.directory / "counters")),
        Renderers.open(settings, names_socket_fd, has_watches=has_watches, schemas=destinations.schemas),
        sources,
    )
    relax_collector()
    tell_what_runs()
    life.ready()
    router.run()


class Router:
    """The router's loop and what it knows between two turns."""

    def __init__(
        self,
        life: Life,
        settings: Settings,
        hub: Hub,
        destinations: Destinations,
        feed: ProcessFeed,
        renderers: Renderers,
        sources: Collection[str],
    ) -> None:
        self._life = life
        self._hub = hub
        self._destinations = destinations
        self._feed = feed
        self._renderers = renderers
        self._config_changes = ConfigChanges(renderers.names)
        self._is_locked = settings.audit.immutable
        self._actors = Actors(ProcessTable(boot_id()))
        self._actors.is_asked = any(map(is_watcher, sources))
        self._has_only_watchers = all(map(is_watcher, sources))
        self._heard_at = time.monotonic()
        self._host = (host_id(settings.state.directory), host_name())
        self._lines = Lines(destinations.schemas)
        self._streams = Streams(sources, self._open_stream)
        self._audit_stream: AuditStream | None = None
        self._resends_ended = False
        self._state_changed = False
        self._ledger = Ledger(life.counters, settings.run.directory / "counters")
        period_seconds = settings.health.period_seconds
        self._output_states = OutputStates(life.counters, destinations.outputs)
        life.counters.extend((LOSS_TOLD_AT,))
        measures = (self._measure, self._count_losses, self._note_loss)
        self._health = Health(self._lines, self._host, period_seconds, feed, *measures)

    def run(self) -> None:
        """Take turns until told to stop, then see everything out."""
        while not self._life.stopping:
            self._turn(QUIET_TURN_SECONDS if self._is_quiet else TURN_SECONDS)
            if self._destinations.is_gone:
                self._close(0.0)
                raise SystemExit(EXIT_OUTPUT_GONE)
        self._drain()
        self._health.tell("state")
        self._destinations.write(self._lines.take())
        self._close(CLOSE_SECONDS)

    @property
    def _is_quiet(self) -> bool:
        """Whether all that may happen wakes this process: of losses in the kernel and at its reader nobody tells."""
        is_writing = any(output.pending_bytes or not output.is_attached for output in self._destinations.outputs)
        is_told = self._has_only_watchers and not is_writing
        return is_told and time.monotonic() - self._heard_at >= QUIET_SECONDS

    def _turn(self, most_seconds: float) -> None:
        destinations = self._destinations
        takes_batches = not destinations.is_blocked
        readable = [self._life.wakeup_fd] if self._feed.fd is None else [self._life.wakeup_fd, self._feed.fd]
        self._hub.wait(
            readable,
            destinations.write_fds,
            # While an output takes nothing health events wait too: they would be due all the time.
            min(most_seconds, self._health.seconds_until_due) if takes_batches else most_seconds,
            takes_batches=takes_batches,
        )
        self._life.drain_wakeup()
        self._renderers.refresh_names()
        # Before the messages: a watcher that was added may greet now.
        self._read_feed()
        if takes_batches:
            self._take_messages()
        # An output that takes nothing would have to keep what there is to tell: it is told when it takes again.
        if takes_batches:
            self._health.tick(state_changed=self._state_changed)
            self._state_changed = False
        destinations.write(self._lines.take())
        self._output_states.note(self._lines.sequence)
        self._acknowledge()

    def _read_feed(self) -> None:
        self._state_changed = self._feed.read() or self._state_changed
        for hello in self._streams.name(filter(is_watcher, self._feed.processes)):
            self._greet(hello)

    def _take_messages(self) -> None:
        until = time.monotonic() + TAKE_SECONDS
        for _ in range(MESSAGES_PER_TURN):
            message = self._hub.receive()
            if message is None:
                return
            self._heard_at = time.monotonic()
            if isinstance(message, Arrival):
                self._streams.take(message)
                self._answer()
                # A pipe holds less than one batch may give: written once a turn, it would seem to stall.
                self._destinations.write(self._lines.take())
                if self._destinations.is_blocked:
                    return
            elif isinstance(message, Hello):
                self._greet(message)
            elif isinstance(message, Stored):
                self._streams.confirm(message)
            elif isinstance(message, Questions):
                self._actors.ask(message.peer, message.payload)
                self._answer()
            else:
                self._streams.take_leave(message)
            if time.monotonic() >= until:
                return

    def _answer(self) -> None:
        for peer, answers in self._actors.take_answers():
            self._hub.answer(peer, answers)

    def _greet(self, hello: Hello) -> None:
        inflow = self._streams.greet(hello)
        if inflow is not None:
            self._hub.resume(hello, inflow.received + 1)

    def _open_stream(self, hello: Hello) -> Stream:
        if hello.source == AUDIT_SOURCE:
            events, changes = self._renderers.events, self._config_changes
            pids, is_locked = self._feed.pids, self._is_locked
            about = (pids, changes, self._actors)
            stream = AuditStream(hello, self._lines, events, self._host, *about, is_locked=is_locked)
            self._audit_stream = stream
            return stream
        if hello.source == CONTROL_SOURCE:
            return DriftStream(hello, self._lines, self._config_changes, self._host)
        self._actors.is_asked = True
        return FileStream(hello, self._lines, self._renderers.files, self._host)

    def _acknowledge(self) -> None:
        done_sequence = self._destinations.done_sequence
        for inflow in self._streams.inflows:
            finished = inflow.advance(done_sequence)
            if finished:
                self._ledger.commit(inflow, finished)
                self._hub.done(inflow.peer, inflow.epoch, inflow.done, inflow.resume_state(finished[-1]))
            # Beside `done`, which tells of older batches: or a producer whose window is full would wait for ever.
            if inflow.acknowledged < inflow.received:
                self._hub.received(inflow.peer, inflow.epoch, inflow.received)
            inflow.acknowledged = inflow.received
        # Behind their last `done`: a watcher that makes room for its successor, unwatched meanwhile, leaves at once.
        for peer in self._streams.take_settled_peers():
            self._hub.end(peer)
        self._confirm()

    def _confirm(self) -> None:
        """Tell the outputs what will never come again, and when all resends are over."""
        firsts = [inflow.first_unconfirmed for inflow in self._streams.inflows]
        known = [first for first in firsts if first is not None]
        self._destinations.confirm(min(known) - 1 if known else self._lines.sequence)
        if not self._resends_ended and self._streams.are_resends_over(self._feed.gone):
            self._resends_ended = True
            self._destinations.end_resends()

    def _drain(self) -> None:
        """Take what the producers still send until they have said bye, and write what there is."""
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < DRAIN_SECONDS and not self._is_drained(elapsed):
            self._turn(0.05)

    def _is_drained(self, elapsed_seconds: float) -> bool:
        if not self._streams.have_all_greeted(self._feed.gone) and elapsed_seconds < GREETING_SECONDS:
            return False
        is_all_in = self._streams.is_all_in(self._feed.given_up)
        return is_all_in and self._destinations.done_sequence >= self._lines.sequence

    def _close(self, seconds: float) -> None:
        self._destinations.close(seconds)
        self._acknowledge()
        for peer in self._streams.leaving_peers:
            self._hub.end(peer)
        self._hub.close()

    def _measure(self) -> dict[str, Any]:
        outputs, loss = self._destinations.counts(), self._count_losses()
        lost_serials = self._audit_stream.lost_serials if self._audit_stream else []
        return {
            "counters": self._ledger.counters(),
            "loss": loss,
            "balance": {
                "records": self._ledger.record_balance(),
                "changes": self._ledger.change_balance(),
                "outputs": outputs,
            },
            "detail": self._ledger.loss_detail(lost_serials, loss["serial_gaps"]),
        }

    def _count_losses(self) -> dict[str, int]:
        return self._ledger.loss(self._ledger.open_tally(self._streams.inflows), self._destinations.counts())

    def _note_loss(self) -> None:
        self._life.counters.set(LOSS_TOLD_AT, int(time.time()))
