"""What a system call was asked to do: its registers as words, and whole paths.

calls.tsv beside it has a row for each call that says something in a0 to a3. The kernel gives no record of a4 and a5,
and what a pointer leads to is in other records or nowhere.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from auditline.workers.common.tables.lookup import call_flags, syscall_names
from auditline.workers.router.decode import types
from auditline.workers.router.decode.places import SYMLINKS, absolute_path, acted_item, find_places
from auditline.workers.router.decode.text import to_text
from auditline.workers.router.decode.values import Decode, Decoded, decoder, mode
from auditline.workers.router.event import Facts

REGISTERS = ("a0", "a1", "a2", "a3")

_REGISTER = re.compile("[0-9a-f]{1,16}")
_NUMBERS = {8: re.compile("[0-7]{1,22}"), 10: re.compile("[0-9]"), 16: re.compile("(?:0x)?[0-9a-f]{1,16}")}
_CREATING = frozenset({"O_CREAT", "O_TMPFILE"})
_MAPPING_CALLS = frozenset({"mmap", "mmap2"})
_CAPABILITY_SETS = {
    "cap_pi": "inheritable",
    "cap_pp": "permitted",
    "cap_pe": "effective",
    "cap_pa": "ambient",
}


class DecodedCall(NamedTuple):
    """Members of `auditline.decoded`, and the exact bytes of those texts that are not UTF-8, by field."""

    members: dict[str, Any]
    undecodable: list[tuple[str, bytes]]


class Parameter(NamedTuple):
    """One parameter of a call."""

    name: str
    register: int
    decode: Decode
    if_name: str
    if_values: frozenset[str]
    """It says this only if an earlier parameter, *if_name*, is or has one of these values."""


class Call(NamedTuple):
    """One row of the table."""

    parameters: tuple[Parameter, ...] = ()
    directories: tuple[int, ...] | None = None
    """Which registers are descriptors that names are relative to, in the order of the names.

    None of them: names are relative to the working directory. None: it is not known what to.
    """


_UNKNOWN = Call()


def decode_call(facts: Facts) -> DecodedCall:
    """Return what the call of an event was asked to do; nothing where it is not known for sure.

    `arguments` has the parameters by the manual page's names: lists for sets of flags (the rest of the bits as one
    hexadecimal number; a set without a member is left out), texts for all else. `path` and other places: see
    places.find_places().
    """
    call = DecodedCall({}, [])
    architecture, name = facts.data.get("arch"), facts.data.get("syscall")
    if types.is_from_user_space(facts.record_type) or not isinstance(architecture, str) or not isinstance(name, str):
        return call
    if arguments := _arguments(architecture, name, facts):
        call.members["arguments"] = arguments
    for place, raw in find_places(name, find_call(architecture, name).directories, facts).items():
        call.members[place], is_readable_form = to_text(raw)
        if is_readable_form:
            call.undecodable.append((f"decoded.{place}", raw))
    return call


def acted_path(facts: Facts) -> str | None:
    """Return the whole path of the PATH record that the action was on, whatever form the record's own name has.

    None where it is not known for sure: then the record's name is relative to a directory that no record names, or
    it is the working directory in place of another one.
    """
    architecture, name = facts.data.get("arch"), facts.data.get("syscall")
    if not isinstance(architecture, str) or not isinstance(name, str):
        return None
    position = acted_item(facts.paths, name)
    if position is None:
        return None
    directories = find_call(architecture, name).directories
    if name in SYMLINKS:
        raw = find_places(name, directories, facts).get("path")
    else:
        raw = absolute_path(position, name, directories, facts)
    return None if raw is None else to_text(raw)[0]


def decode_registers(architecture: str, call: str, registers: Sequence[str]) -> dict[str, Decoded]:
    """Return the parameters of a call that are in its registers a0 to a3, the texts of the record.

    Depends on nothing else, and of *registers* only on used_registers().
    """
    found: dict[str, Decoded] = {}
    for parameter in find_call(architecture, call).parameters:
        if parameter.name in found or not applies(parameter, found):
            continue
        text = registers[parameter.register] if parameter.register < len(registers) else ""
        if _REGISTER.fullmatch(text) is None:
            continue
        if value := parameter.decode(int(text, 16)):
            found[parameter.name] = value
    return found


def used_registers(architecture: str, call: str) -> tuple[int, ...]:
    """Return which registers decode_registers() reads; none for a call without a row."""
    return tuple(sorted({parameter.register for parameter in find_call(architecture, call).parameters}))


def _arguments(architecture: str, name: str, facts: Facts) -> dict[str, Decoded]:
    """Return the parameters that are in registers, and those of which another record tells."""
    registers = [facts.value(register) or "" for register in REGISTERS]
    found = decode_registers(architecture, name, registers)
    if name == "openat2":
        found |= _from_openat2(architecture, facts)
    elif name in _MAPPING_CALLS:
        found |= _from_mmap(architecture, facts)
    elif name == "socketcall":
        found |= _from_socketcall(architecture, found.get("call"), facts)
    elif name == "capset":
        found |= _from_capset(architecture, facts)
    return found


def _from_openat2(architecture: str, facts: Facts) -> dict[str, Decoded]:
    """Return what the record OPENAT2 has of the structure: `oflag=0100 mode=0644 resolve=0x8`."""
    open_names, resolve_names = decoder("set.open", architecture), decoder("set.resolve", architecture)
    found: dict[str, Decoded] = {}
    if (flags := _number(facts.value("oflag"), 8)) is not None:
        found["flags"] = open_names(flags)
        permissions = _number(facts.value("mode"), 8)
        if permissions is not None and not _CREATING.isdisjoint(found["flags"]):
            found["mode"] = mode(permissions)
    if resolve := _number(facts.value("resolve"), 16):
        found["resolve"] = resolve_names(resolve)
    return found


def _from_mmap(architecture: str, facts: Facts) -> dict[str, Decoded]:
    """Return what the record MMAP has of a mapping of a file: `fd=3 flags=0x2`."""
    found: dict[str, Decoded] = {}
    if (flags := _number(facts.value("flags"), 16)) is not None:
        found["flags"] = decoder("longset.mmap", architecture)(flags)
    if (descriptor := facts.value("fd")) is not None:
        found["fd"] = descriptor
    return found


def _from_socketcall(architecture: str, call: Decoded | None, facts: Facts) -> dict[str, Decoded]:
    """Return the parameters of the call behind socketcall(), which the record SOCKETCALL has: `nargs=3 a0=2 a1=1`."""
    count = _number(facts.value("nargs"), 10)
    if count is None or not isinstance(call, str):
        return {}
    registers = [_second(facts.data.get(register)) for register in REGISTERS[:count]]
    name = call.removeprefix("SYS_").lower()
    return decode_registers(architecture, name, registers)


def _from_capset(architecture: str, facts: Facts) -> dict[str, Decoded]:
    """Return the sets of capabilities, which the record CAPSET has: `pid=7 cap_pi=0 cap_pp=1ff cap_pe=1ff cap_pa=0`."""
    names = {number: name for _, number, name in call_flags("capability", architecture)}
    found: dict[str, Decoded] = {}
    for field, name in _CAPABILITY_SETS.items():
        if number := _number(facts.value(field), 16):
            bits = (bit for bit in range(number.bit_length()) if number >> bit & 1)
            found[name] = [names.get(bit, f"CAP_{bit}") for bit in bits]
    return found


def _second(value: str | list[str] | None) -> str:
    """Return what a second record says of a field: it stands behind what the first one said, if it differs."""
    return value[1] if isinstance(value, list) else value or ""


def _number(text: str | None, base: int) -> int | None:
    return int(text, base) if text is not None and _NUMBERS[base].fullmatch(text) is not None else None


def applies(parameter: Parameter, found: Mapping[str, Decoded]) -> bool:
    """Return whether a parameter says something, by what an earlier one, if it hangs on that, was *found* to say."""
    if not parameter.if_name:
        return True
    value = found.get(parameter.if_name, "")
    return value in parameter.if_values if isinstance(value, str) else not parameter.if_values.isdisjoint(value)


def find_call(architecture: str, name: str) -> Call:
    """Return the row of a call; an empty one if there is none."""
    # Asked first: what stands in a record must not fill the cache.
    return calls_of(architecture).get(name, _UNKNOWN) if syscall_names(architecture) else _UNKNOWN


@cache
def calls_of(architecture: str) -> dict[str, Call]:
    """Return the rows for an architecture by name; one that names it counts before one that is for all."""
    common: dict[str, Call] = {}
    own: dict[str, Call] = {}
    for line in files("auditline.workers.router.decode").joinpath("calls.tsv").read_text("ascii").splitlines():
        if line.startswith("#"):
            continue
        calls, words = line.split("\t")
        names, _, architectures = calls.partition("@")
        if not architectures or architecture in architectures.split(","):
            row = _row(words.split(), architecture)
            (own if architectures else common).update(dict.fromkeys(names.split(","), row))
    return common | own


def _row(words: Sequence[str], architecture: str) -> Call:
    parameters = tuple(_parameter(word, architecture) for word in words if "=" in word)
    directories = tuple(parameter.register for parameter in parameters if parameter.name.endswith("dirfd"))
    return Call(parameters, directories if directories or "cwd" in words else None)


def _parameter(word: str, architecture: str) -> Parameter:
    """Return what `name=register:kind?other=VALUE,VALUE` stands for."""
    definition, _, condition = word.partition("?")
    name, _, place = definition.partition("=")
    register, _, kind = place.partition(":")
    if_name, _, values = condition.partition("=")
    return Parameter(name, int(register), decoder(kind, architecture), if_name, frozenset(values.split(",")))
