"""What every line of every schema has in common: how it begins, and how text becomes JSON."""

import hashlib
import re
import time
from functools import lru_cache
from typing import Any

import ujson

from auditline.workers.router.event import Event
from auditline.workers.router.record_names import type_name

_RAW_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What JSON allows raw, but a terminal would act on, or a reader take for the end of a line."""

_LAST_SECOND = 253402300799
"""9999-12-31T23:59:59Z: later ones have no timestamp that Elasticsearch or jq would read."""


def to_json(document: Any) -> str:
    """Return JSON on one line, readable (UTF-8 text, no needless escapes), without any raw control character."""
    text = ujson.dumps(document, ensure_ascii=False, escape_forward_slashes=False)
    return text if text.isascii() and "\x7f" not in text else _RAW_CONTROLS.sub(_escape, text)


def _escape(match: "re.Match[str]") -> str:
    return f"\\u{ord(match[0]):04x}"


@lru_cache(maxsize=64)
def timestamp_of_second(seconds: str) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS` in UTC; a time beyond the year 9999 is its last second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(min(int(seconds), _LAST_SECOND)))


def timestamp(event: Event) -> str:
    """Return the kernel's time of the event, with three decimals and Z."""
    return f"{timestamp_of_second(event.seconds)}.{event.milliseconds}Z"


def event_id(host: str, event: Event, *, is_complete: bool) -> str:
    """Return the stable id: the same records give the same id, in whichever run.

    The id of a part (an incomplete event or an amendment) tells by its records which part it is.
    """
    identity = whole_event_id(host, event)
    if is_complete and not event.amends:
        return identity
    raw = "".join(f"{line}\n" for line in raw_records(event))
    digest = hashlib.sha256(raw.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{identity}-p{digest[:8]}"


def whole_event_id(host: str, event: Event) -> str:
    """Return the id that the event has, or would have, when complete."""
    return f"{host}-{event.seconds}.{event.milliseconds}-{event.serial}"


def raw_records(event: Event) -> list[str]:
    """Return the records as auditd writes them: `type=SYSCALL msg=audit(…): …`."""
    header = event.header[event.header.index("audit(") :]
    return [
        f"type={type_name(kind).upper()} msg={header}): {body}"
        for kind, body in zip(event.types, event.bodies, strict=True)
    ]


def printable(record: str) -> str:
    """Return a raw record with bytes that are not UTF-8 in their readable form."""
    return record.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
