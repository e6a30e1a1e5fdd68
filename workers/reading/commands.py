"""`auditline read` prints what is new and ends; `auditline stream` goes on for ever. Both keep a cursor."""

import os
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditline.plugins.outputs.cursor import Cursor
from auditline.plugins.outputs.following import Chunk, Follower
from auditline.plugins.outputs.streams import is_reader_gone, open_stream
from auditline.workers.common.errors import Exit, InputError, StorageError
from auditline.workers.common.host import host_id, host_name
from auditline.workers.common.stopping import StopRequest
from auditline.workers.common.text import tell
from auditline.workers.reading.delivery import Delivery
from auditline.workers.reading.heartbeat import Heartbeat
from auditline.workers.reading.shortening import LEAST_LINE_BYTES

LEAVE_SECONDS = 0.15
"""Shippers kill a command that has not ended 0.2 s after SIGTERM."""
LOOK_SECONDS = 0.1
"""So often it is looked for new lines, and how far they have been read,"""
COMMIT_SECONDS = 1.0
"""and so often at most the cursor follows, before the end."""
SETTLE_SECONDS = 0.1
"""So long after it was read something is safe with the reader: Fluent Bit's `exec` holds 4 KiB that it has read,"""
STREAM_SETTLE_SECONDS = 1.0
"""with `Threaded On` also a ring of records, which it empties four times a second."""
_DRAIN_SECONDS = 0.005
_ROOM_SECONDS = 1.0
_GRACE_SECONDS = 1.0
"""Beyond --max-seconds: for what is written to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What both commands are told."""

    directory: Path
    cursor: Path
    state_directory: Path
    max_line_bytes: int
    max_events: int | None = None
    max_seconds: float | None = None
    heartbeat_seconds: float = 0
    stops_with_stdin: bool = False


def read_command(options: ReadOptions) -> Exit:
    """Print what is new behind the cursor, wait until it is safe with the reader, and move the cursor on."""
    return _run(options, lambda reader: reader.read_once())


def stream_command(options: ReadOptions) -> Exit:
    """Print what is new and what comes, until stopped or nobody reads any more."""
    return _run(options, lambda reader: reader.stream())


def _run(options: ReadOptions, run: Callable[["Reader"], None]) -> Exit:
    if options.max_line_bytes < LEAST_LINE_BYTES:
        raise InputError([f"--max-line must be at least {LEAST_LINE_BYTES}, not {options.max_line_bytes}"])
    stop = StopRequest()
    stop.take_signals()
    host = host_id(options.state_directory)
    with Cursor.open(options.cursor, host) as cursor:
        if cursor.note:
            tell(cursor.note)
        if not options.directory.exists():
            tell(f"{options.directory} is not there, and so no events: is the output `segments` enabled?")
        reader = Reader(options, cursor, stop, host)
        try:
            run(reader)
        except OSError as error:
            if not is_reader_gone(error):
                raise StorageError(f"{error.filename or 'stdout'}: {error.strerror}") from error
            tell("whoever read our output has gone: what was not read comes again")
        finally:
            reader.close()
    return Exit.OK


class Reader:
    """Takes lines from segments to stdout."""

    def __init__(self, options: ReadOptions, cursor: Cursor, stop: StopRequest, host: str) -> None:
        self._options = options
        self._cursor = cursor
        self._stop = stop
        self._follower = Follower(options.directory, cursor.position, tell)
        self._missed_before = cursor.missed_segments
        self._delivery = Delivery(open_stream(sys.stdout.fileno()), options.max_line_bytes)
        self._deadline = time.monotonic() + options.max_seconds if options.max_seconds is not None else None
        self._events_left = options.max_events
        self._look_due = self._commit_due = time.monotonic()
        self._heartbeat = Heartbeat(options.heartbeat_seconds, host, host_name())

    def read_once(self) -> None:
        """Print what is there now, within the limits."""
        while not self._is_over and (chunk := self._next()) is not None:
            self._delivery.take(chunk)
            self._write_all()
        self._finish()

    def stream(self) -> None:
        """Print until told to stop."""
        while not self._is_over:
            if (chunk := self._next()) is not None:
                self._delivery.take(chunk)
                self._write_all()
            elif self._stop.wait(LOOK_SECONDS) or self._has_stdin_ended():
                break
            elif (beat := self._heartbeat.take_due()) is not None:
                self._delivery.take_apart(beat)
                self._write_all()
            self._commit_if_due()
        self._finish()

    def close(self) -> None:
        """Let go of the segment; tell what was made shorter."""
        self._follower.close()
        if self._delivery.shortened_lines:
            tell(f"{self._delivery.shortened_lines} events were longer than --max-line and were shortened")

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set or self._is_late or self._events_left == 0

    @property
    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _next(self) -> Chunk | None:
        chunk = self._follower.next()
        if chunk is None or self._events_left is None:
            return chunk
        count = chunk.lines.count(b"\n")
        if count > self._events_left:
            *lines, _ = chunk.lines.split(b"\n", self._events_left)
            chunk = chunk._replace(lines=b"\n".join(lines) + b"\n")
            count = self._events_left
        self._events_left -= count
        return chunk

    def _write_all(self) -> None:
        while not self._delivery.pump() and not self._is_late:
            self._commit_if_due()
            if self._stop.wait(self._patience(), for_room=True):
                return

    def _patience(self) -> float:
        """Return how long to wait for room."""
        return _ROOM_SECONDS if self._deadline is None else min(_ROOM_SECONDS, self._deadline - time.monotonic())

    def _finish(self) -> None:
        """Finish the line in hand, wait until all is safe, and commit that; when stopped, only for a moment."""
        if self._stop.is_set or self._is_late:
            self._delivery.drop_unbegun()
        while not (self._delivery.pump() and self._delivery.look(SETTLE_SECONDS)) and not self._must_leave():
            if self._stop.wait(_DRAIN_SECONDS):
                self._delivery.drop_unbegun()
                time.sleep(_DRAIN_SECONDS)
        self._commit()

    def _must_leave(self) -> bool:
        is_late = self._deadline is not None and time.monotonic() > self._deadline + _GRACE_SECONDS
        return is_late or self._stop.seconds_since > LEAVE_SECONDS

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        if now < self._look_due:
            return
        self._look_due = now + LOOK_SECONDS
        self._delivery.look(STREAM_SETTLE_SECONDS)
        if now >= self._commit_due and self._delivery.safe_to not in (None, self._cursor.position):
            self._commit_due = now + COMMIT_SECONDS
            self._commit()

    def _commit(self) -> None:
        if self._delivery.safe_to is not None:
            self._cursor.missed_segments = self._missed_before + self._follower.missed_segments
            self._cursor.commit(self._delivery.safe_to)

    def _has_stdin_ended(self) -> bool:
        return self._options.stops_with_stdin and _is_at_end(sys.stdin.fileno())


def _is_at_end(descriptor: int) -> bool:
    """Say whether nothing more can come from there, without waiting; what comes is of no interest."""
    while select.select([descriptor], [], [], 0)[0]:
        if not os.read(descriptor, 65536):
            return True
    return False
