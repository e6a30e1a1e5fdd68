"""Which events are asked for: by time, by the key of a rule, by the type of a record."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from auditline.workers.common.errors import InputError
from auditline.workers.common.points_in_time import Moment, parse_moment
from auditline.workers.common.tables.lookup import record_type_names, record_type_number
from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.event import Event

_LAST_TYPE = 65535
"""A netlink message's type has 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asks for, as it was typed; an event must fulfil all of these, of keys and types any."""

    since: str | None = None
    until: str | None = None
    keys: Sequence[str] = ()
    types: Sequence[str] = ()


class Selection:
    """Says of an event whether it is asked for, before anything is made of it."""

    def __init__(
        self, since: Moment | None, until: Moment | None, keys: frozenset[str], wanted_types: frozenset[int]
    ) -> None:
        self._since_ms = None if since is None else since.first_ms
        self._until_ms = None if until is None else until.last_ms
        self._keys = keys
        self._mentions_key = _mention_of(keys)
        self._types = wanted_types

    def takes(self, event: Event) -> bool:
        """Return whether the event is in the time, has one of the keys and a record of one of the types."""
        if not self.takes_time(event.seconds, event.milliseconds):
            return False
        if self._types and self._types.isdisjoint(event.types) and not (event.has_eoe and types.EOE in self._types):
            return False
        return not self._keys or self._has_key(event)

    def takes_unparsed(self, seconds: str, milliseconds: str) -> bool:
        """Return whether a line that is no record is asked for: it has a time, of the record before it, and no more."""
        return not self._keys and not self._types and self.takes_time(seconds, milliseconds)

    def takes_time(self, seconds: str, milliseconds: str) -> bool:
        """Return whether a record's time is asked for."""
        if self._since_ms is None and self._until_ms is None:
            return True
        time_ms = int(seconds) * 1000 + int(milliseconds)
        return (self._since_ms is None or self._since_ms <= time_ms) and (
            self._until_ms is None or time_ms <= self._until_ms
        )

    def _has_key(self, event: Event) -> bool:
        """Decode the event only if its text may have one of the keys at all."""
        if not any(map(self._mentions_key, event.bodies)):
            return False
        try:
            return not self._keys.isdisjoint(gather_facts(event).keys)
        except Exception:  # noqa: BLE001 (what cannot be decoded is rather shown than missed)
            return True


def _mention_of(keys: frozenset[str]) -> Callable[[str], object]:
    """Return a search for any of the keys in a record's text, where it may be in hexadecimal."""
    spellings = [re.escape(key) for key in keys]
    spellings += [f"(?i:{key.encode('utf-8', 'surrogateescape').hex()})" for key in keys]
    return re.compile("|".join(spellings)).search


def parse_wanted(wanted: Wanted, now: datetime) -> Selection | None:
    """Return the selection; None if everything is asked for.

    Raises:
        InputError: a time or a type is none; all that is wrong.
    """
    problems: list[str] = []
    since = _parse_time("--since", wanted.since, now, problems)
    until = _parse_time("--until", wanted.until, now, problems)
    numbers = [number for text in wanted.types if (number := _parse_type(text, problems)) is not None]
    if since and until and until.last_ms < since.first_ms:
        problems.append(f"--until {wanted.until} is before --since {wanted.since}")
    problems.extend("--key: a key has at least one character" for key in wanted.keys if not key)
    if problems:
        raise InputError(problems)
    if not (since or until or wanted.keys or wanted.types):
        return None
    return Selection(since, until, frozenset(wanted.keys), frozenset(numbers))


def _parse_time(option: str, text: str | None, now: datetime, problems: list[str]) -> Moment | None:
    if text is None:
        return None
    try:
        return parse_moment(text, now)
    except ValueError as error:
        problems.append(f"{option}: {error}")
        return None


def _parse_type(text: str, problems: list[str]) -> int | None:
    if text.isascii() and text.isdigit() and int(text) <= _LAST_TYPE:
        return int(text)
    number = record_type_number(text)
    if number is None:
        import difflib

        near = difflib.get_close_matches(text.lower(), record_type_names().values(), n=1)
        hint = f"; did you mean {near[0].upper()}?" if near else ": wanted a name as in the log, or a number"
        problems.append(f"--type: {text!r} is no record type{hint}")
    return number
