"""The system calls that -S names, as numbers of one architecture."""

import os
from collections.abc import Iterable

from auditline.workers.common.errors import RuleError
from auditline.workers.common.tables import lookup
from auditline.workers.control.rule import MachineError
from auditline.workers.control.values import read_number
from auditline.workers.control.words import shown

LAST_SYSCALL = 2031
"""The mask's bits above it are the kernel's classes of calls. Source: linux/audit.h, AUDIT_SYSCALL_CLASSES."""


def this_machine() -> str:
    """Return the machine's name as uname(2) gives it, such as `x86_64`."""
    return os.uname().machine


def syscall_number(name: str, architecture: int | None, machine: str) -> int:
    """Return the number of a system call, given by name or number.

    *architecture* is the rule's `arch` word; None: the 64-bit side of *machine*, or its only one.

    Raises:
        MachineError: the architecture has no call of that name.
        RuleError: the number is not one that a rule can have.
    """
    word = lookup.architecture_word(machine) if architecture is None else architecture
    spelling = None if word is None else lookup.architecture_name(word)
    number = lookup.syscall_numbers(spelling or "").get(name.lower())
    value = read_number(name, is_signed=True) if number is None else None
    if value is not None:
        number = value.number
    if number is None:
        raise MachineError([f"{shown(name)} is no system call of {spelling or machine}"])
    if not 0 <= number <= LAST_SYSCALL:
        raise RuleError([f"system call {name}: the number must be from 0 to {LAST_SYSCALL}"])
    return number


def syscalls_differ_in_32_bits(names: Iterable[str], machine: str) -> bool:
    """Tell whether 32-bit programs on *machine* have other numbers for one of the calls."""
    native, other = lookup.architecture_word(machine), lookup.architecture_word("b32", machine)
    if other is None or other == native:
        return False
    here, there = (lookup.syscall_numbers(lookup.architecture_name(word or 0) or "") for word in (native, other))
    return any(here.get(name.lower()) != there.get(name.lower()) for name in names)
