"""One batch of documents at a time: sent until each one is stored, is a dead letter, or waits for somebody.

Nothing here sleeps or loops over an outage: `Delivery.attempt` says how long to wait before it is called again.
"""

import logging
import time
from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import StorageError
from auditline.workers.common.settings import ElasticsearchSettings
from auditline.workers.common.text import make_safe
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.elasticsearch.answers import STORED, Answer, Verdict, judge, read_answers
from auditline.workers.elasticsearch.backoff import Backoff
from auditline.workers.elasticsearch.client import MOST_IDS_PER_SEARCH, RequestFailed, Server
from auditline.workers.elasticsearch.dead_letters import DeadLetters, LetterKey
from auditline.workers.elasticsearch.documents import Document, bulk_body, dead_letter, ids_query

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
        self._buried: Collection[LetterKey] | None = frozenset()
        """What a predecessor may have buried already of this batch; None: that is not known yet."""
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

    def begin(self, documents: Sequence[Document], *, is_in_doubt: bool) -> None:
        """Take the next batch; *is_in_doubt*: it may have been sent before."""
        self._left = list(documents)
        self._must_look_up = is_in_doubt
        self._buried = None if is_in_doubt else frozenset()

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
            self._take_refusal(part, error)
            return 0.0
        return self._take_answers(part, answers)

    def _take_refusal(self, part: list[Document], error: RequestFailed) -> None:
        """Make smaller what was refused as a whole, or bury what cannot be made smaller.

        Raises:
            RequestFailed: it was not the documents that it was refused for.
        """
        answer = judge(error.status, error.reason) if error.was_answered else None
        if answer is None or answer.verdict is not Verdict.NEVER:
            raise error
        if len(part) > 1:
            # One of them spoils it for the others, or they are too many: half as many.
            self._most_bytes = max(1, sum(document.request_bytes for document in part) // 2)
            return
        self._bury([(part[0], answer)])
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
        self._most_bytes = min(self._bulk_bytes, self._most_bytes * 2)
        self.last_error = ""
        self._backoff.succeed()
        self._warning.end()

    def _bury(self, rejected: Sequence[tuple[Document, Answer]]) -> None:
        """Keep what the server will never take."""
        if self._buried is None:
            self._buried = self._dead_letters.keys()
        buried = self._buried
        rejected = [each for each in rejected if (each[0].stream, each[0].event_id) not in buried]
        if not rejected:
            return
        timestamp = timestamp_of_ns(time.time_ns())
        letters = (dead_letter(document, answer.status, answer.reason, timestamp) for document, answer in rejected)
        try:
            self._dead_letters.append(letters)
        except StorageError:
            self._buried = None
            raise
        self._counters.add("documents_rejected_total", len(rejected))
        self._rejections.tell(
            "%d documents become dead letters, because the server will never take them: %s",
            len(rejected), make_safe(rejected[0][1].reason),
        )  # fmt: skip

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
        return self._backoff.next_pause()
