"""Schema `ecs`, the fast way: the same bytes as `ecs.EcsRenderer`, put together from remembered fragments.

`cutting` cuts the records, this says what becomes of the parts. tests/router/test_fragments.py compares the two ways,
byte for byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from auditline.workers.common.timestamps import timestamp_of_second
from auditline.workers.router.compiling import COMPILED, Compiled
from auditline.workers.router.decode import types
from auditline.workers.router.decode.places import RENAMES
from auditline.workers.router.decode.records import UNSET
from auditline.workers.router.event import Event, Facts, Meaning, Names
from auditline.workers.router.kin import Kinship
from auditline.workers.router.names import IdNames
from auditline.workers.router.naming.engine import called
from auditline.workers.router.render.cutting import Cutter, Head, Parts, Path
from auditline.workers.router.render.ecs import PEERS, EcsRenderer, address_of, event_classes, find_summary
from auditline.workers.router.render.ecs_file import ecs_file
from auditline.workers.router.render.ecs_user import People
from auditline.workers.router.render.envelope import ecs_envelope
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep, printable_records, to_json
from auditline.workers.router.render.pieces import Address, Program, Terminal, inside

_OWNERS = (("ouid", "uid"), ("ogid", "gid"))


@dataclass(slots=True)
class Call:
    """What there is to say before the arguments are known."""

    classes: str
    """The rest of `event`, and its end."""
    result: str
    """It, up to the actor."""
    object: str
    """Where no record tells it; and a comma behind it."""
    how: str
    """Where it is not the program; and a comma before it, as in what follows."""
    data: str
    """Its beginning."""
    is_rename: bool
    peer: tuple[str, str] | None
    """At which end the address is, and which way it goes."""


CallTexts = tuple[str, str, str, str, str, bool, tuple[str, str] | None]
"""The same, with the number that was returned."""


class Ids(NamedTuple):
    """What the ids give."""

    user: str
    """Members; empty if nobody is known."""
    actor: str
    has_names: bool
    """True if auditd wrote names behind the record."""


class FileTail(NamedTuple):
    """What a PATH has behind its inode, as members of `file`."""

    device: str
    rest: str
    lacks_names: bool
    """True if an owner's name is not in it, and may be in another record."""


class EcsFragmentRenderer:
    """Renders like EcsRenderer, an order of magnitude faster for plain system call events."""

    def __init__(
        self,
        names: IdNames,
        keep: Keep = DEFAULT_KEEP,
        compiled: Compiled | None = COMPILED,
        kinship: Kinship | None = None,
    ) -> None:
        """Say of processes, too, what *kinship* knows."""
        self._names = names
        self._kinship = kinship
        self._plain = EcsRenderer(names, keep, kinship)
        self._keeps_raw = keep.raw
        self._cutter = Cutter(self, compiled)
        self._beginnings: dict[str | None, str] = {}

    def forget_names(self) -> None:
        """Names of ids have changed: what was rendered with the old ones must go."""
        self._cutter.forget_names()

    def render(self, event: Event, host: str, host_name: str | None) -> tuple[str, str, bool]:
        """Return the event's id, its line without the newline, and whether it is complete."""
        try:
            if self._kinship is not None:
                self._kinship.see(event)
            parts = self._cutter.cut(event)
            if parts is not None and (line := self._compose(event, host, host_name, parts)) is not None:
                return line
        except Exception:  # noqa: BLE001, S110 (the plain way will say what is the matter)
            pass
        return self._plain.render(event, host, host_name)

    # Longer than other functions, because every call costs a part of the time that the whole of it takes.
    def _compose(  # noqa: C901 (one condition for each part that may be there)
        self, event: Event, host: str, host_name: str | None, parts: Parts
    ) -> tuple[str, str, bool] | None:
        head, frame, registers, directory, title, command, address, paths, acted, places, ours = parts
        classes, until_object, thing, until_a0, behind_a3, until_pid, program, tags, is_rename, has_names, peer = frame
        a0, a1, a2, a3, _, ppid, pid = registers
        paths_json = file = process = network = ""
        if not (_is_plain_number(pid) and _is_plain_number(ppid)):
            return None
        if acted is not None:
            paths_json = f',"paths":[{",".join([path[1] for path in paths])}]'
            if head.on_path:
                _, _, name, _, _, path_tail = acted
                thing = _object(path_tail.kind or head.what, name, "")
                found = _file(
                    acted, paths, places, is_rename=is_rename, has_names=has_names, names_both=head.called.names_both
                )
                if found is None:
                    return None
                file = found
        if title:
            process = f',"title":{title}'
        if directory:
            process += f',"working_directory":{directory}'
        if command is not None:
            behind_a3 += f',"argc":{command.argc}'
            if command.arguments:
                process += f',"args":{command.arguments}'
        if address is not None:
            behind_a3 += f',"socket":{address.json}'
            network = _network(peer, address)
            if head.on_socket:
                thing = _object("socket", address.primary, address.secondary)
        original = f',"original":{to_json(printable_records(event))}' if self._keeps_raw else ""
        process_more = parent_more = ""
        if self._kinship is not None:
            process_more, parent_more, inferred = self._kinship.texts(event, pid, ppid)
            ours = f"{ours[:-1]}{inferred}}}" if inferred else ours
        identity = f"{host}-{event.seconds}.{event.milliseconds}-{event.serial}"
        line = (
            f'{{"@timestamp":"{timestamp_of_second(event.seconds)}.{event.milliseconds}Z",'
            f'"event":{{"id":"{identity}",{classes}{original}}},'
            f"{self._beginnings.get(host_name) or self._begin(host_name)}{event.serial}{until_object}{thing}"
            f'{until_a0}{a0}","a1":"{a1}","a2":"{a2}","a3":"{a3}{behind_a3}}}{paths_json}}},{until_pid}{pid}{process_more},"parent":{{"pid":{ppid}{parent_more}}}'
            f'{program}{process}}},{file}{network}{tags}"auditline":{ours}}}'
        )
        return identity, line, True

    def _begin(self, host_name: str | None) -> str:
        """Return what stands between the classes and the sequence."""
        document = ecs_envelope("", "", host_name, {"module": "auditd"})
        del document["@timestamp"], document["event"]
        self._beginnings.clear()
        self._beginnings[host_name] = beginning = f'{inside(document)},"auditd":{{"message_type":"syscall","sequence":'
        return beginning

    def make_head(self, facts: Facts, meaning: Meaning) -> Call:
        """Return what there is to say before the arguments are known."""
        thing = find_summary(meaning, People(self._names, facts)).get("object")
        call = called(facts)
        return Call(
            classes=inside(event_classes(facts, meaning)),
            result=f'"result":"{facts.result}","summary":{{"actor":',
            object=f',"object":{to_json(thing)}' if thing else "",
            how=f',"how":{to_json(meaning.how)}' if meaning.how else "",
            data=f'"data":{{{inside(facts.data)}',
            is_rename=call in RENAMES,
            peer=PEERS.get(meaning.action or ""),
        )

    def make_call(self, head: Head, exit_text: str) -> CallTexts:
        """Return the same with a number that was returned."""
        call: Call = head.made
        thing, data = call.object, call.data
        if exit_text:
            data += f',"exit":"{exit_text}"'
            if head.thing_is_exit:
                thing = _object(head.what, f'"{exit_text}"', "")
        return call.classes, call.result, thing, call.how, data, call.is_rename, call.peer

    def make_ids(self, facts: Facts, meaning: Meaning) -> Ids:
        """Return the user and the actor."""
        people = People(self._names, facts)
        people.collect(meaning)
        return Ids(
            user=inside(people.user), actor=to_json(find_summary(meaning, people)["actor"]), has_names=bool(facts.names)
        )

    def make_terminal(self, terminal: Terminal) -> tuple[str, str]:
        """Return the session, and the terminal among the data."""
        session, tty = terminal
        return "" if session == UNSET else f'"session":"{session}",', f',"tty":"{tty}"'

    def make_program(self, program: Program) -> tuple[str, str, str, str, str]:
        """Return the user's labels, how, what of the program is in the data, and in the process, and the tags."""
        comm, exe, how, _, keys, selinux, subject = program
        return (
            f',"selinux":{to_json(selinux)}' if selinux else "",
            f',"how":{how}' if how else "",
            f',"subj":{subject}' if subject else "",
            (f',"name":{comm}' if comm else "") + (f',"executable":{exe}' if exe else ""),
            f'"tags":{keys},' if keys else "",
        )

    def make_frame(
        self,
        call: CallTexts,
        ids: Ids,
        terminal: tuple[str, str],
        program: tuple[str, str, str, str, str],
    ) -> tuple[str, str, str, str, str, str, str, str, bool, bool, tuple[str, str] | None]:
        """Return what stands around the object, the registers and the process, and what decides on the rest."""
        classes, result, thing, how, data, is_rename, peer = call
        session, tty = terminal
        selinux, program_how, program_data, process, tags = program
        user = f'"user":{{{ids.user}{selinux}}},' if ids.user else ""
        return (
            classes,
            f",{session}{result}{ids.actor}",
            thing,
            f'{how or program_how}}},{data},"a0":"',
            f'"{tty}{program_data}',
            f'{user}"process":{{"pid":',
            process,
            tags,
            is_rename,
            ids.has_names,
            peer,
        )

    def make_path_tail(self, path: Mapping[str, str], names: Names) -> tuple[str, FileTail]:
        """Return the members of `paths`, and those of `file`."""
        fields = dict(path)
        facts = Facts(record_type=types.SYSCALL, paths=[fields], path_names=[names])
        file = ecs_file(facts, fields, People(self._names, facts))
        device = file.pop("device", None)
        rest = inside(file)
        return f",{inside(fields)}", FileTail(
            device="" if device is None else f',"device":{to_json(device)}',
            rest=f",{rest}" if rest else "",
            lacks_names=any(key in path and (kind, path[key]) not in names for key, kind in _OWNERS),
        )


def _object(what: str | None, primary: str, secondary: str) -> str:
    kind = f'"type":"{what}"' if what else ""
    members = kind + (f',"primary":{primary}' if primary else "") + (f',"secondary":{secondary}' if secondary else "")
    return f',"object":{{{members.removeprefix(",")}}}' if members else ""


def _file(
    acted: Path, paths: list[Path], places: Mapping[str, str], *, is_rename: bool, has_names: bool, names_both: bool
) -> str | None:
    """Return the member `file` with a comma behind it; None: leave it to the plain way."""
    path, place = acted, "path"
    if names_both:
        created = next((path for path in paths if path[5].name_type == "CREATE"), None)
        if not is_rename or created is None:
            return None
        path, place = created, "new_path"
    _, _, name, inode, is_relative, tail = path
    device, rest, lacks_names = tail.made
    if has_names and lacks_names:
        return None
    if is_relative:
        name = places.get(place, name)
    name = f',"path":{name}' if name else ""
    inode = f',"inode":"{inode}"' if inode else ""
    return f'"file":{{{f"{name}{device}{inode}{rest}"[1:]}}},'


def _network(peer: tuple[str, str] | None, address: Address) -> str:
    if peer is None:
        return ""
    end, direction = peer
    members = address_of(address.parts)
    return (f'"{end}":{to_json(members)},' if members else "") + f'"network":{{"direction":"{direction}"}},'


def _is_plain_number(text: str) -> bool:
    return text[0] != "0" or text == "0"
