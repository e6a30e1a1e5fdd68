"""`audit.drift`: somebody changed the kernel's audit rules or status."""

from collections.abc import Mapping
from typing import Any

from auditline.workers.common.drift_entry import Drift, Value
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.decode.text import surrogates_to_text
from auditline.workers.router.render.envelope import own_document
from auditline.workers.router.render.lines import to_json

_ECS_EVENT = {"dataset": "auditline.drift", "category": ["configuration"], "type": ["change"], "action": "drift"}


def render_drift(
    drift: Drift,
    actor: Mapping[str, Any] | None,
    host: tuple[str, str],
    run_id: str,
    number: int,
    schema: str = "audit",
) -> tuple[str, str]:
    """Return the event's id and its line without the newline; *run_id* and *number* tell it from all others."""
    host_id, host_name = host
    identity = f"{host_id}-drift-{run_id}-{number}"
    document = own_document(schema, timestamp_of_ns(drift.time_ns), identity, host_name, _ECS_EVENT) | {
        "audit": {
            "drift": {
                "what": surrogates_to_text(drift.what)[0],
                "wanted": _plain(drift.wanted),
                "found": _plain(drift.found),
                "actor": actor,
                "repaired": drift.repaired,
            }
        },
        "auditline": {"complete": True, "detail": {"since": timestamp_of_ns(drift.since_ns)}},
    }
    return identity, to_json(document)


def _plain(value: Value) -> int | str | list[str]:
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return surrogates_to_text(value)[0]
    return [surrogates_to_text(text)[0] for text in value]
