"""Lines to stdout: whole, in order, without ever waiting for whoever reads them."""

import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from errno import EIO

from auditline.plugins.outputs.api import Line, OutputContext
from auditline.plugins.outputs.line_queue import LineQueue
from auditline.plugins.outputs.streams import is_reader_gone, open_stream
from auditline.plugins.outputs.tally import Tally
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.settings import StdoutSettings

logger = logging.getLogger(__name__)

MOST_UNSENT_BYTES = 16 * 1024**2
"""With more than this waiting stdout is detached, provided that another output takes the events."""
BLOCK_BYTES = 1024**2
"""With more than this waiting the last attached output takes no more events."""
RETRY_SECONDS = 1.0
"""Pause after an error that may pass, such as a full disk behind a redirection."""
PARTIAL_LINE = "stdout_partial_line"
"""Slot of the counters page: token of the process that has written a line in part; 0: the stream is at a line's end."""
PARTIAL_LINE_STREAM = "stdout_stream_of_partial_line"
"""Slot of the counters page: which stream that is; one that the service is started with later may be another."""

_DRAIN_POLL_SECONDS = 0.005


class _State(Enum):
    ATTACHED = auto()
    DETACHED = auto()
    """Its reader stalls: events are missed until there is room."""
    GONE = auto()
    """Its reader went away and no other output takes the events: what is queued stays undone."""
    GIVEN_UP = auto()
    """Its reader went away, and other outputs go on."""


class StdoutOutput:
    """Done is what was written minus what still lies in the pipe.

    While a line is under way in several pieces, `PARTIAL_LINE` says so: whoever finds a dead process's mark there
    ends that line first, so that every line after it is whole. A line that was begun when its reader stalled for
    too long counts as missed, but its rest is still written before anything else.
    """

    def __init__(self, settings: StdoutSettings, context: OutputContext) -> None:
        self.name = settings.name
        self.schema = settings.schema
        self.takes_all = True
        self.others_attached = False
        self.done_sequence = 0
        self.error_number = 0
        self._stall_seconds = settings.stall_seconds
        self._clock = context.clock
        self._descriptor = context.stdout_fd
        self._stream = open_stream(context.stdout_fd)
        self._tally = Tally(context.counters, settings.name)
        self._state = _State.ATTACHED
        self._queue = LineQueue()
        self._unread: deque[tuple[int, int]] = deque()  # (bytes written until then, sequence of the last whole line)
        self._written_bytes = 0
        self._last_taken = 0
        self._blocked_since: float | None = None
        self._retry_at = 0.0
        self._is_closed = False
        self._cannot_write = RepeatedWarning(logger, every=60, level=logging.ERROR)
        self._mark = _PartialLineMark(context)
        self._owed = b"\n" if self._mark.take_over() else b""

    @property
    def is_attached(self) -> bool:
        """It takes events."""
        return self._state is _State.ATTACHED

    @property
    def is_gone(self) -> bool:
        """Nobody will ever read what is written."""
        return self._state in (_State.GONE, _State.GIVEN_UP)

    @property
    def pending_bytes(self) -> int:
        """Bytes that are queued and not yet written."""
        return self._queue.unsent_bytes + len(self._owed)

    @property
    def is_blocked(self) -> bool:
        """No other output takes the events, and the reader does not keep up or has gone."""
        if self.others_attached:
            return False
        return self._state is _State.GONE or (self.is_attached and self._queue.unsent_bytes > BLOCK_BYTES)

    @property
    def write_fd(self) -> int | None:
        """The descriptor, while there is something to write or it is to be attached again."""
        wants_room = bool(self.pending_bytes) or not self.is_attached
        can_poll = self._stream.waits and not self.is_gone and self._clock() >= self._retry_at
        return self._descriptor if wants_room and can_poll else None

    def write(self, lines: Sequence[Line]) -> None:
        """Queue *lines*, or count them as missed."""
        if not lines:
            return
        self._tally.take(len(lines))
        self._last_taken = lines[-1].sequence
        if self._state in (_State.ATTACHED, _State.GONE):
            self._queue.extend(lines)
        else:
            self._tally.add("missed", len(lines))
            self.done_sequence = self._last_taken

    def pump(self) -> None:
        """Write what fits, and notice a reader that stalls, comes back or goes away."""
        # One turn after it was noticed: the others on the same stdout may have to notice it first.
        if self._state is _State.GONE and self.others_attached:
            self._miss_queue(_State.GIVEN_UP)
            logger.warning("outputs.%s: detached for good, the other outputs go on", self.name)
        if not self.is_gone:
            self._pump_stream()

    def _pump_stream(self) -> None:
        if self._stream.is_gone():
            self._note_gone()
        elif self._clock() >= self._retry_at:
            self._write_out()
        self._update_done()
        if self._state is _State.ATTACHED and self.others_attached and self._is_stalled():
            self._miss_queue(_State.DETACHED)
            logger.warning("outputs.%s: its reader stalls: detached, its events are missed from now on", self.name)
        elif self._state is _State.DETACHED:
            self._attach_if_possible()

    def confirm(self, sequence: int) -> None:
        """Do nothing: a stream keeps no position."""

    def end_resends(self) -> None:
        """Do nothing: a stream does not know what it has."""

    def counts(self) -> dict[str, int]:
        """Return the balance."""
        return self._tally.counts(0 if self._is_closed else len(self._queue))

    def close(self, deadline_seconds: float) -> None:
        """Write, and wait until the reader has read it, within the time; what is left stays undone."""
        deadline = self._clock() + deadline_seconds
        self.pump()
        while self.is_attached and (self.pending_bytes or self._unread) and self._clock() < deadline:
            time.sleep(_DRAIN_POLL_SECONDS)
            self.pump()
        self._tally.forget_pending()
        self._is_closed = True
        self._stream.close()

    def _write_out(self) -> None:
        try:
            while self._write_piece():
                pass
        except OSError as error:
            self._note_error(error)
        if not self.pending_bytes:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = self._clock()

    def _write_piece(self) -> bool:
        """Write once, without ever leaving a line in pieces unmarked; return whether anything was written."""
        if self._mark.is_held_by_another():
            return False
        size = self._stream.piece_bytes
        lines = b"" if self._owed else self._queue.whole_lines(size)
        data = lines or self._owed[:size] or self._queue.piece(size)
        if not data:
            return False
        if not lines or len(lines) > self._stream.atomic_bytes:
            self._mark.set()
        try:
            written = self._stream.write(data)
            self._note_written(written)
        finally:
            if not self._owed and not self._queue.is_mid_line:
                self._mark.clear()
        return written > 0

    def _note_written(self, byte_count: int) -> None:
        if not byte_count:
            return
        self._written_bytes += byte_count
        self._blocked_since = None
        self.error_number = 0
        self._cannot_write.end()
        if self._owed:
            self._owed = self._owed[byte_count:]
            return
        finished = self._queue.advance(byte_count)
        if finished:
            self._tally.add("written", finished)
            self._unread.append((self._written_bytes, self._queue.last_finished))

    def _update_done(self) -> None:
        if not self._unread:
            return
        read_bytes = self._written_bytes - self._stream.unread_bytes()
        while self._unread and self._unread[0][0] <= read_bytes:
            self.done_sequence = self._unread.popleft()[1]

    def _is_stalled(self) -> bool:
        if self.pending_bytes > MOST_UNSENT_BYTES:
            return True
        return self._blocked_since is not None and self._clock() - self._blocked_since > self._stall_seconds

    def _miss_queue(self, state: _State) -> None:
        count, rest = self._queue.give_up()
        self._owed = rest or self._owed
        self._tally.add("missed", count)
        self._unread.clear()
        self.done_sequence = self._last_taken
        self._state = state

    def _attach_if_possible(self) -> None:
        has_room = not self._owed and self._clock() >= self._retry_at and self._stream.has_room()
        if has_room or not self.others_attached:
            self._state = _State.ATTACHED
            self._blocked_since = None
            missed = self._tally.outcome("missed")
            logger.warning("outputs.%s: attached again; %d events missed so far", self.name, missed)

    def _note_gone(self) -> None:
        self._state = _State.GONE
        logger.warning("outputs.%s: its reader has gone", self.name)

    def _note_error(self, error: OSError) -> None:
        if is_reader_gone(error) or self._stream.is_gone():
            self._note_gone()
            return
        self._retry_at = self._clock() + RETRY_SECONDS
        self.error_number = error.errno or EIO
        self._cannot_write.tell("outputs.%s: cannot write: %s", self.name, error.strerror)


class _PartialLineMark:
    """Says in the counters page that the stream is in the middle of a line, and by whom."""

    def __init__(self, context: OutputContext) -> None:
        self._counters = context.counters
        self._token = context.token
        self._is_ours = False
        self._stream_id = _identify(context.stdout_fd)
        self._counters.extend((PARTIAL_LINE, PARTIAL_LINE_STREAM))

    def take_over(self) -> bool:
        """Take the mark that a dead process left, and return whether there was one on this stream."""
        self._is_ours = self._counters.get(PARTIAL_LINE) not in (0, self._token)
        if self._is_ours and self._counters.get(PARTIAL_LINE_STREAM) != self._stream_id:
            self.clear()
        if self._is_ours:
            self.set()
        return self._is_ours

    def is_held_by_another(self) -> bool:
        """Say whether another output of this process has begun a line on the same stream."""
        return not self._is_ours and self._counters.get(PARTIAL_LINE) != 0

    def set(self) -> None:
        """Mark the stream; to be called before the write."""
        self._is_ours = True
        self._counters.set(PARTIAL_LINE_STREAM, self._stream_id)
        self._counters.set(PARTIAL_LINE, self._token)

    def clear(self) -> None:
        """Take the mark away, if there is one."""
        if self._is_ours:
            self._is_ours = False
            self._counters.set(PARTIAL_LINE, 0)


def _identify(descriptor: int) -> int:
    """Return 64 bits that stand for the open file."""
    found = os.fstat(descriptor)
    return int.from_bytes(hashlib.blake2b(f"{found.st_dev}:{found.st_ino}".encode(), digest_size=8).digest())
