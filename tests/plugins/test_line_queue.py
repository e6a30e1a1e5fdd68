from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.plugins.outputs.api import Line
from auditline.plugins.outputs.line_queue import LineQueue

SIZES = st.lists(st.integers(1, 9000), max_size=40)


def _queue(sizes: list[int]) -> LineQueue:
    queue = LineQueue()
    queue.extend([Line(i, str(i), bytes([64 + i % 26]) * (size - 1) + b"\n") for i, size in enumerate(sizes, 1)])
    return queue


@settings(deadline=None)
@given(SIZES, st.integers(100, 5000), st.lists(st.integers(50, 5000), min_size=1, max_size=10))
def test_any_cut_of_the_writes_gives_the_same_bytes(sizes, limit, cuts):
    queue = _queue(sizes)
    expected = queue.whole_lines(1 << 30)
    written = b""
    finished = 0
    cut = cycle(cuts)

    while queue:
        chunk = queue.whole_lines(limit) or queue.piece(limit)
        taken = min(next(cut), len(chunk))
        finished += queue.advance(taken)
        written += chunk[:taken]

    assert written == expected
    assert finished == len(sizes)
    assert queue.unsent_bytes == 0
    assert queue.last_finished == len(sizes)


@settings(deadline=None)
@given(SIZES, st.integers(1, 5000))
def test_whole_lines_are_packed_greedily(sizes, limit):
    queue = _queue(sizes)

    chunk = queue.whole_lines(limit)

    assert len(chunk) <= limit
    assert chunk == b"" or chunk.endswith(b"\n")
    finished = queue.advance(len(chunk))
    assert finished == len(sizes) or len(chunk) + sizes[finished] > limit


def test_a_line_that_was_begun_is_finished_before_others_are_packed():
    queue = _queue([10, 10])

    queue.advance(4)

    assert queue.is_mid_line
    assert queue.whole_lines(100) == b""
    assert queue.piece(100) == b"AAAAA\n"


def test_a_rewound_line_is_given_whole():
    queue = _queue([10, 10])
    queue.advance(14)

    queue.rewind_line()

    assert queue.unsent_bytes == 10
    assert queue.whole_lines(100) == b"BBBBBBBBB\n"


def test_giving_up_returns_how_many_and_the_rest_of_the_line_that_was_begun():
    queue = _queue([10, 10, 10])
    queue.advance(12)

    count, rest = queue.give_up()

    assert count == 2
    assert rest == b"BBBBBBB\n"
    assert (len(queue), queue.unsent_bytes, queue.last_finished) == (0, 0, 3)
