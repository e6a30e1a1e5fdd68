"""The question for the status: one line, taken as it comes, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.status_question import MOST_QUESTION_BYTES, QUESTION, QuestionError, is_whole


def outcome(received: bytes) -> bool | None:
    """Return what is said of it; None: that it is no question."""
    try:
        return is_whole(received)
    except QuestionError:
        return None


@pytest.mark.parametrize("length", range(len(QUESTION)))
def test_a_beginning_of_the_question_may_become_one(length):
    assert is_whole(QUESTION[:length]) is False


def test_the_question_is_whole_with_its_newline():
    assert is_whole(QUESTION)


@pytest.mark.parametrize(
    "received",
    [
        QUESTION + b"x",
        QUESTION + QUESTION,
        b"\n",
        b"status 2\n",
        b"GET / HTTP/1.1\r\n",
        b"\0",
        b"s" * MOST_QUESTION_BYTES,
    ],
)
def test_anything_else_is_refused(received):
    with pytest.raises(QuestionError):
        is_whole(received)


@given(st.binary(max_size=200))
def test_nothing_but_the_question_is_ever_taken_for_it(received):
    assert (outcome(received) is True) == (received == QUESTION)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_what_is_refused_in_part_is_refused_as_a_whole(received, length):
    part = outcome(received[:length])

    assert part is not None or outcome(received) is None
