"""For the fast ways of rendering: what one system call's registers say and where its files are, as JSON."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import ujson

from auditline.workers.router.decode import types
from auditline.workers.router.decode.calls import (
    REGISTERS,
    applies,
    decode_call,
    find_call,
    used_registers,
)
from auditline.workers.router.decode.places import LINKS, RENAMES, SYMLINKS, names_both
from auditline.workers.router.event import Facts
from auditline.workers.router.render.lines import to_json
from auditline.workers.router.render.memo import TRIAL_USES, Memo

Item = tuple[str | None, str]
"""Of a PATH: its nametype, and the JSON of its name, empty if it has none."""

_AT_FDCWD = "ffffff9c"
"""How a register ends that says so: only its lower half counts."""
_TWO_ITEMS = dict.fromkeys(RENAMES, ("DELETE", "CREATE")) | dict.fromkeys(LINKS, ("NORMAL", "CREATE"))
"""The types of the items that have both names."""
_ODD_CALLS = SYMLINKS | {"openat2"}


class Called:
    """One system call of one architecture; remembers the JSON of its arguments."""

    def __init__(self, architecture: str, call: str) -> None:
        self._architecture = architecture
        self._call = call
        used = [register for register in used_registers(architecture, call) if register < len(REGISTERS)]
        self._pick: Callable[[Sequence[str]], Any] | None = itemgetter(*used) if used else None
        parameters = [each for each in find_call(architecture, call).parameters if each.register in used]
        names = [each.name for each in parameters]
        conditions = {each.if_name for each in parameters}
        self._parameters = [
            (
                used.index(each.register),
                each.name,
                each.decode,
                each.if_name,
                each,
                each.name in conditions or names.count(each.name) > 1,
            )
            for each in parameters
        ]
        """Place among those used, name, how to decode it, what it hangs on, and whether something hangs on it."""
        self._arguments = Memo(self._make_arguments)
        self._uses = 0
        self._directories = find_call(architecture, call).directories
        self._two_items = _TWO_ITEMS.get(call)
        self._is_odd = call in _ODD_CALLS
        self.names_both = names_both(call)

    def reconsider(self) -> None:
        """Look, once in a while, whether it pays to remember arguments."""
        if self._uses >= TRIAL_USES:
            self._arguments.reconsider(self._uses)
            self._uses = 0

    def arguments(self, registers: Sequence[str]) -> str:
        """Return the member `arguments` with a comma before it, empty if there is nothing to say."""
        if self._pick is None:
            return ""
        self._uses += 1
        return self._arguments.find(self._pick(registers))

    def _make_arguments(self, picked: str | tuple[str, ...]) -> str:
        """Return the same; in names and numbers nothing needs an escape."""
        texts = (picked,) if isinstance(picked, str) else picked
        found: dict[str, Any] = {}
        members = ""
        for position, name, decode, if_name, parameter, matters in self._parameters:
            if (matters and name in found) or (if_name and not applies(parameter, found)):
                continue
            if value := decode(int(texts[position], 16)):
                if matters:
                    found[name] = value
                if isinstance(value, str):
                    members += f',"{name}":"{value}"'
                else:
                    words = '","'.join(value)
                    members += f',"{name}":["{words}"]'
        return f',"arguments":{{{members[1:]}}}' if members else ""

    def places(self, registers: Sequence[str], directory: str, items: Sequence[Item], acted: Item) -> Mapping[str, str]:
        """Return `path`, `old_path`, `new_path`, `target`, as far as they are known, as JSON.

        *directory* is JSON, too. The same as places.find_places(), without a closer look at plain names.
        """
        wanted = self._two_items
        if wanted is None:
            name_type, name = acted
            whole = None if name_type == "PARENT" or self._is_odd else self._whole(0, registers, directory, name)
            if whole is not None:
                return {"path": whole} if whole else {}
        else:
            old, new = (next((name for kind, name in items if kind == name_type), "") for name_type in wanted)
            old_whole, new_whole = self._whole(0, registers, directory, old), self._whole(1, registers, directory, new)
            if old_whole is not None and new_whole is not None:
                return {place: path for place, path in (("old_path", old_whole), ("new_path", new_whole)) if path}
        members = decode_call(self._facts(registers, directory, items)).members
        members.pop("arguments", None)
        return {place: to_json(path) for place, path in members.items()}

    def _whole(self, position: int, registers: Sequence[str], directory: str, name: str) -> str | None:
        """Return the whole path of a call's *position*-th name; empty: not known; None: that takes a closer look."""
        directories = self._directories
        if not name or directories is None:
            return "" if not name else None
        if "\\" in name or "//" in name or "./" in name or name[-2] in './"':
            return None
        if name[1] == "/":
            return name
        if directories and (position >= len(directories) or not registers[directories[position]].endswith(_AT_FDCWD)):
            return ""
        if directory == '"/"':
            return f'"/{name[1:]}'
        is_plain = directory[1:2] == "/" and not directory.endswith(('/"', ' (deleted)"'))
        return f"{directory[:-1]}/{name[1:]}" if is_plain and "\\" not in directory and "//" not in directory else None

    def _facts(self, registers: Sequence[str], directory: str, items: Sequence[Item]) -> Facts:
        data: dict[str, str | list[str]] = {"arch": self._architecture, "syscall": self._call}
        data |= dict(zip(REGISTERS, registers, strict=False))
        if directory:
            data["cwd"] = ujson.loads(directory)
        facts = Facts(record_type=types.SYSCALL, data=data)
        for name_type, name in items:
            path = {"nametype": name_type} if name_type is not None else {}
            facts.paths.append(path | {"name": ujson.loads(name)} if name else path)
        return facts
