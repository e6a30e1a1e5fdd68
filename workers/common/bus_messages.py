"""What producers and the router say to one another, byte by byte, as docs/bus.md has it."""

import json
import struct
from dataclasses import dataclass

from auditline.workers.common.batch import Batch

PROTOCOL_VERSION = 3

HELLO, BATCH, STORED, BYE, QUESTIONS = b"H", b"B", b"T", b"Y", b"Q"
RESUME, RECEIVED, DONE, END, ANSWERS = b"S", b"R", b"D", b"E", b"A"
BATCH_HEADER = struct.Struct("<QQB16s")
NUMBER = struct.Struct("<Q")

_LAST_NUMBER = (1 << 64) - 1
UNREADABLE = (IndexError, KeyError, TypeError, ValueError, RecursionError, struct.error)
"""What a message that is not of our protocol may raise."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A producer (re)connected and asks where to go on."""

    peer: bytes
    attempt: int
    source: str
    epoch: str
    done_number: int
    last_number: int
    """The last batch that the producer has kept so far: up to it everything may be a resend."""
    state: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """One batch; *stored_done* is what the producer has durably stored as done."""

    peer: bytes
    source: str
    epoch: str
    stored_done: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Stored:
    """The producer has durably stored *number* as done, and has no batch to say so with."""

    peer: bytes
    source: str
    epoch: str
    number: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The producer ends; *last_number* is the last batch it will ever send in this life."""

    peer: bytes
    source: str
    last_number: int


@dataclass(frozen=True, slots=True)
class Questions:
    """A watcher wants to know who did something; *payload* is as `common/actor_messages.py` has it."""

    peer: bytes
    source: str
    payload: bytes


Message = Hello | Arrival | Stored | Bye | Questions
"""What producers say."""


def parse(peer: bytes, frames: list[bytes]) -> Message:
    """Return what a producer says; what it must not be raises one of UNREADABLE."""
    head = frames[0]
    kind = head[:1]
    if kind == BATCH:
        number, stored_done, batch_kind, epoch = BATCH_HEADER.unpack_from(head, 1)
        source = head[1 + BATCH_HEADER.size :].decode()
        return Arrival(peer, source, epoch.decode(), stored_done, Batch(number, batch_kind, frames[1], frames[2]))
    if kind == HELLO:
        greeting = json.loads(frames[1])
        if greeting["version"] != PROTOCOL_VERSION:
            message = f"version {greeting['version']!r}"
            raise ValueError(message)
        return Hello(
            peer=peer,
            attempt=_number(greeting["attempt"]),
            source=str(greeting["source"]),
            epoch=str(greeting["epoch"]),
            done_number=_number(greeting["done"]),
            last_number=_number(greeting["last"]),
            state=frames[2],
        )
    if kind == STORED:
        return Stored(peer, frames[3].decode(), frames[1].decode(), NUMBER.unpack(frames[2])[0])
    if kind == BYE:
        return Bye(peer, frames[2].decode(), NUMBER.unpack(frames[1])[0])
    if kind == QUESTIONS:
        return Questions(peer, frames[2].decode(), frames[1])
    message = f"unknown kind {kind!r}"
    raise ValueError(message)


def parse_answer(frames: list[bytes]) -> tuple[bytes, str, int, bytes]:
    """Return the kind, which attempt or epoch is meant, the number, and state or answers; empty: it has none."""
    kind = frames[0]
    if kind == RESUME:
        return kind, str(NUMBER.unpack(frames[1])[0]), NUMBER.unpack(frames[2])[0], b""
    if kind == RECEIVED:
        return kind, frames[1].decode(), NUMBER.unpack(frames[2])[0], b""
    if kind == DONE:
        return kind, frames[1].decode(), NUMBER.unpack(frames[2])[0], frames[3]
    if kind == END:
        return kind, "", 0, b""
    if kind == ANSWERS:
        return kind, "", 0, frames[1]
    message = f"unknown kind {kind!r}"
    raise ValueError(message)


def _number(value: object) -> int:
    """Return a number as it came in JSON, if it is one that the other messages can hold."""
    if not isinstance(value, int) or not 0 <= value <= _LAST_NUMBER:
        message = f"{value!r} is no number of a batch"
        raise ValueError(message)
    return value
