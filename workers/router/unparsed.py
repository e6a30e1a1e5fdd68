"""The event that is made of a record whose `type= msg=audit(s.ms:n):` cannot be read."""

import base64
import hashlib
from typing import Any

from auditline.workers.router.render.lines import timestamp_of_second, to_json

PRINTED_CHARACTERS = 8192
"""Of a longer record the rest is in raw_base64 only."""


def unparsed_line(
    raw: bytes, host: str, host_name: str | None, source: str, position: str, last_good: tuple[str, str]
) -> tuple[str, str]:
    """Return the id and the line of the event; *last_good* is the time of the last good record, (seconds, millis).

    *source* and *position* make the id differ for equal records.
    """
    digest = hashlib.sha256(b"\0".join((source.encode(), position.encode(), raw))).hexdigest()
    identity = f"{host}-u-{digest[:32]}"
    try:
        text, is_text = raw.decode("utf-8"), True
    except UnicodeDecodeError:
        text, is_text = raw.decode("utf-8", "backslashreplace"), False
    is_short = len(text) <= PRINTED_CHARACTERS
    document: dict[str, Any] = {
        "@timestamp": f"{timestamp_of_second(last_good[0])}.{last_good[1]}Z",
        "event": {"id": identity},
    }
    if host_name is not None:
        document["host"] = {"name": host_name}
    document["audit"] = {
        "kernel": {
            "record_type": "unparsed",
            "messages": [text[:PRINTED_CHARACTERS]],
            "warnings": ["the header is not of the form type=TYPE msg=audit(SECONDS.MILLIS:SERIAL):"],
        }
    }
    document["auditline"] = {"complete": False, "incomplete_reasons": ["unparsed"]}
    if not (is_text and is_short):
        document["auditline"]["raw_base64"] = base64.b64encode(raw).decode()
    return identity, to_json(document)
