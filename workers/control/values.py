"""The values of a rule's fields: what stands behind the operator, as the kernel's 32 bits."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

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
_PREFIX = re.compile(r"-?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_SIGN = 1 << 31
_WORD = 1 << 32
_LONG = 1 << 64
_MOST_DIGITS = 64
"""Leading zeros apart no number of the kernel has as many; Python refuses to read very long ones."""


class Value(NamedTuple):
    """What auditctl makes of a text."""

    number: int
    """32 bits."""
    doubt: str = ""
    """Not empty: it is not what is written."""


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


def read_number(text: str, *, may_be_negative: bool = False, is_signed: bool = False) -> Value | None:
    """Return what auditctl makes of *text*: the number at its beginning, cut to 32 bits; None: there is none.

    *is_signed*: it is read by strtol, whose numbers have 63 bits, else by strtoul; both end at their largest.
    """
    found = _PREFIX.match(text)
    if found is None or (text.startswith("-") and not may_be_negative):
        return None
    number = parse_integer(found.group()) if len(found.group()) < _MOST_DIGITS else None
    if number is None or abs(number) >= (_LONG // 2 if is_signed or number < 0 else _LONG):
        word = 0 if text.startswith("-") else _WORD - 1
    else:
        word = number % _WORD
    is_exact = number is not None and found.group() == text and -_SIGN <= number < _WORD
    return Value(word, "" if is_exact else f"{shown(text)} is read as {word}")


def parse_value(kind: ValueKind, text: str, machine: str) -> Value:
    """Return the 32 bits of *text*, a value of *kind*; *machine* says what b64 and b32 are.

    Raises:
        RuleError: it is no such value; the message begins with what the value is.
    """
    if kind is ValueKind.ARCHITECTURE:
        return Value(_architecture(text, machine))
    value = _PARSERS[kind](text)
    return value if isinstance(value, Value) else Value(value)


def _refuse(text: str, wanted: str) -> RuleError:
    return RuleError([f"{shown(text)} is not {wanted}"])


def _number(text: str) -> Value:
    value = read_number(text, is_signed=True)
    if value is None:
        raise _refuse(text, "a number from 0 to 4294967295")
    return value


def _unsigned_number(text: str) -> Value:
    value = read_number(text)
    if value is None:
        raise _refuse(text, "a number from 0 to 4294967295")
    return value


def _argument(text: str) -> Value:
    value = read_number(text, may_be_negative=True)
    if value is None:
        raise _refuse(text, "a number from -2147483648 to 4294967295")
    return value


def _user(text: str) -> Value:
    value = _login_user(text)
    if value.number == UNSET:
        raise RuleError(["only auid and sessionid can be unset: the kernel refuses 4294967295 here"])
    return value


def _login_user(text: str) -> Value:
    if text == "unset":
        return Value(UNSET)
    value = read_number(text, may_be_negative=True)
    if value is not None:
        return value
    number = _id_of(text, Path("/etc/passwd"))
    if number is None:
        raise RuleError([f"{shown(text)} is no user in /etc/passwd; a number is always understood"])
    return Value(number % _WORD)


def _session(text: str) -> Value:
    if text == "unset":
        return Value(UNSET)
    # auditctl leaves the field as it was, which is 0.
    return read_number(text, may_be_negative=True) or Value(0, f"{shown(text)} is no session and is read as 0")


def _group(text: str) -> Value:
    value = read_number(text, is_signed=True)
    if value is None:
        number = _id_of(text, Path("/etc/group"))
        if number is None:
            raise RuleError([f"{shown(text)} is no group in /etc/group; a number is always understood"])
        value = Value(number % _WORD)
    if value.number == UNSET:
        raise _refuse(text, "a group: a name, or a number from 0 to 4294967294")
    return value


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


def _exit_code(text: str) -> Value:
    value = read_number(text, may_be_negative=True, is_signed=True)
    if value is not None:
        return value
    number = lookup.errno_number(text.removeprefix("-").upper())
    if number is None:
        raise _refuse(text, "a number or the name of an error, such as -EACCES")
    return Value((-number if text.startswith("-") else number) % _WORD)


def _success(text: str) -> Value:
    value = read_number(text, is_signed=True)
    if value is None:
        raise _refuse(text, "0 or 1, the values of success")
    if value.number > 1 and not value.doubt:
        return Value(value.number, f"{shown(text)} is neither 0 nor 1, the values of success: the rule never matches")
    return value


def _message_type(text: str) -> Value:
    value = read_number(text, is_signed=True)
    if value is not None:
        return value
    number = lookup.record_type_number(text)
    if number is None:
        raise _refuse(text, "a record type, such as CWD or 1307")
    return Value(number)


def _architecture(text: str, machine: str) -> int:
    name = text.lower()
    word = lookup.architecture_word(name, machine)
    if word is not None:
        return word
    if name in ("b64", "b32"):
        raise MachineError([f"this machine, {machine}, has no {name}"])
    # auditctl reads what begins with a digit as C does, everything else as hexadecimal.
    number = read_number(name) if name[:1].isdigit() else None
    word = parse_integer(f"0x{name}") if number is None else number.number
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


def _file_system(text: str) -> Value:
    number = lookup.filesystem_number(text.lower())
    value = _unsigned_number(text) if number is None else Value(number)
    if value.number == UNSET:
        raise _refuse(text, "a file system: a name such as tracefs, or its magic number")
    return value


def _address_family(text: str) -> Value:
    value = read_number(text, may_be_negative=True) or Value(0, f"{shown(text)} is no number and is read as 0")
    if value.number >= ADDRESS_FAMILIES:
        raise _refuse(text, f"an address family, a number from 0 to {ADDRESS_FAMILIES - 1}: 2 is IPv4, 10 is IPv6")
    return value


_PARSERS: Mapping[ValueKind, Callable[[str], int | Value]] = {
    ValueKind.USER: _user,
    ValueKind.LOGIN_USER: _login_user,
    ValueKind.GROUP: _group,
    ValueKind.NUMBER: _number,
    ValueKind.INODE: _unsigned_number,
    ValueKind.ARGUMENT: _argument,
    ValueKind.SESSION: _session,
    ValueKind.EXIT_CODE: _exit_code,
    ValueKind.SUCCESS: _success,
    ValueKind.MESSAGE_TYPE: _message_type,
    ValueKind.PERMISSIONS: parse_permissions,
    ValueKind.FILE_TYPE: _file_type,
    ValueKind.FILE_SYSTEM: _file_system,
    ValueKind.ADDRESS_FAMILY: _address_family,
}
