"""What schema `ecs` says of processes beyond an event's own records: their names for good, and the parent's program.

Live only, of this host only, and where it is known for sure which process had the pid. What stands in a document from
here is named in `auditline.inferred`.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from auditline.workers.router.decode import types
from auditline.workers.router.decode.text import surrogates_to_text
from auditline.workers.router.event import Event
from auditline.workers.router.file_calls import Kind, call_of, time_ns_of
from auditline.workers.router.process_table import ProcessTable
from auditline.workers.router.render.lines import to_json

MOST_REMEMBERED = 1024
MEMO_SECONDS = 0.25
"""So long what was found about a pair of pids is taken as it is."""

_EXECVE = types.EXECVE


class Kin(NamedTuple):
    """Texts for the fast way; empty where nothing is known."""

    process: str
    """Members of `process` behind its pid, each with a comma before it."""
    parent: str
    """Those of `process.parent`."""
    inferred: str
    """The member `inferred` of `auditline`, with a comma before it."""


_NOTHING = Kin("", "", "")


class _Found:
    """What was found about two pids, for events that are not older than the first one."""

    __slots__ = ("executions", "kin", "until", "when")

    def __init__(self, kin: Kin, when: tuple[str, str], until: float, executions: int) -> None:
        self.kin = kin
        self.when = when
        self.until = until
        self.executions = executions
        """How many had been seen by then: any of them may be the parent's."""


class Kinship:
    """Follows executions as they go by, and asks /proc when a process was started."""

    def __init__(self, table: ProcessTable, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._clock = clock
        self._found: dict[tuple[str, str], _Found] = {}
        self._executions = 0

    def see(self, event: Event) -> None:
        """Take note of an execution, before it is rendered."""
        if _EXECVE in event.types and event.node is None:
            call = call_of(event)
            if call is not None and call.kind is Kind.EXECUTES:
                self._table.take(event, call)
                self._executions += 1

    def texts(self, event: Event, pid: str, parent_pid: str) -> Kin:
        """Return the members that come beside both pids, as JSON."""
        if event.node is not None:
            return _NOTHING
        now, when = self._clock(), (event.seconds, event.milliseconds)
        found = self._found.get((pid, parent_pid))
        if found is None:
            if self._table.is_exhausted(now):
                return _NOTHING
        elif now < found.until and found.when <= when and found.executions == self._executions:
            return found.kin
        process, parent = self.members(event, int(pid), int(parent_pid))
        kin = _texts_of(process, parent) if process or parent else _NOTHING
        if len(self._found) >= MOST_REMEMBERED:
            self._found.clear()
        until = now + min(MEMO_SECONDS, self._table.reuse_seconds)
        self._found[pid, parent_pid] = _Found(kin, when, until, self._executions)
        return kin

    def members(self, event: Event, pid: int, parent_pid: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the members of `process` and `process.parent` that no record has."""
        if event.node is not None:
            return {}, {}
        time_ns = time_ns_of(event)
        entity = self._table.entity(pid, time_ns)
        process = {"entity_id": entity} if entity else {}
        parent: dict[str, Any] = {}
        if parent_pid:
            if entity := self._table.entity(parent_pid, time_ns):
                parent["entity_id"] = entity
            program = self._table.program(parent_pid, time_ns)
            if program is not None and program.executable is not None:
                parent["executable"] = surrogates_to_text(program.executable)[0]
        return process, parent


def _texts_of(process: dict[str, Any], parent: dict[str, Any]) -> Kin:
    return Kin(
        "".join(f',"{name}":{to_json(value)}' for name, value in process.items()),
        "".join(f',"{name}":{to_json(value)}' for name, value in parent.items()),
        f',"inferred":{to_json(names_of(process, parent))}',
    )


def names_of(process: dict[str, Any], parent: dict[str, Any]) -> list[str]:
    """Return the names of these members in a document."""
    return [*(f"process.{name}" for name in process), *(f"process.parent.{name}" for name in parent)]
