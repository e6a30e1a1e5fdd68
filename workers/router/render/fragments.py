"""Schema `audit`, the fast way: the same bytes as `audit.AuditRenderer`, put together from remembered fragments.

A SYSCALL record is cut where its variability changes (call and result, arguments and pids, ids, terminal to
key), a PATH before ` dev=`; the JSON of the parts that repeat is remembered. Whatever is not of the common
shape, or not plainly well-formed, goes the plain way. tests/router/test_fragments.py compares the two, byte for
byte.
"""

import re
from collections.abc import Callable
from typing import Generic, TypeVar

from auditline.workers.router.decode import types
from auditline.workers.router.decode.fields import GROUP_SEPARATOR, split_enrichment
from auditline.workers.router.event import Event, Names
from auditline.workers.router.names import IdNames
from auditline.workers.router.naming.engine import file_kind, find_meaning
from auditline.workers.router.render.audit import AuditRenderer
from auditline.workers.router.render.called import CalledFragments, Item
from auditline.workers.router.render.last_resort import render_raw
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep, timestamp_of_second, to_json
from auditline.workers.router.render.pieces import (
    MEMO_ENTRIES,
    PATH_HEAD_KEYS,
    PathTail,
    facts_of,
    inside,
    is_plain,
    make_address,
    make_command,
    make_directory,
    make_head,
    make_item,
    make_path_name,
    make_program,
    make_terminal,
    make_title,
    path_facts,
    plain_pairs,
)

_PATH, _CWD, _PROCTITLE = types.PATH, types.CWD, types.PROCTITLE
_EXECVE, _SOCKADDR = types.EXECVE, types.SOCKADDR

_MIDDLE = re.compile(
    r"([0-9a-f]+) a1=([0-9a-f]+) a2=([0-9a-f]+) a3=([0-9a-f]+) items=([0-9]+) ppid=([0-9]+) pid=([0-9]+)"
).fullmatch
_IDS = re.compile(
    r"[0-9]+ uid=[0-9]+ gid=[0-9]+ euid=[0-9]+ suid=[0-9]+ fsuid=[0-9]+ egid=[0-9]+ sgid=[0-9]+ fsgid=[0-9]+"
)
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


class FragmentRenderer:
    """Renders like AuditRenderer, an order of magnitude faster for plain system call events."""

    def __init__(self, names: IdNames, keep: Keep = DEFAULT_KEEP) -> None:
        self._plain = AuditRenderer(names, keep)
        self._keeps_raw = keep.raw
        self._heads = _Memo(make_head)
        self._ids = _Memo(self._make_ids)
        self._enriched_ids = _Memo(self._make_enriched_ids)
        self._terminals = _Memo(make_terminal)
        self._programs = _Memo(make_program)
        self._path_tails = _Memo(self._make_path_tail)
        self._names = _Memo(make_path_name)
        self._items = _Memo(make_item)
        self._directories = _Memo(make_directory)
        self._titles = _Memo(make_title)
        self._commands = _Memo(make_command)
        self._addresses = _Memo(make_address)
        self._hosts = _Memo(to_json)
        self._called = CalledFragments()

    def forget_names(self) -> None:
        """Names of ids have changed: what was rendered with the old ones must go."""
        self._ids.clear()
        self._enriched_ids.clear()
        self._path_tails.clear()

    def render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        """Return the event's id, its line without the newline, and whether it is complete."""
        try:
            is_common = event.has_eoe and event.types[0] == types.SYSCALL and not (event.amends or event.reasons)
            if is_common and not self._keeps_raw:
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
        data = socket = decoded = command = cwd = thing_path = undecodable = ""
        thing_rank = 3
        paths = []
        named: list[Item] = []
        has_cwd = has_title = False
        path_tails = self._path_tails
        for kind, body in zip(event.types[1:], bodies[1:], strict=True):
            if kind == _PATH:
                first, dev, tail = body.partition(" dev=")
                if not dev:
                    first, _, tail = body.partition(" nametype=")
                    tail = f"\0{tail}"
                item, _, name = first.partition(" name=")
                name, has_inode, inode = name.partition(" inode=")
                item_json = self._items[item]
                path_tail = path_tails[tail]
                if item_json is None or path_tail is None:
                    return None
                # A quoted name is its own JSON, if nothing in it needs an escape or a second look.
                if name.count('"') == 2 and name[0] == '"' == name[-1] and is_plain(name) and "=" not in name:
                    name_json = name
                elif (name_json := self._names[name]) is None:  # type: ignore[assignment]
                    return None
                if has_inode and not inode.isdigit():
                    return None
                tail_json, what, name_type, rank, labels = path_tail
                named.append((name_type, name_json))
                name_member = f',"name":{name_json}' if name_json else ""
                inode_member = f',"inode":"{inode}"' if inode else ""
                paths.append(f"{{{item_json}{name_member}{inode_member}{tail_json}")
                if rank < thing_rank:
                    thing_rank = rank
                    primary = f',"primary":{name_json}' if name_json not in ("", '""') else ""
                    secondary = f',"secondary":"{inode}"' if inode else ""
                    thing_path = f'"thing":{{"what":"{what or head.what}"{primary}{secondary}{labels}}},'
            elif kind == _CWD:
                if has_cwd or (field := self._directories[body]) is None:
                    return None
                has_cwd = True
                cwd = field
                data += field
            elif kind == _PROCTITLE:
                if has_title or (title := self._titles[body]) is None:
                    return None
                has_title = True
                field, undecodable = title
                data += field
            elif kind == _EXECVE:
                if command or (made := self._commands[body]) is None:
                    return None
                command, decoded = made
            elif kind == _SOCKADDR:
                if socket or not head.is_little_endian or (address := self._addresses[body]) is None:
                    return None
                socket, socket_thing = address
            else:
                return None
        if items != str(len(paths)) and not (head.hides_items and len(paths) < 2):
            return None
        if paths and head.on_path:
            thing = thing_path
        elif socket and head.on_socket:
            thing = f'"thing":{{"what":"socket"{socket_thing}}},'
        elif not thing:
            thing = head.thing
        decoded += self._called.members(call_text, (a0, a1, a2, a3), cwd, named)
        if decoded:
            decoded = f',"decoded":{{{decoded[1:]}}}'
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
            f'{terminal[1]}{program.data}{data}{command}}}{paths_json}{socket}}}}},"auditline":{{"complete":true{decoded}{undecodable}}}}}'
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
        facts = facts_of(types.SYSCALL, f"auid={text}")
        return inside(self._plain.actor(facts, find_meaning(facts)))

    def _make_path_tail(self, text: str) -> PathTail | None:
        text = f"nametype={text[1:]}" if text[:1] == "\0" else f"dev={text}"
        names: Names = {}
        path = plain_pairs(text)
        if path is None and (unusual := path_facts(text)) is not None:
            path, names = unusual.paths[0], unusual.path_names[0]
        if not path or not PATH_HEAD_KEYS.isdisjoint(path):
            return None
        labels = {key[4:]: value for key, value in path.items() if key.startswith("obj_")}
        name_type = path.get("nametype", path.get("objtype"))
        return PathTail(
            json=f",{inside(self._plain.path(path, names))}}}",
            kind=file_kind(path.get("mode", "")),
            name_type=name_type,
            rank={"PARENT": 2, "UNKNOWN": 1}.get(name_type or "", 0),
            selinux=f',"selinux":{to_json(labels)}' if labels else "",
        )
