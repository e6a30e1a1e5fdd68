import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.reading.shortening import LEAST_LINE_BYTES, shorten_line

HEAD = {"@timestamp": "2026-01-01T00:00:00.000Z", "event": {"id": "h-1"}, "host": {"name": "n"}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=30), inner, max_size=8),
    max_leaves=60,
)


def dump(document):
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


@given(st.dictionaries(st.text(max_size=30), VALUES, max_size=10), st.integers(LEAST_LINE_BYTES, 4000))
def test_every_document_becomes_json_within_the_limit_and_keeps_its_id(fields, most):
    line = dump({**fields, **HEAD})

    shortened = shorten_line(line, most)

    document = json.loads(shortened)
    assert len(shortened) <= most
    assert document["event"]["id"] == "h-1"
    assert document["@timestamp"] == HEAD["@timestamp"]


@given(st.binary(max_size=5000).filter(lambda line: b"\n" not in line), st.integers(LEAST_LINE_BYTES, 2000))
def test_what_is_no_json_object_comes_back_as_one_within_the_limit(line, most):
    shortened = shorten_line(line, most)

    assert len(shortened) <= max(most, 0)
    assert len(line) <= most or isinstance(json.loads(shortened), dict)


def test_a_line_that_is_short_enough_stays_byte_for_byte():
    line = dump({**HEAD, "text": "ü\x80"})

    assert shorten_line(line, len(line)) is line


def test_the_longest_text_gives_way_and_is_named():
    line = dump({**HEAD, "audit": {"kernel": {"how": "/bin/ls", "data": {"cmdline": "x" * 9000}}}})

    document = json.loads(shorten_line(line, 2000))

    assert document["auditline"]["shortened"] == ["audit.kernel.data.cmdline"]
    assert document["audit"]["kernel"]["how"] == "/bin/ls"
    assert len(document["audit"]["kernel"]["data"]["cmdline"]) > 500


def test_a_list_keeps_its_first_items():
    line = dump({**HEAD, "auditline": {"decoded": {"args": [f"argument {number}" for number in range(5000)]}}})

    document = json.loads(shorten_line(line, 2000))

    assert document["auditline"]["decoded"]["args"][:2] == ["argument 0", "argument 1"]
    assert document["auditline"]["shortened"] == ["auditline.decoded.args"]


def test_a_document_of_too_many_fields_keeps_which_event_it_is():
    line = dump({**HEAD, **{f"field{number}": number for number in range(1000)}})

    document = json.loads(shorten_line(line, LEAST_LINE_BYTES))

    assert document == {**HEAD, "auditline": {"shortened": ["*"]}}


@pytest.mark.parametrize("text", ["\x7f" * 2000, "\x85" * 2000, "\ud800" * 2000])
def test_no_raw_control_character_and_no_lone_surrogate_gets_out(text):
    line = json.dumps({**HEAD, "text": text}).encode()

    shortened = shorten_line(line, 1500)

    assert shortened.isascii()
    assert shortened.decode().isprintable()
