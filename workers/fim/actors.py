"""Who did it: what /proc told when the hint came, and what the router answers from the kernel's records.

Nothing waits for an answer. One that has come when a change is recorded is taken; one that has not is not needed.
"""

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from auditline.workers.common.actor_messages import Answer, Question, decode_answers, encode_questions
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.host import boot_id
from auditline.workers.common.process_info import Process, ProcessCache, boot_ns, entity_id, started_ns
from auditline.workers.common.recent import Recent
from auditline.workers.common.settings import Settings
from auditline.workers.common.timestamps import timestamp_of_ns

logger = logging.getLogger(__name__)

MOST_QUESTIONS = 4096
"""In one message to the router; what comes on top of that is not asked."""
MOST_PATHS = 50_000
"""Paths for which questions were asked or answers kept; of more the oldest are forgotten."""
MOST_ASKED = 4
"""For each path: so many of those that touched it are asked about, the last ones."""
ASKED_SECONDS = 2.0
"""So long a question waits at the router; what comes later is asked about anew."""
KEPT_SECONDS = 60.0
"""So old an answer may be, for hashers may take as long before a change is recorded."""
NO_PID = 0
_Who = tuple[int, int, bytes | None]
"""What tells processes apart, and the programs that one executes after another: pid, start, executable."""
_ORDER = (
    "executable", "name", "arguments", "parent", "user", "login_user", "session", "container_id",
)  # fmt: skip


class _Asked:
    """What was asked about one path and one of those who touched it, and the answer."""

    __slots__ = ("answer", "answered", "asked", "file", "number", "since_ns", "who")

    def __init__(self, who: _Who) -> None:
        self.who = who
        self.asked = -math.inf
        self.number = 0
        self.file = ""
        self.since_ns = 0
        """When hints were last read before the last one about them."""
        self.answer: Answer | None = None
        self.answered = -math.inf

    def take(self, answer: Answer, now: float) -> None:
        """Keep what is said of this very process."""
        start_ticks = self.who[1]
        if not start_ticks or answer.start_ticks in (0, start_ticks):
            self.answer, self.answered = answer, now


class Actors:
    """What one watcher knows of those who change its files. All paths are absolute."""

    def __init__(
        self, settings: Settings, send: Callable[[bytes], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*send* gives questions to the router and says whether that was possible."""
        self._is_off = settings.fim.actor == "off"
        # Without the kernel's records the router has nothing to answer from.
        self._asks = settings.audit.enabled and not self._is_off
        self._send = send
        self._clock = clock
        self._cache = ProcessCache()
        self._boot_id = boot_id()
        self._boot_ns = boot_ns()
        self._last: tuple[Process | None, dict[str, Any]] = (None, {})
        """Whom /proc alone described last: most changes are one process's, made one after the other."""
        self._asked: Recent[bytes, list[_Asked]] = Recent(MOST_PATHS)
        self._numbers = itertools.count(1)
        self._questions: list[Question] = []
        self._warning = RepeatedWarning(logger, every=1000)

    @property
    def asks(self) -> bool:
        """Whether anybody is there who may answer."""
        return self._asks

    def see(self, pid: int, pidfd: int | None) -> Process | None:
        """Return what is known of who made a record just read, as `ProcessCache.see`; None: nobody wants to know."""
        return None if self._is_off else self._cache.see(pid, pidfd)

    def note(self, path: bytes, process: Process | None, since_ns: int, file: str = "") -> None:
        """A hint about *path* has come: ask the router who did that, once for each process.

        *since_ns* is a time before which it cannot have been: when hints were last read. *file*: see `Question`.
        """
        if not self._asks:
            return
        who, now = _who(process), self._clock()
        all_asked = self._asked.get(path)
        if all_asked is None:
            all_asked = []
            self._asked.put(path, all_asked)
        asked = _find(all_asked, who)
        # What another process, or another program, of this pid did earlier does not say who this one is.
        is_alone = all(other.who[0] != who[0] for other in all_asked if other is not asked)
        if asked is None:
            asked = _Asked(who)
            all_asked.append(asked)
            del all_asked[:-MOST_ASKED]
        asked.since_ns = since_ns
        if now - asked.asked >= ASKED_SECONDS or (file and not asked.file):
            if not who[1]:
                # By now it may be another one.
                asked.answer = None
            self._put_question(path, asked, self._since(process, since_ns) if is_alone else since_ns, file)

    def renew(self, path: bytes) -> None:
        """What was told of *path* has been recorded, and since then something else was: that is of its own."""
        nobody = _find(self._asked.get(path) or [], _who(None))
        if nobody is not None:
            nobody.answer = None
            self._put_question(path, nobody, nobody.since_ns)

    def ask(self) -> None:
        """Send the questions that have come together, once a turn; while no router is there they wait."""
        if self._questions and self._send(encode_questions(self._questions)):
            self._questions.clear()

    def take(self, payloads: Sequence[bytes]) -> None:
        """Keep the router's answers beside the paths that they are about; a later one is the better one."""
        for payload in payloads:
            try:
                answers = decode_answers(payload)
            except ValueError as error:
                self._warning.tell("%s", error)
                continue
            now = self._clock()
            for answer in answers:
                for asked in self._asked.get(answer.path) or ():
                    # Others are about what was asked before something was forgotten.
                    if asked.number == answer.number:
                        asked.take(answer, now)

    def actor_of(self, path: bytes, processes: Sequence[Process] = ()) -> Mapping[str, Any] | None:
        """Return who did it, as `auditline.actor` has it; None: nothing is known of that.

        *processes* are those whom hints about *path* named, the last one at the end: that one is told, with how many
        others there were. Nothing is forgotten.
        """
        if self._is_off:
            return None
        process = processes[-1] if processes else None
        if process is not None and not process.pid:
            process = None
        pid = NO_PID if process is None else process.pid
        answer = self._answer(path, process) if self._asks else None
        if process is None and answer is None:
            return None
        actor = self._describe(process, answer) if answer is not None else self._described_alone(process)
        if self._asks:
            actor["match"] = "none" if answer is None else answer.match
        if answer is not None and answer.event_id is not None:
            actor["event_id"] = answer.event_id
        others = 0
        if len(processes) > 1:
            others = len({(other.pid, other.start_ticks) for other in processes if other.pid != pid})
        if others := max(others, answer.others if answer is not None else 0):
            actor["others"] = others
        return actor

    def forget(self, path: bytes) -> None:
        """What was told of *path* has been recorded, or was nothing: what comes now is about another change."""
        self._asked.drop(path)

    def _put_question(self, path: bytes, asked: _Asked, since_ns: int, file: str = "") -> None:
        """Ask who changed *path* after *since_ns*; not now, if too much is asked already."""
        if len(self._questions) < MOST_QUESTIONS:
            asked.number, asked.asked, asked.file = next(self._numbers), self._clock(), file
            self._questions.append(Question(path, asked.who[0], since_ns, asked.number, file))

    def _answer(self, path: bytes, process: Process | None) -> Answer | None:
        asked = _find(self._asked.get(path) or [], _who(process))
        return None if asked is None or self._clock() - asked.answered > KEPT_SECONDS else asked.answer

    def _described_alone(self, process: Process | None) -> dict[str, Any]:
        if process != self._last[0]:
            self._last = (process, self._describe(process, None))
        return dict(self._last[1])

    def _since(self, process: Process | None, since_ns: int) -> int:
        """Return since when what has that pid is this process: what it did earlier says who it is as well."""
        if process is None:
            return since_ns
        if process.start_ticks:
            return min(since_ns, started_ns(process.start_ticks, self._boot_ns))
        return since_ns - int(self._cache.reuse_seconds * 1e9)

    def _describe(self, process: Process | None, answer: Answer | None) -> dict[str, Any]:
        """Put together what is known: a record of the change itself tells more than /proc, that more than a pid."""
        read = None if process is None or not process.start_ticks else process
        confidence: str
        if answer is not None and (read is None or answer.match == "exact"):
            is_same = read is not None and answer.executable in (None, _text(read.executable))
            is_other = read is not None and read.executable is not None and not is_same
            confidence, source = ("probable" if is_other else answer.match), "audit"
            members = _of_answer(answer)
            if read is not None and answer.start_ticks in (0, read.start_ticks):
                members = _joined(self._of_process(read, has_same_program=is_same), members)
        elif read is not None:
            confidence, source = ("exact" if read.is_certain else "probable"), "proc"
            members = self._of_process(read, has_same_program=True)
            if answer is not None and _completes(answer, read):
                confidence, source = answer.match, "audit"
                members = _joined(members, _of_answer(answer))
        else:
            confidence, source = "pid_only", "fanotify"
            members = {}
        pid = process.pid if process is not None else answer.pid if answer is not None else NO_PID
        started = self._start(pid, members.pop("start_ticks", 0))
        ordered = {key: members[key] for key in _ORDER if key in members}
        return {"pid": pid, **started, **ordered, "confidence": confidence, "source": source}

    def _of_process(self, process: Process, *, has_same_program: bool) -> dict[str, Any]:
        members: dict[str, Any] = {"start_ticks": process.start_ticks}
        if has_same_program:
            members |= _program(
                _text(process.executable), _text(process.name), tuple(map(os.fsdecode, process.arguments))
            )
        parent = {"pid": process.parent_pid, "executable": _text(process.parent_executable)}
        members |= _people(process.uid, process.login_uid, process.session)
        members["parent"] = {key: value for key, value in parent.items() if value}
        members["container_id"] = process.container_id
        return {key: value for key, value in members.items() if value}

    def _start(self, pid: int, start_ticks: int) -> dict[str, str]:
        if not start_ticks:
            return {}
        return {
            "start": timestamp_of_ns(started_ns(start_ticks, self._boot_ns)),
            "entity_id": entity_id(self._boot_id, pid, start_ticks),
        }


def _who(process: Process | None) -> _Who:
    return (NO_PID, 0, None) if process is None else (process.pid, process.start_ticks, process.executable)


def _find(all_asked: list[_Asked], who: _Who) -> _Asked | None:
    for asked in reversed(all_asked):
        if asked.who == who:
            return asked
    return None


def _completes(answer: Answer, read: Process) -> bool:
    """Say whether an answer has the program of a process that had ended when /proc was read, but for its name."""
    is_ended = read.executable is None
    return is_ended and (answer.start_ticks or read.start_ticks, answer.name) == (read.start_ticks, _text(read.name))


def _joined(read: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """Return both, of the same process; what was recorded counts where they differ."""
    joined = read | recorded
    parent, other = recorded.get("parent"), read.get("parent")
    if parent and other and parent["pid"] == other["pid"]:
        joined["parent"] = other | parent
    return joined


def _of_answer(answer: Answer) -> dict[str, Any]:
    members = _program(answer.executable, answer.name, answer.arguments)
    members |= _people(answer.uid, answer.login_uid, answer.session)
    if answer.parent_pid:
        parent = {"pid": answer.parent_pid, "executable": answer.parent_executable}
        members["parent"] = {key: value for key, value in parent.items() if value}
    if answer.start_ticks:
        members["start_ticks"] = answer.start_ticks
    return members


def _program(executable: str | None, name: str | None, arguments: tuple[str, ...]) -> dict[str, Any]:
    members = {"executable": executable, "name": name, "arguments": list(arguments)}
    return {key: value for key, value in members.items() if value}


def _people(uid: int | None, login_uid: int | None, session: int | None) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if uid is not None:
        members["user"] = {"id": str(uid)}
    if login_uid is not None:
        members["login_user"] = {"id": str(login_uid)}
    if session is not None:
        members["session"] = str(session)
    return members


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else os.fsdecode(raw)
