"""The kernel reader's process: what the audit socket has goes to the journal and from there to the router."""

import json
import logging
import math
import time
from typing import Literal, Protocol

from auditline.workers.audit.flusher import Flusher
from auditline.workers.audit.gathering import Gathering
from auditline.workers.audit.journal import JOURNAL_COUNTERS, Journal
from auditline.workers.audit.netlink import SOCKET_COUNTERS, Received, Receiver, receive_buffer_bytes
from auditline.workers.audit.overflow import OVERFLOW_COUNTERS, Overflow
from auditline.workers.audit.recvmmsg import make_receiver
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.host import boot_id
from auditline.workers.common.leave import Leaver, take_leave
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import Settings

logger = logging.getLogger(__name__)

SOURCE = "audit"

READER_COUNTERS = (
    "records_received_total",
    "batches_received_total",
    "records_carried_total",
    "records_killed_total",
    "records_in_hand",
    "batch_in_hand",
    "received_with_hand",
    "journal_bytes",
    *JOURNAL_COUNTERS,
    *OVERFLOW_COUNTERS,
    *SOCKET_COUNTERS,
)
"""`records_carried_total`: records that an earlier run left in the journal, not yet done, counted by a new page.
`records_killed_total`: those that a killed reader had in its hands, told by the three slots behind it."""

IDLE_SECONDS = 2.0
"""An empty socket for so long is written down as a mark."""
DEAF_SECONDS = 5.0
"""A multicast listener that has heard nothing for so long says so."""
DRAIN_SECONDS = 1.0
SYNC_SECONDS = 1.0
_TURN_SECONDS = 1.0
_LULL_SECONDS = 0.05
"""While draining: the kernel hands over what it has queued faster than this."""
MOST_GATHER_SECONDS = 0.1
"""Nobody notices so small a delay while events come all the time."""
FASTEST_BYTES_PER_SECOND = 400 * 1024 * 1024
"""So much of the socket's buffer would be filled by a load that no machine makes: 200,000 records of 2 KiB each."""
STREAM_GATHER_SECONDS = 0.003
"""A socket of auditd holds some 280 lines, then auditd waits: so long a pause leaves it 90,000 lines per second."""
_MOST_ROUNDS = 64
"""Full batches in a row before acknowledgements are looked at."""


Mode = Literal["unicast", "multicast", "stdin"]


class Sender(Leaver, Protocol):
    """What the reader needs of `bus.Producer`."""

    def offer(self, batch: Batch) -> None:
        """See `Producer`."""


def run(life: Life, settings: Settings, data_fd: int, is_multicast: bool) -> None:
    """Read the audit socket *data_fd*, which the supervisor opened and registered, until told to stop.

    Raises:
        BusyError: another process has the journal open.
        StorageError: the journal cannot be opened or, later, read.
        KernelError: the socket cannot be read.
    """
    life.counters.extend(READER_COUNTERS)
    count = life.counters.add
    journal = Journal.open(settings.state.directory / "journal", SOURCE, settings.audit.journal_max_bytes, count)
    producer = Producer(endpoint(settings.run.directory), journal)
    receiver = make_receiver(data_fd, count)
    try:
        Reader(life, journal, producer, receiver, data_fd, "multicast" if is_multicast else "unicast").run()
    finally:
        receiver.close()
        producer.close()
        journal.close()


class Reader:
    """The reader's loop and what it knows between two turns."""

    def __init__(
        self,
        life: Life,
        journal: Journal,
        sender: Sender,
        receiver: Receiver,
        data_fd: int,
        mode: Mode,
    ) -> None:
        self._life = life
        self._counters = life.counters
        self._journal = journal
        self._sender = sender
        self._receiver = receiver
        self._data_fd = data_fd
        self._mode = mode
        self._overflow = Overflow(life.counters)
        self._flusher = Flusher(journal.sync)
        self._started = self._last_sync_check = time.monotonic()
        self._gathering = Gathering(_most_gather_seconds(data_fd, mode), self._started)
        self._mark_due = self._started + IDLE_SECONDS
        self._last_number_then = self._last_number_synced = 0
        self._is_announced = False
        self._is_deafness_settled = mode != "multicast"

    def run(self) -> None:
        """Read until the life is stopping, then what is left, and see it through to the router."""
        self._begin()
        while not (self._life.stopping or self._is_over):
            self._turn()
        self._drain()
        take_leave(self._sender)
        self._counters.set("journal_bytes", self._journal.kept_bytes)
        self._flusher.close()

    @property
    def _is_over(self) -> bool:
        """Whether nothing will ever come any more."""
        return False

    def _begin(self) -> None:
        self._count_killed()
        self._count_carried()
        self._announce()
        self._life.ready()

    def _turn(self) -> None:
        ready = self._sender.wait([self._data_fd, self._life.wakeup_fd], self._turn_seconds())
        if self._life.wakeup_fd in ready:
            self._life.drain_wakeup()
        is_empty = False
        received = self._counters.get("records_received_total")
        if self._data_fd in ready:
            is_empty = self._read_socket()
        else:
            self._mark_silence()
        self._sender.pump()
        self._counters.set("journal_bytes", self._journal.kept_bytes)
        self._sync_what_waits()
        self._settle_deafness()
        # Acknowledgements can wait as long as records do.
        pause_seconds = self._gathering.note(self._counters.get("records_received_total") - received, time.monotonic())
        if is_empty and pause_seconds:
            time.sleep(pause_seconds)

    def _turn_seconds(self) -> float:
        return min(_TURN_SECONDS, max(0.01, self._mark_due - time.monotonic()))

    def _read_socket(self) -> bool:
        """Take what is there; return whether the socket was empty in the end."""
        for _ in range(_MOST_ROUNDS):
            received = self._receiver.receive()
            if received is None:
                return True
            if received.count:
                self._take(received)
            if not received.is_full:
                return True
        return False

    def _take(self, received: Received) -> None:
        self._mark_due = time.monotonic() + IDLE_SECONDS
        if not self._is_announced:
            self._announce()
        self._take_in_hand(received.count)
        batch = self._journal.append(received.kind, received.types, received.payload)
        self._counters.set("records_received_total", self._counters.get("received_with_hand"))
        self._counters.add("batches_received_total", 1)
        self._counters.set("records_in_hand", 0)
        if batch is None:
            self._overflow.add(received, self._journal.refusal)
        else:
            self._overflow.end()
            self._sender.offer(batch)

    def _take_in_hand(self, count: int) -> None:
        """Note what a kill from now on could cost, so that a successor can say whether it did."""
        counters = self._counters
        counters.set("batch_in_hand", self._journal.last_number + 1)
        counters.set("received_with_hand", counters.get("records_received_total") + count)
        counters.set("records_in_hand", count)

    def _count_killed(self) -> None:
        """Count what a killed predecessor had in its hands."""
        counters = self._counters
        count = counters.get("records_in_hand")
        if count:
            counters.set("records_received_total", counters.get("received_with_hand"))
            if self._journal.last_number < counters.get("batch_in_hand"):
                counters.add("records_killed_total", count)
                logger.error("a killed reader had %d records in its hands: they are lost", count)
            counters.set("records_in_hand", 0)

    def _count_carried(self) -> None:
        is_new_page = not any(self._counters.get(f"records_{what}_total") for what in ("received", "carried"))
        if is_new_page:
            self._counters.add("records_carried_total", self._journal.found_records)

    def _announce(self) -> None:
        """Say that reading begins; with a full journal later, before the next records."""
        opening = json.dumps({"boot_id": boot_id(), "mode": self._mode}).encode()
        self._is_announced = self._append_mark(BatchKind.START, opening)

    def _mark_silence(self) -> None:
        """Write an idle mark, once per silence; call it when the socket has just been seen empty."""
        now = time.monotonic()
        if now >= self._mark_due:
            is_marked = self._append_mark(BatchKind.IDLE, b"")
            self._mark_due = math.inf if is_marked else now + IDLE_SECONDS

    def _append_mark(self, kind: BatchKind, payload: bytes) -> bool:
        batch = self._journal.append(kind, b"", payload)
        if batch is not None:
            self._sender.offer(batch)
        return batch is not None

    def _sync_what_waits(self) -> None:
        """Force the journal to the disk while a router that is slow or gone leaves it the only copy."""
        now = time.monotonic()
        if now - self._last_sync_check < SYNC_SECONDS:
            return
        self._last_sync_check = now
        if self._last_number_then > max(self._journal.done_number, self._last_number_synced):
            self._flusher.request()
            self._last_number_synced = self._journal.last_number
        self._last_number_then = self._journal.last_number

    def _settle_deafness(self) -> None:
        """While audit is enabled, `open_data_socket` makes records that a listener must hear."""
        if self._is_deafness_settled:
            return
        if self._counters.get("records_received_total"):
            self._is_deafness_settled = True
        elif time.monotonic() - self._started >= DEAF_SECONDS:
            self._is_deafness_settled = True
            logger.warning(
                "deaf: the audit multicast group has given no record for %d s, not even of our joining it; either audit"
                " is disabled (auditctl -e 1 enables it) or this is not the host's network namespace (run in that one)",
                DEAF_SECONDS,
            )

    def _drain(self) -> None:
        """Read what the kernel still has, until it is silent or the time is over."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline and not self._is_over:
            is_empty = self._read_socket()
            self._sender.pump()
            if is_empty and self._data_fd not in self._sender.wait([self._data_fd], _LULL_SECONDS):
                return


def _most_gather_seconds(data_fd: int, mode: Mode) -> float:
    if mode == "stdin":
        return STREAM_GATHER_SECONDS
    return min(MOST_GATHER_SECONDS, receive_buffer_bytes(data_fd) / FASTEST_BYTES_PER_SECOND)
