"""What every line of every schema has in common: how it begins, and how text becomes JSON."""

import base64
import hashlib
import re
from typing import Any, NamedTuple

import ujson

from auditline.workers.common.timestamps import timestamp_of_second
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


def to_json(document: Any) -> str:
    """Return JSON on one line, readable (UTF-8 text, no needless escapes), without any raw control character."""
    text = ujson.dumps(document, ensure_ascii=False, escape_forward_slashes=False)
    return text if text.isascii() and "\x7f" not in text else _RAW_CONTROLS.sub(_escape, text)


def _escape(match: "re.Match[str]") -> str:
    return f"\\u{ord(match[0]):04x}"


def timestamp(event: Event) -> str:
    """Return the kernel's time of the event, with three decimals and Z."""
    return timestamp_of_record(event.seconds, event.milliseconds)


def timestamp_of_record(seconds: str, milliseconds: str) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`, of the time as records have it."""
    return f"{timestamp_of_second(seconds)}.{milliseconds}Z"


def event_id(host: str, event: Event, *, is_complete: bool) -> str:
    """Return the stable id: the same records give the same id, in whichever run.

    The id of a part (an incomplete event or an amendment) tells by its records which part it is; a record may come
    again, so that an amendment may have the records of the part that went out first.
    """
    identity = whole_event_id(host, event)
    if is_complete and not event.amends:
        return identity
    lines = raw_records(event)
    if event.amends:
        lines.insert(0, "amends")
    raw = "".join(f"{line}\n" for line in lines)
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
