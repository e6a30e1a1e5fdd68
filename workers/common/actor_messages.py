"""What a watcher asks the router about who did something, and what it is answered, as docs/bus.md has it."""

import json
import os
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from auditline.workers.common.file_state import device_number

Match = Literal["exact", "probable"]


class Question(NamedTuple):
    """Who has changed what is at *path*?"""

    path: bytes
    """Absolute."""
    pid: int
    """Of whom the kernel said that did it; 0: it told nothing."""
    since_ns: int
    """Not before this, in nanoseconds since 1970."""
    number: int = 0
    """Of the question: the same path and pid may be asked about for another change."""
    file: str = ""
    """The `file_key` of what stands there, if it may have been made by a name that does not tell the path."""


class Answer(NamedTuple):
    """This process, by the kernel's records."""

    path: bytes
    """As in the question."""
    asked_pid: int
    """As in the question."""
    match: Match
    """`exact`: it was seen to change this path. `probable`: one of several, or known by its pid only."""
    pid: int
    event_id: str | None = None
    """Of the event that says so; with `probable` by the pid only there is none."""
    executable: str | None = None
    name: str | None = None
    arguments: tuple[str, ...] = ()
    parent_pid: int = 0
    parent_executable: str | None = None
    uid: int | None = None
    login_uid: int | None = None
    session: int | None = None
    start_ticks: int = 0
    others: int = 0
    """So many other processes have changed it, too."""
    number: int = 0
    """As in the question."""


def file_key(device: int, inode: int) -> str:
    """Return what tells a file from all others of its time, as records of the kernel have it."""
    return f"{inode} dev={device_number(device)}"


def encode_questions(questions: Iterable[Question]) -> bytes:
    """Return JSON in ASCII; paths are UTF-8 with surrogateescape."""
    rows = [
        (os.fsdecode(path), pid, since_ns, number, file) if file else (os.fsdecode(path), pid, since_ns, number)
        for path, pid, since_ns, number, file in questions
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def decode_questions(payload: bytes) -> list[Question]:
    """Return the questions that `encode_questions` was given.

    Raises:
        ValueError: *payload* is not of that form.
    """
    try:
        return [_question(*row) for row in json.loads(payload)]
    except (TypeError, RecursionError) as error:
        raise ValueError(f"questions of a watcher are damaged: {error}") from error


def encode_answers(answers: Iterable[Answer]) -> bytes:
    """Return JSON in ASCII, an object for each without what has its default."""
    return json.dumps([dict(_members(answer)) for answer in answers], separators=(",", ":")).encode()


def decode_answers(payload: bytes) -> list[Answer]:
    """Return the answers that `encode_answers` was given.

    Raises:
        ValueError: *payload* is not of that form.
    """
    try:
        return [_answer(**members) for members in json.loads(payload)]
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"answers to a watcher are damaged: {error}") from error


def _question(path: str, pid: int, since_ns: int, number: int, file: str = "") -> Question:
    return Question(os.fsencode(path), int(pid), int(since_ns), int(number), str(file))


def _members(answer: Answer) -> Iterator[tuple[str, object]]:
    defaults = Answer._field_defaults
    for name, value in zip(Answer._fields, answer, strict=True):
        if name not in defaults or value != defaults[name]:
            yield name, os.fsdecode(value) if isinstance(value, bytes) else value


def _answer(path: str, arguments: Iterable[str] = (), **members: object) -> Answer:
    return Answer(path=os.fsencode(path), arguments=tuple(arguments), **members)  # type: ignore[arg-type]
