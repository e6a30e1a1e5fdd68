"""The values of a rule's fields: what stands behind the operator, as the kernel's 32 bits."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from auditline.workers.common.errors import RuleError
from auditline.workers.common.tables import lookup
from auditline.workers.control.fields import ValueKind
from auditline.workers.control.rule import MachineError
from auditline.workers.control.words import shown

UNSET = 0xFFFFFFFF
"""The kernel's -1 in an id: not set."""

ADDRESS_FAMILIES = 46
"""Source: linux/socket.h of Linux 6.12, AF_MAX; the kernel refuses a larger saddr_fam."""

_INTEGER = re.compile(r"-?(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})")
_SIGN = 1 << 31
_WORD = 1 << 32


def parse_integer(text: str) -> int | None:
    """Return a number as C's strtol reads it with base 0 (`010` is 8), or None where anything else stands in it."""
    if not _INTEGER.fullmatch(text):
        return None
    digits = text.removeprefix("-")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
    try:
        value = int(digits, base)
    except ValueError:
        return None
    return -value if text.startswith("-") else value


def parse_value(kind: ValueKind, text: str, machine: str) -> int:
    """Return the 32 bits of *text*, a value of *kind*; *machine* says what b64 and b32 are.

    Raises:
        RuleError: it is no such value; the message begins with what the value is.
    """
    if kind is ValueKind.ARCHITECTURE:
        return _architecture(text, machine)
    return _PARSERS[kind](text)


def _refuse(text: str, wanted: str) -> RuleError:
    return RuleError([f"{shown(text)} is not {wanted}"])


def _number(text: str) -> int:
    return _ranged(text, 0, "a number from 0 to 4294967295")


def _signed_number(text: str) -> int:
    return _ranged(text, -_SIGN, "a number from -2147483648 to 4294967295")


def _ranged(text: str, least: int, wanted: str) -> int:
    value = parse_integer(text)
    if value is None or not least <= value < _WORD:
        raise _refuse(text, wanted)
    return value % _WORD


def _user(text: str) -> int:
    number = parse_integer(text)
    if number is None:
        number = _id_of(text, Path("/etc/passwd"))
    if text == "unset" or (number is not None and number % _WORD == UNSET):
        raise RuleError(["only auid and sessionid can be unset: the kernel refuses 4294967295 here"])
    if number is None:
        raise RuleError([f"{shown(text)} is no user in /etc/passwd; a number is always understood"])
    return _signed_number(str(number))


def _login_user(text: str) -> int:
    return UNSET if text == "unset" or _is_unset(text) else _user(text)


def _session(text: str) -> int:
    return UNSET if text == "unset" else _signed_number(text)


def _is_unset(text: str) -> bool:
    return parse_integer(text) in (-1, UNSET)


def _group(text: str) -> int:
    number = parse_integer(text)
    if number is None:
        number = _id_of(text, Path("/etc/group"))
    if number is None:
        raise RuleError([f"{shown(text)} is no group in /etc/group; a number is always understood"])
    if not 0 <= number < UNSET:
        raise _refuse(text, "a group: a name, or a number from 0 to 4294967294")
    return number


def _id_of(name: str, table: Path) -> int | None:
    """Return the id of *name* in passwd(5) or group(5); the name service is not asked, because it may not answer."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return None
    for entry in (line.split(":") for line in lines):
        if entry[0] == name and len(entry) > 2 and entry[2].isdecimal():
            return int(entry[2])
    return None


def _exit_code(text: str) -> int:
    if parse_integer(text) is not None:
        return _signed_number(text)
    number = lookup.errno_number(text.removeprefix("-").upper())
    if number is None:
        raise _refuse(text, "a number or the name of an error, such as -EACCES")
    return (-number if text.startswith("-") else number) % _WORD


def _success(text: str) -> int:
    number = parse_integer(text)
    if number not in (0, 1):
        raise _refuse(text, "0 or 1, the values of success")
    return number


def _message_type(text: str) -> int:
    if parse_integer(text) is not None:
        return _number(text)
    number = lookup.record_type_number(text)
    if number is None:
        raise _refuse(text, "a record type, such as CWD or 1307")
    return number


def _architecture(text: str, machine: str) -> int:
    name = text.lower()
    word = lookup.architecture_word(name, machine)
    if word is not None:
        return word
    if name in ("b64", "b32"):
        raise MachineError([f"this machine, {machine}, has no {name}"])
    # auditctl reads what begins with a digit as C does, everything else as hexadecimal.
    word = parse_integer(name if name[:1].isdigit() else f"0x{name}")
    if word is None or lookup.architecture_name(word) is None:
        raise _refuse(text, "an architecture: b64, b32, or a name such as x86_64")
    return word


def parse_permissions(text: str) -> int:
    """Return the bits of up to four of the letters r, w, x and a.

    Raises:
        RuleError: there is another one, more, or none.
    """
    bits = [lookup.rule_permission_bit(letter) for letter in text.lower()]
    if None in bits or not 1 <= len(bits) <= 4:
        raise _refuse(text, "made of the letters r, w, x and a")
    return sum({bit for bit in bits if bit is not None})


def _file_type(text: str) -> int:
    number = lookup.filetype_number(text.lower())
    if number is None:
        raise _refuse(text, "a file type: file, dir, socket, link, character, block or fifo")
    return number


def _file_system(text: str) -> int:
    number = lookup.filesystem_number(text.lower())
    return _number(text) if number is None else number


def _address_family(text: str) -> int:
    number = parse_integer(text)
    if number is None or not 0 <= number < ADDRESS_FAMILIES:
        raise _refuse(text, f"an address family, a number from 0 to {ADDRESS_FAMILIES - 1}: 2 is IPv4, 10 is IPv6")
    return number


_PARSERS: Mapping[ValueKind, Callable[[str], int]] = {
    ValueKind.USER: _user,
    ValueKind.LOGIN_USER: _login_user,
    ValueKind.GROUP: _group,
    ValueKind.NUMBER: _number,
    ValueKind.ARGUMENT: _signed_number,
    ValueKind.SESSION: _session,
    ValueKind.EXIT_CODE: _exit_code,
    ValueKind.SUCCESS: _success,
    ValueKind.MESSAGE_TYPE: _message_type,
    ValueKind.PERMISSIONS: parse_permissions,
    ValueKind.FILE_TYPE: _file_type,
    ValueKind.FILE_SYSTEM: _file_system,
    ValueKind.ADDRESS_FAMILY: _address_family,
}
