"""`audit.coverage`: when and where changes of files may have gone unseen, and why."""

import math
import re
from typing import Any

from auditline.workers.common.file_entry import Coverage
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.decode.text import surrogates_to_text
from auditline.workers.router.render.envelope import own_document
from auditline.workers.router.render.lines import Undecodable, to_json

_ECS_EVENT = {"dataset": "auditline.coverage", "category": ["file"], "type": ["info"], "action": "coverage"}
_IDENTITY = re.compile(r"[0-9A-Za-z_.-]{1,64}")


def render_coverage(entry: Coverage, host: str, host_name: str, schema: str = "audit") -> tuple[str, str]:
    """Return the event's id and its line without the newline.

    Raises:
        ValueError: *entry* holds what no watcher says; other errors of values that have no JSON are possible.
    """
    if _IDENTITY.fullmatch(entry.identity) is None:
        raise ValueError("the identity of a coverage entry has letters, digits, '-', '_' and '.'")
    identity = f"{host}-coverage-{entry.identity}"
    undecodable = Undecodable()
    coverage = {"path": undecodable.to_text("path", entry.path), "start": timestamp_of_ns(entry.start_ns)}
    if entry.end_ns is not None:
        coverage["end"] = timestamp_of_ns(entry.end_ns)
    coverage |= {"reason": _readable(entry.reason), "action": _readable(entry.action)}
    ours: dict[str, Any] = {"complete": True}
    if entry.detail:
        ours["detail"] = {_readable(key): _plain(value) for key, value in entry.detail.items()}
    time = coverage.get("end", coverage["start"])
    document = own_document(schema, time, identity, host_name, _ECS_EVENT) | {
        "audit": {"coverage": coverage},
        "auditline": ours | undecodable.member(),
    }
    return identity, to_json(document)


def _readable(text: str) -> str:
    """Return words of a watcher, which may quote a name that is not UTF-8."""
    return surrogates_to_text(text)[0]


def _plain(value: object) -> object:
    if isinstance(value, str):
        return _readable(value)
    # Infinity is no JSON, but would be written without an error.
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError("the details of a coverage entry are numbers and texts")
