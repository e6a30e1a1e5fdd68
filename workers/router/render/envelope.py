"""What documents that are not about records of the kernel have around them in schema `ecs`."""

from collections.abc import Mapping
from typing import Any

ECS_VERSION = "8.0.0"
"""Of the Elastic Common Schema. Source: what Auditbeat 9.0 writes."""
AGENT_TYPE = "auditline"


def ecs_envelope(timestamp: str, identity: str, host_name: str | None, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the beginning of a document: `event` has *event* beside its id, the service is that of its module."""
    document: dict[str, Any] = {"@timestamp": timestamp, "event": {"id": identity, "kind": "event", **event}}
    agent = {"type": AGENT_TYPE}
    if host_name is not None:
        document["host"] = {"name": host_name}
        agent["name"] = host_name
    return document | {"agent": agent, "ecs": {"version": ECS_VERSION}, "service": {"type": event["module"]}}


def own_document(
    schema: str, timestamp: str, identity: str, host_name: str | None, event: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the beginning of a document that only we make, and that is the same in both schemas from there on.

    *event* is what `event` has beside its id in schema `ecs`; our module and the kind `event` need not be in it.
    """
    if schema == "ecs":
        return ecs_envelope(timestamp, identity, host_name, {"module": "auditline", **event})
    document: dict[str, Any] = {"@timestamp": timestamp, "event": {"id": identity}}
    if host_name is not None:
        document["host"] = {"name": host_name}
    return document
