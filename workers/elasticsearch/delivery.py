"""One batch of documents at a time: sent until each one is stored, is a dead letter, or waits for somebody.

Nothing here sleeps or loops over an outage: `Delivery.attempt` says how long to wait before it is called again.
"""

import gc
import logging
import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from auditline.plugins.outputs.positions import Position
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import StorageError
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.common.text import make_safe
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.elasticsearch.answers import STORED, Answer, Verdict, read_answers
from auditline.workers.elasticsearch.backoff import Backoff
from auditline.workers.elasticsearch.client import MOST_IDS_PER_SEARCH, RequestFailed, Server
from auditline.workers.elasticsearch.dead_letters import DeadLetters, LetterKey
from auditline.workers.elasticsearch.documents import PROBE, Document, bulk_body, dead_letter, ids_query

logger = logging.getLogger(__name__)

DELIVERY_COUNTERS = (
    "documents_stored_total",
    "documents_already_there_total",
    "documents_rejected_total",
    "bulk_requests_total",
    "bulk_bytes_total",
    "requests_failed_total",
    "documents_deferred_total",
)
_MALFORMED, _TOO_LARGE, _TOO_MUCH = 400, 413, 429
"""A request that is refused with one of these may be taken in smaller parts; with any other never."""
_STEPS = 16
"""After so many good answers a request may be as large again as is configured."""
_TEMPLATE_HINT = "; `auditline setup elasticsearch` installs the template without which no data stream is made"


class Delivery:
    """What is left of a batch, and what the server has said of it so far."""

    def __init__(
        self, server: Server, settings: ElasticsearchSettings, dead_letters: DeadLetters, counters: CounterPage
    ) -> None:
        self._server = server
        self._dead_letters = dead_letters
        self._counters = counters
        self._backoff = Backoff(settings.retry_min_seconds, settings.retry_max_seconds)
        self._warning = RepeatedWarning(logger, every=100)
        self._rejections = RepeatedWarning(logger, every=1000, level=logging.ERROR)
        self.last_error = ""
        """Why documents wait; empty: they do not."""
        self._left: list[Document] = []
        self._buried: set[LetterKey] | None = set()
        """What was buried already of this batch, also by a predecessor; None: that is not known yet."""
        self._resent_to: Position | None = None
        self._suspect: Document | None = None
        """It was refused alone, while the server answered another request."""
        self._must_look_up = False
        """Some of what is left may have been stored without our having been told."""
        self._cannot_look_up = False
        self._bulk_bytes = settings.bulk_bytes
        self._most_bytes = settings.bulk_bytes
        """Less than that while the server finds it too much."""

    @property
    def is_done(self) -> bool:
        """Every document of the batch is stored, or a dead letter."""
        return not self._left

    def begin(self, documents: Sequence[Document], *, is_in_doubt: bool, resent_to: Position | None = None) -> None:
        """Take the next batch; *is_in_doubt*: it may have been sent before.

        *resent_to*: so far of the letters that were given back were taken; those behind it are kept.
        """
        self._left = list(documents)
        self._must_look_up = is_in_doubt
        self._buried = None if is_in_doubt else set()
        self._resent_to = resent_to

    def attempt(self) -> float:
        """Send what is left once; return after how many seconds to call it again, if it is not done.

        Raises:
            StorageError: a dead letter cannot be stored.
        """
        try:
            if self._must_look_up:
                self._look_up()
            return self._send(self._next_part()) if self._left else 0.0
        except RequestFailed as error:
            return self._note_failure(error.status, error.reason)

    def _next_part(self) -> list[Document]:
        """Return the first documents that go into one request: all of them, unless the server found that too much."""
        if self._most_bytes == self._bulk_bytes:
            return self._left
        sizes = list(accumulate(document.request_bytes for document in self._left))
        return self._left[: max(1, bisect_right(sizes, self._most_bytes))]

    def _send(self, part: list[Document]) -> float:
        """Send *part*; return after how many seconds to go on."""
        body = bulk_body(part)
        self._counters.add("bulk_requests_total")
        self._counters.add("bulk_bytes_total", len(body))
        try:
            answers = read_answers(self._server.bulk(body), len(part))
        except ValueError as error:
            self._must_look_up = True
            raise RequestFailed(0, str(error), was_answered=False) from error
        except RequestFailed as error:
            if error.was_sent and (not error.was_answered or error.status >= 500):
                # Nobody knows what was done before it failed.
                self._must_look_up = True
            if not error.was_answered or error.status not in (_MALFORMED, _TOO_LARGE, _TOO_MUCH):
                raise
            self._take_refusal(part, error)
            return 0.0
        return self._take_answers(part, answers)

    def _take_refusal(self, part: list[Document], error: RequestFailed) -> None:
        """Make smaller what was refused as a whole, or bury what cannot be made smaller and is to blame.

        Raises:
            RequestFailed: it is not only for them that it was refused.
        """
        if len(part) > 1:
            # One of them spoils it for the others, or they are too many: half as many.
            self._most_bytes = max(1, sum(document.request_bytes for document in part) // 2)
        if error.status == _TOO_MUCH:
            raise error
        if len(part) > 1:
            return
        [document] = part
        if error.status == _MALFORMED and self._suspect is not document:
            # Something between us and the server may spoil every request. What does so for a moment only is not taken
            # for the document's fault either: it is sent once more.
            self._server.bulk(bulk_body([PROBE._replace(stream=document.stream)]))
            self._suspect = document
            return
        self._bury([(document, Answer(Verdict.NEVER, error.status, error.reason))])
        self._left = self._left[1:]

    def _take_answers(self, part: list[Document], answers: list[Answer]) -> float:
        if answers.count(STORED) == len(part):
            self._counters.add("documents_stored_total", len(part))
            self._left = self._left[len(part) :]
            self._succeed()
            return 0.0
        answered = list(zip(part, answers, strict=True))
        rejected = [each for each in answered if each[1].verdict is Verdict.NEVER]
        waiting = [each for each in answered if each[1].verdict in (Verdict.LATER, Verdict.FORBIDDEN)]
        already = sum(answer.was_there for answer in answers)
        self._bury(rejected)
        self._counters.add("documents_stored_total", len(part) - len(rejected) - len(waiting) - already)
        self._counters.add("documents_already_there_total", already)
        self._left = [document for document, _ in waiting] + self._left[len(part) :]
        if waiting:
            self._counters.add("documents_deferred_total", len(waiting))
            first = waiting[0][1]
            return self._note_failure(first.status, first.reason + (_TEMPLATE_HINT if first.status == 404 else ""))
        self._succeed()
        return 0.0

    def _succeed(self) -> None:
        self._most_bytes = min(self._bulk_bytes, self._most_bytes + self._bulk_bytes // _STEPS)
        self.last_error = ""
        self._backoff.succeed()
        self._warning.end()

    def _bury(self, rejected: Sequence[tuple[Document, Answer]]) -> None:
        """Keep what the server will never take."""
        try:
            rejected = self._not_buried(rejected)
            timestamp = timestamp_of_ns(time.time_ns())
            letters = [dead_letter(document, answer.status, answer.reason, timestamp) for document, answer in rejected]
            self._dead_letters.append(letters)
        except StorageError:
            # What is sent again then may be stored already, beside what was refused.
            self._buried, self._must_look_up = None, True
            raise
        if not rejected:
            return
        self._counters.add("documents_rejected_total", len(rejected))
        self._rejections.tell(
            "%d documents become dead letters, because the server will never take them: %s",
            len(rejected), make_safe(rejected[0][1].reason),
        )  # fmt: skip

    def _not_buried(self, rejected: Sequence[tuple[Document, Answer]]) -> list[tuple[Document, Answer]]:
        """Return those of *rejected* that are not kept yet, each once, and take it that they will be."""
        if self._buried is None:
            self._buried = self._dead_letters.keys(self._resent_to)
        found = []
        for document, answer in rejected:
            key = document.stream, document.event_id
            if key not in self._buried:
                found.append((document, answer))
            if document.event_id:
                self._buried.add(key)
        return found

    def _look_up(self) -> None:
        """Leave out what the server has: after a rollover it would take the same document a second time."""
        if not self._cannot_look_up:
            for stream in dict.fromkeys(document.stream for document in self._left):
                self._look_up_in(stream)
        self._must_look_up = False

    def _look_up_in(self, stream: str) -> None:
        ids = [document.event_id for document in self._left if document.stream == stream and document.event_id]
        try:
            self._server.refresh(stream)
            found: set[bytes] = set()
            for first in range(0, len(ids), MOST_IDS_PER_SEARCH):
                some = ids[first : first + MOST_IDS_PER_SEARCH]
                found |= self._server.find(stream, ids_query(some))
        except RequestFailed as error:
            if error.status == 404:
                return  # There is no such data stream, and so nothing in it.
            if error.status != 403:
                raise
            self._cannot_look_up = True
            logger.warning(
                "what was sent before cannot be looked up, so that it may come twice after a rollover: give the right"
                " to read and maintain %s (%s)", stream, make_safe(error.reason),
            )  # fmt: skip
            return
        self._counters.add("documents_already_there_total", len(found))
        self._left = [
            document for document in self._left if document.stream != stream or document.event_id not in found
        ]

    def _note_failure(self, status: int, reason: str) -> float:
        self._counters.add("requests_failed_total")
        why = self.last_error = make_safe(f"{status} {reason}" if status else reason)
        self._warning.tell("documents wait until the server takes them: %s", why)
        # The client's errors are in cycles that hold the whole request: 5 MB for each try that failed.
        gc.collect()
        return self._backoff.next_pause()
