"""Groups records into events by (node, time, serial), each event completing on its own.

Pure: what comes out depends on the records and idle marks alone, never on the wall clock, so that a resend
and a replay give the same events.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, islice

from auditline.workers.router.compiling import COMPILED, Compiled
from auditline.workers.router.decode import types
from auditline.workers.router.decode.types import is_complete_alone
from auditline.workers.router.event import Event
from auditline.workers.router.expectations import WINDOW_EVENTS, Expectations

DEADLINE_SECONDS = 3
"""How many times the second of the stream's time may change, so after 2 to 3 s of it, before an event without its end
is no longer waited for. Changes are counted, so that a clock that is set does no harm."""
MAX_BACK_SECONDS = 60
"""An older second than that is no late record: the clock was set back."""
MAX_YOUNGER_EVENTS = 4096
"""How many events may begin before such an event is no longer waited for, whatever the time says. So no more than
these, and a window of `Expectations`, are ever open."""
MAX_OPEN_BYTES = 1 << 26
"""Text of events that are open when a batch ends; the longest arguments that Linux takes are 6 MiB, and twice that
in hexadecimal. Only this bound depends on where batches end."""
REMEMBERED_EVENTS = 8192
"""Events that went out whose late records are still known as such."""
GIVEN_UP_EVENTS, GIVEN_UP_SECONDS = 256, 60
"""Of those that had no EOE, so of which more may come, the latest: they are still known after a resend."""
LATEST_EVENTS = 64
"""Of all that went out the latest, which are still known then, too."""

_HEADER = re.compile(r"((?:node=(\S+) )?audit\(([0-9]{1,15})\.([0-9]{3}):([0-9]{1,10}))(?=\)[: ]|\)\Z)").match
"""The colon may be missing: auditd wrote `audit(…) config changed` once."""
_EOE, _CWD, _PROCTITLE, _CONFIG_CHANGE = types.EOE, types.CWD, types.PROCTITLE, types.CONFIG_CHANGE


class Grouper:
    """Takes records, gives complete events to *emit* and records without a readable header to *emit_unparsed*."""

    def __init__(
        self,
        emit: Callable[[Event], None],
        emit_unparsed: Callable[[int, str], None],
        see_serial: Callable[[Event, int], None] | None = None,
        compiled: Compiled | None = COMPILED,
    ) -> None:
        """*see_serial* is told of each event of the kernel's that begins, and the clock then.

        *compiled* does what it can, and leaves the rest to its twins here; None: all is done here.
        """
        self._emit = emit
        self._emit_unparsed = emit_unparsed
        self._see_serial = see_serial
        self.open: dict[str, Event] = {}
        self.clock = 0
        """How many times the second has changed."""
        self.newest_second = 0
        """Since 1970; 0 at first."""
        self.last_good = ("0", "000")
        """The time of the last good record, (seconds, milliseconds) as the kernel wrote them."""
        self.expectations = Expectations()
        self.skipped: dict[str, int] = {}
        """Records to drop by header: they come again although their events are out already."""
        self.ends_dropped = 0
        """EOE records that came after their event had gone out."""
        self.given_up: dict[str, int] = {}
        """Headers of the latest events that went out without an EOE, and the clock then."""
        self.begun = 0
        """How many events have begun."""
        self._second = ""
        # As sets that keep their order.
        self._out_young: dict[str, None] = {}
        self._out_old: dict[str, None] = {}
        self._feed_compiled: Callable[[list[int], list[str], int], None] | None = None
        if compiled is not None:
            tools = (self.open, self.expectations, self._find_or_begin, self._begin, self._finish)
            self._feed_compiled = partial(compiled.feed, tools)

    def feed(self, kinds: Sequence[int], payloads: Sequence[str], batch: int) -> None:
        """Take the records of one batch: their types, and `audit(…): body` each."""
        if self._feed_compiled is not None and isinstance(kinds, list) and isinstance(payloads, list):
            self._feed_compiled(kinds, payloads, batch)
        else:
            self._feed(kinds, payloads, batch)
        self._end_batch(batch)

    def _feed(self, kinds: Sequence[int], payloads: Sequence[str], batch: int) -> None:
        open_events, expectations = self.open, self.expectations
        get = open_events.get
        end, config_change = _EOE, _CONFIG_CHANGE
        for kind, payload in zip(kinds, payloads, strict=True):
            header, _, body = payload.partition("): ")
            event = get(header)
            if event is None:
                found = self._find_or_begin(kind, payload, batch)
                if found is None:
                    continue
                event, header, body = found
            if kind == end:
                del open_events[header]
                event.has_eoe = True
                expectations.events_since_eoe = 0
                self._finish(event, batch)
            else:
                event.types.append(kind)
                event.bodies.append(body)
                if kind == config_change:
                    expectations.note_rule_change(body)

    def idle(self, batch: int) -> None:
        """The source had nothing for a while, or has ended: whatever is open will not become more."""
        while self.open:
            self._close_oldest(batch)

    def _find_or_begin(self, kind: int, payload: str, batch: int) -> tuple[Event, str, str] | None:
        """Return a new open event, or that of an oddly spelled header, its header, and the body of the record.

        None: the record was taken whole.
        """
        if "): " not in payload and (event := self.open.get(payload.removesuffix("):"))) is not None:
            return event, event.header, ""
        match = _HEADER(payload)
        if match is None:
            self._emit_unparsed(kind, payload)
            return None
        header, node, seconds, milliseconds, serial = match.groups()
        event = self.open.get(header) or self._begin(
            kind, payload, header, node, seconds, milliseconds, int(serial), batch
        )
        return None if event is None else (event, header, payload[match.end() + 2 :].removeprefix(" "))

    def _begin(  # one parameter for each part: a call costs less than an object
        self,
        kind: int,
        payload: str,
        header: str,
        node: str | None,
        seconds: str,
        milliseconds: str,
        serial: int,
        batch: int,
    ) -> Event | None:
        """Return a new open event; None if the record was taken whole."""
        if self.skipped and self._skip(kind, header):
            if kind == _CONFIG_CHANGE:
                self.expectations.note_rule_change(payload)
            return None
        event = Event(header, node, seconds, milliseconds, serial)
        self.last_good = (seconds, milliseconds)
        if header in self._out_young or header in self._out_old:
            if kind == _EOE:
                # The end of an event that was given up too early: nothing in it to tell.
                self.ends_dropped += 1
                return None
            event.amends = True
        self.begun = event.begun = self.begun + 1
        if seconds != self._second or not self.begun % WINDOW_EVENTS:
            self._advance(seconds, batch)
        event.deadline = self.clock + DEADLINE_SECONDS
        if self._see_serial is not None and not event.amends and not types.is_from_daemon(kind):
            self._see_serial(event, self.clock)
        if is_complete_alone(kind):
            event.types.append(kind)
            event.bodies.append(payload[len(header) + 2 :].removeprefix(" "))
            self._finish(event, batch)
            return None
        self.open[header] = event
        return event

    def _skip(self, kind: int, header: str) -> bool:
        left = self.skipped.get(header)
        if left is None:
            return False
        if kind == _EOE:
            self.expectations.events_since_eoe = 0
        if left > 1:
            self.skipped[header] = left - 1
        else:
            del self.skipped[header]
            self._remember(header, is_given_up=kind != _EOE)
        return True

    def out_by_then(self) -> dict[str, int]:
        """Return what `recall` wants once all events so far are out, also those that are still open now."""
        known = [*self.given_up.items(), *((header, self.clock) for header in self.open)]
        return dict(known[-GIVEN_UP_EVENTS:])

    def latest(self) -> list[str]:
        """Return the headers of the latest events that are out, the latest one first."""
        return list(islice(chain(reversed(self._out_young), reversed(self._out_old)), LATEST_EVENTS))

    def recall(self, given_up: dict[str, int], latest: list[str]) -> None:
        """Take over which events a predecessor had given up, and which were the latest that went out."""
        self.given_up = given_up
        self._out_young.update(dict.fromkeys((*given_up, *reversed(latest))))

    def _remember(self, header: str, *, is_given_up: bool) -> None:
        self._out_young[header] = None
        if is_given_up:
            self.given_up[header] = self.clock
            if len(self.given_up) > GIVEN_UP_EVENTS:
                del self.given_up[next(iter(self.given_up))]

    def _advance(self, seconds: str, batch: int) -> None:
        self._second = seconds
        second = int(seconds)
        if second > self.newest_second or second < self.newest_second - MAX_BACK_SECONDS:
            self.newest_second = second
            self.clock += 1
            while self.given_up and self.clock - next(iter(self.given_up.values())) > GIVEN_UP_SECONDS:
                del self.given_up[next(iter(self.given_up))]
        if not self.begun % WINDOW_EVENTS:
            self.expectations.end_window()
            if len(self._out_young) > REMEMBERED_EVENTS // 2:
                self._out_old, self._out_young = self._out_young, {}
        while self.open:
            oldest = next(iter(self.open.values()))
            if oldest.deadline > self.clock and self.begun - oldest.begun < MAX_YOUNGER_EVENTS:
                return
            self._close_oldest(batch)

    def _close_oldest(self, batch: int, reason: str | None = None) -> None:
        self._close(next(iter(self.open)), batch, reason)

    def _close(self, header: str, batch: int, reason: str | None) -> None:
        """End an event that had no EOE; where the stream has them, that says that records were refused."""
        event = self.open.pop(header)
        lacks_eoe = self.expectations.lacks_eoe(event)
        if reason is not None:
            event.reasons = (reason,)
        elif lacks_eoe:
            event.reasons = ("no_eoe",)
        self._remember(header, is_given_up=True)
        self._finish(event, batch)

    def _finish(self, event: Event, batch: int) -> None:
        if event.records_by_batch is not None:
            event.count_records(batch)
        if not event.types:
            # A lone EOE: all the event's other records are lost, or excluded by rule.
            event.types.append(_EOE)
            event.bodies.append("")
        kinds = event.types
        if kinds[-1] != _PROCTITLE or _CWD not in kinds or self.expectations.exclude_rules:
            self.expectations.judge(event)
        self._out_young[event.header] = None
        self._emit(event)

    def _end_batch(self, batch: int) -> None:
        """Count, batch by batch, the records of events that go on; keep within the bounds."""
        open_bytes = 0
        for event in self.open.values():
            event.count_records(batch)
            open_bytes += event.counted_bytes
        while open_bytes > MAX_OPEN_BYTES:
            open_bytes -= next(iter(self.open.values())).counted_bytes
            self._close_oldest(batch, "evicted")
