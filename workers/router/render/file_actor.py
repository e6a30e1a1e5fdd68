"""Who changed a file: `auditline.actor`, from what the watcher knows."""

import os
from collections.abc import Mapping
from typing import Any

import ujson

from auditline.workers.router.names import IdNames
from auditline.workers.router.render.lines import Undecodable

_PEOPLE = ("user", "login_user")


def actor_member(actor: Mapping[str, Any], names: IdNames, undecodable: Undecodable) -> dict[str, Any]:
    """Return *actor* with names beside the ids of people, and texts that are UTF-8."""
    member = dict(actor)
    if not _is_plain(member):
        member = {key: _to_text(value, f"actor.{key}", undecodable) for key, value in actor.items()}
    for key in _PEOPLE:
        if key in member:
            number = member[key]["id"]
            name = names.name("uid", number)
            if name != number:
                member[key] = {**member[key], "name": name}
    return member


def _is_plain(actor: dict[str, Any]) -> bool:
    """Say whether no text in *actor* has anything but ASCII: then none of them has to be looked at by itself."""
    try:
        return ujson.dumps(actor, ensure_ascii=False).isascii()
    except (OverflowError, UnicodeEncodeError):
        return False


def _to_text(value: Any, place: str, undecodable: Undecodable) -> Any:
    """Return a value in which what was bytes once is readable."""
    if isinstance(value, str):
        return value if value.isascii() else undecodable.to_text(place, os.fsencode(value))
    if isinstance(value, list):
        return [_to_text(each, f"{place}.{number}", undecodable) for number, each in enumerate(value)]
    if isinstance(value, dict):
        return {key: _to_text(each, f"{place}.{key}", undecodable) for key, each in value.items()}
    return value
