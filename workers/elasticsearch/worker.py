"""The process of one Elasticsearch output: follows its segments and sends what comes, for as long as it takes."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from auditline.plugins.outputs.elasticsearch import dead_letter_directory, resend_directory
from auditline.plugins.outputs.positions import Position
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import StorageError
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.memory import relax_collector
from auditline.workers.common.settings import ElasticsearchSettings, Settings
from auditline.workers.elasticsearch.client import Server
from auditline.workers.elasticsearch.dead_letters import DELETED, DeadLetters
from auditline.workers.elasticsearch.delivery import DELIVERY_COUNTERS, Delivery
from auditline.workers.elasticsearch.documents import Document
from auditline.workers.elasticsearch.opening import open_sources
from auditline.workers.elasticsearch.source import Source

logger = logging.getLogger(__name__)

RESENT = "dead_letters_resent_total"
SENDER_COUNTERS = (*DELIVERY_COUNTERS, DELETED, RESENT, "spool_bytes")
LONGEST_LOOK_SECONDS = 0.1
"""So often it is looked for new events while there are none."""
_SHORTEST_LOOK_SECONDS = 0.01
STOP_SECONDS = 2.0
"""So long an answer that is under way is waited for when it is to end."""
_MEASURE_SECONDS = 5.0
_STORAGE_RETRY_SECONDS = 1.0


def run(life: Life, settings: Settings, output: ElasticsearchSettings) -> None:
    """Send the events of *output* until told to stop.

    Raises:
        BusyError: another process sends them.
    """
    life.counters.extend(SENDER_COUNTERS)
    relax_collector()
    state = settings.state.directory
    with ExitStack() as opened:
        sources = open_sources(life, state, output, opened)
        if not sources:
            return
        server = Server(output)
        opened.callback(server.close)
        letters, resends = dead_letter_directory(state, output.name), resend_directory(state, output.name)
        dead_letters = DeadLetters(letters, output.dead_letter_bytes, life.counters, beside=resends)
        opened.callback(dead_letters.close)
        delivery = Delivery(server, output, dead_letters, life.counters)
        Sender(life, output, sources, delivery).run()


@dataclass(slots=True)
class _Batch:
    """Documents that are sent together, and how far each source is with them."""

    documents: list[Document] = field(default_factory=list)
    ends: dict[Source, Position] = field(default_factory=dict)
    request_bytes: int = 0
    resent: int = 0
    """How many of them are dead letters that were given back."""
    due: float | None = None
    """When it is to be sent, however small it is; None: it is empty."""

    def take(self, source: Source, most_documents: int, most_bytes: int) -> None:
        """Add what *source* has now, as far as there is room."""
        bytes_left = most_bytes - self.request_bytes
        if self.documents and bytes_left <= 0:
            return
        documents = source.take(most_documents - len(self.documents), bytes_left)
        if documents:
            self.documents += documents
            self.request_bytes += sum(document.request_bytes for document in documents)
            self.ends[source] = documents[-1].end
            self.resent += len(documents) if source.is_resend else 0


class Sender:
    """The loop: gather a batch, say that it is sent, send it until it is answered, commit."""

    def __init__(
        self, life: Life, settings: ElasticsearchSettings, sources: Sequence[Source], delivery: Delivery
    ) -> None:
        self._life = life
        self._settings = settings
        self._sources = deque(sources)
        self._delivery = delivery
        self._doubt_ends = {source: source.doubt_end for source in sources}
        self._look_seconds = min(LONGEST_LOOK_SECONDS, max(_SHORTEST_LOOK_SECONDS, settings.flush_seconds / 4))
        self._measure_due = 0.0
        self._ahead = _Batch()
        """What is gathered while a request is under way."""
        self._storage_warning = RepeatedWarning(logger, every=60, level=logging.ERROR)

    def run(self) -> None:
        """Send until the life is stopping."""
        self._life.ready()
        while not self._life.stopping:
            batch = self._gather()
            if batch.documents and not self._deliver(batch):
                break
        self._commit()

    def _gather(self) -> _Batch:
        """Return the next batch: as much as one request takes, or what came within the time that events may wait."""
        batch, self._ahead = self._ahead, _Batch()
        while not self._life.stopping:
            is_full = self._fill(batch)
            now = time.monotonic()
            self._measure(now)
            if is_full or (batch.due is not None and now >= batch.due):
                break
            # While there is more at once, the next note of what is sent says also what is answered.
            self._commit()
            self._life.wait(self._look_seconds if batch.due is None else min(self._look_seconds, batch.due - now))
        return batch

    def _fill(self, batch: _Batch) -> bool:
        """Add to *batch* what is there now, and return whether a request takes no more."""
        settings = self._settings
        # Each source comes first in its turn: one that has enough for all requests holds no other up.
        self._sources.rotate()
        for source in self._sources:
            batch.take(source, settings.bulk_documents, settings.bulk_bytes)
        if batch.documents and batch.due is None:
            batch.due = time.monotonic() + settings.flush_seconds
        has_all_bytes = batch.request_bytes >= settings.bulk_bytes * 9 // 10
        return has_all_bytes or len(batch.documents) >= settings.bulk_documents

    def _fill_ahead(self) -> None:
        """Gather the next batch and note that it will be sent, so that the server does not wait for us between two."""
        self._fill(self._ahead)
        # What cannot be stored now is before it is sent.
        with suppress(StorageError):
            for source in self._sources:
                if source in self._ahead.ends:
                    source.note_sent(self._ahead.ends[source])
                else:
                    source.store_answered()

    def _deliver(self, batch: _Batch) -> bool:
        """Send *batch* until all of it is answered; return False if we are to stop before."""
        if not self._store(lambda: _note_sent(batch.ends)):
            return False
        is_in_doubt = self._take_doubt(batch.ends)
        # What was given back may have been kept twice, once for each of two senders that were killed.
        self._delivery.begin(
            batch.documents, is_in_doubt=is_in_doubt or batch.resent > 0, resent_to=self._resent_to(batch)
        )
        while not self._delivery.is_done:
            pause_seconds = self._attempt()
            if pause_seconds is None:
                return False
            self._tell_error()
            self._wait(pause_seconds)
            if self._life.stopping and not self._delivery.is_done:
                return False
        for source, end in batch.ends.items():
            source.note_answered(end)
        self._life.counters.add(RESENT, batch.resent)
        return True

    def _commit(self) -> bool:
        """Write down what is answered; return False if we are to stop before that can be done."""
        return self._store(self._store_answered)

    def _store_answered(self) -> None:
        for source in self._sources:
            source.store_answered()

    def _resent_to(self, batch: _Batch) -> Position | None:
        """Return how far into the letters that were given back *batch* goes."""
        [source] = [source for source in self._sources if source.is_resend]
        return batch.ends.get(source, source.answered_end)

    def _take_doubt(self, ends: Mapping[Source, Position]) -> bool:
        """Say whether a predecessor may have sent some of the batch, without having heard what became of it."""
        is_in_doubt = False
        for source, end in ends.items():
            doubt_end = self._doubt_ends[source]
            if doubt_end is not None:
                is_in_doubt = True
                if end >= doubt_end:
                    self._doubt_ends[source] = None
        return is_in_doubt

    def _attempt(self) -> float | None:
        """Let the delivery talk with the server, in a thread, because that may take long; None: we are to stop."""
        results: list[float] = []
        failures: list[BaseException] = []
        is_over = threading.Event()

        def attempt() -> None:
            try:
                results.append(self._delivery.attempt())
            except BaseException as error:  # noqa: BLE001  # raised again below
                failures.append(error)
            is_over.set()

        threading.Thread(target=attempt, name="request", daemon=True).start()
        self._fill_ahead()
        stop_at: float | None = None
        while not is_over.wait(LONGEST_LOOK_SECONDS):
            self._life.drain_wakeup()
            if self._life.stopping:
                stop_at = stop_at or time.monotonic() + STOP_SECONDS
                if time.monotonic() >= stop_at:
                    # What was sent is looked up by the next process.
                    return None
        if failures and isinstance(failures[0], StorageError):
            self._storage_warning.tell("%s", failures[0])
            self._delivery.last_error = str(failures[0])
            return _STORAGE_RETRY_SECONDS
        if failures:
            raise failures[0]
        return results[0]

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._life.stopping and (left := deadline - time.monotonic()) > 0:
            self._life.wait(left)
            self._measure(time.monotonic())

    def _store(self, store: Callable[[], object]) -> bool:
        """Write down how far sources have come, however long that cannot be done; False: we are to stop."""
        while True:
            try:
                store()
            except StorageError as error:
                self._storage_warning.tell("%s", error)
                self._wait(_STORAGE_RETRY_SECONDS)
                if self._life.stopping:
                    return False
            else:
                return True

    def _tell_error(self) -> None:
        """Let it be known why documents wait; only when no request is under way, which counts in the same page."""
        with suppress(StorageError):
            self._life.counters.tell(last_error=self._delivery.last_error)

    def _measure(self, now: float) -> None:
        if now >= self._measure_due:
            self._measure_due = now + _MEASURE_SECONDS
            self._life.counters.set("spool_bytes", sum(source.lag_bytes() for source in self._sources))


def _note_sent(ends: Mapping[Source, Position]) -> None:
    for source, end in ends.items():
        if not source.is_noted(end):
            source.note_sent(end)
