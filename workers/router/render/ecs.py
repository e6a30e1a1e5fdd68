"""Schema `ecs`: what Auditbeat 8 and 9 send of kernel events, so that dashboards and rules made for it work.

Source: elastic/beats, auditbeat/module/auditd/audit_linux.go, and documents that Auditbeat 9.0 wrote. Where we
differ on purpose: docs/differences-from-auditbeat.md.
"""

import ipaddress
from typing import Any

from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.decode.records import UNSET
from auditline.workers.router.event import Event, Facts, Meaning
from auditline.workers.router.kin import Kinship, names_of
from auditline.workers.router.names import IdNames
from auditline.workers.router.naming.engine import called, category_of, find_meaning, system_call_row
from auditline.workers.router.record_names import type_name
from auditline.workers.router.render.ecs_file import ecs_file
from auditline.workers.router.render.ecs_user import People
from auditline.workers.router.render.envelope import ecs_envelope
from auditline.workers.router.render.last_resort import render_raw
from auditline.workers.router.render.lines import (
    DEFAULT_KEEP,
    Keep,
    event_id,
    printable_records,
    timestamp,
    to_json,
)
from auditline.workers.router.render.ours import ours

_OUTCOMES = {"fail": "failure"}
_PROCESS_TEXTS = {
    "comm": "name",
    "exe": "executable",
    "proctitle": "title",
    "cwd": "working_directory",
}
"""Fields of records that have their place in `process`."""
_PROCESS_NUMBERS = ("pid", "ppid")
_LEFT_OUT = frozenset({"cmdline"})
"""Said by `process.args`."""
PEERS = {
    "accepted-connection-from": ("source", "ingress"),
    "received-from": ("source", "ingress"),
    "connected-to": ("destination", "egress"),
    "sent-to": ("destination", "egress"),
}
"""By what a system call does: at which end the address is, and which way it goes."""
_LAST_PID = 2**31 - 1


class EcsRenderer:
    """Renders events, one document each."""

    def __init__(self, names: IdNames, keep: Keep = DEFAULT_KEEP, kinship: Kinship | None = None) -> None:
        self._names = names
        self._keep = keep
        self._kinship = kinship

    def forget_names(self) -> None:
        """Names of ids have changed: nothing is remembered here."""

    def render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        """Return the event's id, its line without the newline, and whether it is complete.

        *host* is the 16 hex digits of the host or node that the event is from, *host_name* its name if known.
        """
        try:
            return self._render(event, host, host_name)
        except Exception as error:  # noqa: BLE001 (whatever it is, the event is kept and the next one is read)
            return render_raw(event, host, host_name, error, "ecs")

    def _render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        facts = gather_facts(event)
        meaning = find_meaning(facts)
        is_complete = not facts.reasons
        identity = event_id(host, event, is_complete=is_complete)
        people = People(self._names, facts)
        people.collect(meaning)
        document = ecs_envelope(timestamp(event), identity, host_name, self._event(event, facts, meaning))
        document["auditd"] = _auditd(event, facts, meaning, people)
        document |= people.members()
        process, inferred = self._process(event, facts)
        if process:
            document["process"] = process
        if meaning.path is not None:
            document["file"] = ecs_file(facts, meaning.path, people)
        document |= _network(facts, meaning)
        if facts.keys:
            document["tags"] = facts.keys
        if facts.warnings and (self._keep.warnings or facts.reasons):
            document["error"] = {"message": facts.warnings}
        document["auditline"] = ours(event, facts, host) | inferred
        return identity, to_json(document), is_complete

    def _process(self, event: Event, facts: Facts) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return `process`, and what `auditline` has to say about it."""
        process: dict[str, Any] = {}
        more: dict[str, Any] = {}
        parent_more: dict[str, Any] = {}
        pid, parent = (_process_id(facts.value(key)) for key in _PROCESS_NUMBERS)
        if pid is not None and self._kinship is not None:
            more, parent_more = self._kinship.members(event, pid, parent)
        if pid is not None:
            process |= {"pid": pid, **more}
        if parent is not None:
            process["parent"] = {"pid": parent, **parent_more}
        for key, name in _PROCESS_TEXTS.items():
            if (text := facts.value(key)) is not None:
                process[name] = text
        if facts.arguments:
            process["args"] = facts.arguments
        inferred = names_of(more, parent_more)
        return process, {"inferred": inferred} if inferred else {}

    def _event(self, event: Event, facts: Facts, meaning: Meaning) -> dict[str, Any]:
        member = event_classes(facts, meaning)
        if (
            self._keep.raw
            or "truncated_record" in facts.reasons
            or (facts.warnings and (self._keep.warnings or facts.reasons))
        ):
            member["original"] = printable_records(event)
        return member


def event_classes(facts: Facts, meaning: Meaning) -> dict[str, Any]:
    """Return the members of `event` that say of what kind it is."""
    member: dict[str, Any] = {"kind": "event"}
    # A record that the Elastic Common Schema has no class for has the one that it always had, as a plain word.
    member["category"] = list(meaning.categories) or category_of(facts.record_type)
    if meaning.types:
        member["type"] = list(meaning.types)
    if meaning.action:
        member["action"] = meaning.action
    return member | {"outcome": _OUTCOMES.get(facts.result, facts.result), "module": "auditd", "dataset": "auditd"}


def _auditd(event: Event, facts: Facts, meaning: Meaning, people: People) -> dict[str, Any]:
    member: dict[str, Any] = {"message_type": type_name(facts.record_type), "sequence": event.serial}
    if facts.session is not None and facts.session != UNSET:
        member["session"] = facts.session
    member["result"] = facts.result
    if summary := find_summary(meaning, people):
        member["summary"] = summary
    if data := _data(facts, meaning):
        member["data"] = data
    if facts.paths:
        member["paths"] = facts.paths
    return member


def find_summary(meaning: Meaning, people: People) -> dict[str, Any]:
    """Return who did what to whom, and how."""
    actor = {
        key: people.shown(*found)
        for key, found in (("primary", meaning.actor_primary), ("secondary", meaning.actor_secondary))
        if found is not None
    }
    thing = {
        "type": meaning.what,
        "primary": meaning.primary,
        # What a file has beside its name stands in `file`.
        "secondary": None if meaning.path is not None else meaning.secondary,
    }
    thing = {key: value for key, value in thing.items() if value is not None}
    summary = {"actor": actor, "object": thing, "how": meaning.how}
    return {key: value for key, value in summary.items() if value}


def _data(facts: Facts, meaning: Meaning) -> dict[str, Any]:
    """Return the fields that have no place of their own; one with several values keeps all of them here."""
    source = None if meaning.source is None else meaning.source[0]
    data: dict[str, Any] = {
        key: value
        for key, value in facts.data.items()
        if isinstance(value, list)
        or not (key in _PROCESS_TEXTS or key in _PROCESS_NUMBERS or key in _LEFT_OUT or key == source)
    }
    # A field of that name is a text; in a place that is an object in other documents Elasticsearch would refuse it.
    text = data.pop("socket", None)
    socket: dict[str, Any] = facts.socket if text is None else {**facts.socket, "text": text}
    if socket:
        data["socket"] = socket
    return data


def _process_id(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > len(str(_LAST_PID)):
        return None
    number = int(text)
    return number if number <= _LAST_PID else None


def _network(facts: Facts, meaning: Meaning) -> dict[str, Any]:
    """Return who is at the other end and which way it goes: by the system call, else by what a record says."""
    if facts.socket:
        peer = PEERS.get(system_call_row(called(facts)).action or "")
        if peer is not None:
            end, direction = peer
            address = address_of(facts.socket)
            return {**({end: address} if address else {}), "network": {"direction": direction}}
    if meaning.source is not None:
        text = meaning.source[1]
        return {
            "source": {"ip": text} if _is_ip(text) else {"domain": text},
            "network": {"direction": "ingress"},
        }
    return {}


def address_of(socket: dict[str, str]) -> dict[str, str]:
    """Return what `source` or `destination` has of a socket."""
    # Other families have ports and addresses, too, that no field of type `ip` or `port` can hold.
    members = {"addr": "ip", "port": "port"} if socket.get("family") in ("ipv4", "ipv6") else {}
    return {name: socket[key] for key, name in (*members.items(), ("path", "path")) if key in socket}


def _is_ip(text: str) -> bool:
    try:
        # Elasticsearch has no zones in addresses.
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False
