"""For the fast ways of rendering: what one system call's registers say and where its files are, as JSON."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import ujson

from auditline.workers.router.decode import types
from auditline.workers.router.decode.calls import (
    REGISTERS,
    Parameter,
    applies,
    decode_call,
    find_call,
    used_registers,
)
from auditline.workers.router.decode.places import LINKS, RENAMES, SYMLINKS, names_both
from auditline.workers.router.decode.values import SetDecoder, bits_of, directory, hexadecimal, mode, signed
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
_CALL_DECODE, _SET = 0, 1
_CODES: dict[Any, int] = {directory: 2, mode: 3, signed: 4, str: 5, hexadecimal: 6}
"""How compiled.c decodes a number."""
_MOST_PARAMETERS, _MOST_ROWS = 8, 64
_WORD_BITS = 64


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
        self.compiled = _compile(parameters, conditions)
        """The same for compiled.c, which decodes faster than it can be remembered; None: it cannot do that."""
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


def _compile(parameters: Sequence[Parameter], conditions: set[str]) -> tuple[tuple[Any, ...], ...] | None:
    """Return for each parameter what compiled.c wants, in the order of the enumeration there."""
    names = list(dict.fromkeys(each.name for each in parameters))
    # The rest of a set's bits, which has no name, decides on nothing.
    decides_by_number = any(value[:2] == "0x" for each in parameters for value in each.if_values)
    if len(parameters) > _MOST_PARAMETERS or decides_by_number:
        return None
    all_names = [each.name for each in parameters]
    compiled = []
    for each in parameters:
        rows = _rows(each.decode) if isinstance(each.decode, SetDecoder) else (b"", ())
        if rows is None or (each.if_name and each.if_name not in names):
            return None
        code = _SET if isinstance(each.decode, SetDecoder) else _CODES.get(each.decode, _CALL_DECODE)
        if_slot = names.index(each.if_name) if each.if_name else -1
        matters = each.name in conditions or all_names.count(each.name) > 1
        slot = names.index(each.name)
        compiled.append((each.register, each.name, code, each.decode, *rows, slot, if_slot, each.if_values, matters))
    return tuple(compiled)


def _rows(decode: SetDecoder) -> tuple[bytes, tuple[str, ...]] | None:
    """Return the numbers and the names of a set; None: they are too many, or too large.

    The numbers: mask, bits without a name; then for each row, as they are tried, the bits of its group, whether it is
    tried on all of these, its own bits, its number, and its place among the names.
    """
    named = [sorted(group.names, key=lambda row: (row.number, row.name)) for _, group in decode.groups]
    names = [row.name for group in named for row in group]
    everything = (1 << _WORD_BITS) - 1
    numbers = [decode.mask & everything, decode.unnamed & everything]
    before = 0
    for (bits, group), rows in zip(decode.groups, named, strict=True):
        for row in group.names:
            numbers += [bits, int(bool(row.mask)), bits_of(row), row.number, before + rows.index(row)]
        before += len(rows)
    if len(names) > _MOST_ROWS or not all(0 <= number <= everything for number in numbers):
        return None
    return array("Q", numbers).tobytes(), tuple(names)
