"""Who is pid N now: what the kernel's records say of processes, and when those that still run were started.

Of the live host only: of a log nobody can say any more. Needs no capability: /proc/PID/stat is open to all.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from auditline.workers.common.process_info import (
    PidCircle,
    boot_ns,
    entity_id,
    read_start_ticks,
    started_ns,
)
from auditline.workers.common.process_stat import PROC
from auditline.workers.common.recent import Recent
from auditline.workers.router.decode import types
from auditline.workers.router.decode.records import UNSET_NUMBERS
from auditline.workers.router.event import Event
from auditline.workers.router.file_calls import Call, Kind, Registers, registers_of, text_of, time_ns_of

MOST_PROCESSES = 8192
"""Of each kind of row, those that came last."""
MOST_LOOKS_PER_SECOND = 1000
"""Into /proc: where processes come and go faster, some are not known, and the rest of the work is not held up."""
MOST_ARGUMENTS, MOST_ARGUMENT_CHARACTERS = 64, 4096
TICK_NS = 10_000_000
"""The kernel's time of a record is that of its last tick, up to 10 ms ago; a start is told in such steps, too."""

_IDS = re.compile(r" auid=([0-9]+) uid=[0-9]+ gid=[0-9]+ euid=([0-9]+) .*? ses=([0-9]+) ").search
_PROGRAM = re.compile(r" comm=(\"[^\"]*\"|[0-9A-F]+) exe=(\"[^\"]*\"|[0-9A-F]+)").search
_ARGUMENT = re.compile(r"\ba([0-9]+)=(\"[^\"]*\"|[0-9A-F]+)").finditer


class Program(NamedTuple):
    """Who a process is, as a record of one of its calls has it; texts have bytes that are not UTF-8 as surrogates."""

    executable: str | None
    name: str | None
    parent_pid: int
    uid: int | None
    login_uid: int | None
    session: int | None
    arguments: tuple[str, ...] = ()


class _Row(NamedTuple):
    """Since when a pid has been a process that executed something."""

    time_ns: int
    program: Program


class _Start:
    """When the process started that had a pid when it was looked at, and when that was."""

    __slots__ = ("entity", "looked", "looked_ns", "start_ns", "ticks")

    def __init__(self, ticks: int, start_ns: int, entity: str, looked: float, looked_ns: int) -> None:
        self.ticks = ticks
        self.start_ns = start_ns
        self.entity = entity
        self.looked = looked
        self.looked_ns = looked_ns


_NOBODY = _Start(0, 0, "", 0.0, 0)


class ProcessTable:
    """Bounded; a pid that is given to another process begins anew."""

    def __init__(self, boot_id: str, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._boot_id = boot_id
        self._proc = proc
        self._clock = clock
        self._circle = PidCircle(proc, clock)
        self._programs: Recent[int, _Row] = Recent(MOST_PROCESSES)
        self._starts: Recent[int, _Start] = Recent(MOST_PROCESSES)
        self._looks_left = 0
        self._looks_due = 0.0

    def take(self, event: Event, call: Call) -> None:
        """Take note of an execution, or of a process that was begun."""
        registers = registers_of(event)
        if registers is None:
            return
        if call.kind is Kind.FORKS:
            # A pid in another namespace would be another number there; nothing but a wrong row may come of that.
            self._programs.drop(registers.returned)
        elif call.kind is Kind.EXECUTES:
            self._programs.put(registers.pid, _Row(time_ns_of(event), program_of(event, registers)))

    @property
    def reuse_seconds(self) -> float:
        """So long what was found out about a pid cannot have become wrong."""
        return self._circle.seconds

    def is_exhausted(self, now: float) -> bool:
        """Tell whether nothing more can be looked up at this time, by the monotonic clock."""
        return self._looks_left <= 0 and now < self._looks_due

    def program(self, pid: int, until_ns: int | None = None) -> Program | None:
        """Return what the process executed last that has this pid, or had it until now; None: that is not known.

        *until_ns*: it is wanted as of that time.
        """
        row = self._programs.get(pid)
        if row is None or (until_ns is not None and row.time_ns > until_ns):
            return None
        is_fresh = abs(time.time_ns() - row.time_ns) < self._circle.seconds * 1e9
        # Otherwise another one may have got the pid since.
        return row.program if is_fresh or self._start_at(pid, row.time_ns).ticks else None

    def start_ticks(self, pid: int, time_ns: int) -> int:
        """Return when the process started that had this pid at that time, in ticks; 0: that is not known."""
        return self._start_at(pid, time_ns).ticks

    def entity(self, pid: int, time_ns: int) -> str:
        """Return the name for good of the process that had this pid at that time; "": it is not known."""
        return self._start_at(pid, time_ns).entity

    def _start_at(self, pid: int, time_ns: int) -> _Start:
        start = self._start(pid, time_ns)
        # One that is younger than the event has got the pid since.
        return start if start.ticks and start.start_ns <= time_ns + TICK_NS else _NOBODY

    def _start(self, pid: int, time_ns: int) -> _Start:
        """Return what is known of who has the pid, good for an event of that time."""
        now = self._clock()
        known = self._starts.get(pid)
        if known is not None:
            circle = self._circle.seconds
            if known.ticks:
                # In that time it is its own, even if it has ended.
                if now - known.looked < circle or time_ns < known.looked_ns + circle * 1e9:
                    return known
            elif time_ns <= known.looked_ns:
                return known
        if not self._may_look(now):
            return _NOBODY
        ticks = read_start_ticks(pid, self._proc)
        entity = entity_id(self._boot_id, pid, ticks) if ticks else ""
        start = _Start(ticks, started_ns(ticks, boot_ns()), entity, now, time.time_ns())
        self._starts.put(pid, start)
        return start

    def _may_look(self, now: float) -> bool:
        if now >= self._looks_due:
            self._looks_due, self._looks_left = now + 1, MOST_LOOKS_PER_SECOND
        if self._looks_left <= 0:
            return False
        self._looks_left -= 1
        return True


def program_of(event: Event, registers: Registers) -> Program:
    """Return who made a system call, as its record has it, with the arguments of an execution."""
    body = event.bodies[0]
    ids, program = _IDS(body), _PROGRAM(body)
    return Program(
        executable=text_of(program[2]) if program else None,
        name=text_of(program[1]) if program else None,
        parent_pid=registers.parent_pid,
        uid=int(ids[2]) if ids else None,
        login_uid=_set(ids[1]) if ids else None,
        session=_set(ids[3]) if ids else None,
        arguments=_arguments(event),
    )


def _arguments(event: Event) -> tuple[str, ...]:
    """Return the arguments of an execution as far as they are short; a long one ends them."""
    if types.EXECVE not in event.types:
        return ()
    arguments: list[str] = []
    room = MOST_ARGUMENT_CHARACTERS
    for match in _ARGUMENT(event.bodies[event.types.index(types.EXECVE)]):
        text = text_of(match[2])
        room -= len(text)
        if int(match[1]) != len(arguments) or len(arguments) == MOST_ARGUMENTS or room < 0:
            break
        arguments.append(text)
    return tuple(arguments)


def _set(text: str) -> int | None:
    return None if text in UNSET_NUMBERS else int(text)
