"""Events on their way to Elasticsearch: the bytes of a segment's line, never parsed, and the action before them."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from auditline.plugins.outputs.following import Chunk
from auditline.plugins.outputs.positions import Position

MOST_ID_BYTES = 512
"""One longer `_id` makes Elasticsearch refuse all documents beside it."""
_ID = re.compile(rb'\{"@timestamp":"[^"\\]{1,64}","event":\{"id":"([^"\\\x00-\x1f]{1,512})"')
"""Every line begins like this; our ids need no escapes."""


class Document(NamedTuple):
    """One event."""

    stream: str
    """The data stream that it belongs to."""
    event_id: bytes
    """Its `_id`; empty: the line is none of ours, and the server has to give one."""
    line: bytes
    r"""One JSON object, ending in `\n`."""
    end: Position
    """Behind it in its segment."""

    @property
    def request_bytes(self) -> int:
        """About how much it adds to a request, with the action before it."""
        return len(self.line) + 100


def documents_of(stream: str, chunk: Chunk) -> Iterator[Document]:
    """Yield the events of a chunk."""
    offset = chunk.offset
    for line in chunk.lines.splitlines(keepends=True):
        offset += len(line)
        found = _ID.match(line)
        yield Document(stream, found[1] if found else b"", line, Position(chunk.segment, offset))


def bulk_body(documents: Iterable[Document]) -> bytes:
    """Return the body of a bulk request that creates *documents*."""
    parts: list[bytes] = []
    for stream, event_id, line, _ in documents:
        action = b'{"create":{"_index":"%b"' % stream.encode()
        parts += (action, b',"_id":"%b"}}\n' % event_id if event_id else b"}}\n", line)
    return b"".join(parts)


def ids_query(ids: Sequence[bytes]) -> dict[str, object]:
    """Return a search for documents by their ids, which gives the ids alone."""
    values = [event_id.decode() for event_id in ids]
    return {"query": {"ids": {"values": values}}, "size": len(values), "_source": False}


def dead_letter(document: Document, status: int, reason: str, timestamp: str) -> bytes:
    """Return the line that keeps a document which the server will never take."""
    kept = {
        "@timestamp": timestamp,
        "event": {"id": document.event_id.decode()},
        "auditline": {"dead_letter": {"data_stream": document.stream, "status": status, "reason": reason}},
    }
    head = json.dumps(kept, separators=(",", ":"))
    return f'{head[:-1]},"document":'.encode() + document.line.rstrip(b"\n") + b"}\n"
