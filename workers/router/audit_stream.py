"""The kernel's records from one producer: batches in, lines out, with what a resend needs to give the same lines."""

import json
import logging
import re
from collections.abc import Collection, Sequence
from functools import lru_cache, partial
from typing import Any

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.host import host_id_of
from auditline.workers.router.actors import FIM_KEY, Actors, is_for_actors_only
from auditline.workers.router.config_changes import ConfigChanges
from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.inflow import BatchState, Inflow, Tally
from auditline.workers.router.line_batch import LineBatch
from auditline.workers.router.record_names import type_name
from auditline.workers.router.render.lines import timestamp_of_record, whole_event_id
from auditline.workers.router.render.schemas import EventRenderer
from auditline.workers.router.serials import SerialGaps
from auditline.workers.router.stream import Lines
from auditline.workers.router.unparsed import BAD_HEADER, unparsed_line

logger = logging.getLogger(__name__)

_REPLACE = 1329
"""AUDIT_REPLACE, a probe by a rival daemon: its payload is a pid, not text. Source: include/uapi/linux/audit.h."""
_CONFIG_CHANGE = [types.CONFIG_CHANGE]
_RULES_OF_OTHERS = ("multicast", "stdin")
"""How a source is opened beside an audit daemon whose rules hold."""
_id_of_node = lru_cache(maxsize=1024)(host_id_of)
_PIDS = re.compile(r" (?:ppid|pid)=([0-9]+)")


class AuditStream:
    """Grouping and rendering for one (source, epoch) of kernel records."""

    def __init__(
        self,
        hello: Hello,
        lines: Lines,
        renderers: Sequence[EventRenderer],
        host: tuple[str, str],
        own_pids: Collection[int],
        config_changes: ConfigChanges | None = None,
        actors: Actors | None = None,
        *,
        is_locked: bool = False,
    ) -> None:
        """Go on where *hello* says that everything is done; *host* is the host's 16 digits and its name.

        *renderers* are those of the schemas of *lines*, in their order. *own_pids* is looked at whenever an event may
        be our own; it may change. What says who changed the kernel's audit goes to *config_changes* as well.
        *actors* is shown all events of this host. *is_locked*: the kernel may have been locked by an earlier run.
        """
        self.inflow = Inflow(hello.source, hello.epoch, hello.done_number, hello.last_number)
        self._lines = lines
        self._renderer, *self._other_renderers = renderers
        self._host, self._host_name = host
        self._own_pids = own_pids
        self._config_changes = config_changes
        self._actors = actors
        self._is_locked = is_locked
        self._gaps = SerialGaps()
        self._grouped: list[Event] = []
        """Rendered together, which takes a tenth less than grouping and rendering by turns."""
        self._grouper = Grouper(self._grouped.append, self._take_unparsed, self._see_serial)
        self._boot_id = ""
        self._mode = ""
        self._node: str | None = None
        self._is_node_known = False
        self._line_batch: LineBatch | None = None
        self._unparsed_in_batch = 0
        self._gap_warning = RepeatedWarning(logger, every=100, level=logging.ERROR)
        self._current = BatchState(0, Tally())
        self._resume(hello.state)

    def take(self, batch: Batch) -> None:
        """Group and render one batch, the next one in line."""
        state = self._current = self.inflow.begin(batch.number, batch.record_count)
        self._unparsed_in_batch = 0
        ends_dropped = self._grouper.ends_dropped
        if batch.kind == BatchKind.LINES:
            self._take_lines(batch, state)
        elif batch.kind == BatchKind.RECORDS:
            self._grouper.feed(*_records(batch), batch.number)
        elif batch.kind == BatchKind.IDLE:
            self._grouper.idle(batch.number)
        elif batch.kind == BatchKind.START:
            self._start(_opening(batch), batch.number)
        self._render_grouped()
        state.tally.filtered += self._grouper.ends_dropped - ends_dropped
        self._settle_gaps(is_idle=batch.kind == BatchKind.IDLE)
        self.inflow.end(state, self._count_open(batch.number), self._snapshot())

    def _take_lines(self, batch: Batch, state: BatchState) -> None:
        lines = self._line_batch = LineBatch(batch)
        state.tally.filtered += lines.left_out
        self._grouper.feed(lines.kinds, lines.payloads, batch.number)
        self._line_batch = None

    def _count_open(self, batch: int) -> int:
        return sum(batch in (event.records_by_batch or ()) for event in self._grouper.open.values())

    def _start(self, opening: dict[str, Any], batch: int) -> None:
        """A reader opened the socket: whatever was open will not go on if the host was booted in between."""
        self._mode = opening.get("mode", "")
        self._is_node_known = False
        if opening.get("boot_id") != self._boot_id:
            self._grouper.idle(batch)
            self._settle_gaps(is_idle=True)
            self._gaps.restart()
            self._grouper.expectations.forget_rules()
            self._boot_id = opening.get("boot_id", "")

    def _see_serial(self, event: Event, clock: int) -> None:
        """Follow the serials of the node that is first heard of: what other hosts send to its auditd has their own."""
        if event.node != self._node:
            if self._is_node_known:
                return
            self._node = event.node
            self._gaps.restart()
        self._is_node_known = True
        self._gaps.see(event, clock)

    def _render_grouped(self) -> None:
        for event in self._grouped:
            self._take_event(event)
        self._grouped.clear()

    def _take_event(self, event: Event) -> None:
        if (self._is_locked or self._mode in _RULES_OF_OTHERS) and self._is_own(event):
            self.inflow.drop_from(event, self._current)
            return
        host, host_name = self._host, self._host_name
        if FIM_KEY in event.bodies[0] and is_for_actors_only(event):
            if self._actors is not None and event.node is None:
                self._actors.note(event, whole_event_id(host, event))
            self.inflow.drop_from(event, self._current)
            return
        if event.node is not None:
            host, host_name = _id_of_node(event.node), event.node
        identity, text, is_complete = self._renderer.render(event, host, host_name)
        others = [other.render(event, host, host_name)[1] for other in self._other_renderers]
        if self._actors is not None and event.node is None:
            self._actors.note(event, identity)
        # It is the first of its event: the kernel writes it before the call that makes the change returns.
        if self._config_changes is not None and event.types[:1] == _CONFIG_CHANGE:
            self._config_changes.note(event, identity)
        self.inflow.put_out(event, self._lines.add(identity, text, *others), self._current, is_complete=is_complete)

    def _is_own(self, event: Event) -> bool:
        """Beside another audit daemon, and if it is locked, no rule is ours to load: what we do is filtered here."""
        if event.node != self._node or types.SYSCALL not in event.types:
            return False
        call = event.bodies[event.types.index(types.SYSCALL)]
        return any(int(pid) in self._own_pids for pid in _PIDS.findall(call))

    def _take_unparsed(self, kind: int, payload: str) -> None:
        self._render_grouped()
        if kind == _REPLACE and self._line_batch is None:
            logger.warning("another audit daemon asked the kernel whether this one is alive: it wants to take over")
            self._current.tally.filtered += 1
            return
        if self._line_batch is None:
            line = f"type={type_name(kind).upper()} msg={payload}"
        else:
            line = self._line_batch.line_of(kind, payload)
        raw = line.encode("utf-8", "surrogateescape")
        self._unparsed_in_batch += 1
        position = f"{self.inflow.epoch}:{self._current.number}:{self._unparsed_in_batch}"
        time = timestamp_of_record(*self._grouper.last_good)
        about = (raw, (self._host, self._host_name), self.inflow.source, position, time, BAD_HEADER)
        self._current.tally.unparsed += 1
        self.inflow.note_sequence(self._current, self._lines.add_rendered(partial(unparsed_line, *about)))

    def _settle_gaps(self, *, is_idle: bool) -> None:
        tally = self._current.tally
        for hole in self._gaps.settle(self._grouper.clock, is_idle=is_idle):
            tally.serial_gaps += hole.missing
            text = "%d serials from %d to %d never came: these events are lost"
            self._gap_warning.tell(text, hole.missing, hole.first_serial, hole.last_serial)
        tally.serial_gaps -= self._gaps.filled
        self._gaps.filled = 0

    @property
    def lost_serials(self) -> list[dict[str, Any]]:
        """The ranges of serials that never came, the latest ones first; the last one may be several in one."""
        return [hole.describe() for hole in self._gaps.lost]

    def _snapshot(self) -> dict[str, Any]:
        grouper = self._grouper
        return {
            "clock": grouper.clock,
            "second": grouper.newest_second,
            "begun": grouper.begun,
            "given_up": grouper.out_by_then(),
            "latest": grouper.latest(),
            "expectations": grouper.expectations.snapshot(),
            "last_good": grouper.last_good,
            "gaps": self._gaps.snapshot(),
            "boot_id": self._boot_id,
            "mode": self._mode,
            "node": [self._node] if self._is_node_known else [],
            "skip": dict(grouper.skipped),
        }

    def _resume(self, state: bytes) -> None:
        """Take over what a predecessor knew at the batch that the producer goes on from."""
        if not state:
            return
        try:
            known = json.loads(state)
            grouper = self._grouper
            grouper.clock, grouper.newest_second = int(known["clock"]), int(known["second"])
            grouper.begun = int(known["begun"])
            given_up = {str(header): int(clock) for header, clock in known["given_up"].items()}
            grouper.recall(given_up, list(map(str, known["latest"])))
            grouper.expectations.resume(known["expectations"])
            grouper.last_good = (str(known["last_good"][0]), str(known["last_good"][1]))
            grouper.skipped = {str(header): int(count) for header, count in known["skip"].items()}
            self._gaps.resume(known["gaps"])
            self._boot_id, self._mode = str(known["boot_id"]), str(known["mode"])
            for node in known.get("node", []):
                self._node, self._is_node_known = node, True
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            logger.warning("the state that %s kept for a resend cannot be read: %s", self.inflow.source, error)


def _records(batch: Batch) -> tuple[Sequence[int], Sequence[str]]:
    """Return the types and the texts of a batch; one that is damaged becomes one record that nobody can read."""
    # A batch that its journal could not read any more has no record, where splitting would give one.
    payloads = batch.payload.decode("utf-8", "surrogateescape").split("\0") if batch.types else []
    if len(batch.types) != 2 * len(payloads):
        return [0], ["\n".join(payloads)]
    return memoryview(batch.types).cast("H").tolist(), payloads


def _opening(batch: Batch) -> dict[str, Any]:
    try:
        opening = json.loads(batch.payload)
    except ValueError:
        opening = None
    if not isinstance(opening, dict):
        logger.warning("batch %d does not say how the source was opened", batch.number)
        return {}
    return opening
