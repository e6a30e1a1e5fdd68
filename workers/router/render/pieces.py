"""The fragments that `fragments` remembers: from the text of a part of a record to its JSON.

Each function takes text that stands often in records, and returns None for whatever is not plainly well-formed: then
the whole event goes the plain way. Where a text is of the usual form its JSON is written down directly; the rest is
decoded the plain way, once.
"""

import re
from binascii import b2a_base64, unhexlify
from functools import lru_cache
from typing import Any, NamedTuple

from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import HIDING_CALLS, gather_facts
from auditline.workers.router.decode.fields import GROUP_SEPARATOR, kernel_fields, split_enrichment
from auditline.workers.router.decode.records import LAST_KEYS, UNSET, title_text
from auditline.workers.router.decode.socket_address import byte_order
from auditline.workers.router.decode.suspicious import is_harmless, is_suspicious, title_parts
from auditline.workers.router.decode.text import NULL_VALUES
from auditline.workers.router.event import Event, Facts
from auditline.workers.router.naming.engine import (
    default_how,
    find_meaning,
    is_interpreted,
    is_usual,
    system_call_row,
)
from auditline.workers.router.render.lines import to_json

MEMO_ENTRIES = 2048
"""Small memos hit as often on real logs as large ones, and stay in the processor's cache."""

_HEAD = re.compile(r"arch=[0-9a-f]+ syscall=[0-9]+(?: success=(?:yes|no)(?: exit=-?[0-9]+)?)?")
_PLAIN_PROGRAM = re.compile(r'("[^"]+") exe=("[^"]+") key=(\(null\)|"(?!key=)[^"]+")').fullmatch
_PROGRAM_KEYS = frozenset({"comm", "exe", "subj", "key"})
_PLAIN_TERMINAL = re.compile(r'((?!\(null\) )[^ "\\=?]+) ses=([0-9]+)').fullmatch
_PLAIN_PAIR = re.compile(r"([a-z_]+)=([0-9A-Za-z:]+)").fullmatch
_PLAIN_PATH_KEYS = frozenset(
    {
        "dev", "mode", "ouid", "ogid", "rdev", "nametype", "objtype",
        "cap_fp", "cap_fi", "cap_fe", "cap_fver", "cap_frootid",
    }
)  # fmt: skip
PATH_HEAD_KEYS = frozenset({"item", "name", "inode"})


class Head(NamedTuple):
    """What arch, syscall, success and perhaps exit give."""

    result: str
    action: str
    what: str | None
    on_path: bool
    on_socket: bool
    thing: str
    """The thing where no PATH or SOCKADDR is it."""
    how: str
    data: str
    hides_items: bool
    is_little_endian: bool
    thing_is_exit: bool
    """The thing's name is what the call returned: a new process."""


class Program(NamedTuple):
    """What comm, exe, subj and key give."""

    selinux: str
    how: str
    key: str
    data: str


class PathTail(NamedTuple):
    """What a PATH has from dev on."""

    json: str
    kind: str | None
    name_type: str | None
    rank: int
    """0: what was acted on, 1: only looked for, 2: a parent directory."""
    selinux: str


def plain_pairs(text: str) -> dict[str, str] | None:
    """Return the fields of a PATH in which nothing is quoted, encoded, null or cut, and none comes twice."""
    pairs: dict[str, str] = {}
    for token in text.split(" "):
        match = _PLAIN_PAIR(token)
        if match is None or match[1] in pairs or match[1] not in _PLAIN_PATH_KEYS:
            return None
        pairs[match[1]] = match[2]
    return None if pairs.keys().isdisjoint(LAST_KEYS[types.PATH]) else pairs


def path_facts(text: str) -> Facts | None:
    """Return what the plain way makes of labels, of names added by auditd, and of whatever else has no complaint."""
    record, _ = split_enrichment(text)
    facts = facts_of(types.PATH, text)
    if _has_surprises(record) or facts.undecodable or facts.warnings or facts.suspicious:
        return None
    return facts


def make_head(text: str) -> Head | None:
    """Return what a SYSCALL says before its arguments."""
    if _HEAD.fullmatch(text) is None:
        return None
    facts = facts_of(types.SYSCALL, text)
    if not is_usual(facts.value("syscall") or ""):
        return None
    meaning = find_meaning(facts)
    thing = {"what": meaning.what, "primary": meaning.primary, "secondary": meaning.secondary}
    thing = {key: value for key, value in thing.items() if value is not None}
    return Head(
        result=facts.result,
        action=_member("action", meaning.action),
        what=meaning.what,
        on_path=meaning.what in ("file", "filesystem"),
        on_socket=meaning.what == "socket" and "primary" not in thing,
        thing=_member("thing", thing),
        how=_member("how", meaning.how),
        data=inside(facts.data),
        hides_items=facts.value("syscall") in HIDING_CALLS,
        is_little_endian=byte_order(facts.value("arch")) == "little",
        thing_is_exit=system_call_row(facts.value("syscall") or "").primary == ("exit",),
    )


def make_terminal(text: str) -> tuple[str, str] | None:
    """Return the session and the terminal."""
    match = _PLAIN_TERMINAL(text)
    if match is None or not is_plain(text):
        return None
    session = UNSET if match[2] == "4294967295" else match[2]
    return f'"session":"{session}",', f',"tty":"{match[1]}"'


def make_program(text: str) -> Program | None:
    """Return what a SYSCALL says from comm on."""
    match = _PLAIN_PROGRAM(text)
    if match is not None and is_plain(text) and text.count("=") == 2:
        comm, exe, key = match.groups()
        return Program(
            selinux="",
            how=f'"how":{comm if _is_interpreted(exe, comm) else exe},',
            key="" if key == "(null)" else f'"key":{key},',
            data=f',"comm":{comm},"exe":{exe}',
        )
    return _make_unusual_program(f"comm={text}")


@lru_cache(MEMO_ENTRIES)
def _is_interpreted(exe: str, comm: str) -> bool:
    return is_interpreted(exe[1:-1], comm[1:-1])


def _make_unusual_program(text: str) -> Program | None:
    """The same for labels, keys and names in hex, several keys."""
    if _has_surprises(text) or not _PROGRAM_KEYS.issuperset(key for key, _ in kernel_fields(text)):
        return None
    facts = facts_of(types.SYSCALL, text)
    if facts.warnings or facts.undecodable or facts.suspicious or not facts.data:
        return None
    return Program(
        selinux=f',"selinux":{to_json(facts.selinux)}' if facts.selinux else "",
        how=_member("how", default_how(facts.value("exe"), facts.value("comm"))),
        key=_member("key", facts.keys[0] if len(facts.keys) == 1 else facts.keys),
        data=f",{inside(facts.data)}",
    )


def make_item(text: str) -> str | None:
    """Return the member of a PATH's number."""
    return f'"item":"{text[5:]}"' if text[:5] == "item=" and text[5:].isdigit() else None


def make_path_name(text: str) -> str | None:
    """Return the JSON of a name that is not plainly quoted; "" for (null)."""
    if (raw := _from_hex(text)) is not None:
        return _json_of_utf8(raw)
    if " " in text or _has_surprises(f"name={text}"):
        return None
    facts = facts_of(types.PATH, f"name={text} nametype=NORMAL")
    if facts.undecodable or facts.warnings or facts.suspicious:
        return None
    name = facts.paths[0].get("name")
    return "" if name is None else to_json(name)


def make_directory(body: str) -> str | None:
    """Return the member of a CWD."""
    value = body[4:]
    if (
        body[:4] == "cwd="
        and value.count('"') == 2
        and value[0] == '"' == value[-1]
        and value != '""'
        and is_plain(value)
        and "=" not in value
    ):
        return f',"cwd":{value}'
    return _make_member(types.CWD, body)


def make_title(body: str) -> tuple[str, str] | None:
    """Return the member of a PROCTITLE, and its exact bytes where it has blanks of its own."""
    if body[:10] == "proctitle=" and (raw := _from_hex(body[10:])) is not None:
        text, exact = title_text(raw)
        is_odd = text in NULL_VALUES or not (is_harmless(text) or _is_honest_title(text, exact))
        undecodable = "" if exact is None else undecodable_member("data.proctitle", exact)
        return None if is_odd else (f',"proctitle":{_text_json(text)}', undecodable)
    field = _make_member(types.PROCTITLE, body)
    return None if field is None else (field, "")


def _is_honest_title(text: str, exact: bytes | None) -> bool:
    return not any(is_suspicious(part, is_command=True) for part in title_parts(text, exact))


def undecodable_member(field: str, raw: bytes) -> str:
    """Return the member `undecodable` of one text."""
    return f',"undecodable":[{{"field":"{field}","base64":"{b2a_base64(raw, newline=False).decode()}"}}]'


def _make_member(kind: int, body: str) -> str | None:
    """Return the one field of a record of one field, the plain way; "" if it is null."""
    facts = facts_of(kind, body)
    if _is_odd(body, facts):
        return None
    return f",{inside(facts.data)}" if facts.data else ""


def _is_odd(body: str, facts: Facts) -> bool:
    """True if there is more to say of a record of one field than its value."""
    is_plain_value = not (facts.undecodable or facts.warnings or facts.suspicious)
    return not is_plain_value or _has_surprises(body) or len(list(kernel_fields(body))) != 1


def _from_hex(text: str) -> bytes | None:
    """Return the bytes of upper-case hex, None for anything else; faster than a regular expression."""
    if text.isupper() or text.isdecimal():
        try:
            return unhexlify(text)
        except ValueError:
            return None
    return None


def is_plain(text: str) -> bool:
    """True for text that is its own JSON, and that can deceive nobody unless there is a `=` in it."""
    return text.isascii() and text.isprintable() and "\\" not in text


def _json_of_utf8(raw: bytes) -> str | None:
    """Return decoded bytes as JSON; None if they are not UTF-8, nothing, or suspicious."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    if text in NULL_VALUES or is_suspicious(text):
        return None
    return _text_json(text)


def _text_json(text: str) -> str:
    return f'"{text}"' if '"' not in text and is_plain(text) else to_json(text)


def make_command(body: str) -> tuple[str, str] | None:
    """Return argc and command line, and the member of `decoded`, of an EXECVE that is whole."""
    facts = facts_of(types.EXECVE, body)
    is_odd = facts.undecodable or facts.warnings or facts.suspicious or "argc_mismatch" in facts.reasons
    if is_odd or GROUP_SEPARATOR in body:
        return None
    arguments = f',"args":{to_json(facts.arguments)}' if facts.arguments else ""
    return f",{inside(facts.data)}", arguments


def make_address(body: str) -> tuple[str, str] | None:
    """Return the socket, and what of it names a thing."""
    facts = facts_of(types.SOCKADDR, body)
    if _is_odd(body, facts):
        return None
    primary, secondary = facts.socket.get("addr") or facts.socket.get("path"), facts.socket.get("port")
    thing = f',"primary":{to_json(primary)}' if primary else ""
    if secondary is not None:
        thing += f',"secondary":{to_json(secondary)}'
    return f',"socket":{to_json(facts.socket)}', thing


def _has_surprises(text: str) -> bool:
    """True if a text has names added by auditd, a field twice, or anything that is not a field."""
    keys = [key for key, _ in kernel_fields(text)]
    return GROUP_SEPARATOR in text or len(keys) != len(set(keys))


def facts_of(kind: int, body: str) -> Facts:
    """Return what the plain way makes of one record alone."""
    event = Event("audit(0.000:0", None, "0", "000", 0)
    event.types.append(kind)
    event.bodies.append(body)
    return gather_facts(event)


def inside(members: dict[str, Any]) -> str:
    """Return the JSON of members without the braces around them."""
    return to_json(members)[1:-1]


def _member(name: str, value: Any) -> str:
    return f'"{name}":{to_json(value)},' if value else ""
