"""The event that is made of what cannot be read: a record without a header, a watcher's entry that is damaged."""

import base64
import hashlib

from auditline.workers.router.render.lines import to_json
from auditline.workers.router.render.unreadable import unreadable

PRINTED_CHARACTERS = 8192
"""Of a longer record the rest is in raw_base64 only."""
BAD_HEADER = "the header is not of the form type=TYPE msg=audit(SECONDS.MILLIS:SERIAL):"
BAD_ENTRY = "the entry of a watcher of files cannot be read"


def unparsed_line(
    raw: bytes,
    host: tuple[str, str | None],
    source: str,
    position: str,
    timestamp: str,
    warning: str = BAD_HEADER,
    schema: str = "audit",
) -> tuple[str, str]:
    """Return the id and the line of the event; *host* is the host's 16 digits and its name.

    *source* and *position* make the id differ for equal records.
    """
    host_id, host_name = host
    digest = hashlib.sha256(b"\0".join((source.encode(), position.encode(), raw))).hexdigest()
    identity = f"{host_id}-u-{digest[:32]}"
    try:
        text, is_text = raw.decode("utf-8"), True
    except UnicodeDecodeError:
        text, is_text = raw.decode("utf-8", "backslashreplace"), False
    is_short = len(text) <= PRINTED_CHARACTERS
    document = unreadable(schema, timestamp, identity, host_name, "unparsed", [text[:PRINTED_CHARACTERS]], warning)
    document["auditline"] = {"complete": False, "incomplete_reasons": ["unparsed"]}
    if not (is_text and is_short):
        document["auditline"]["raw_base64"] = base64.b64encode(raw).decode()
    return identity, to_json(document)
