"""A time in which changes of files may have gone unseen, as a document."""

import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.file_entry import Coverage, decode_entry, encode_entry
from auditline.workers.router.render.coverage_event import render_coverage

HOST = "0" * 16
ENTRY = Coverage(
    identity="12ab-7",
    path=b"/etc",
    reason="overflow",
    action="compared everything",
    start_ns=10**18,
    end_ns=10**18 + 2 * 10**9,
    detail={"files": 12, "seconds": 1.5, "backend": "inotify"},
)


def render(entry: Coverage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_coverage(entry, HOST, "web1")[1])
    return document


def test_a_time_without_sight_is_told_with_place_reason_and_what_was_done():
    assert render(ENTRY) == {
        "@timestamp": "2001-09-09T01:46:42.000Z",
        "event": {"id": f"{HOST}-coverage-12ab-7"},
        "host": {"name": "web1"},
        "audit": {
            "coverage": {
                "path": "/etc",
                "start": "2001-09-09T01:46:40.000Z",
                "end": "2001-09-09T01:46:42.000Z",
                "reason": "overflow",
                "action": "compared everything",
            }
        },
        "auditline": {"complete": True, "detail": {"files": 12, "seconds": 1.5, "backend": "inotify"}},
    }


def test_a_time_that_goes_on_has_no_end():
    document = render(replace(ENTRY, end_ns=None, detail={}))

    assert document["@timestamp"] == document["audit"]["coverage"]["start"]
    assert "end" not in document["audit"]["coverage"]
    assert document["auditline"] == {"complete": True}


def test_a_place_that_is_not_utf_8_is_kept_exactly():
    assert render(replace(ENTRY, path=b"/\xff"))["auditline"]["undecodable"] == [{"field": "path", "base64": "L/8="}]


def test_words_that_quote_a_name_are_readable_whatever_is_in_it():
    document = render(replace(ENTRY, action="left \udcff alone", detail={"error": "\udcfe\x1b"}))

    assert document["audit"]["coverage"]["action"] == "left \\xff alone"
    assert document["auditline"]["detail"] == {"error": "\\xfe\x1b"}


entries = st.builds(
    Coverage,
    identity=st.from_regex(r"[0-9a-f]{1,8}-[0-9]{1,9}", fullmatch=True),
    path=st.binary(),
    reason=st.text(),
    action=st.text(),
    start_ns=st.integers(-(2**80), 2**80),
    end_ns=st.none() | st.integers(-(2**80), 2**80),
    detail=st.dictionaries(
        st.text(), st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    ),
)


@given(entry=entries)
def test_any_entry_is_one_line_of_json_and_the_same_when_it_comes_again(entry: Coverage):
    identity, line = render_coverage(entry, HOST, "web1")

    resent = decode_entry(encode_entry(entry))
    assert isinstance(resent, Coverage)
    assert render_coverage(resent, HOST, "web1") == (identity, line)
    assert line.startswith('{"@timestamp":"')
    assert json.loads(line)["event"]["id"] == identity
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in line)


@pytest.mark.parametrize(
    "wrong",
    [
        {"identity": ""}, {"identity": 'a"b'}, {"identity": "a\n"}, {"identity": "x" * 65}, {"identity": 7},
        {"reason": 7}, {"action": None}, {"start_ns": "now"}, {"start_ns": None}, {"end_ns": []}, {"path": "text"},
        {"detail": {"a": []}}, {"detail": {"a": float("inf")}}, {"detail": {"a": float("nan")}},
        {"detail": {"a": None}}, {"detail": ["a"]},
    ],
)  # fmt: skip
def test_what_no_watcher_says_is_an_error(wrong: dict[str, Any]):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        render(replace(ENTRY, **wrong))
