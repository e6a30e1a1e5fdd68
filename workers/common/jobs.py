"""What a watcher and the hashers tell one another: work is announced, asked for, given out and answered.

The messages are written down in docs/bus.md. A watcher binds a socket, each hasher connects to that of every watcher.
"""

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from auditline.workers.common.bus import Client, Connection, Server
from auditline.workers.common.counters import read_pages
from auditline.workers.common.file_state import (
    FORBIDDEN,
    GROWING,
    NOT_HASHED,
    STABLE,
    TIME_LIMIT,
    TOO_LARGE,
    UNREADABLE,
    UNSTABLE,
    FileState,
)
from auditline.workers.common.hashes import ALGORITHMS
from auditline.workers.common.process_stat import read_stat
from auditline.workers.common.text import make_safe

logger = logging.getLogger(__name__)

JOBS_VERSION = 3

LEASE_FILES = 128
"""So many small files are given out at once,"""
LEASE_BYTES = 4 << 20
"""or as many as have so many bytes together."""
LARGE_BYTES = 1 << 20
"""A file with more is a large one, and given out alone."""
MOST_RESULTS = 4096
"""A message with more is none of ours."""

_HELLO, _ASK, _BUSY, _RESULTS, _GIVEN_BACK, _BYE = b"H", b"A", b"B", b"R", b"G", b"Y"
_WORK, _JOBS, _NONE = b"W", b"J", b"N"
_HELLO_HEAD = struct.Struct("<BQQ")
_LANE = struct.Struct("<B")
_NUMBER = struct.Struct("<Q")
_WORK_HEAD = struct.Struct("<QQ")
_JOBS_HEAD = struct.Struct("<QBBQQQ")
_RESULT = struct.Struct("<BBHHIIIIQQQQqqqQqQ")
_MALFORMED = (IndexError, KeyError, TypeError, ValueError, struct.error)

_HASH_STATES = (NOT_HASHED, STABLE, TOO_LARGE, UNSTABLE, UNREADABLE, GROWING, TIME_LIMIT, FORBIDDEN)
_HASH_STATE_NUMBERS = {name: number for number, name in enumerate(_HASH_STATES)}
LEASE_IN_WORK = "lease_in_work"
"""Slot of a hasher's page of counters: the number of the lease that it works on; 0: none."""

_LARGEST_PID = (1 << 31) - 1
_LONGEST_ERROR = 500
_LEAST_TIME, _LATEST_TIME = -(1 << 63), (1 << 63) - 1


class Lane(IntEnum):
    """Small files come many at a time, large ones alone."""

    SMALL = 0
    LARGE = 1


class Outcome(IntEnum):
    """What became of one job."""

    LOOKED_AT = 0
    """There is a state; its hash state says whether there are hashes."""
    GONE = 1
    """Nothing is there, or the watch's root is another directory now."""
    NOT_REGULAR = 2
    """Something else than a regular file is there."""
    UNREADABLE = 3
    """It cannot be opened."""
    LARGER = 4
    """It was given out as a small file and is none: it is to be given out again, as a large one."""
    FORBIDDEN = 5
    """It may not be opened."""


_OUTCOMES = tuple(Outcome)


class Result(NamedTuple):
    """The answer to one job."""

    outcome: Outcome
    state: FileState | None = None
    error: str = ""
    """For diagnostics."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Files that one hasher has in its hands until it answers."""

    number: int
    lane: Lane
    root: bytes
    """The watch's directory."""
    identity: tuple[int, int]
    """Its device and inode."""
    hashes: tuple[str, ...]
    max_file_bytes: int
    """Larger files are not hashed."""
    paths: tuple[bytes, ...]
    """Relative to the root."""
    is_unasked: bool = False
    """The hasher has not asked for it: few small files, so that nobody has to wait for an answer first."""


@dataclass(frozen=True, slots=True)
class HasherHello:
    """A hasher is there."""

    peer: bytes
    pid: int
    start_ticks: int
    """When its process started, as in /proc/PID/stat: a pid alone may come to be another's."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A hasher wants a lease."""

    peer: bytes
    lane: Lane


@dataclass(frozen=True, slots=True)
class Busy:
    """A hasher with leases of this watcher in its hands begins something, or goes on with it."""

    peer: bytes
    lease: int
    """On which of them it works now; 0: on one of another watcher."""


@dataclass(frozen=True, slots=True)
class Results:
    """The answers to all jobs of a lease, in their order."""

    peer: bytes
    lease: int
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A hasher will not finish a lease."""

    peer: bytes
    lease: int


@dataclass(frozen=True, slots=True)
class HasherBye:
    """A hasher ends and has nothing in its hands."""

    peer: bytes


FromHasher = HasherHello | Ask | Busy | Results | GivenBack | HasherBye


def process_start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None: it is gone, or may not be looked at."""
    stat = read_stat(pid)
    return stat.start_ticks if stat is not None else None


def is_process_stopped(pid: int) -> bool:
    """Say whether a signal or a debugger has stopped a process, and not the kernel or its own doing."""
    stat = read_stat(pid)
    return stat is not None and stat.is_stopped


def leases_in_work(pages_directory: Path) -> set[int]:
    """Return the leases that hashers work on now, those of all watchers: two have never the same number."""
    return {page.get(LEASE_IN_WORK, 0) for page in read_pages(pages_directory, "hasher-*").values()}


class JobServer:
    """The watcher's end."""

    def __init__(self, endpoint: str) -> None:
        self.socket = Server(endpoint)
        """To wait for."""

    def receive(self) -> FromHasher | None:
        """Return the next message, None if there is none; what is not of our protocol is told and skipped."""
        while (message := self.socket.receive()) is not None:
            try:
                return _parse_from_hasher(*message)
            except _MALFORMED as error:
                logger.warning("a message of a hasher is not of protocol version %d: %s", JOBS_VERSION, _text(error))
        return None

    def announce(self, peer: bytes, small: int, large: int) -> bool:
        """Tell a hasher how many small and large files wait; return False if it is gone."""
        return self.socket.send(peer, [_WORK + _WORK_HEAD.pack(small, large)])

    def give(self, peer: bytes, lease: Lease) -> bool:
        """Give a hasher what it asked for, or might have; return False if it is gone."""
        head = _JOBS_HEAD.pack(lease.number, lease.lane, lease.is_unasked, *lease.identity, lease.max_file_bytes)
        frames = [_JOBS + head, lease.root, ",".join(lease.hashes).encode(), b"\0".join(lease.paths)]
        return self.socket.send(peer, frames)

    def refuse(self, peer: bytes, lane: Lane) -> bool:
        """Tell a hasher that no such work is left, until the next announcement; return False if it is gone."""
        return self.socket.send(peer, [_NONE + _LANE.pack(lane)])

    def close(self) -> None:
        """Leave."""
        self.socket.close()


@dataclass(frozen=True, slots=True)
class Work:
    """So many files wait at a watcher."""

    small: int
    large: int

    @property
    def lanes(self) -> set[Lane]:
        """Where there is work."""
        return {lane for lane, count in zip(Lane, (self.small, self.large), strict=True) if count}


@dataclass(frozen=True, slots=True)
class NoWork:
    """A watcher has nothing left in a lane, until it announces work again."""

    lane: Lane


@dataclass(frozen=True, slots=True)
class Lost:
    """The watcher is gone, and with it the leases that it gave out."""


class JobClient:
    """The hasher's end of the way to one watcher; says hello whenever the watcher is there anew."""

    def __init__(self, endpoint: str, pid: int, start_ticks: int) -> None:
        self.socket = Client(endpoint)
        """To wait for."""
        self._hello = [_HELLO + _HELLO_HEAD.pack(JOBS_VERSION, pid, start_ticks)]
        self._is_connected = self._is_blocked = False

    def receive(self) -> Work | Lease | NoWork | Lost | None:
        """Return the next message, None if there is none; what is not of our protocol is told and skipped."""
        while (event := self.socket.next_event()) is not None:
            if event is Connection.LOST:
                return self._begin_anew()
            self._is_connected = self.socket.send(self._hello)
        if self._is_blocked:
            return self._begin_anew()
        while (frames := self.socket.receive()) is not None:
            try:
                return _parse_from_watcher(frames)
            except _MALFORMED as error:
                logger.warning("a message of a watcher is not of protocol version %d: %s", JOBS_VERSION, _text(error))
        return None

    def ask(self, lane: Lane) -> None:
        """Ask for a lease."""
        self._send([_ASK + _LANE.pack(lane)])

    def tell_busy(self, lease: int) -> None:
        """Say on which lease of this watcher this process works now; 0: on one of another watcher."""
        self._send([_BUSY + _NUMBER.pack(lease)])

    def answer(self, lease: int, results: Sequence[Result]) -> None:
        """Hand over the results of all files of a lease, in their order."""
        self._send([_RESULTS + _NUMBER.pack(lease), *_encode_results(results)])

    def give_back(self, lease: int) -> None:
        """Say that this lease will not be finished here."""
        self._send([_GIVEN_BACK + _NUMBER.pack(lease)])

    def close(self) -> None:
        """Say bye to a watcher that is there, and leave."""
        self._send([_BYE])
        self.socket.close(is_hasty=not self._is_connected)

    def _begin_anew(self) -> Lost:
        self.socket.renew()
        self._is_connected = self._is_blocked = False
        return Lost()

    def _send(self, frames: list[bytes]) -> None:
        if self._is_connected and not self.socket.send(frames):
            # A new hello tells the watcher that what it gave out here is in nobody's hands.
            self._is_blocked = True


def _parse_from_hasher(peer: bytes, frames: list[bytes]) -> FromHasher:
    head = frames[0]
    kind = head[:1]
    if kind == _ASK:
        return Ask(peer, Lane(_LANE.unpack(head[1:])[0]))
    if kind == _RESULTS:
        return Results(peer, _NUMBER.unpack(head[1:])[0], _decode_results(*frames[1:]))
    if kind == _BUSY:
        return Busy(peer, _NUMBER.unpack(head[1:])[0])
    if kind == _HELLO:
        version, pid, start_ticks = _HELLO_HEAD.unpack(head[1:])
        if version != JOBS_VERSION or not 0 < pid <= _LARGEST_PID:
            raise ValueError(f"version {version}, process {pid}")
        return HasherHello(peer, pid, start_ticks)
    if kind == _GIVEN_BACK:
        return GivenBack(peer, _NUMBER.unpack(head[1:])[0])
    if kind == _BYE:
        return HasherBye(peer)
    raise ValueError(f"unknown kind {kind!r}")


def _parse_from_watcher(frames: list[bytes]) -> Work | Lease | NoWork:
    head = frames[0]
    kind = head[:1]
    if kind == _JOBS:
        number, lane, is_unasked, device, inode, max_file_bytes = _JOBS_HEAD.unpack(head[1:])
        root, hashes, paths = frames[1:]
        names = tuple(hashes.decode().split(",")) if hashes else ()
        if not ALGORITHMS.keys() >= set(names):
            raise ValueError(f"hashes {hashes!r}")
        files = tuple(paths.split(b"\0"))
        return Lease(number, Lane(lane), root, (device, inode), names, max_file_bytes, files, bool(is_unasked))
    if kind == _NONE:
        return NoWork(Lane(_LANE.unpack(head[1:])[0]))
    if kind == _WORK:
        return Work(*_WORK_HEAD.unpack(head[1:]))
    raise ValueError(f"unknown kind {kind!r}")


def _encode_results(results: Sequence[Result]) -> list[bytes]:
    """Return the frames: one record for each result, their hashes, their extended attributes, their errors."""
    records, hashes, xattrs, errors = [], [], [], []
    for outcome, state, error in results:
        text = error.encode(errors="backslashreplace")[:_LONGEST_ERROR] if error else b""
        errors.append(text)
        if state is None:
            records.append(_RESULT.pack(outcome, 0, 0, len(text), *(0,) * 14))
        else:
            hashes.append(state.hashes)
            xattrs.append(state.xattrs)
            records.append(_pack_state(outcome, state, len(text)))
    return [b"".join(records), b"".join(hashes), b"".join(xattrs), b"".join(errors)]


def _pack_state(outcome: Outcome, state: FileState, error_bytes: int) -> bytes:
    lengths = (len(state.hashes), error_bytes, len(state.xattrs))
    head = (outcome, _HASH_STATE_NUMBERS[state.hash_state], *lengths)
    try:
        return _RESULT.pack(*head, *state[:11], state.checked_ns, state.flags)
    except struct.error:
        # File systems may hold times beyond the year 2262.
        times = (min(max(time, _LEAST_TIME), _LATEST_TIME) for time in state[7:10])
        return _RESULT.pack(*head, *state[:7], *times, state.rdev, state.checked_ns, state.flags)


def _decode_results(records: bytes, hashes: bytes, xattrs: bytes, errors: bytes) -> list[Result]:
    if len(records) > MOST_RESULTS * _RESULT.size:
        raise ValueError(f"{len(records)} bytes of results")
    results = []
    hashes_at = xattrs_at = errors_at = 0
    for outcome, hash_state, hash_bytes, error_bytes, xattr_bytes, *numbers, checked_ns, flags in _RESULT.iter_unpack(
        records
    ):
        state = None
        if outcome == Outcome.LOOKED_AT:
            packed, own_xattrs = hashes[hashes_at : hashes_at + hash_bytes], xattrs[xattrs_at : xattrs_at + xattr_bytes]
            values = (*numbers, None, packed, _HASH_STATES[hash_state], checked_ns, own_xattrs, flags)
            state = FileState._make(values)
            hashes_at += hash_bytes
            xattrs_at += xattr_bytes
        error = errors[errors_at : errors_at + error_bytes].decode(errors="replace") if error_bytes else ""
        errors_at += error_bytes
        results.append(Result(_OUTCOMES[outcome], state, error))
    if (hashes_at, xattrs_at, errors_at) != (len(hashes), len(xattrs), len(errors)):
        raise ValueError("hashes, extended attributes or errors do not fit the results")
    return results


def _text(error: Exception) -> str:
    return make_safe(str(error))
