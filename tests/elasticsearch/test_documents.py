"""Events become requests as the bytes that they are."""

import json

from hypothesis import given
from hypothesis import strategies as st

from auditline.plugins.outputs.following import Chunk
from auditline.plugins.outputs.positions import Position
from auditline.workers.elasticsearch.documents import bulk_body, documents_of

IDS = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="-._"), min_size=1, max_size=512)


def line(event_id, text=""):
    head = {"@timestamp": "2026-01-01T00:00:00.000Z", "event": {"id": event_id}, "text": text}
    return json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@given(st.lists(st.tuples(IDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=50)), max_size=6))
def test_each_event_is_created_under_its_id_as_the_line_that_it_is(events):
    lines = [line(event_id, text) for event_id, text in events]

    body = bulk_body(documents_of("logs-x", Chunk("segment", 100, b"".join(lines))))

    actions, documents = body.split(b"\n")[:-1:2], body.split(b"\n")[1::2]
    assert [json.loads(action) for action in actions] == [
        {"create": {"_index": "logs-x", "_id": event_id}} for event_id, _ in events
    ]
    assert documents == [text.rstrip(b"\n") for text in lines]


def test_a_document_knows_where_it_ends_in_its_segment():
    lines = line("a") + line("b")

    first, second = documents_of("logs-x", Chunk("segment", 100, lines))

    assert first.end == Position("segment", 100 + len(line("a")))
    assert second.end == Position("segment", 100 + len(lines))


def test_a_line_without_an_id_gets_one_from_the_server():
    [document] = documents_of("logs-x", Chunk("segment", 0, b'{"message":"x"}\n'))

    assert bulk_body([document]) == b'{"create":{"_index":"logs-x"}}\n{"message":"x"}\n'


def test_an_id_that_would_spoil_the_documents_beside_it_is_not_taken():
    [document] = documents_of("logs-x", Chunk("segment", 0, line("x" * 513)))

    assert document.event_id == b""
