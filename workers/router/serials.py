"""Which serials never came: the kernel numbers its events, so a hole is an event that we do not have."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from auditline.workers.router.event import Event
from auditline.workers.router.render.lines import timestamp_of_record

REORDER_SECONDS = 4
"""How much stream time a serial may be late: two loaded CPUs bring 6 % of records out of order, by milliseconds;
an event without its end waits up to 3 s."""
MAX_RANGES = 1024
MAX_SETTLED = 64
"""Holes that count as lost and that are still known one by one; of the older ones only what they are together."""
_SERIALS = 1 << 32


class Hole(NamedTuple):
    """A range of positions: serials that go on counting where the kernel's 32 bits begin again."""

    first: int
    last: int
    missing: int
    """How many of the range are missing."""
    since: str
    until: str
    """The headers of the events before and after it."""
    clock: int
    """The second of stream time at which it was seen."""

    @property
    def first_serial(self) -> int:
        """As the kernel numbers its events."""
        return self.first % _SERIALS

    @property
    def last_serial(self) -> int:
        """The same of the last one."""
        return self.last % _SERIALS

    def describe(self) -> dict[str, Any]:
        """Return what a health event says of it."""
        times = {"since": _time_of(self.since), "until": _time_of(self.until)}
        return {"from": self.first_serial, "to": self.last_serial, "count": self.missing, **times}


class SerialGaps:
    """Tells holes in the serials of one boot, tolerant of late ones and of the counter's wrap."""

    def __init__(self) -> None:
        self.newest: int | None = None
        """The highest position so far; None before the first one."""
        self.missing: list[Hole] = []
        """Holes that may still be filled, and count as nothing yet; in order."""
        self.settled: list[Hole] = []
        """The latest that count as lost; in order. What fills one all the same is taken off again."""
        self.older: Hole | None = None
        """Those before them, as one."""
        self.filled = 0
        """How many events came although they had been counted as lost."""
        self._newest_header = ""

    def see(self, event: Event, clock: int) -> None:
        """Take note of the serial of an event that begins."""
        newest = self.newest
        if newest is None:
            self.newest, self._newest_header = event.serial, event.header
            return
        ahead = (event.serial - newest) % _SERIALS
        if ahead == 1:
            self.newest, self._newest_header = newest + 1, event.header
        elif 1 < ahead < _SERIALS // 2:
            hole = Hole(newest + 1, newest + ahead - 1, ahead - 1, self._newest_header, event.header, clock)
            self.missing.append(hole)
            self.newest, self._newest_header = newest + ahead, event.header
        elif self.missing or self.settled:
            position = newest - (newest - event.serial) % _SERIALS
            if not _fill(self.missing, position):
                self.filled += _fill(self.settled, position)

    def settle(self, clock: int, *, is_idle: bool = False) -> list[Hole]:
        """Count as lost, and return, the holes too old to be filled; all of them if *is_idle*."""
        if not self.missing:
            return []
        lasting = [hole for hole in self.missing if not is_idle and clock - hole.clock < REORDER_SECONDS]
        if len(lasting) > MAX_RANGES:
            lasting = lasting[-MAX_RANGES:]
        settled = self.missing[: len(self.missing) - len(lasting)]
        self.missing = lasting
        self.settled += settled
        older, self.settled = self.settled[:-MAX_SETTLED], self.settled[-MAX_SETTLED:]
        if older:
            self.older = _together(older if self.older is None else [self.older, *older])
        return settled

    @property
    def lost(self) -> list[Hole]:
        """The holes that count as lost, the latest first."""
        return [*reversed(self.settled), *([self.older] if self.older else [])]

    def restart(self) -> None:
        """Begin anew: the host was booted, and its kernel counts from 0."""
        self.newest, self.missing, self.settled, self.older = None, [], [], None

    def snapshot(self) -> dict[str, Any]:
        """Return what `resume` wants, as JSON can hold it."""
        return {
            "newest": self.newest,
            "header": self._newest_header,
            "missing": self.missing[:],
            "settled": self.settled[:],
            "older": self.older,
        }

    def resume(self, known: dict[str, Any]) -> None:
        """Go on from what `snapshot` returned.

        Raises:
            ValueError, TypeError, KeyError: it did not return that.
        """
        newest, header = known["newest"], str(known["header"])
        missing, settled = _holes(known["missing"]), _holes(known["settled"])
        older = _holes([known["older"]] if known["older"] else [])
        self.newest, self._newest_header = None if newest is None else int(newest), header
        self.missing, self.settled, self.older = missing, settled, older[0] if older else None


def _fill(holes: list[Hole], position: int) -> bool:
    """Take a position out of the hole that it is in; False: it is in none."""
    index = bisect_right(holes, position, key=attrgetter("first")) - 1
    if index < 0 or position > holes[index].last:
        return False
    hole = holes[index]
    before = hole._replace(last=position - 1, missing=position - hole.first)
    after = hole._replace(first=position + 1, missing=hole.last - position)
    holes[index : index + 1] = [piece for piece in (before, after) if piece.missing]
    return True


def _together(holes: Sequence[Hole]) -> Hole:
    """Return one range for several, in order; the one that fills it is not known any more."""
    first, last = holes[0], holes[-1]
    return Hole(first.first, last.last, sum(hole.missing for hole in holes), first.since, last.until, last.clock)


def _time_of(header: str) -> str:
    seconds, _, milliseconds = header.rpartition("(")[2].partition(":")[0].partition(".")
    return timestamp_of_record(seconds, milliseconds)


def _holes(known: Sequence[Sequence[Any]]) -> list[Hole]:
    return [
        Hole(int(first), int(last), int(count), str(since), str(until), int(clock))
        for first, last, count, since, until, clock in known
    ]
