"""Names and numbers of the kernel's audit interface, read from the tables in this folder when first asked for.

A name or number that no table has gives None (a record type: `unknown[N]`), so that callers print the number.
Where a number has several names, the first row of the table is the one that is shown; all are understood.
"""

import os
from collections.abc import Mapping
from functools import cache

X32_BIT = 0x40000000
"""Set in the system call numbers of x32 programs, whose records name the architecture x86_64.

Source: linux-libc-dev, asm/unistd.h, __X32_SYSCALL_BIT.
"""


_FOLDER = os.path.dirname(__file__)

_UNKNOWN_DIGITS = 10
"""Longest number understood in `UNKNOWN[N]`; the kernel's types are 16 bits wide."""


def record_type_name(number: int) -> str:
    """Return the name as documents have it, in lower case: `user_login`; `unknown[1999]` when there is none."""
    return record_type_names().get(number) or f"unknown[{number}]"


def record_type_number(name: str) -> int | None:
    """Return the number of `SYSCALL`, `syscall` or `UNKNOWN[1999]`."""
    upper = name.upper()
    number = _numbers("record_types").get(upper)
    return _unknown_number(upper) if number is None else number


@cache
def record_type_names() -> Mapping[int, str]:
    """Return every known record type, in lower case."""
    return {number: name.lower() for number, name in _names("record_types").items()}


def architecture_name(word: int) -> str | None:
    """Return what the `arch=` word of a record stands for: 0xc000003e is `x86_64`."""
    return _names("architectures").get(word)


def architecture_word(name: str, machine: str | None = None) -> int | None:
    """Return the word of an architecture, of a machine (`i686`), or of the `b64` or `b32` side of *machine*.

    *machine* is a name such as uname(2) gives; None is this host's.
    """
    if name in ("b64", "b32"):
        sides = _machines().get(os.uname().machine if machine is None else machine, {})
        return _numbers("architectures").get(sides.get(name, ""))
    word = _numbers("architectures").get(name)
    if word is not None:
        return word
    sides = _machines().get(name, {})
    return _numbers("architectures").get(sides.get("b64") or sides.get("b32", ""))


def syscall_name(architecture: str, number: int) -> str | None:
    """Return the name of one system call; knows x32 calls by their bit 30."""
    if architecture == "x86_64" and number & X32_BIT:
        architecture = "x32"
    return syscall_names(architecture).get(number)


def syscall_names(architecture: str) -> Mapping[int, str]:
    """Return the system calls of an architecture (or `x32`, with bit 30 set); empty when there is no table for it."""
    table = _syscall_tables().get(architecture)
    return _names(f"syscalls_{table}") if table else {}


def syscall_numbers(architecture: str) -> Mapping[str, int]:
    """Return the same by name, with libaudit's other spellings (`pread` of `pread64`), which auditctl's rules have."""
    table = _syscall_tables().get(architecture)
    return _numbers(f"syscalls_{table}") if table else {}


def errno_name(number: int) -> str | None:
    """Return the name of a positive error number: 13 is `EACCES`."""
    return _names("errno").get(number)


def errno_number(name: str) -> int | None:
    """Return the positive number of `EACCES`."""
    return _numbers("errno").get(name)


def signal_name(number: int) -> str | None:
    """Return the name of a signal: 9 is `SIGKILL`."""
    return _names("signals").get(number)


def signal_names() -> Mapping[int, str]:
    """Return every signal that has a name."""
    return _names("signals")


def socket_family_name(number: int) -> str | None:
    """Return the name of an address family: 2 is `inet`."""
    return _names("socket_families").get(number)


def socket_family_number(name: str) -> int | None:
    """Return the number of an address family, for `-F saddr_fam=`."""
    return _numbers("socket_families").get(name)


def rule_field_name(number: int) -> str | None:
    """Return how a rule's field is written: 105 is `path`."""
    return _names("rule_fields").get(number)


def rule_field_number(name: str) -> int | None:
    """Return the number of a rule's field; `auid` and `loginuid` are the same."""
    return _numbers("rule_fields").get(name)


@cache
def rule_comparison_names() -> Mapping[int, tuple[str, str]]:
    """Return the pairs of fields that a rule can compare, by the value of the field `field_compare`."""
    return {int(number, 0): (left, right) for number, left, right in _rows("rule_comparisons")}


def rule_comparison_number(left: str, right: str) -> int | None:
    """Return the value for `-C left=right`; the order does not matter."""
    return _comparison_numbers().get(frozenset((_field_spelling(left), _field_spelling(right))))


def rule_operator_symbol(number: int) -> str | None:
    """Return how an operator, shifted as in the rule's field flags, is written: 0x40000000 is `=`."""
    return _names("rule_operators").get(number)


def rule_operator_number(symbol: str) -> int | None:
    """Return the field flags of an operator."""
    return _numbers("rule_operators").get(symbol)


def rule_list_name(number: int) -> str | None:
    """Return the name of a kernel rule list: 4 is `exit`."""
    return _names("rule_lists").get(number)


def rule_list_number(name: str) -> int | None:
    """Return the number of a rule list."""
    return _numbers("rule_lists").get(name)


def rule_action_name(number: int) -> str | None:
    """Return `never` (0), `possible` (1) or `always` (2)."""
    return _names("rule_actions").get(number)


def rule_action_number(name: str) -> int | None:
    """Return the number of an action; the kernel answers EINVAL to `possible`."""
    return _numbers("rule_actions").get(name)


def rule_permission_bit(letter: str) -> int | None:
    """Return the bit of one of the letters `r`, `w`, `x`, `a` in the field `perm`."""
    return _numbers("rule_permissions").get(letter)


def filetype_name(number: int) -> str | None:
    """Return how the type bits of a file mode are written in a rule: 0o40000 is `dir`."""
    return _names("filetypes").get(number)


def filetype_number(name: str) -> int | None:
    """Return the mode bits for `-F filetype=`."""
    return _numbers("filetypes").get(name)


def filesystem_name(number: int) -> str | None:
    """Return the name of a file system's magic number, of those that `-F fstype=` takes."""
    return _names("filesystems").get(number)


def filesystem_number(name: str) -> int | None:
    """Return the magic number for `-F fstype=`."""
    return _numbers("filesystems").get(name)


def uring_operation_name(number: int) -> str | None:
    """Return the name of an io_uring operation, which URINGOP records have in place of a system call."""
    return _names("uring_operations").get(number)


def uring_operation_number(name: str) -> int | None:
    """Return the number of an operation, which rules on the list `io_uring` have in place of a system call."""
    return _numbers("uring_operations").get(name)


def field_rows() -> list[list[str]]:
    """Return the rows of the table of fields: types of records, names of fields, type of these fields, source."""
    return _rows("fields")


def call_flags(name: str, architecture: str) -> list[tuple[int | None, int, str]]:
    """Return the names that a set of call_flags.tsv has on an architecture.

    Each is a mask, a number and a name: the name stands for the number's bits or, if there is a mask, for this
    value of the bits in the mask.

    Raises:
        KeyError: there is no such set.
    """
    return [
        (None if mask == "-" else int(mask, 0), int(number, 0), word)
        for where, mask, number, word in _flag_sets()[name]
        if where == "-" or architecture in where.split(",")
    ]


def _unknown_number(upper: str) -> int | None:
    digits = upper[8:-1]
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _UNKNOWN_DIGITS
    return int(digits) if is_number and upper.startswith("UNKNOWN[") and upper.endswith("]") else None


def _field_spelling(name: str) -> str:
    number = rule_field_number(name)
    return name if number is None else rule_field_name(number) or name


@cache
def _comparison_numbers() -> Mapping[frozenset[str], int]:
    return {frozenset(pair): number for number, pair in rule_comparison_names().items()}


@cache
def _machines() -> Mapping[str, Mapping[str, str]]:
    return {machine: {"b64": b64, "b32": b32} for machine, b64, b32 in _rows("machines")}


@cache
def _syscall_tables() -> Mapping[str, str]:
    return {row[1]: row[2] for row in _rows("architectures")} | {"x32": "x32"}


@cache
def _flag_sets() -> Mapping[str, list[list[str]]]:
    sets: dict[str, list[list[str]]] = {}
    for name, *row in _rows("call_flags"):
        sets.setdefault(name, []).append(row)
    return sets


@cache
def _names(table: str) -> Mapping[int, str]:
    names: dict[int, str] = {}
    for row in _rows(table):
        names.setdefault(int(row[0], 0), row[1])
    return names


@cache
def _numbers(table: str) -> Mapping[str, int]:
    return {row[1]: int(row[0], 0) for row in _rows(table)}


def _rows(table: str) -> list[list[str]]:
    # Not by importlib.resources: importing it takes longer than reading all the tables that a command needs.
    with open(f"{_FOLDER}/{table}.tsv", encoding="ascii") as file:
        return [line.split("\t") for line in file.read().splitlines() if not line.startswith("#")]
