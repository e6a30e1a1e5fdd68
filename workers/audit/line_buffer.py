"""Text that was read and is not yet in the journal, in memory that outlives the process that read it.

What a stream gives is gone from it. So it is read into memory that the supervisor shares with each reader it forks, and
leaves that memory when the journal has it: a reader that is killed at any point costs no line, and no half of one.
"""

from mmap import mmap

LONGEST_LINE_BYTES = 1024 * 1024
"""A longer line is cut here; no record of auditd comes near (8,970 bytes, and the names of an enriched one)."""
READ_BYTES = 64 * 1024
"""What is asked for at once: as much as a pipe holds."""

_WORD_BYTES = 8
_HEAD_BYTES = 32
_PLACE, _HELD_NUMBER, _HELD_PLACE = 0, 1, 2
"""Words at the head: what is unread now; the batch that it is being written in, 0: none; what is unread then."""
_ZEROS = bytes(LONGEST_LINE_BYTES)


class LineBuffer:
    """Two halves, one in use: its bytes from *start* to *end* are unread, those behind them are zero.

    Half, start and end are one word, written in one store, so that a kill leaves the old ones or the new ones.
    """

    def __init__(self) -> None:
        """Map memory that processes which are forked from now on share."""
        self._memory = mmap(-1, _HEAD_BYTES + 2 * LONGEST_LINE_BYTES)
        view = memoryview(self._memory)
        self._words = view[:_HEAD_BYTES].cast("Q")
        self._halves = (view[_HEAD_BYTES:-LONGEST_LINE_BYTES], view[-LONGEST_LINE_BYTES:])

    def recover(self, last_number: int) -> bool:
        """Go on where a killed predecessor stopped; *last_number* is the last batch in the journal.

        Return whether it had a batch in hand: that is in the journal now, or still here.
        """
        held_number = self._words[_HELD_NUMBER]
        if held_number and last_number >= held_number:
            self._words[_PLACE] = self._words[_HELD_PLACE]
        self._words[_HELD_NUMBER] = 0
        half, start, end = self._place
        # Killed between the system call and the note of what it gave.
        behind = bytes(self._halves[half][end:]).rstrip(b"\0")
        self._set_place(half, start, end + len(behind))
        self._halves[1 - half][:] = _ZEROS
        return held_number != 0

    def room(self) -> memoryview:
        """Return where the next bytes are to be read to; empty if nothing fits: then a line is longer than allowed."""
        half, start, end = self._place
        if start and LONGEST_LINE_BYTES - end < READ_BYTES:
            half, end = self._move()
        return self._halves[half][end : end + READ_BYTES]

    def fill(self, count: int) -> None:
        """Note that *count* bytes have been read to where `room` said."""
        half, start, end = self._place
        self._set_place(half, start, end + count)

    def whole_lines(self, *, is_over: bool) -> bytes:
        """Return the lines that are here, each with its newline; they stay until `drop`.

        If *is_over*, or if a line fills the buffer, the last one is without.
        """
        half, start, end = self._place
        text = bytes(self._halves[half][start:end])
        if is_over or (start == 0 and end == LONGEST_LINE_BYTES and b"\n" not in text):
            return text
        return text[: text.rfind(b"\n") + 1]

    def hold(self, number: int, count: int) -> None:
        """Note that the first *count* bytes are about to be written to the journal as the batch of that number."""
        half, start, end = self._place
        self._words[_HELD_PLACE] = _to_word(half, start + count, end)
        self._words[_HELD_NUMBER] = number

    def drop(self) -> None:
        """Let go of what is held."""
        self._words[_PLACE] = self._words[_HELD_PLACE]
        self._words[_HELD_NUMBER] = 0
        _, start, end = self._place
        if start == end:
            self._move()

    @property
    def _place(self) -> tuple[int, int, int]:
        word = self._words[_PLACE]
        return word >> 62, word >> 31 & 0x7FFF_FFFF, word & 0x7FFF_FFFF

    def _set_place(self, half: int, start: int, end: int) -> None:
        self._words[_PLACE] = _to_word(half, start, end)

    def _move(self) -> tuple[int, int]:
        """Begin anew in the other half, with what is unread; return that half and where it ends there."""
        half, start, end = self._place
        other = self._halves[1 - half]
        other[: end - start] = self._halves[half][start:end]
        self._set_place(1 - half, 0, end - start)
        self._halves[half][:end] = _ZEROS[:end]
        return 1 - half, end - start


def _to_word(half: int, start: int, end: int) -> int:
    return half << 62 | start << 31 | end
