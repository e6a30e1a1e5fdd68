"""Log lines on standard input, as auditd gives them to its plugins: read, journaled and handed over like records."""

from auditline.workers.audit.journal import Journal
from auditline.workers.audit.line_buffer import LineBuffer
from auditline.workers.audit.line_receiver import LineReceiver
from auditline.workers.audit.netlink import Received
from auditline.workers.audit.worker import READER_COUNTERS, SOURCE, Reader, Sender
from auditline.workers.common.batch import BatchKind
from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.lifecycle import EXIT_INPUT_ENDED, Life
from auditline.workers.common.settings import Settings

LINE_COUNTERS = ("lines_cut_total",)
"""Lines that were longer than `LONGEST_LINE_BYTES`."""

_TURN_SECONDS = 1.0


def run(life: Life, settings: Settings, stdin_fd: int, buffer: LineBuffer) -> None:
    """Read lines from *stdin_fd* until it ends or the life is told to stop; *buffer* is shared with the supervisor.

    Raises:
        SystemExit: EXIT_INPUT_ENDED, when the input has ended and all of it has gone to the outputs.
        BusyError: another process has the journal open.
        StorageError: the journal cannot be opened or, later, read.
        KernelError: the descriptor cannot be read.
    """
    life.counters.extend((*READER_COUNTERS, *LINE_COUNTERS))
    count = life.counters.add
    journal = Journal.open(settings.state.directory / "journal", SOURCE, settings.audit.journal_max_bytes, count)
    producer = Producer(endpoint(settings.run.directory), journal)
    receiver = LineReceiver(stdin_fd, buffer, count)
    try:
        LineReader(life, journal, producer, receiver, stdin_fd).run()
    finally:
        producer.close()
        journal.close()
    if receiver.is_over:
        raise SystemExit(EXIT_INPUT_ENDED)


class LineReader(Reader):
    """The reader's loop for a stream, which ends, and of which a kill loses nothing."""

    def __init__(self, life: Life, journal: Journal, sender: Sender, receiver: LineReceiver, fd: int) -> None:
        super().__init__(life, journal, sender, receiver, fd, "stdin")
        self._lines = receiver

    @property
    def _is_over(self) -> bool:
        return self._lines.is_over

    def _begin(self) -> None:
        super()._begin()
        # What a predecessor had read does not make the descriptor readable.
        self._read_socket()

    def _take(self, received: Received) -> None:
        self._lines.buffer.hold(self._journal.last_number + 1, self._lines.given_bytes)
        super()._take(received)
        self._lines.buffer.drop()

    def _count_killed(self) -> None:
        """Count what a killed predecessor had in its hands, unless that is still there."""
        is_kept = self._lines.buffer.recover(self._journal.last_number)
        counters = self._counters
        if is_kept and counters.get("records_in_hand") and self._journal.last_number < counters.get("batch_in_hand"):
            counters.set("records_in_hand", 0)
        super()._count_killed()

    def _drain(self) -> None:
        """Read what is left; when that is the end, nothing open will become more, and all is to come out."""
        if not self._is_over:
            super()._drain()
        if self._is_over:
            self._see_out()

    def _see_out(self) -> None:
        """Mark the end and wait until the router has put everything out, or until we are told to stop."""
        is_marked = False
        while True:
            if not is_marked and self._append_mark(BatchKind.IDLE, b""):
                is_marked = True
                self._sender.say_bye()
            if self._life.stopping or self._sender.is_finished:
                return
            self._sender.wait([self._life.wakeup_fd], _TURN_SECONDS)
            self._life.drain_wakeup()
            self._sender.pump()
            self._sync_what_waits()
