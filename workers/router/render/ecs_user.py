"""Schema `ecs`: `user`, `group` and `related.user`, the people of an event.

Source: elastic/beats, auditbeat/module/auditd/audit_linux.go, addUser() and buildMetricbeatEvent().
"""

from typing import Any

from auditline.workers.router.decode.records import UNSET, UNSET_NUMBERS
from auditline.workers.router.event import Facts, Meaning
from auditline.workers.router.names import IdNames, NoNames, id_kind

_PLACES: dict[str, tuple[str, ...]] = {
    "uid": (),
    "gid": ("group",),
    "euid": ("effective",),
    "egid": ("effective", "group"),
    "suid": ("saved",),
    "sgid": ("saved", "group"),
    "fsuid": ("filesystem",),
    "fsgid": ("filesystem", "group"),
    "auid": ("audit",),
}
"""Where in `user` an id has its place; any other has one by its own name."""

_NOBODY = frozenset({"", UNSET}) | UNSET_NUMBERS


class People:
    """The members of one document that say who: `user`, `group` and `related`."""

    def __init__(self, names: IdNames, facts: Facts) -> None:
        """Take names from what auditd wrote behind the records first, then from *names*."""
        self._names = names
        self._facts = facts
        self.user: dict[str, Any] = {}
        self.group: dict[str, str] = {}
        self.related: set[str] = set()

    def collect(self, meaning: Meaning) -> None:
        """Fill the members from the subject's ids, then from those whom the event is about."""
        self._take_ids()
        for person, value in meaning.people.items():
            self._take_person(person, value)
        self._drop_what_is_said_twice()

    def members(self) -> dict[str, Any]:
        """Return the members that have something to say, by their names."""
        members: dict[str, Any] = {}
        if self.user:
            members["user"] = self.user
        if self.group:
            members["group"] = self.group
        if self.related and not isinstance(self._names, NoNames):
            members["related"] = {"user": sorted(self.related)}
        return members

    def name(self, kind: str, number: str) -> str | None:
        """Return the name of a "uid" or "gid", if it has one."""
        name = self._facts.names.get((kind, number)) or self._names.name(kind, number)
        return None if name == number else name

    def shown(self, field: str, value: str) -> str:
        """Return a value by its name, if *field* is one that holds ids and this one has a name."""
        kind = id_kind(field)
        return value if kind is None or value in _NOBODY else self.name(kind, value) or value

    def _take_ids(self) -> None:
        for key, value in self._facts.ids.items():
            if value != UNSET:
                self._put(_PLACES.get(key, (key,)), *self._identify(id_kind(key) or "uid", value))
        if self.user and self._facts.selinux:
            self.user["selinux"] = self._facts.selinux

    def _put(self, place: tuple[str, ...], number: str | None, name: str | None) -> None:
        """Set both; what is None is not there afterwards, whatever was before."""
        member = self.user
        for key in place:
            member = member.setdefault(key, {})
        for key, value in (("id", number), ("name", name)):
            if value is not None:
                member[key] = value
            else:
                member.pop(key, None)

    def _take_person(self, person: str, value: str | None) -> None:
        number, name = self._identify("gid" if person == "group" else "uid", value)
        if person == "group":
            self.group = {key: text for key, text in (("id", number), ("name", name)) if text is not None}
            return
        self._put(tuple(person.split(".")[1:]), number, name)
        if name is not None:
            self.related.add(name)

    def _identify(self, kind: str, value: str | None) -> tuple[str | None, str | None]:
        """Return number and name of whom a record names by either."""
        if value is None or value in _NOBODY:
            return None, None
        if value.isascii() and value.isdigit():
            return value, self.name(kind, value)
        return self._number(kind, value), value

    def _number(self, kind: str, name: str) -> str | None:
        for (its_kind, number), its_name in self._facts.names.items():
            if (its_kind, its_name) == (kind, name):
                return number
        return self._names.number(kind, name)

    def _drop_what_is_said_twice(self) -> None:
        """Leave out `user.effective` where it is `user`, but not a group that only the effective user has."""
        effective = self.user.get("effective")
        if effective is None:
            return
        if any(key in effective and effective[key] == self.user.get(key) for key in ("id", "name")):
            effective.pop("id", None)
            effective.pop("name", None)
            if effective.get("group") == self.user.get("group"):
                effective.pop("group", None)
        if not effective:
            del self.user["effective"]
