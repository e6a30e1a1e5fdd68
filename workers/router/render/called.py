"""For the fast way of rendering: what a call was asked to do, as JSON, remembered by the registers that say it."""

from typing import NamedTuple

import ujson

from auditline.workers.router.decode import types
from auditline.workers.router.decode.calls import decode_call, decode_registers, used_registers
from auditline.workers.router.decode.places import names_both
from auditline.workers.router.event import Facts
from auditline.workers.router.render.lines import to_json
from auditline.workers.router.render.pieces import MEMO_ENTRIES, facts_of

Registers = tuple[str, str, str, str]
Item = tuple[str | None, str]
"""Of a PATH: its nametype, and the JSON of its name, empty if it has none."""


class Caller(NamedTuple):
    """What arch and syscall give."""

    architecture: str
    call: str
    used: tuple[int, ...]
    names_both: bool


class CalledFragments:
    """Remembers the JSON of arguments; whole paths are joined each time."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}
        self._arguments: dict[tuple[str, ...], str] = {}

    def members(self, head: str, registers: Registers, cwd: str, items: list[Item]) -> str:
        """Return the members of `decoded` that are not a program's arguments, with a comma before each.

        *head* is what stands in the SYSCALL before exit; *cwd* is `,"cwd":"…"` or empty.
        """
        caller = self._callers.get(head) or self._make_caller(head)
        used = caller.used
        if len(used) == 1:
            key: tuple[str, ...] = (head, registers[used[0]])
        else:
            key = (head, *[registers[register] for register in used])
        if (arguments := self._arguments.get(key)) is None:
            arguments = self._make_arguments(key, caller, registers)
        for _, name in items:
            if caller.names_both or (name and name[1] != "/"):
                return arguments + _places(caller, registers, cwd, items)
        return arguments

    def _make_caller(self, head: str) -> Caller:
        if len(self._callers) >= MEMO_ENTRIES:
            self._callers.clear()
        facts = facts_of(types.SYSCALL, head)
        architecture, call = facts.value("arch") or "", facts.value("syscall") or ""
        caller = Caller(architecture, call, used_registers(architecture, call), names_both(call))
        self._callers[head] = caller
        return caller

    def _make_arguments(self, key: tuple[str, ...], caller: Caller, registers: Registers) -> str:
        if len(self._arguments) >= MEMO_ENTRIES:
            self._arguments.clear()
        arguments = decode_registers(caller.architecture, caller.call, registers)
        made = self._arguments[key] = f',"arguments":{to_json(arguments)}' if arguments else ""
        return made


def _places(caller: Caller, registers: Registers, cwd: str, items: list[Item]) -> str:
    data: dict[str, str | list[str]] = ujson.loads(f"{{{cwd[1:]}}}") if cwd else {}
    data |= {"arch": caller.architecture, "syscall": caller.call}
    data |= {f"a{number}": text for number, text in enumerate(registers)}
    facts = Facts(record_type=types.SYSCALL, data=data)
    for name_type, name in items:
        path = {"nametype": name_type} if name_type is not None else {}
        facts.paths.append(path | {"name": ujson.loads(name)} if name else path)
    members = decode_call(facts).members
    members.pop("arguments", None)
    return f",{to_json(members)[1:-1]}" if members else ""
