"""A series of private segments of one output, and the cursor that follows them."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

from auditline.plugins.outputs.cursor import Cursor
from auditline.plugins.outputs.following import Chunk, Follower
from auditline.plugins.outputs.positions import Position, offset_behind
from auditline.plugins.outputs.segment_files import list_segments
from auditline.workers.elasticsearch.documents import Document

logger = logging.getLogger(__name__)


class Source:
    """Events of one series, in the order in which they were written."""

    def __init__(
        self,
        directory: Path,
        cursor: Cursor,
        read: Callable[[Chunk], Iterable[Document]],
        *,
        is_resend: bool = False,
    ) -> None:
        """*read* returns the documents of some lines; *is_resend*: nobody else takes segments away."""
        self.directory = directory
        self._read = read
        self.is_resend = is_resend
        self._cursor = cursor
        if cursor.note:
            logger.warning("%s", cursor.note)
        self._follower = Follower(directory, cursor.position, logger.warning)
        self._waiting: list[Document] = []
        self._next = 0
        """Those before it are taken."""
        self._begun: Position | None = cursor.position
        """Where the first document that is not answered begins; None: none was read yet."""
        self._forgotten = cursor.position

    @property
    def doubt_end(self) -> Position | None:
        """Up to here documents were sent by somebody who did not live to see the answers; None: none were."""
        sent, done = self._cursor.sent, self._cursor.position
        return sent if sent is not None and sent != done else None

    @property
    def answered_end(self) -> Position | None:
        """What is behind it is not answered; None: nothing was read yet."""
        return self._begun

    def take(self, most_documents: int, most_bytes: int) -> list[Document]:
        """Return the next documents within both limits, but one at least if there is any.

        Raises:
            OSError: a segment cannot be read.
        """
        taken: list[Document] = []
        bytes_left = most_bytes
        while len(taken) < most_documents and self._fill():
            some = self._waiting[self._next : self._next + most_documents - len(taken)]
            sizes = list(accumulate(document.request_bytes for document in some))
            count = max(bisect_right(sizes, bytes_left), 0 if taken else 1)
            if not count:
                break
            taken += some[:count]
            self._next += count
            bytes_left -= sizes[count - 1]
            if count < len(some):
                break
        return taken

    def is_noted(self, end: Position) -> bool:
        """Say whether it is written down that everything up to *end* may have been sent."""
        done, sent = self._cursor.position, self._cursor.sent
        # A series that was made anew ends before what is written down: then that says nothing.
        return done is not None and sent is not None and done <= end <= sent

    def note_sent(self, end: Position) -> None:
        """Write down that everything up to *end* is about to be sent, and what is answered.

        Raises:
            StorageError: it cannot be written.
        """
        if self._begun is None:
            return
        # What a predecessor sent beyond it still has to be looked up.
        farthest = self._cursor.sent if self.is_noted(end) else None
        self._cursor.note_sent(self._begun, farthest or end)
        self._forget_answered()

    def note_answered(self, end: Position) -> None:
        """Let everything up to *end* be answered; `store_answered` or the next `note_sent` writes that down."""
        self._begun = end

    def commit(self, end: Position) -> None:
        """Let everything up to *end* be answered, and write that down.

        Raises:
            StorageError: it cannot be written.
        """
        self.note_answered(end)
        self.store_answered()

    def store_answered(self) -> None:
        """Write down what is answered.

        Raises:
            StorageError: it cannot be written.
        """
        if self._begun is not None:
            self._cursor.commit(self._begun)
            self._forget_answered()

    def lag_bytes(self) -> int:
        """Return how much of the segments is not answered yet."""
        done = self._cursor.position
        return sum(segment.size - offset_behind(segment, done) for segment in list_segments(self.directory))

    def close(self) -> None:
        """Let another process have the cursor."""
        self._follower.close()
        self._cursor.close()

    def _fill(self) -> bool:
        while self._next == len(self._waiting):
            if (chunk := self._follower.next()) is None:
                return False
            self._begun = self._begun or Position(chunk.segment, chunk.offset)
            self._waiting, self._next = list(self._read(chunk)), 0
        return True

    def _forget_answered(self) -> None:
        """Delete the letters that are answered, if these are letters; nobody else deletes them."""
        end = self._cursor.position
        if not self.is_resend or end is None or end == self._forgotten:
            return
        self._forgotten = end
        try:
            for segment in list_segments(self.directory):
                here = (segment.path.name, segment.size)
                if segment.counter < end.counter or here == end:
                    segment.path.unlink(missing_ok=True)
        except OSError as error:
            # They are deleted behind the next answer.
            logger.warning("%s: what was sent cannot be deleted: %s", self.directory, error.strerror)
