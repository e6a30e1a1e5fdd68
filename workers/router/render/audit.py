"""Schema `audit`: the shape of Auditbeat 6.0's documents, `audit.kernel.*`.

This is the plain way, a dictionary for everything. `fragments` writes the same documents faster for the common
shapes of events; a test compares the two.
"""

from typing import Any

from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.decode.records import UNSET
from auditline.workers.router.event import Event, Facts, Meaning, Names
from auditline.workers.router.names import IdNames, id_kind
from auditline.workers.router.naming.engine import category_of, find_meaning
from auditline.workers.router.record_names import type_name
from auditline.workers.router.render.lines import (
    DEFAULT_KEEP,
    Keep,
    event_id,
    printable_records,
    timestamp,
    to_json,
)
from auditline.workers.router.render.ours import ours


class AuditRenderer:
    """Renders events, one document each."""

    def __init__(self, names: IdNames, keep: Keep = DEFAULT_KEEP) -> None:
        self._names = names
        self._keep = keep

    def render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        """Return the event's id, its line without the newline, and whether it is complete.

        *host* is the 16 hex digits of the host or node that the event is from, *host_name* its name if known.
        """
        facts = gather_facts(event)
        is_complete = not facts.reasons
        identity = event_id(host, event, is_complete=is_complete)
        document: dict[str, Any] = {"@timestamp": timestamp(event), "event": {"id": identity}}
        if host_name is not None:
            document["host"] = {"name": host_name}
        document["audit"] = {"kernel": self._kernel(event, facts, find_meaning(facts))}
        document["auditline"] = ours(event, facts, host)
        return identity, to_json(document), is_complete

    def _kernel(self, event: Event, facts: Facts, meaning: Meaning) -> dict[str, Any]:
        kernel: dict[str, Any] = {
            "sequence": event.serial,
            "category": category_of(facts.record_type),
            "record_type": type_name(facts.record_type),
            "session": facts.session,
            "result": facts.result,
            "actor": self.actor(facts, meaning),
            "action": meaning.action,
            "thing": _filled(
                what=meaning.what,
                primary=meaning.primary,
                secondary=meaning.secondary,
                selinux=meaning.thing_selinux,
            ),
            "how": meaning.how,
            "key": facts.keys[0] if len(facts.keys) == 1 else facts.keys,
            "data": facts.data,
            "paths": [self.path(*named) for named in zip(facts.paths, facts.path_names, strict=True)],
            "socket": facts.socket,
        }
        if self._keep.raw or "truncated_record" in facts.reasons:
            kernel["messages"] = printable_records(event)
        if self._keep.warnings or facts.reasons:
            kernel["warnings"] = facts.warnings
        return {key: value for key, value in kernel.items() if value not in (None, {}, [])}

    def actor(self, facts: Facts, meaning: Meaning) -> dict[str, Any]:
        """Return who did it, ids as names."""
        return _filled(
            primary=self._actor_name(meaning.actor_primary, facts),
            secondary=self._actor_name(meaning.actor_secondary, facts),
            attrs={key: self._name(key, value, facts.names) for key, value in facts.ids.items()},
            selinux=facts.selinux,
        )

    def _actor_name(self, found: tuple[str, str] | None, facts: Facts) -> str | None:
        return None if found is None else self._name(*found, facts.names)

    def path(self, path: dict[str, str], names: Names) -> dict[str, str]:
        """Return a PATH with the names of its owner and group; *names* are those that auditd added to it."""
        return {key: self._name(key, value, names) for key, value in path.items()}

    def _name(self, key: str, value: str, names: Names) -> str:
        kind = id_kind(key)
        if kind is None or value == UNSET:
            return value
        return names.get((kind, value)) or self._names.name(kind, value)


def _filled(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, {}, [])}
