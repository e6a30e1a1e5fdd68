"""Lines to a series of files that only grow: for `auditline read`, for tail, for whatever follows files."""

import logging
from collections.abc import Sequence
from errno import EDQUOT, EIO, ENOSPC

from auditline.plugins.outputs.api import Line, OutputContext
from auditline.plugins.outputs.confirmed import ConfirmedPosition
from auditline.plugins.outputs.line_queue import LineQueue
from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.resends import read_tail
from auditline.plugins.outputs.segment_series import SegmentSeries
from auditline.plugins.outputs.tally import Tally
from auditline.plugins.outputs.written_count import WrittenCount
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.settings import SegmentsSettings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
BLOCK_BYTES = 1024**2
"""With more than this waiting the last attached output takes no more events."""


class SegmentsOutput:
    """Done is what was written; with `sync = "batch"` what was synced.

    A process begins a new segment with its first line, and another one before a line that would not fit. On a full
    disk the rest of a line that was written in part is the first thing that follows, in the same file; where the
    line counts as missed, because the output was detached, too. A directory that cannot be had is like a full disk.
    """

    def __init__(self, settings: SegmentsSettings, context: OutputContext, *, is_private: bool = False) -> None:
        """*is_private*: a process of ours alone reads them, and where its cursor cannot be read it needs them all."""
        self.name = settings.name
        self.schema = settings.schema
        self.takes_all = True
        self.others_attached = False
        self.is_attached = True
        self.is_gone = False
        self.error_number = 0
        self.write_fd: int | None = None
        self.done_sequence = 0
        self._directory = settings.directory
        self._is_synced = settings.sync == "batch"
        self._clock = context.clock
        self._counters = context.counters
        self._tally = Tally(context.counters, settings.name)
        self._dropped = tuple(map(self._tally.slot, ("segments_dropped", "bytes_dropped", "events_dropped")))
        context.counters.extend(self._dropped)
        self._queue = LineQueue()
        self._owed = b""  # the rest of a line that counts as missed
        self._last_taken = 0
        self._retry_at = 0.0
        self._is_failing = False
        self._is_closed = False
        self._cannot_write = RepeatedWarning(logger, every=60, level=logging.ERROR)
        self._series = SegmentSeries(settings, self._count_dropped, is_private=is_private)
        self._written = WrittenCount(context.counters, self._tally, settings.name)
        self._confirmed = ConfirmedPosition(context.state_directory / "outputs" / f"{settings.name}.json")
        self._resent_ids: set[str] = set()
        self._are_resends_over = False
        self._try_to_open(self._clock())

    @property
    def pending_bytes(self) -> int:
        """Bytes that are queued and not yet written."""
        return self._queue.unsent_bytes + len(self._owed)

    @property
    def is_blocked(self) -> bool:
        """No other output takes the events, and there is no space for them."""
        if self.others_attached or not self.is_attached:
            return False
        return self._is_failing or self._queue.unsent_bytes > BLOCK_BYTES

    def write(self, lines: Sequence[Line]) -> None:
        """Queue *lines*, but those that a predecessor wrote; or count them as missed."""
        if not lines:
            return
        self._last_taken = lines[-1].sequence
        new = self._skip_resent(lines) if self._resent_ids else lines
        self._tally.take(len(new))
        if self.is_attached:
            self._queue.extend(new)
        else:
            self._tally.add("missed", len(new))
        self._update_done()

    def pump(self) -> None:
        """Write what is queued, in as few writes as possible, and do what is due: retry, sync, delete, store."""
        now = self._clock()
        if not self.is_attached:
            self._attach_if_possible(now)
        if self.is_attached and now >= self._retry_at:
            self._write_out(now)
        if self.is_attached and self._is_failing and self.others_attached:
            self._detach()
        if self._series.is_open:
            self._series.tend(now, self._written_sequence())
        self._update_done()
        self._confirmed.store_if_due(now)

    def confirm(self, sequence: int) -> None:
        """Let the stored position follow to the end of the lines up to *sequence*."""
        self._confirmed.confirm(sequence)
        if self._is_closed:
            self._confirmed.store_if_due(self._clock(), is_urgent=True)

    def end_resends(self) -> None:
        """Forget the ids of lines that nobody handed over again."""
        self._are_resends_over = True
        self._resent_ids.clear()
        self._confirmed.end_resends()

    def counts(self) -> dict[str, int]:
        """Return the balance."""
        return self._tally.counts(0 if self._is_closed else len(self._queue))

    def close(self, deadline_seconds: float) -> None:
        """Write once more, sync within the time, store the position; what cannot be written stays undone."""
        self._retry_at = 0.0
        self.pump()
        written = self._written_sequence()
        self._tally.forget_pending()
        self._series.close(deadline_seconds)
        if self.is_attached:
            self.done_sequence = max(self.done_sequence, self._series.synced_sequence(written))
        self._is_closed = True
        self._confirmed.store_if_due(self._clock(), is_urgent=True)

    def _try_to_open(self, now: float) -> bool:
        """Return whether the directory is open; what keeps it from being so is told."""
        if self._series.is_open:
            return True
        try:
            self._series.open()
            self._resent_ids = self._find_written()
        except OSError as error:
            # It is tried again as a whole: without the ids events might come twice.
            self._series.close(0)
            self._note_error(error, now)
            return False
        if self._are_resends_over:
            self._resent_ids.clear()
            self._confirmed.end_resends()
        self._written.recover(self._series.found)
        return True

    def _find_written(self) -> set[str]:
        """Return the ids of lines that a predecessor wrote and that may be handed over again."""
        segments = self._series.found
        if not segments:
            return set()
        position = self._confirmed.start_at(Position(segments[0].path.name, 0))
        tail = read_tail(segments, position)
        if self._is_synced:
            self._series.sync(tail.files)
        if not tail.is_complete:
            text = "outputs.%s: only the newest %d ids behind %s are known: older events may come twice"
            logger.warning(text, self.name, len(tail.ids), position.segment)
        if tail.ids:
            self._confirmed.hold(Position(segments[-1].path.name, segments[-1].size), self._clock())
        return tail.ids

    def _skip_resent(self, lines: Sequence[Line]) -> list[Line]:
        new = [line for line in lines if line.event_id not in self._resent_ids]
        if len(new) < len(lines):
            self._resent_ids.difference_update([line.event_id for line in lines])
            self._tally.resend(len(lines) - len(new))
            self._confirmed.note_resent(lines[-1].sequence)
        return new

    def _note_error(self, error: OSError, now: float) -> None:
        self._is_failing, self.error_number = True, error.errno or EIO
        self._retry_at = now + RETRY_SECONDS
        if self._series.is_open:
            self._cannot_write.tell("outputs.%s: cannot write: %s", self.name, error.strerror)
        else:
            path = error.filename or self._directory
            text = "outputs.%s: %s cannot be used: %s; it is tried again each second"
            self._cannot_write.tell(text, self.name, path, error.strerror)

    def _write_out(self, now: float) -> None:
        if not self._try_to_open(now):
            return
        try:
            try:
                self._write_queue()
            except OSError as error:
                if error.errno not in (ENOSPC, EDQUOT) or not self._series.delete_old():
                    raise
                self._write_queue()
        except OSError as error:
            self._note_error(error, now)
        else:
            self._is_failing, self.error_number = False, 0
            self._cannot_write.end()

    def _write_queue(self) -> None:
        while self.pending_bytes:
            if self._series.leave_damaged():
                self._owed = b""
                self._queue.rewind_line()
            if self._owed:
                self._owed = self._owed[self._series.write(self._owed) :]
                continue
            self._write_lines(self._next_chunk())

    def _next_chunk(self) -> bytes:
        """Return what is to be written next, and begin a segment for it if need be."""
        if self._queue.is_mid_line:
            return self._queue.piece(self._queue.unsent_bytes)
        chunk = self._queue.whole_lines(self._series.room)
        if not chunk:
            self._confirmed.note_segment(self._series.begin(self._confirmed.last_counter))
            chunk = self._queue.whole_lines(self._series.room)
        # A line that is longer than a segment has one of its own.
        return chunk or self._queue.piece(self._queue.unsent_bytes)

    def _write_lines(self, chunk: bytes) -> None:
        self._written.begin(self._series.end)
        finished = self._queue.advance(self._series.write(chunk))
        self._written.end(finished)
        if finished:
            segment, offset = self._series.end
            end = Position(segment, offset - self._queue.begun_bytes)
            self._confirmed.note_written(self._queue.last_finished, end)

    def _detach(self) -> None:
        count, rest = self._queue.give_up()
        self._owed = rest or self._owed
        self._tally.add("missed", count)
        self.is_attached = False
        logger.error("outputs.%s: detached, its events are missed from now on (%d)", self.name, count)

    def _attach_if_possible(self, now: float) -> None:
        if self.others_attached:
            if now < self._retry_at:
                return
            self._retry_at = now + RETRY_SECONDS
            if not self._try_to_open(now):
                return
            if not (self._series.has_space() or (self._series.delete_old() and self._series.has_space())):
                return
        self.is_attached = True
        self._is_failing = False
        self._retry_at = 0.0
        missed = self._tally.outcome("missed")
        logger.warning("outputs.%s: attached again; %d events missed so far", self.name, missed)

    def _written_sequence(self) -> int:
        return max(self.done_sequence, self._queue.last_finished) if self._queue else self._last_taken

    def _update_done(self) -> None:
        written = self._written_sequence()
        safe = self._series.synced_sequence(written) if self.is_attached else written
        self.done_sequence = max(self.done_sequence, safe)

    def _count_dropped(self, byte_count: int, event_count: int) -> None:
        for slot, amount in zip(self._dropped, (1, byte_count, event_count), strict=True):
            self._counters.add(slot, amount)
