"""A batch of lines of an audit log: the records in it, and each one's line."""

from auditline.workers.common.batch import Batch
from auditline.workers.router.log_lines import UNPARSED, LinesByRecord, frame, unparsed_text


class LineBatch:
    """What auditd wrote to us, taken apart in the router: the reader does not know what a record is."""

    def __init__(self, batch: Batch) -> None:
        text = batch.payload.replace(b"\r\n", b"\n").removesuffix(b"\n")
        self._lines = text.decode("utf-8", "surrogateescape").split("\n")
        self._by_record: LinesByRecord | None = None
        kinds, payloads = frame(self._lines)
        self.kinds = kinds
        """The records' types."""
        self.payloads = payloads
        """Their `audit(…): body`, `node=NAME` before it where the line has one."""
        self.left_out = batch.record_count - len(self.payloads)
        """Lines that are no records and belong in a log: empty ones, and what ausearch prints between events."""

    def line_of(self, kind: int, payload: str) -> str:
        """Return the line of a record as it stands in the log."""
        if kind == UNPARSED:
            return unparsed_text(payload)
        if self._by_record is None:
            self._by_record = LinesByRecord(self._lines)
        return self._by_record.take(payload)
