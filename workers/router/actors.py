"""Answers to watchers who ask whose process changed a file: from the events of the kernel, as they go by.

No event is held back for it. Questions wait for theirs, shortly; what was changed is remembered, shortly.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from auditline.workers.common.actor_messages import Answer, Match, Question, decode_questions, encode_answers
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.file_calls import (
    Call,
    Kind,
    Registers,
    call_of,
    changed_paths,
    made_files,
    registers_of,
    time_ns_of,
)
from auditline.workers.router.process_table import TICK_NS, ProcessTable, Program, program_of

logger = logging.getLogger(__name__)

FIM_KEY = ' key="auditline-fim"'
"""What a SYSCALL record has of a rule that is for the sake of this; nothing else in it can look so."""
KEPT_EVENTS = 512
"""While no question waits events are merely kept, the latest ones."""
QUESTION_SECONDS = 2.0
"""So long a question waits for its event."""
DEED_SECONDS = 10.0
MOST_DEEDS = 4096
MOST_QUESTIONS = 16384
_Place = str | tuple[int | str, str]
"""An absolute path; or a pid, or what tells a file from others, and the last part of a name."""
_ANY_PLACE = ""
"""Beside a pid: whatever it did. No path ends with it."""
MOST_SAME = 8
"""Who changed one path: the latest ones."""


class _Deed:
    """One event in which a process changed files."""

    __slots__ = ("event", "event_id", "places", "registers", "seen", "time_ns")

    def __init__(self, event: Event, event_id: str, registers: Registers, places: list["_Place"], seen: float) -> None:
        self.event = event
        self.event_id = event_id
        self.registers = registers
        self.places = places
        """Under what one finds it."""
        self.time_ns = time_ns_of(event)
        self.seen = seen


class _Waiting:
    """A question that may still be answered, or answered better."""

    __slots__ = ("asked", "asked_ns", "peer", "pids", "question", "text", "told")

    def __init__(self, peer: bytes, question: Question, asked: float) -> None:
        self.peer = peer
        self.question = question
        self.text = os.fsdecode(question.path)
        self.asked = asked
        self.asked_ns = time.time_ns()
        """What it asks about was done before."""
        self.told: object = None
        """The last answer."""
        self.pids: dict[int, None] = {}
        """Who may have done it."""


_Any = TypeVar("_Any", _Deed, _Waiting)


class Actors:
    """What was changed lately and by whom, and who wants to know."""

    def __init__(self, table: ProcessTable, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._clock = clock
        self.is_asked = True
        """False: nobody is there to ask, so that nothing need be kept."""
        self._kept: deque[tuple[Event, str]] = deque(maxlen=KEPT_EVENTS)
        self._deeds: deque[_Deed] = deque()
        # The latest ones at the end.
        self._by_place: dict[_Place, list[_Deed]] = {}
        self._queue: deque[_Waiting] = deque()
        self._waiting: dict[_Place, list[_Waiting]] = {}
        self._answers: dict[bytes, list[Answer]] = {}
        self._warning = RepeatedWarning(logger, every=1000)

    def note(self, event: Event, event_id: str) -> None:
        """Take note of an event that has just come."""
        if self._queue:
            self._look(event, event_id)
        elif self.is_asked:
            self._kept.append((event, event_id))

    def ask(self, peer: bytes, payload: bytes) -> None:
        """Take a watcher's questions; what can be answered now is."""
        try:
            questions = decode_questions(payload)
        except ValueError as error:
            self._warning.tell("%s", error)
            return
        now = self._clock()
        while self._kept:
            self._look(*self._kept.popleft())
        for question in questions:
            waiting = _Waiting(peer, question, now)
            for deed in self._deeds_of(waiting):
                self._consider(waiting, deed)
            if waiting.told is None and question.pid:
                self._tell_probable(waiting)
            self._queue.append(waiting)
            for place in _places_of(waiting):
                self._waiting.setdefault(place, []).append(waiting)
        while len(self._queue) > MOST_QUESTIONS:
            self._drop(self._queue.popleft())

    def take_answers(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield, for each watcher that is answered, its address and the answers; forget what has grown old."""
        if not self._queue:
            return
        now = self._clock()
        while self._queue and self._queue[0].asked < now - QUESTION_SECONDS:
            self._drop(self._queue.popleft())
        while self._deeds and (self._deeds[0].seen < now - DEED_SECONDS or len(self._deeds) > MOST_DEEDS):
            self._forget(self._deeds.popleft())
        answers, self._answers = self._answers, {}
        for peer, those in answers.items():
            yield peer, encode_answers(those)

    def _look(self, event: Event, event_id: str) -> None:
        call = call_of(event)
        if call is None:
            return
        if call.kind in (Kind.EXECUTES, Kind.FORKS):
            self._table.take(event, call)
            self._take_execution(event)
        elif types.PATH in event.types:
            self._take_deed(event, event_id, call)

    def _take_execution(self, event: Event) -> None:
        """Tell those who ask about a pid, of which no deed is known, what it executed before they asked."""
        registers = registers_of(event)
        waiting_for_pid = () if registers is None else self._waiting.get((registers.pid, _ANY_PLACE), ())
        for waiting in waiting_for_pid:
            if waiting.told is None and time_ns_of(event) < waiting.asked_ns:
                self._tell_probable(waiting)

    def _take_deed(self, event: Event, event_id: str, call: Call) -> None:
        registers = registers_of(event)
        paths = changed_paths(event, call, registers) if registers is not None else []
        if registers is None or not paths:
            return
        places = [*_places(registers.pid, paths), *made_files(event, call, registers)]
        deed = _Deed(event, event_id, registers, places, self._clock())
        self._deeds.append(deed)
        concerned: dict[_Waiting, None] = {}
        for place in places:
            same = self._by_place.setdefault(place, [])
            same.append(deed)
            del same[:-MOST_SAME]
            concerned.update(dict.fromkeys(self._waiting.get(place, ())))
        for waiting in concerned:
            self._consider(waiting, deed)

    def _deeds_of(self, waiting: _Waiting) -> list[_Deed]:
        """Return what was done to the path of a question, in order."""
        found: dict[_Deed, None] = {}
        for place in _places_of(waiting):
            found.update(dict.fromkeys(self._by_place.get(place, ())))
        return sorted(found, key=lambda deed: deed.time_ns)

    def _consider(self, waiting: _Waiting, deed: _Deed) -> None:
        """Answer, if *deed* is what was asked about, and says something new."""
        question, pid = waiting.question, deed.registers.pid
        if deed.time_ns < question.since_ns - TICK_NS or question.pid not in (0, pid):
            return
        program = program_of(deed.event, deed.registers)
        waiting.pids[pid] = None
        if waiting.told == (pid, program.executable):
            return
        waiting.told = (pid, program.executable)
        match: Match = "exact" if len(waiting.pids) == 1 else "probable"
        self._answer(waiting, match, pid, program, deed)

    def _tell_probable(self, waiting: _Waiting) -> None:
        """Say who has the pid, though not that it did this."""
        pid = waiting.question.pid
        program = self._table.program(pid)
        if program is not None:
            self._answer(waiting, "probable", pid, program)

    def _answer(self, waiting: _Waiting, match: Match, pid: int, program: Program, deed: _Deed | None = None) -> None:
        executed = program if deed is None else self._table.program(pid)
        time_ns = time.time_ns() if deed is None else deed.time_ns
        has_same_program = executed is not None and executed.executable == program.executable
        parent = self._table.program(program.parent_pid, time_ns)
        answer = Answer(
            path=waiting.question.path,
            asked_pid=waiting.question.pid,
            match=match,
            pid=pid,
            event_id=None if deed is None else deed.event_id,
            executable=program.executable,
            name=program.name,
            arguments=executed.arguments if executed is not None and has_same_program else (),
            parent_pid=program.parent_pid,
            parent_executable=None if parent is None else parent.executable,
            uid=program.uid,
            login_uid=program.login_uid,
            session=program.session,
            start_ticks=self._table.start_ticks(pid, time_ns),
            others=max(0, len(waiting.pids) - 1),
            number=waiting.question.number,
        )
        self._answers.setdefault(waiting.peer, []).append(answer)

    def _drop(self, waiting: _Waiting) -> None:
        for place in _places_of(waiting):
            _remove(self._waiting, place, waiting)

    def _forget(self, deed: _Deed) -> None:
        for place in deed.places:
            _remove(self._by_place, place, deed)


def is_for_actors_only(event: Event) -> bool:
    """Tell whether an event with FIM_KEY says nothing but that: no record of another kind is with it."""
    return event.types[0] == types.SYSCALL and types.OF_SYSTEM_CALLS.issuperset(event.types)


def _places(pid: int, paths: list[str]) -> Iterator[_Place]:
    """Yield under what one finds *paths*: absolute ones, and the last parts of all, if it is known who did it."""
    for path in paths:
        if path.startswith("/"):
            yield path
        if pid:
            yield pid, path.rpartition("/")[2]


def _places_of(waiting: _Waiting) -> Iterator[_Place]:
    """Yield under what one finds a question: what it asks about, and its pid."""
    yield from _places(waiting.question.pid, [waiting.text])
    if waiting.question.pid:
        yield waiting.question.pid, _ANY_PLACE
    if waiting.question.file:
        yield waiting.question.file, waiting.text.rpartition("/")[2]


def _remove(lists: dict[_Place, list[_Any]], place: _Place, member: _Any) -> None:
    members = lists.get(place, [])
    if member in members:
        members.remove(member)
        if not members:
            del lists[place]
