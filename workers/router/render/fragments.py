"""Schema `audit`, the fast way: the same bytes as `audit.AuditRenderer`, put together from remembered fragments.

A SYSCALL record is cut where its variability changes (call and result, arguments and pids, ids, terminal to
key), a PATH before ` dev=`; the JSON of the parts that repeat is remembered. Whatever is not of the common
shape, or not plainly well-formed, goes the plain way. tests/router/test_fragments.py compares the two, byte for
byte.
"""

import re
from binascii import unhexlify
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import HIDING_CALLS, gather_facts
from auditline.workers.router.decode.fields import GROUP_SEPARATOR, kernel_fields, split_enrichment
from auditline.workers.router.decode.records import LAST_KEYS, UNSET
from auditline.workers.router.decode.socket_address import byte_order
from auditline.workers.router.decode.text import NULL_VALUES
from auditline.workers.router.event import Event, Facts, Names
from auditline.workers.router.names import IdNames
from auditline.workers.router.naming.engine import default_how, file_kind, find_meaning, is_interpreter, system_call_row
from auditline.workers.router.render.audit import AuditRenderer
from auditline.workers.router.render.last_resort import render_raw
from auditline.workers.router.render.lines import timestamp_of_second, to_json

MEMO_ENTRIES = 2048
"""Small memos hit as often on real logs as large ones, and stay in the processor's cache."""

_PATH, _CWD, _PROCTITLE = types.PATH, types.CWD, types.PROCTITLE
_EXECVE, _SOCKADDR = types.EXECVE, types.SOCKADDR

_HEAD = re.compile(r"arch=[0-9a-f]+ syscall=[0-9]+(?: success=(?:yes|no)(?: exit=-?[0-9]+)?)?")
_MIDDLE = re.compile(
    r"([0-9a-f]+) a1=([0-9a-f]+) a2=([0-9a-f]+) a3=([0-9a-f]+) items=([0-9]+) ppid=([0-9]+) pid=([0-9]+)"
).fullmatch
_IDS = re.compile(
    r"[0-9]+ uid=[0-9]+ gid=[0-9]+ euid=[0-9]+ suid=[0-9]+ fsuid=[0-9]+ egid=[0-9]+ sgid=[0-9]+ fsgid=[0-9]+"
)
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
_PATH_HEAD_KEYS = frozenset({"item", "name", "inode"})

_Fragment = TypeVar("_Fragment")


class _Memo(dict[str, _Fragment | None], Generic[_Fragment]):
    """Remembers what *make* made of a text; None: not of the common shape."""

    def __init__(self, make: Callable[[str], _Fragment | None]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> _Fragment | None:
        if len(self) >= MEMO_ENTRIES:
            self.clear()
        made = self[text] = self._make(text)
        return made


class _Head(NamedTuple):
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


class _Program(NamedTuple):
    """What comm, exe, subj and key give."""

    selinux: str
    how: str
    key: str
    data: str


class _PathTail(NamedTuple):
    """What a PATH has from dev on."""

    json: str
    kind: str | None
    rank: int
    """0: what was acted on, 1: only looked for, 2: a parent directory."""
    selinux: str


class FragmentRenderer:
    """Renders like AuditRenderer, an order of magnitude faster for plain system call events."""

    def __init__(self, names: IdNames) -> None:
        self._plain = AuditRenderer(names)
        self._heads = _Memo(_make_head)
        self._ids = _Memo(self._make_ids)
        self._enriched_ids = _Memo(self._make_enriched_ids)
        self._terminals = _Memo(_make_terminal)
        self._programs = _Memo(_make_program)
        self._path_tails = _Memo(self._make_path_tail)
        self._names = _Memo(_make_path_name)
        self._items = _Memo(_make_item)
        self._directories = _Memo(_make_directory)
        self._titles = _Memo(_make_title)
        self._commands = _Memo(_make_command)
        self._addresses = _Memo(_make_address)
        self._hosts = _Memo(to_json)

    def forget_names(self) -> None:
        """Names of ids have changed: what was rendered with the old ones must go."""
        self._ids.clear()
        self._enriched_ids.clear()
        self._path_tails.clear()

    def render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        """Return the event's id, its line without the newline, and whether it is complete."""
        try:
            if event.has_eoe and event.types[0] == types.SYSCALL and not event.amends:
                fast = self._fast(event, host, host_name)
                if fast is not None:
                    return fast
            return self._plain.render(event, host, host_name)
        except Exception as error:  # noqa: BLE001 (whatever it is, the event is kept and the next one is read)
            return render_raw(event, host, host_name, error)

    # Longer than other functions, because every call costs a tenth of the time that the whole of it takes.
    def _fast(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool] | None:  # noqa: C901, PLR0911, PLR0912, PLR0915
        bodies = event.bodies
        head_text, _, rest = bodies[0].partition(" a0=")
        middle_text, _, tail = rest.partition(" auid=")
        ids_text, _, context_text = tail.partition(" tty=")
        terminal_text, _, program_text = context_text.partition(" comm=")
        program_text, enriched, names_text = program_text.partition(GROUP_SEPARATOR)
        call_text, _, exit_text = head_text.partition(" exit=")
        middle = _MIDDLE(middle_text)
        actor = self._ids[ids_text] if not enriched else self._enriched_ids[f"{ids_text}{enriched}{names_text}"]
        terminal = self._terminals[terminal_text]
        program = self._programs[program_text]
        head = self._heads[call_text]
        if head is None or middle is None or actor is None or terminal is None or program is None:
            return None
        exit_json = thing = ""
        if exit_text.isdigit():
            exit_json = f',"exit":"{exit_text}"'
            if head.thing_is_exit:
                thing = f'"thing":{{"what":"{head.what}","primary":"{exit_text}"}},'
        elif (head := self._heads[head_text]) is None:
            return None
        a0, a1, a2, a3, items, ppid, pid = middle.groups()
        data = socket = arguments = command = thing_path = ""
        thing_rank = 3
        paths = []
        has_cwd = has_title = False
        path_tails = self._path_tails
        for kind, body in zip(event.types, bodies, strict=True):
            if kind == _PATH:
                first, dev, tail = body.partition(" dev=")
                if not dev:
                    first, _, tail = body.partition(" nametype=")
                    tail = f"\0{tail}"
                item, _, name = first.partition(" name=")
                name, _, inode = name.partition(" inode=")
                item_json = self._items[item]
                path_tail = path_tails[tail]
                if item_json is None or path_tail is None:
                    return None
                # A quoted name is its own JSON, if nothing in it needs an escape.
                if name.count('"') == 2 and name[0] == '"' == name[-1] and name.isprintable() and "\\" not in name:
                    name_json = name
                elif (name_json := self._names[name]) is None:  # type: ignore[assignment]
                    return None
                if inode and not inode.isdigit():
                    return None
                tail_json, what, rank, labels = path_tail
                name_member = f',"name":{name_json}' if name_json else ""
                inode_member = f',"inode":"{inode}"' if inode else ""
                paths.append(f"{{{item_json}{name_member}{inode_member}{tail_json}")
                if rank < thing_rank:
                    thing_rank = rank
                    primary = f',"primary":{name_json}' if name_json else ""
                    secondary = f',"secondary":"{inode}"' if inode else ""
                    thing_path = f'"thing":{{"what":"{what or head.what}"{primary}{secondary}{labels}}},'
            elif kind == _CWD:
                if has_cwd or (field := self._directories[body]) is None:
                    return None
                has_cwd = True
                data += field
            elif kind == _PROCTITLE:
                if has_title or (field := self._titles[body]) is None:
                    return None
                has_title = True
                data += field
            elif kind == _EXECVE:
                if command or (made := self._commands[body]) is None:
                    return None
                command, arguments = made
            elif kind == _SOCKADDR:
                if socket or not head.is_little_endian or (address := self._addresses[body]) is None:
                    return None
                socket, socket_thing = address
            elif body is not bodies[0]:
                return None
        if items != str(len(paths)) and not (head.hides_items and len(paths) < 2):
            return None
        if paths and head.on_path:
            thing = thing_path
        elif socket and head.on_socket:
            thing = f'"thing":{{"what":"socket"{socket_thing}}},'
        elif not thing:
            thing = head.thing
        paths_json = f',"paths":[{",".join(paths)}]' if paths else ""
        serial = event.serial
        identity = f"{host}-{event.seconds}.{event.milliseconds}-{serial}"
        host_json = "" if host_name is None else f'"host":{{"name":{self._hosts[host_name]}}},'
        line = (
            f'{{"@timestamp":"{timestamp_of_second(event.seconds)}.{event.milliseconds}Z",'
            f'"event":{{"id":"{identity}"}},{host_json}"audit":{{"kernel":{{"sequence":{serial},'
            f'"category":"audit-rule","record_type":"syscall",{terminal[0]}"result":"{head.result}",'
            f'"actor":{{{actor}{program.selinux}}},{head.action}{thing}{head.how or program.how}{program.key}'
            f'"data":{{{head.data}{exit_json},"a0":"{a0}","a1":"{a1}","a2":"{a2}","a3":"{a3}","ppid":"{ppid}","pid":"{pid}"'
            f'{terminal[1]}{program.data}{data}{command}}}{paths_json}{socket}}}}},"auditline":{{"complete":true{arguments}}}}}'
        )
        return identity, line, True

    def _make_ids(self, text: str) -> str | None:
        if _IDS.fullmatch(text) is None:
            return None
        return self._actor_of(text)

    def _make_enriched_ids(self, text: str) -> str | None:
        """The same with the names that auditd wrote behind the record."""
        ids, names = split_enrichment(text)
        if not names or _IDS.fullmatch(ids) is None:
            return None
        return self._actor_of(text)

    def _actor_of(self, text: str) -> str:
        facts = _facts_of(types.SYSCALL, f"auid={text}")
        return _inside(self._plain.actor(facts, find_meaning(facts)))

    def _make_path_tail(self, text: str) -> _PathTail | None:
        text = f"nametype={text[1:]}" if text[:1] == "\0" else f"dev={text}"
        names: Names = {}
        path = _plain_pairs(text)
        if path is None and (unusual := _path_facts(text)) is not None:
            path, names = unusual.paths[0], unusual.path_names[0]
        if not path or not _PATH_HEAD_KEYS.isdisjoint(path):
            return None
        labels = {key[4:]: value for key, value in path.items() if key.startswith("obj_")}
        name_type = path.get("nametype", path.get("objtype"))
        return _PathTail(
            json=f",{_inside(self._plain.path(path, names))}}}",
            kind=file_kind(path.get("mode", "")),
            rank={"PARENT": 2, "UNKNOWN": 1}.get(name_type or "", 0),
            selinux=f',"selinux":{to_json(labels)}' if labels else "",
        )


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
    facts = _facts_of(types.PATH, text)
    if _has_surprises(record) or facts.undecodable or facts.warnings:
        return None
    return facts


def _make_head(text: str) -> _Head | None:
    if _HEAD.fullmatch(text) is None:
        return None
    facts = _facts_of(types.SYSCALL, text)
    meaning = find_meaning(facts)
    thing = {"what": meaning.what, "primary": meaning.primary, "secondary": meaning.secondary}
    thing = {key: value for key, value in thing.items() if value is not None}
    return _Head(
        result=facts.result,
        action=_member("action", meaning.action),
        what=meaning.what,
        on_path=meaning.what in ("file", "filesystem"),
        on_socket=meaning.what == "socket" and "primary" not in thing,
        thing=_member("thing", thing),
        how=_member("how", meaning.how),
        data=_inside(facts.data),
        hides_items=facts.value("syscall") in HIDING_CALLS,
        is_little_endian=byte_order(facts.value("arch")) == "little",
        thing_is_exit=system_call_row(facts.value("syscall") or "").primary == ("exit",),
    )


def _make_terminal(text: str) -> tuple[str, str] | None:
    """Return the session and the terminal."""
    match = _PLAIN_TERMINAL(text)
    if match is None or not _is_plain(text):
        return None
    session = UNSET if match[2] == "4294967295" else match[2]
    return f'"session":"{session}",', f',"tty":"{match[1]}"'


def _make_program(text: str) -> _Program | None:
    match = _PLAIN_PROGRAM(text)
    if match is not None and _is_plain(text):
        comm, exe, key = match.groups()
        return _Program(
            selinux="",
            how=f'"how":{comm if _is_interpreter(exe) else exe},',
            key="" if key == "(null)" else f'"key":{key},',
            data=f',"comm":{comm},"exe":{exe}',
        )
    return _make_unusual_program(f"comm={text}")


@lru_cache(MEMO_ENTRIES)
def _is_interpreter(exe: str) -> bool:
    return is_interpreter(exe[1:-1])


def _make_unusual_program(text: str) -> _Program | None:
    """The same for labels, keys and names in hex, several keys."""
    if _has_surprises(text) or not _PROGRAM_KEYS.issuperset(key for key, _ in kernel_fields(text)):
        return None
    facts = _facts_of(types.SYSCALL, text)
    if facts.warnings or facts.undecodable or not facts.data:
        return None
    return _Program(
        selinux=f',"selinux":{to_json(facts.selinux)}' if facts.selinux else "",
        how=_member("how", default_how(facts.value("exe"), facts.value("comm"))),
        key=_member("key", facts.keys[0] if len(facts.keys) == 1 else facts.keys),
        data=f",{_inside(facts.data)}",
    )


def _make_item(text: str) -> str | None:
    return f'"item":"{text[5:]}"' if text[:5] == "item=" and text[5:].isdigit() else None


def _make_path_name(text: str) -> str | None:
    """Return the JSON of a name that is not plainly quoted; "" for (null)."""
    if (raw := _from_hex(text)) is not None:
        return _json_of_utf8(raw)
    if " " in text or _has_surprises(f"name={text}"):
        return None
    facts = _facts_of(types.PATH, f"name={text} nametype=NORMAL")
    if facts.undecodable or facts.warnings:
        return None
    name = facts.paths[0].get("name")
    return "" if name is None else to_json(name)


def _make_directory(body: str) -> str | None:
    """Return the member of a CWD."""
    value = body[4:]
    if (
        body[:4] == "cwd="
        and value.count('"') == 2
        and value[0] == '"' == value[-1]
        and value != '""'
        and _is_plain(value)
    ):
        return f',"cwd":{value}'
    return _make_member(types.CWD, body)


def _make_title(body: str) -> str | None:
    """Return the member of a PROCTITLE."""
    if body[:10] == "proctitle=" and (raw := _from_hex(body[10:])) is not None:
        title = _json_of_utf8(raw.rstrip(b"\0").replace(b"\0", b" "))
        return None if title is None else f',"proctitle":{title}'
    return _make_member(types.PROCTITLE, body)


def _make_member(kind: int, body: str) -> str | None:
    """Return the one field of a record of one field, the plain way; "" if it is null."""
    facts = _facts_of(kind, body)
    if _has_surprises(body) or facts.undecodable or facts.warnings or len(list(kernel_fields(body))) != 1:
        return None
    return f",{_inside(facts.data)}" if facts.data else ""


def _from_hex(text: str) -> bytes | None:
    """Return the bytes of upper-case hex, None for anything else; faster than a regular expression."""
    if text.isupper() or text.isdecimal():
        try:
            return unhexlify(text)
        except ValueError:
            return None
    return None


def _is_plain(text: str) -> bool:
    return "\\" not in text and text.isprintable()


def _json_of_utf8(raw: bytes) -> str | None:
    """Return decoded bytes as JSON; None if they are not UTF-8 or nothing."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    if not text or text in NULL_VALUES:
        return None
    return f'"{text}"' if '"' not in text and _is_plain(text) else to_json(text)


def _make_command(body: str) -> tuple[str, str] | None:
    """Return argc and command line, and the arguments, of an EXECVE that is whole."""
    facts = _facts_of(types.EXECVE, body)
    if GROUP_SEPARATOR in body or facts.undecodable or facts.warnings or "argc_mismatch" in facts.reasons:
        return None
    arguments = f',"decoded":{{"args":{to_json(facts.arguments)}}}' if facts.arguments else ""
    return f",{_inside(facts.data)}", arguments


def _make_address(body: str) -> tuple[str, str] | None:
    """Return the socket, and what of it names a thing."""
    facts = _facts_of(types.SOCKADDR, body)
    if _has_surprises(body) or facts.undecodable or facts.warnings or len(list(kernel_fields(body))) != 1:
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


def _facts_of(kind: int, body: str) -> Facts:
    event = Event("audit(0.000:0", None, "0", "000", 0)
    event.types.append(kind)
    event.bodies.append(body)
    return gather_facts(event)


def _inside(members: dict[str, Any]) -> str:
    return to_json(members)[1:-1]


def _member(name: str, value: Any) -> str:
    return f'"{name}":{to_json(value)},' if value else ""
