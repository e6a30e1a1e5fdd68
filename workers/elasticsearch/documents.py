"""Events on their way to Elasticsearch: the bytes of a segment's line, never parsed, and the action before them."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice, repeat
from typing import NamedTuple

from auditline.plugins.outputs.following import Chunk
from auditline.plugins.outputs.positions import Position

logger = logging.getLogger(__name__)

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


PROBE = Document("", b"auditline-probe", b"{}\n", Position("", 0))
"""No data stream takes it, because it has no time: the answer says only that the server reads what we send."""

# Calling a NamedTuple runs a Python function for each: of a million documents that is half of what making them costs.
_make_document = partial(tuple.__new__, Document)
_make_position = partial(tuple.__new__, Position)


def documents_of(stream: str, chunk: Chunk) -> list[Document]:
    """Return the events of a chunk."""
    lines = chunk.lines.splitlines(keepends=True)
    ids = [found[1] if (found := _ID.match(line)) else b"" for line in lines]
    offsets = islice(accumulate(map(len, lines), initial=chunk.offset), 1, None)
    ends = map(_make_position, zip(repeat(chunk.segment), offsets, strict=False))
    return list(map(_make_document, zip(repeat(stream), ids, lines, ends, strict=False)))


def documents_in_letters(chunk: Chunk) -> Iterator[Document]:
    """Yield the documents that a chunk of dead letters holds, each for the data stream that it was meant for."""
    offset = chunk.offset
    for line in chunk.lines.splitlines(keepends=True):
        offset += len(line)
        letter = read_letter(line)
        if letter is None:
            logger.error("%s: what stands before byte %d is no dead letter: it is not sent", chunk.segment, offset)
            continue
        end = Position(chunk.segment, offset)
        yield Document(letter.stream, letter.event_id.encode(), letter.document + b"\n", end)


def bulk_body(documents: Iterable[Document]) -> bytes:
    """Return the body of a bulk request that creates *documents*."""
    parts: list[bytes] = []
    stream, action, action_with_id = None, b"", b""
    for document_stream, event_id, line, _ in documents:
        if document_stream != stream:
            stream = document_stream
            action = b'{"create":{"_index":"%b"' % stream.encode()
            action_with_id = action + b',"_id":"'
        parts += (action_with_id, event_id, b'"}}\n', line) if event_id else (action, b"}}\n", line)
    return b"".join(parts)


def ids_query(ids: Sequence[bytes]) -> dict[str, object]:
    """Return a search for documents by their ids, which gives the ids alone."""
    values = [event_id.decode() for event_id in ids]
    return {"query": {"ids": {"values": values}}, "size": len(values), "_source": False}


class Letter(NamedTuple):
    """A document that a server would not take."""

    timestamp: str
    """When it said so."""
    event_id: str
    stream: str
    status: int
    reason: str
    document: bytes


def dead_letter(document: Document, status: int, reason: str, timestamp: str) -> bytes:
    """Return the line that keeps a document which the server will never take."""
    kept = {
        "@timestamp": timestamp,
        "event": {"id": document.event_id.decode()},
        "auditline": {"dead_letter": {"data_stream": document.stream, "status": status, "reason": reason}},
    }
    head = json.dumps(kept, separators=(",", ":"))
    return f'{head[:-1]},"document":'.encode() + document.line.rstrip(b"\n") + b"}\n"


def read_letter(line: bytes) -> Letter | None:
    """Return what `dead_letter` has written; None: it is no such line."""
    # No text in JSON holds this: quotes are escaped there.
    head, separator, document = line.rstrip(b"\n").partition(b',"document":')
    try:
        kept = json.loads(head + b"}")
        said = kept["auditline"]["dead_letter"]
        texts = (str(kept["@timestamp"]), str(kept["event"]["id"]), str(said["data_stream"]))
        letter = Letter(*texts, int(said["status"]), str(said["reason"]), document.removesuffix(b"}"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return letter if separator and document.endswith(b"}") else None
