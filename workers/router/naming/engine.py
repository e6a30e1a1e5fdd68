"""The engine of the mapping tables beside it: from an event's facts to what they mean."""

import os.path
import re
import stat
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from auditline.workers.common.tables.lookup import record_type_number, uring_operation_name
from auditline.workers.router.decode import types
from auditline.workers.router.decode.places import MOUNTS, acted_item
from auditline.workers.router.event import Facts, Meaning
from auditline.workers.router.record_names import type_name

_INTERPRETERS = (
    r"(?:(?:ba|da|k|z|mk|a)?sh|busybox|python[\d.]*|perl[\d.]*|ruby[\d.]*|node(?:js)?|php[\d.]*|lua[\d.]*|tclsh[\d.]*)"
)
_INTERPRETER = re.compile(_INTERPRETERS)
_INTERPRETER_FILE = re.compile(rf"{_INTERPRETERS}(?:;[0-9a-f]{{8}})?(?: \(deleted\))?")
"""Also one that an upgrade has replaced while it ran; rpm gives the old file such a name first."""
_ALWAYS_BY_COMM = ("/usr/bin/python", "/usr/bin/sh", "/usr/bin/bash", "/usr/bin/perl")
"""Interpreters of which Auditbeat gives comm, also where that is their own name (setHowDefaults() in go-libaudit)."""

_MODE = re.compile("[0-7]{1,8}")
_DECIMAL = re.compile("[0-9]{1,5}")
_SMALL_HEX = re.compile("[0-9a-f]{1,8}")
_FILE_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFCHR: "character-device",
    stat.S_IFBLK: "block-device",
    stat.S_IFIFO: "named-pipe",
    stat.S_IFLNK: "symlink",
    stat.S_IFSOCK: "socket",
}

PARTED_CALLS = frozenset({"socketcall"})
"""One number for many calls: the first argument says which."""
_SOCKET_CALLS = (
    "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
    "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg",
    "sendmmsg",
)  # fmt: skip
"""What socketcall's first argument stands for, from 1 on. Source: include/uapi/linux/net.h."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a mapping table; tuples are fields to try in order."""

    action: str | None
    what: str | None
    primary: tuple[str, ...]
    secondary: tuple[str, ...]
    how: tuple[str, ...]
    categories: tuple[str, ...]
    types: tuple[str, ...]
    if_field: str | None = None
    actor_primary: tuple[str, ...] = ("auid",)
    actor_secondary: tuple[str, ...] = ("uid",)
    people: str | None = None
    """A row of people.tsv."""
    source: tuple[str, ...] = ()


UNMAPPED = Row(action=None, what=None, primary=(), secondary=(), how=(), categories=(), types=())
"""For what has no row: the event still says who, when, how and everything in its records."""
UNMAPPED_SYSTEM_CALL = replace(UNMAPPED, categories=("process",), types=("info",))


def find_meaning(facts: Facts) -> Meaning:
    """Return what the event means; ids in it are still numbers."""
    row = _find_row(facts)
    path = choose_path(facts.paths, called(facts)) if row.what in ("file", "filesystem") else None
    what, primary, secondary, thing_selinux = _find_thing(row, path, facts)
    actor_primary = _first_field(row.actor_primary, facts)
    actor_secondary = _first_field(row.actor_secondary, facts)
    categories, kinds = _find_classes(row, facts)
    references = {
        "actor.primary": None if actor_primary is None else actor_primary[1],
        "actor.secondary": None if actor_secondary is None else actor_secondary[1],
        "thing.primary": primary,
    }
    return Meaning(
        action=row.action or _action_without_row(facts),
        what=what,
        primary=primary,
        secondary=secondary,
        actor_primary=actor_primary,
        actor_secondary=actor_secondary,
        how=_first(row.how, facts) or _default_how(facts),
        thing_selinux=thing_selinux,
        path=path,
        categories=categories,
        types=kinds,
        people={
            person: references[reference] if reference in references else facts.value(reference)
            for person, reference in _people().get(row.people or "", ())
        },
        source=_first_field(row.source, facts),
    )


def category_of(record_type: int) -> str:
    """Return `audit.kernel.category` of an event that this record type names."""
    return _categories().get(record_type, "unknown")


def file_kind(mode: str) -> str | None:
    """Return what an octal st_mode is the mode of: `file`, `directory` …; None for nonsense."""
    return _FILE_KINDS.get(stat.S_IFMT(int(mode, 8))) if _MODE.fullmatch(mode) else None


def choose_path(paths: list[dict[str, str]], call: str) -> dict[str, str] | None:
    """Return the PATH record that the action of a system call was on."""
    position = acted_item(paths, call)
    return None if position is None else paths[position]


def system_call_row(name: str) -> Row:
    """Return the row of a system call, by name or, where no table names it, by number."""
    return system_call_rows().get(name, UNMAPPED_SYSTEM_CALL)


def called(facts: Facts) -> str:
    """Return the name of the system call that an event is about, or its number; empty if there is none.

    Most operations of io_uring do what a system call of the same name does, which no SYSCALL tells of.
    """
    name = facts.value("syscall") or ""
    if facts.record_type == types.URINGOP and not name and _DECIMAL.fullmatch(number := facts.value("uring_op") or ""):
        return uring_operation_name(int(number)) or ""
    if name not in PARTED_CALLS:
        return name
    number = facts.value("a0") or ""
    position = int(number, 16) if _SMALL_HEX.fullmatch(number) else 0
    return _SOCKET_CALLS[position - 1] if 0 < position <= len(_SOCKET_CALLS) else name


def is_usual(call: str) -> bool:
    """Return whether its row and the types of its paths say what a call means, as of nearly all they do."""
    return call not in PARTED_CALLS | MOUNTS


def default_how(exe: str | None, comm: str | None) -> str | None:
    """Return by which means: the executable, or the script if that is an interpreter."""
    if not exe or not comm:
        return exe or comm or None
    return comm if is_interpreted(exe, comm) else exe


def is_interpreted(exe: str, comm: str) -> bool:
    """Return whether a program's own path says less than comm, because it is an interpreter and that its script."""
    if _INTERPRETER_FILE.fullmatch(os.path.basename(exe)) is None:
        return False
    return exe.startswith(_ALWAYS_BY_COMM) or _INTERPRETER.fullmatch(comm) is None


def _find_row(facts: Facts) -> Row:
    if facts.record_type == types.SYSCALL:
        return system_call_row(called(facts))
    if facts.record_type == types.URINGOP and (row_of_call := system_call_row(called(facts))).action is not None:
        return row_of_call
    for row in record_rows().get(facts.record_type, ()):
        if row.if_field is None or facts.value(row.if_field) is not None:
            return row
    return UNMAPPED


def _action_without_row(facts: Facts) -> str | None:
    """Return what is still better than nothing: the name of the system call or of the record."""
    if facts.record_type == types.SYSCALL:
        return facts.value("syscall")
    return type_name(facts.record_type).replace("_", "-")


def _find_classes(row: Row, facts: Facts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return categories and types: those of the record, then those of the call in which it came, if that did more."""
    if facts.record_type == types.SYSCALL or row is UNMAPPED or facts.value("syscall") is None:
        return row.categories, row.types
    of_call = system_call_row(called(facts))
    if of_call.action == row.action:
        return row.categories, row.types
    return row.categories + of_call.categories, row.types + of_call.types


def _find_thing(
    row: Row, path: dict[str, str] | None, facts: Facts
) -> tuple[str | None, str | None, str | None, dict[str, str]]:
    if path is not None:
        labels = {key[4:]: value for key, value in path.items() if key.startswith("obj_")}
        # A program that is executed by its descriptor has an empty name there, which names nothing.
        primary = _first(row.primary, facts) or path.get("name") or None
        return file_kind(path.get("mode", "")) or row.what, primary, path.get("inode"), labels
    if row.what == "socket" and not row.primary:
        return row.what, facts.socket.get("addr") or facts.socket.get("path"), facts.socket.get("port"), {}
    return row.what, _first(row.primary, facts), _first(row.secondary, facts), {}


def _first_field(keys: tuple[str, ...], facts: Facts) -> tuple[str, str] | None:
    for key in keys:
        told = key.removeprefix("data.")
        found = facts.value(key) if told == key else facts.data.get(told)
        if found is not None:
            return key, found[0] if isinstance(found, list) else found
    return None


def _first(keys: tuple[str, ...], facts: Facts) -> str | None:
    found = _first_field(keys, facts)
    return None if found is None else found[1]


def _default_how(facts: Facts) -> str | None:
    return default_how(facts.value("exe"), facts.value("comm"))


def _read_table(name: str) -> list[list[str]]:
    text = files("auditline.workers.router.naming").joinpath(name).read_text("utf-8")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def _fields(column: str) -> tuple[str, ...]:
    return () if column == "-" else tuple(column.split(","))


def _word(column: str) -> str | None:
    return None if column == "-" else column


@cache
def system_call_rows() -> dict[str, Row]:
    """Return the rows of all system calls, by name, in the order of the table."""
    rows = {}
    for names, action, what, primary, secondary, how, categories, kinds in _read_table("syscalls.tsv"):
        row = Row(
            action=_word(action),
            what=_word(what),
            primary=_fields(primary),
            secondary=_fields(secondary),
            how=_fields(how),
            categories=_fields(categories),
            types=_fields(kinds),
        )
        rows.update(dict.fromkeys(names.split(","), row))
    return rows


@cache
def record_rows() -> dict[int, list[Row]]:
    """Return the rows of all record types, by number; of several for one type the first that fits counts."""
    rows: dict[int, list[Row]] = {}
    for names, condition, action, what, primary, secondary, *further in _read_table("records.tsv"):
        actor_primary, actor_secondary, how, categories, kinds, people, source = further
        row = Row(
            if_field=_word(condition),
            action=_word(action),
            what=_word(what),
            primary=_fields(primary),
            secondary=_fields(secondary),
            actor_primary=_fields(actor_primary) or ("auid",),
            actor_secondary=_fields(actor_secondary) or ("uid",),
            how=_fields(how),
            categories=_fields(categories),
            types=_fields(kinds),
            people=_word(people),
            source=_fields(source),
        )
        for name in names.split(","):
            number = record_type_number(name)
            if number is not None:
                rows.setdefault(number, []).append(row)
    return rows


@cache
def _categories() -> dict[int, str]:
    categories: dict[int, str] = {}
    for first, last, category in _read_table("categories.tsv"):
        for number in range(int(first), int(last) + 1):
            categories.setdefault(number, category)
    return categories


@cache
def _people() -> dict[str, list[tuple[str, str]]]:
    """Return, for each row of people.tsv, who is taken from where."""
    people = {}
    for name, *pairs in _read_table("people.tsv"):
        who_from_where = [pair.partition("=") for pair in pairs]
        people[name] = [(who, where) for who, _, where in who_from_where]
    return people
