"""The object `auditline` of a kernel event, the same in every schema."""

import base64
from typing import Any

from auditline.workers.router.decode.calls import decode_call
from auditline.workers.router.decode.interpretations import interpret_fields
from auditline.workers.router.decode.records import title_list
from auditline.workers.router.event import Event, Facts
from auditline.workers.router.render.lines import whole_event_id

TITLE_FIELD = "data.proctitle"


def ours(event: Event, facts: Facts, host: str) -> dict[str, Any]:
    """Return whether the event is complete, what its arguments mean, and what is odd about it."""
    member: dict[str, Any] = {"complete": not facts.reasons}
    if facts.reasons:
        member["incomplete_reasons"] = facts.reasons
    if event.amends:
        member["amends"] = whole_event_id(host, event)
    call = decode_call(facts)
    decoded = {"args": facts.arguments, **call.members} if facts.arguments else call.members
    undecodable = [*facts.undecodable, *call.undecodable]
    for entry in undecodable:
        if entry[0] == TITLE_FIELD and (parts := title_list(entry[1])) is not None:
            decoded = {**decoded, "title": parts}
            undecodable.remove(entry)
            break
    if words := interpret_fields(facts):
        decoded = {**decoded, "fields": words}
    if decoded:
        member["decoded"] = decoded
    if facts.suspicious:
        member["suspicious"] = facts.suspicious
    if undecodable:
        member["undecodable"] = [
            {"field": field, "base64": base64.b64encode(raw).decode()} for field, raw in undecodable
        ]
    return member
