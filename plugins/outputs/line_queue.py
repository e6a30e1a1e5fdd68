"""Lines that wait to be written, the first of them perhaps written in part."""

from collections import deque
from collections.abc import Collection

from auditline.plugins.outputs.api import Line


class LineQueue:
    """Hands out bytes and notes how many of them were taken, in any pieces: nothing is skipped, nothing given twice."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self.begun_bytes = 0
        """How much of the first line was taken."""
        self.unsent_bytes = 0
        self.last_finished = 0
        """Sequence of the last line that was taken whole; 0: none yet."""

    def __len__(self) -> int:
        """Lines that are not taken whole."""
        return len(self._lines)

    @property
    def is_mid_line(self) -> bool:
        """The first line is taken in part."""
        return self.begun_bytes > 0

    def extend(self, lines: Collection[Line]) -> None:
        """Append *lines*."""
        self._lines.extend(lines)
        self.unsent_bytes += sum([len(line.data) for line in lines])

    def whole_lines(self, limit: int) -> bytes:
        """Return the first lines that fit into *limit* bytes together; b"" if not even the first one fits."""
        if self.begun_bytes:
            return b""
        if self.unsent_bytes <= limit:
            return b"".join([line.data for line in self._lines])
        chosen: list[bytes] = []
        for line in self._lines:
            limit -= len(line.data)
            if limit < 0:
                break
            chosen.append(line.data)
        return b"".join(chosen)

    def piece(self, limit: int) -> bytes:
        """Return at most *limit* bytes of the first line, from where it was left."""
        return self._lines[0].data[self.begun_bytes : self.begun_bytes + limit] if self._lines else b""

    def advance(self, byte_count: int) -> int:
        """Drop the first *byte_count* bytes, which were written; return how many lines that finished."""
        before = len(self._lines)
        if before and byte_count == self.unsent_bytes:
            return self.give_up()[0]
        self.unsent_bytes -= byte_count
        taken = self.begun_bytes + byte_count
        while self._lines and taken >= len(self._lines[0].data):
            line = self._lines.popleft()
            taken -= len(line.data)
            self.last_finished = line.sequence
        self.begun_bytes = taken
        return before - len(self._lines)

    def rewind_line(self) -> None:
        """Forget that the first line was begun: it will be given whole again."""
        self.unsent_bytes += self.begun_bytes
        self.begun_bytes = 0

    def give_up(self) -> tuple[int, bytes]:
        """Drop all lines; return how many, and the rest of the one that was begun, which its stream still needs."""
        count = len(self._lines)
        rest = self.piece(self.unsent_bytes) if self.begun_bytes else b""
        if count:
            self.last_finished = self._lines[-1].sequence
        self._lines.clear()
        self.begun_bytes = 0
        self.unsent_bytes = 0
        return count, rest
