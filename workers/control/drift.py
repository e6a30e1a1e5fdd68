"""Compares the kernel's rules and status with what they should be, and makes entries of the differences."""

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditline.workers.common.drift_entry import Drift, Trace
from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import key_of, rule_list
from auditline.workers.control.messages import KernelStatus
from auditline.workers.control.order import is_silencing
from auditline.workers.control.rule import RuleList

DRIFTS = "control_drifts_total"
DRIFTS_REPAIRED = "control_drifts_repaired_total"
DRIFTS_DROPPED = "control_drifts_dropped_total"
COUNTERS = (DRIFTS, DRIFTS_REPAIRED, DRIFTS_DROPPED)

RULES, ORDER = "rules", "rule_order"
MOST_TEXTS = 32
"""Rules that one entry shows at each side."""
MOST_REPAIRS, REPAIR_SECONDS = 10, 600.0
"""More would be a fight with somebody who wants it otherwise."""

_WATCHED_FIELDS = ("enabled", "failure", "rate_limit", "backlog_limit", "backlog_wait_time", "pid")


@dataclass(frozen=True, slots=True)
class RuleDifference:
    """How a listing differs from the wanted one; rules in the form of `comparable`."""

    missing: tuple[bytes, ...] = ()
    unexpected: tuple[bytes, ...] = ()
    moved: tuple[tuple[bytes, bytes], ...] = ()
    """If nothing else differs: at each place that does, the wanted and the found rule."""

    @property
    def silencing(self) -> tuple[bytes, ...]:
        """New rules of others that keep something from being recorded."""
        return tuple(rule for rule in self.unexpected if is_silencing(rule) or rule_list(rule) == RuleList.EXCLUDE)


class DriftWatch:
    """Knows what is wanted; tells each difference once, until it is another one."""

    def __init__(self) -> None:
        self._rules: tuple[bytes, ...] | None = None
        self._told_rules: RuleDifference | None = None
        self._status: dict[str, int] = {}
        self._told_status: dict[str, int] = {}
        self._rules_good_ns = self._status_good_ns = time.time_ns()

    def expect_rules(self, rules: Sequence[bytes]) -> None:
        """Take *rules*, all that are loaded, in the form of `comparable`, for what is wanted."""
        self._rules, self._told_rules = tuple(rules), None
        self._rules_good_ns = time.time_ns()

    def expect_status(self, status: KernelStatus, pid: int) -> None:
        """Take the status for what is wanted, and *pid* for who should be registered."""
        known = {name: getattr(status, name) for name in _WATCHED_FIELDS} | {"pid": pid}
        self._status = {name: value for name, value in known.items() if value is not None}
        self._told_status.clear()
        self._status_good_ns = time.time_ns()

    def compare_rules(self, found: Sequence[bytes]) -> RuleDifference | None:
        """Return how *found* differs; None: not, or it was told already."""
        difference = None if self._rules is None else _difference(self._rules, tuple(found))
        if difference is None:
            self._rules_good_ns = time.time_ns()
            self._told_rules = None
        elif difference != self._told_rules:
            self._told_rules = difference
            return difference
        return None

    def compare_status(self, status: KernelStatus) -> dict[str, int]:
        """Return the fields that are not as wanted and were not told yet, with the wanted values."""
        found = {name: getattr(status, name) for name in self._status}
        wrong = {name: value for name, value in found.items() if value != self._status[name]}
        news = [name for name, value in wrong.items() if self._told_status.get(name) != value]
        self._told_status = wrong
        if not wrong:
            self._status_good_ns = time.time_ns()
        return {name: self._status[name] for name in news}

    @property
    def is_drifting(self) -> bool:
        """Whether anything was not as wanted when it was compared last."""
        return self._told_rules is not None or bool(self._told_status)

    def describe_rules(self, difference: RuleDifference, *, repaired: bool) -> Drift:
        """Return the entry of a difference among the rules."""
        missing, unexpected = difference.missing, difference.unexpected
        what, wanted, found = RULES, missing, unexpected
        if difference.moved:
            what = ORDER
            wanted, found = tuple(zip(*difference.moved, strict=True))
        traces = [_trace("add_rule", rule) for rule in (*unexpected, *found)]
        traces += [_trace("remove_rule", rule) for rule in missing]
        return Drift(
            what=what,
            wanted=tuple(map(rule_text, wanted[:MOST_TEXTS])),
            found=tuple(map(rule_text, found[:MOST_TEXTS])),
            since_ns=self._rules_good_ns,
            time_ns=time.time_ns(),
            repaired=repaired,
            traces=tuple(dict.fromkeys(traces))[:MOST_TEXTS],
        )

    def describe_field(self, name: str, wanted: int, found: int, *, repaired: bool) -> Drift:
        """Return the entry of a field of the status."""
        return Drift(
            what=name,
            wanted=wanted,
            found=found,
            since_ns=self._status_good_ns,
            time_ns=time.time_ns(),
            repaired=repaired,
            traces=(Trace(operation="set", field=f"audit_{name}"),),
        )


class RepairLimit:
    """Permits so many repairs in so much time."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MOST_REPAIRS)

    def permits(self, now: float) -> bool:
        """Count one repair, if it is permitted."""
        if len(self._times) == MOST_REPAIRS and now - self._times[0] < REPAIR_SECONDS:
            return False
        self._times.append(now)
        return True


def _difference(wanted: tuple[bytes, ...], found: tuple[bytes, ...]) -> RuleDifference | None:
    if wanted == found:
        return None
    missing = tuple((Counter(wanted) - Counter(found)).elements())
    unexpected = tuple((Counter(found) - Counter(wanted)).elements())
    if missing or unexpected:
        return RuleDifference(missing, unexpected)
    moved = tuple(pair for pair in _pairs_by_list(wanted, found) if pair[0] != pair[1])
    return RuleDifference(moved=moved) if moved else None


def _pairs_by_list(wanted: Sequence[bytes], found: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield what is wanted and found at each place of each list; between lists no order matters."""
    for number in sorted(set(map(rule_list, wanted))):
        here, there = ([rule for rule in side if rule_list(rule) == number] for side in (wanted, found))
        yield from zip(here, there, strict=True)


def _trace(operation: str, rule: bytes) -> Trace:
    return Trace(operation=operation, rule_list=rule_list(rule), key=os.fsdecode(key_of(rule)))
