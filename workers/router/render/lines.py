"""What every line of every schema has in common: how it begins, and how text becomes JSON."""

import base64
import hashlib
import re
import time
from functools import lru_cache
from typing import Any, NamedTuple

import ujson

from auditline.workers.router.decode.text import surrogates_to_text, to_text
from auditline.workers.router.event import Event
from auditline.workers.router.record_names import type_name

_RAW_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What JSON allows raw, but a terminal would act on, or a reader take for the end of a line."""


class Keep(NamedTuple):
    """What of an event's records stands in its document beside what they say."""

    raw: bool = False
    """The records as they came: `audit.kernel.messages`, `event.original`. Those of a damaged event always are kept."""
    warnings: bool = False
    """What is odd about them: `audit.kernel.warnings`, `error.message`. Of an incomplete event they always are kept."""


DEFAULT_KEEP = Keep()
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799
"""0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: others have no timestamp that Elasticsearch or jq would read."""


def to_json(document: Any) -> str:
    """Return JSON on one line, readable (UTF-8 text, no needless escapes), without any raw control character."""
    text = ujson.dumps(document, ensure_ascii=False, escape_forward_slashes=False)
    return text if text.isascii() and "\x7f" not in text else _RAW_CONTROLS.sub(_escape, text)


def _escape(match: "re.Match[str]") -> str:
    return f"\\u{ord(match[0]):04x}"


@lru_cache(maxsize=64)
def timestamp_of_second(seconds: str) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS` in UTC; a time beyond the year 9999 is its last second."""
    return _date_and_time(min(int(seconds), _LAST_SECOND))


@lru_cache(maxsize=1024)
def timestamp_of_ns(nanoseconds: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`; of a time before the year 1 or beyond 9999 the nearest that has one."""
    seconds, milliseconds = divmod(nanoseconds // 1_000_000, 1000)
    if seconds < _FIRST_SECOND:
        return f"{_date_and_time(_FIRST_SECOND)}.000Z"
    if seconds > _LAST_SECOND:
        return f"{_date_and_time(_LAST_SECOND)}.999Z"
    return f"{_date_and_time(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=256)
def _date_and_time(seconds: int) -> str:
    when = time.gmtime(seconds)
    # strftime() gives the year 800 three digits.
    return f"{when.tm_year:04d}-{time.strftime('%m-%dT%H:%M:%S', when)}"


def timestamp(event: Event) -> str:
    """Return the kernel's time of the event, with three decimals and Z."""
    return timestamp_of_record(event.seconds, event.milliseconds)


def timestamp_of_record(seconds: str, milliseconds: str) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`, of the time as records have it."""
    return f"{timestamp_of_second(seconds)}.{milliseconds}Z"


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


def printable_records(event: Event) -> list[str]:
    """Return the same with bytes that are not UTF-8 in their readable form."""
    return [surrogates_to_text(record)[0] for record in raw_records(event)]


class Undecodable:
    """The exact bytes of texts in a document that are not UTF-8, collected while it is made."""

    def __init__(self) -> None:
        self._found: list[dict[str, str]] = []

    def to_text(self, field: str, raw: bytes) -> str:
        """Return *raw* in its readable form; *field* says where in the document it is."""
        text, is_lossy = to_text(raw)
        if is_lossy:
            self._found.append({"field": field, "base64": base64.b64encode(raw).decode()})
        return text

    def member(self) -> dict[str, Any]:
        """Return `undecodable`, if there is something to say."""
        return {"undecodable": self._found} if self._found else {}
