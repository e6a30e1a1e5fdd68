"""What the server says of documents; nothing that it may say ends the process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.elasticsearch.answers import Verdict, judge, read_answers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (201, Verdict.STORED),
        (409, Verdict.STORED),
        (429, Verdict.LATER),
        (503, Verdict.LATER),
        (401, Verdict.FORBIDDEN),
        (403, Verdict.FORBIDDEN),
        (404, Verdict.FORBIDDEN),
        (400, Verdict.NEVER),
        (413, Verdict.NEVER),
    ],
)
def test_each_status_means_what_the_documents_say(status, verdict):
    assert judge(status, "").verdict is verdict


def test_answers_come_in_the_order_of_the_documents_with_their_reasons():
    response = {
        "items": [
            {"create": {"status": 201}},
            {"create": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}},
            {"create": {"status": 400, "error": {"type": "a", "reason": "b", "caused_by": {"reason": "c"}}}},
        ]
    }

    answers = read_answers(response, 3)

    assert [answer.verdict for answer in answers] == [Verdict.STORED, Verdict.STORED, Verdict.NEVER]
    assert [answer.was_there for answer in answers] == [False, True, False]
    assert answers[2].reason == "a: b: c"


@pytest.mark.parametrize("response", [{}, {"items": []}, {"items": [{}]}, {"items": [{"create": {}}]}])
def test_what_is_no_answer_for_so_many_documents_is_an_error(response):
    with pytest.raises(ValueError, match="answer"):
        read_answers(response, 1)


@given(st.dictionaries(st.just("items") | st.text(max_size=5), JSON), st.integers(0, 4))
def test_whatever_a_server_says_it_is_answers_or_an_error(response, count):
    try:
        answers = read_answers(response, count)
    except ValueError:
        return

    assert len(answers) == count
