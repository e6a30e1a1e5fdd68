"""Schema `audit`, the fast way: the same bytes as `audit.AuditRenderer`, put together from remembered fragments.

`cutting` cuts the records, this says what becomes of the parts. tests/router/test_fragments.py compares the two ways,
byte for byte.
"""

from collections.abc import Mapping

from auditline.workers.common.timestamps import timestamp_of_second
from auditline.workers.router.compiling import COMPILED, Compiled
from auditline.workers.router.event import Event, Facts, Meaning, Names
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.audit import AuditRenderer
from auditline.workers.router.render.cutting import Cutter, Head, Parts
from auditline.workers.router.render.last_resort import render_raw
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep, printable_records, to_json
from auditline.workers.router.render.pieces import Program, Terminal, inside, member

Call = tuple[str, str, str, str, str]
"""What stands before the actor, the action, the thing if no record tells it, how, and the data's beginning."""

Frame = tuple[str, str, str, str]
"""What stands between the sequence and the thing, the thing if no record tells it, what stands from there to a0, and
what stands behind the pids."""


class FragmentRenderer:
    """Renders like AuditRenderer, an order of magnitude faster for plain system call events."""

    def __init__(self, names: IdNames, keep: Keep = DEFAULT_KEEP, compiled: Compiled | None = COMPILED) -> None:
        self._plain = AuditRenderer(names, keep)
        self._keeps_raw = keep.raw
        self._cutter = Cutter(self, compiled)
        self._beginnings: dict[str | None, str] = {}

    def forget_names(self) -> None:
        """Names of ids have changed: what was rendered with the old ones must go."""
        self._cutter.forget_names()

    def render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        """Return the event's id, its line without the newline, and whether it is complete."""
        try:
            if (parts := self._cutter.cut(event)) is not None:
                return self._compose(event, host, host_name, parts)
            return self._plain.render(event, host, host_name)
        except Exception as error:  # noqa: BLE001 (whatever it is, the event is kept and the next one is read)
            return render_raw(event, host, host_name, error)

    def _compose(self, event: Event, host: str, host_name: str | None, parts: Parts) -> tuple[str, str, bool]:
        head, frame, registers, directory, title, command, address, paths, acted, _, ours = parts
        until_thing, thing, until_a0, behind_pids = frame
        a0, a1, a2, a3, _, ppid, pid = registers
        more = paths_json = socket = ""
        if acted is not None:
            paths_json = f',"paths":[{",".join([path[1] for path in paths])}]'
            if head.on_path:
                _, _, name, inode, _, path_tail = acted
                primary = f',"primary":{name}' if name else ""
                secondary = f',"secondary":"{inode}"' if inode else ""
                thing = f'"thing":{{"what":"{path_tail.kind or head.what}"{primary}{secondary}{path_tail.made}}},'
        if directory:
            more = f',"cwd":{directory}'
        if title:
            more += f',"proctitle":{title}'
        if command is not None:
            more += f',"argc":{command.argc},"cmdline":{command.line}'
        if address is not None:
            socket = f',"socket":{address.json}'
            if head.on_socket:
                thing = _thing("socket", address.primary, address.secondary, "")
        messages = f',"messages":{to_json(printable_records(event))}' if self._keeps_raw else ""
        identity = f"{host}-{event.seconds}.{event.milliseconds}-{event.serial}"
        line = (
            f'{{"@timestamp":"{timestamp_of_second(event.seconds)}.{event.milliseconds}Z",'
            f'"event":{{"id":"{identity}"}},{self._beginnings.get(host_name) or self._begin(host_name)}{event.serial}'
            f'{until_thing}{thing}{until_a0}{a0}","a1":"{a1}","a2":"{a2}","a3":"{a3}","ppid":"{ppid}","pid":"{pid}'
            f'{behind_pids}{more}}}{paths_json}{socket}{messages}}}}},"auditline":{ours}}}'
        )
        return identity, line, True

    def _begin(self, host_name: str | None) -> str:
        """Return what stands between the id and the sequence."""
        host = "" if host_name is None else f'"host":{{"name":{to_json(host_name)}}},'
        self._beginnings.clear()
        self._beginnings[host_name] = beginning = f'{host}"audit":{{"kernel":{{"sequence":'
        return beginning

    def make_head(self, facts: Facts, meaning: Meaning) -> Call:
        """Return what there is to say before the arguments are known."""
        thing = {"what": meaning.what, "primary": meaning.primary, "secondary": meaning.secondary}
        return (
            f'"result":"{facts.result}","actor":{{',
            member("action", meaning.action),
            member("thing", {key: value for key, value in thing.items() if value is not None}),
            member("how", meaning.how),
            f'"data":{{{inside(facts.data)}',
        )

    def make_call(self, head: Head, exit_text: str) -> Call:
        """Return the same with a number that was returned."""
        until_actor, action, thing, how, data = head.made
        if exit_text:
            data += f',"exit":"{exit_text}"'
            if head.thing_is_exit:
                thing = _thing(head.what, f'"{exit_text}"', "", "")
        return until_actor, action, thing, how, data

    def make_ids(self, facts: Facts, meaning: Meaning) -> str:
        """Return the members of the actor."""
        return inside(self._plain.actor(facts, meaning))

    def make_terminal(self, terminal: Terminal) -> tuple[str, str]:
        """Return the session, and the terminal among the data."""
        session, tty = terminal
        return f'"session":"{session}",', f',"tty":"{tty}"'

    def make_program(self, program: Program) -> tuple[str, str, str, str]:
        """Return the actor's labels, how, the key and the end of the data."""
        comm, exe, how, key, _, selinux, subject = program
        return (
            f',"selinux":{to_json(selinux)}' if selinux else "",
            f'"how":{how},' if how else "",
            f'"key":{key},' if key else "",
            _data("comm", comm) + _data("exe", exe) + _data("subj", subject),
        )

    def make_frame(self, call: Call, ids: str, terminal: tuple[str, str], program: tuple[str, str, str, str]) -> Frame:
        """Return what stands around the thing and the registers."""
        until_actor, action, thing, how, data = call
        session, tty = terminal
        selinux, program_how, key, program_data = program
        return (
            f',"category":"audit-rule","record_type":"syscall",{session}{until_actor}{ids}{selinux}}},{action}',
            thing,
            f'{how or program_how}{key}{data},"a0":"',
            f'"{tty}{program_data}',
        )

    def make_path_tail(self, path: Mapping[str, str], names: Names) -> tuple[str, str]:
        """Return the members of the path, and the labels of the thing."""
        labels = {key[4:]: value for key, value in path.items() if key.startswith("obj_")}
        selinux = f',"selinux":{to_json(labels)}' if labels else ""
        return f",{inside(self._plain.path(dict(path), names))}", selinux


def _thing(what: str | None, primary: str, secondary: str, selinux: str) -> str:
    primary = f',"primary":{primary}' if primary else ""
    secondary = f',"secondary":{secondary}' if secondary else ""
    return f'"thing":{{"what":"{what}"{primary}{secondary}{selinux}}},'


def _data(name: str, value: str) -> str:
    return f',"{name}":{value}' if value else ""
