"""A document about records that could not be understood: they stand in it as they came."""

from collections.abc import Sequence
from typing import Any

from auditline.workers.router.render.envelope import ecs_envelope, own_document


def unreadable(
    schema: str,
    timestamp: str,
    identity: str,
    host_name: str | None,
    record_type: str,
    records: Sequence[str],
    warning: str,
    serial: int | None = None,
) -> dict[str, Any]:
    """Return the document up to the object `auditline`; *serial* where it is known."""
    sequence = {} if serial is None else {"sequence": serial}
    if schema == "ecs":
        event = {"module": "auditd", "original": records}
        return ecs_envelope(timestamp, identity, host_name, event) | {
            "error": {"message": [warning]},
            "auditd": {"message_type": record_type, **sequence},
        }
    return own_document(schema, timestamp, identity, host_name, {}) | {
        "audit": {"kernel": {**sequence, "record_type": record_type, "messages": records, "warnings": [warning]}}
    }
