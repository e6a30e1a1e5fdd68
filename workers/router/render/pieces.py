"""Parts of records that are the same in every schema: from their text to their JSON.

Each function takes text that stands often in records, and returns None for whatever is not plainly well-formed: then
the whole event goes the plain way. Where a text is of the usual form its JSON is written down directly; the rest is
decoded the plain way, once.
"""

import re
from binascii import b2a_base64, unhexlify
from functools import lru_cache
from typing import Any, NamedTuple

from auditline.workers.router.decode import types
from auditline.workers.router.decode.arguments import to_command_line
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.decode.fields import GROUP_SEPARATOR, kernel_fields, split_enrichment
from auditline.workers.router.decode.records import LAST_KEYS, UNSET, title_list, title_text
from auditline.workers.router.decode.socket_address import decode_socket_address
from auditline.workers.router.decode.suspicious import is_harmless, is_suspicious, title_parts
from auditline.workers.router.decode.text import NULL_VALUES
from auditline.workers.router.event import Event, Facts, Names
from auditline.workers.router.naming.engine import default_how, is_interpreted
from auditline.workers.router.render.lines import to_json
from auditline.workers.router.render.memo import MEMO_ENTRIES
from auditline.workers.router.render.ours import TITLE_FIELD

_PLAIN_PROGRAM = re.compile(r'("[^"]+") exe=("[^"]+") key=(\(null\)|"(?!key=)[^"]+")').fullmatch
_PROGRAM_KEYS = frozenset({"comm", "exe", "subj", "key"})
_PROGRAM_PAIRS = 2
"""exe= and key=, behind the value of comm: no value has a `=` in it."""
_PLAIN_TERMINAL = re.compile(r"""((?!\(null\) )[^ "'\\=?]+) ses=([0-9]+)""").fullmatch
_PLAIN_PAIR = re.compile(r"([a-z_]+)=([0-9A-Za-z:]+)").fullmatch
_PLAIN_PATH_KEYS = frozenset(
    {
        "dev", "mode", "ouid", "ogid", "rdev", "nametype", "objtype",
        "cap_fp", "cap_fi", "cap_fe", "cap_fver", "cap_frootid",
    }
)  # fmt: skip
_PATH_HEAD_KEYS = frozenset({"item", "name", "inode"})

Terminal = tuple[str, str]
"""The session, and the terminal's name."""
Title = tuple[str, str, str]
"""The JSON of a title, empty if there is none; if that does not give its bytes back the member `title` of
`auditline.decoded`, or, of one that is not UTF-8, the member `undecodable`."""


class Program(NamedTuple):
    """What comm, exe, subj and key give: JSON, but for the labels; empty where there is nothing."""

    comm: str
    exe: str
    how: str
    key: str
    """One key, or a list of several."""
    keys: str
    """A list in any case."""
    selinux: dict[str, str]
    subject: str
    """A subject's label that is none of SELinux'."""


class Command(NamedTuple):
    """The JSON of what an EXECVE says."""

    argc: str
    line: str
    arguments: str


class Address(NamedTuple):
    """What a SOCKADDR says, and the JSON of it and of what it is called; empty where there is nothing."""

    parts: dict[str, str]
    json: str
    primary: str
    secondary: str


def path_fields(text: str) -> tuple[dict[str, str], Names] | None:
    """Return the fields of a PATH from dev or nametype on, and the names that auditd added to it."""
    path, names = _plain_pairs(text), Names()
    if path is None and (unusual := _path_facts(text)) is not None:
        path, names = unusual.paths[0], unusual.path_names[0]
    return (path, names) if path and _PATH_HEAD_KEYS.isdisjoint(path) else None


def _plain_pairs(text: str) -> dict[str, str] | None:
    """Return the fields of a PATH in which nothing is quoted, encoded, null or cut, and none comes twice."""
    pairs: dict[str, str] = {}
    for token in text.split(" "):
        match = _PLAIN_PAIR(token)
        if match is None or match[1] in pairs or match[1] not in _PLAIN_PATH_KEYS:
            return None
        pairs[match[1]] = match[2]
    return None if pairs.keys().isdisjoint(LAST_KEYS[types.PATH]) else pairs


def _path_facts(text: str) -> Facts | None:
    """Return what the plain way makes of labels, of names added by auditd, and of whatever else has no complaint."""
    record, _ = split_enrichment(text)
    facts = facts_of(types.PATH, text)
    if _has_surprises(record) or facts.undecodable or facts.warnings or facts.suspicious:
        return None
    return facts


def make_terminal(text: str) -> Terminal | None:
    """Return the session and the terminal."""
    match = _PLAIN_TERMINAL(text)
    if match is None or not is_plain(text):
        return None
    return UNSET if match[2] == "4294967295" else match[2], match[1]


def make_program(text: str) -> Program | None:
    """Return what a SYSCALL says from the value of comm on."""
    match = _PLAIN_PROGRAM(text)
    if match is None or not is_plain(text) or text.count("=") != _PROGRAM_PAIRS:
        return _make_unusual_program(f"comm={text}")
    comm, exe, key = match.groups()
    how = comm if _is_interpreted(exe, comm) else exe
    if key == "(null)":
        return Program(comm, exe, how, "", "", {}, "")
    return Program(comm, exe, how, key, f"[{key}]", {}, "")


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
        comm=_json_or_nothing(facts.data.get("comm")),
        exe=_json_or_nothing(facts.data.get("exe")),
        how=_json_or_nothing(default_how(facts.value("exe"), facts.value("comm"))),
        key=to_json(facts.keys[0] if len(facts.keys) == 1 else facts.keys) if facts.keys else "",
        keys=to_json(facts.keys) if facts.keys else "",
        selinux=facts.selinux,
        subject=_json_or_nothing(facts.data.get("subj")),
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
    return _json_or_nothing(facts.paths[0].get("name"))


def make_directory(body: str) -> str | None:
    """Return the JSON of a CWD; "" for (null)."""
    value = body[4:]
    if (
        body[:4] == "cwd="
        and value.count('"') == 2
        and value[0] == '"' == value[-1]
        and value != '""'
        and is_plain(value)
        and "=" not in value
    ):
        return value
    return _only_value("cwd", types.CWD, body)


def make_title(body: str) -> Title | None:
    """Return the JSON of a PROCTITLE, and its exact bytes where it has blanks of its own."""
    if body[:10] == "proctitle=" and (raw := _from_hex(body[10:])) is not None:
        if b" " not in raw and raw[-1:] != b"\0" and raw.isascii():
            text, exact = raw.replace(b"\0", b" ").decode("ascii"), None
            if (
                text.isprintable()
                and '"' not in text
                and "\\" not in text
                and "=" not in text
                and text not in NULL_VALUES
            ):
                return f'"{text}"', "", ""
        else:
            text, exact = title_text(raw)
        if text in NULL_VALUES or not (is_harmless(text) or _is_honest_title(text, exact)):
            return None
        if exact is None:
            return _text_json(text), "", ""
        if (parts := title_list(exact)) is not None:
            return _text_json(text), f',"title":{to_json(parts)}', ""
        return _text_json(text), "", _undecodable_member(TITLE_FIELD, exact)
    title = _only_value("proctitle", types.PROCTITLE, body)
    return None if title is None else (title, "", "")


def _is_honest_title(text: str, exact: bytes | None) -> bool:
    return not any(is_suspicious(part, is_command=True) for part in title_parts(text, exact))


def _undecodable_member(field: str, raw: bytes) -> str:
    return f',"undecodable":[{{"field":"{field}","base64":"{b2a_base64(raw, newline=False).decode()}"}}]'


def _only_value(key: str, kind: int, body: str) -> str | None:
    """Return the JSON of a record's one field, the plain way; "" if it is null."""
    facts = facts_of(kind, body)
    return None if _is_odd(body, facts) else _json_or_nothing(facts.data.get(key))


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


def make_command(body: str) -> Command | None:
    """Return what an EXECVE says that is whole."""
    arguments = _plain_arguments(body)
    if arguments is not None:
        return Command(f'"{len(arguments)}"', to_json(to_command_line(arguments)), to_json(arguments))
    facts = facts_of(types.EXECVE, body)
    is_odd = facts.undecodable or facts.warnings or facts.suspicious or "argc_mismatch" in facts.reasons
    if is_odd or GROUP_SEPARATOR in body or facts.data.keys() != {"argc", "cmdline"}:
        return None
    arguments_json = to_json(facts.arguments) if facts.arguments else ""
    return Command(to_json(facts.data["argc"]), to_json(facts.data["cmdline"]), arguments_json)


def _plain_arguments(body: str) -> list[str] | None:
    """Return the arguments, where each is one word and plainly harmless; None if there is something else."""
    first, *words = body.split(" ")
    if first != f"argc={len(words)}" or not words or not is_plain(body):
        return None
    arguments = []
    for position, word in enumerate(words):
        key, _, value = word.partition("=")
        if key != f"a{position}":
            return None
        if value.count('"') == 2 and value[0] == '"' == value[-1]:
            argument = value[1:-1]
        elif (raw := _from_hex(value)) is not None and raw.isascii():
            argument = raw.decode("ascii")
        else:
            return None
        if not is_harmless(argument) and is_suspicious(argument, is_command=True):
            return None
        arguments.append(argument)
    return arguments


def make_address(body: str) -> Address | None:
    """Return the address of a SOCKADDR of a little-endian machine."""
    raw = _from_hex(body[6:]) if body[:6] == "saddr=" else None
    if raw is None:
        return None
    socket: dict[str, str] = {}
    for key, value in decode_socket_address(raw, None).items():
        if isinstance(value, bytes) or is_suspicious(value):
            return None
        socket[key] = value
    return Address(
        parts=socket,
        json=to_json(socket),
        primary=_json_or_nothing(socket.get("addr") or socket.get("path") or None),
        secondary=_json_or_nothing(socket.get("port")),
    )


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


def member(name: str, value: Any) -> str:
    """Return a member with a comma behind it, nothing for what is empty."""
    return f'"{name}":{to_json(value)},' if value else ""


def _json_or_nothing(value: Any) -> str:
    return "" if value is None else to_json(value)
