"""What was read is there until it is dropped, whatever the moment at which its reader is killed."""

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.audit.line_buffer import LONGEST_LINE_BYTES, READ_BYTES, LineBuffer


def put(buffer: LineBuffer, text: bytes) -> None:
    room = buffer.room()
    room[: len(text)] = text
    buffer.fill(len(text))


def take(buffer: LineBuffer, number: int = 1, *, is_over: bool = False) -> bytes:
    lines = buffer.whole_lines(is_over=is_over)
    buffer.hold(number, len(lines))
    buffer.drop()
    return lines


def test_whole_lines_are_given_and_the_rest_waits_for_its_end():
    buffer = LineBuffer()

    put(buffer, b"one\ntwo\nthr")
    first = take(buffer)
    put(buffer, b"ee\n")

    assert (first, take(buffer)) == (b"one\ntwo\n", b"three\n")


def test_nothing_is_given_without_a_whole_line():
    buffer = LineBuffer()

    put(buffer, b"half a li")

    assert buffer.whole_lines(is_over=False) == b""


def test_at_the_end_of_the_input_a_line_needs_no_newline():
    buffer = LineBuffer()

    put(buffer, b"one\nlast")

    assert take(buffer, is_over=True) == b"one\nlast"


def fill_up(buffer: LineBuffer, most_bytes: int) -> int:
    put_bytes = 0
    while put_bytes < most_bytes and (room := len(buffer.room())):
        put(buffer, b"x" * room)
        put_bytes += room
    return put_bytes


def test_a_line_that_fills_the_buffer_is_given_as_far_as_it_goes():
    buffer = LineBuffer()

    filled = fill_up(buffer, 2 * LONGEST_LINE_BYTES)

    assert filled == LONGEST_LINE_BYTES
    assert take(buffer) == b"x" * LONGEST_LINE_BYTES


def test_a_long_line_behind_others_has_all_the_room():
    buffer = LineBuffer()

    put(buffer, b"one\n" + b"x" * 1000)
    take(buffer)
    filled = fill_up(buffer, LONGEST_LINE_BYTES - 1000 - READ_BYTES)
    put(buffer, b"\n")

    assert take(buffer) == b"x" * (1000 + filled) + b"\n"


def test_what_was_read_and_not_yet_noted_is_found_after_a_kill():
    buffer = LineBuffer()
    put(buffer, b"one\nha")

    buffer.room()[:4] = b"lf\n\0"
    was_in_hand = buffer.recover(0)

    assert not was_in_hand
    assert take(buffer) == b"one\nhalf\n"


def test_a_batch_that_a_kill_kept_out_of_the_journal_comes_again():
    buffer = LineBuffer()
    put(buffer, b"one\nha")

    buffer.hold(7, 4)
    was_in_hand = buffer.recover(6)

    assert was_in_hand
    assert take(buffer) == b"one\n"


def test_a_batch_that_was_in_the_journal_at_the_kill_does_not():
    buffer = LineBuffer()
    put(buffer, b"one\nha")

    buffer.hold(7, 4)
    was_in_hand = buffer.recover(7)
    put(buffer, b"lf\n")

    assert was_in_hand
    assert take(buffer) == b"half\n"


def test_recovering_twice_is_recovering_once():
    buffer = LineBuffer()
    put(buffer, b"one\nhalf\n")

    buffer.hold(7, 4)
    buffer.recover(7)
    was_in_hand = buffer.recover(7)

    assert not was_in_hand
    assert take(buffer) == b"half\n"


def test_a_child_that_was_killed_leaves_what_it_read():
    buffer = LineBuffer()

    pid = os.fork()
    if pid == 0:
        put(buffer, b"of the child\n")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)

    assert take(buffer) == b"of the child\n"


STEPS = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda text: ("read", text)),
        st.integers(1, READ_BYTES).map(lambda size: ("read", b"y" * size)),
        st.sampled_from(
            [
                ("take", b""),
                ("killed after the read", b"z\n"),
                ("killed before the journal", b""),
                ("killed after it", b""),
            ]
        ),
    ),
    max_size=60,
)


class Model:
    """A reader over a buffer, a journal of numbered batches, and what was ever read."""

    def __init__(self) -> None:
        self.buffer = LineBuffer()
        self.journal: list[bytes] = []
        self.read = b""

    def step(self, what: str, text: bytes) -> None:
        if not self.buffer.room():
            self.take()
        # Behind the last byte that was read zeros cannot be told from nothing: no log has them there.
        text = text.replace(b"\0", b"0")[: len(self.buffer.room())]
        self.read += text
        if what == "read":
            put(self.buffer, text)
        elif what == "killed after the read":
            self.buffer.room()[: len(text)] = text
            self.buffer.recover(len(self.journal))
        else:
            self.take(what)

    def take(self, what: str = "take", *, is_over: bool = False) -> None:
        lines = self.buffer.whole_lines(is_over=is_over)
        if not lines:
            return
        self.buffer.hold(len(self.journal) + 1, len(lines))
        if what != "killed before the journal":
            self.journal.append(lines)
        if what == "take":
            self.buffer.drop()
        else:
            self.buffer.recover(len(self.journal))


@given(steps=STEPS)
def test_kills_at_any_moment_neither_lose_nor_repeat_a_byte(steps: Any) -> None:
    model = Model()

    for what, text in steps:
        model.step(what, text)
    model.take(is_over=True)

    assert b"".join(model.journal) == model.read
