"""The document of an event whose records made our own code fail: all of it raw, so that nothing is lost."""

import logging

from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.router.event import Event
from auditline.workers.router.record_names import type_name
from auditline.workers.router.render.lines import event_id, printable_records, timestamp, to_json
from auditline.workers.router.render.unreadable import unreadable

logger = logging.getLogger(__name__)
_warning = RepeatedWarning(logger, every=1000, level=logging.ERROR)


def render_raw(
    event: Event, host: str, host_name: str | None, error: Exception, schema: str = "audit"
) -> tuple[str, str, bool]:
    """Return id, line and False, like a renderer; one hostile record must not end the router again and again."""
    _warning.tell("event %s could not be decoded, by a mistake of ours: %r", event.serial, error)
    identity = event_id(host, event, is_complete=False)
    document = unreadable(
        schema,
        timestamp(event),
        identity,
        host_name,
        type_name(event.types[0]),
        printable_records(event),
        f"the records could not be decoded: {type(error).__name__}",
        event.serial,
    )
    document["auditline"] = {"complete": False, "incomplete_reasons": ["undecodable"]}
    return identity, to_json(document), False
