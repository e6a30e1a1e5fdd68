"""The kernel's form of a rule: struct audit_rule_data and the strings behind it.

Source: linux/audit.h, struct audit_rule_data. Compared byte for byte with what auditctl 3.0.9 sends.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from auditline.workers.common.errors import RuleError
from auditline.workers.control.fields import field_numbered, known_field, operator_number
from auditline.workers.control.rule import KEY_SEPARATOR, Field, Rule

HEADER_BYTES = 1040
FLAG_PREPEND = 0x10

_MASK_WORDS = 64
_MAX_FIELDS = 64
_LAYOUT = struct.Struct("=3I64I64I64I64II")
_FULL_WORD = 0xFFFFFFFF
_SYSCALLS_OF_LAST_WORD = 0xFFFF
"""The upper half of the last word names classes of calls; the kernel clears it."""


@dataclass(frozen=True, slots=True)
class KernelRule:
    """A rule in the kernel's own terms, foreign ones included."""

    flags: int
    action: int
    mask: tuple[int, ...]
    fields: tuple[Field, ...]

    @property
    def is_every_syscall(self) -> bool:
        """Tell whether the mask names all system calls, as sent or as the kernel lists it."""
        return _is_full(self.mask)


def compile_rule(rule: Rule) -> bytes:
    """Return the bytes that auditctl 3.0.9 sends for the rule: 1040 and the strings, without padding."""
    fields = [*rule.fields, *_key_fields(rule)]
    buffer = b"".join(field.string for field in fields)
    return b"".join(
        (
            _LAYOUT.pack(
                rule.rule_list | (FLAG_PREPEND if rule.is_prepended else 0),
                rule.action,
                len(fields),
                *_mask(rule.syscalls),
                *_column(field.number for field in fields),
                *_column(len(field.string) if field.string else field.value for field in fields),
                *_column(field.operator for field in fields),
                len(buffer),
            ),
            buffer,
        )
    )


def read_kernel_rule(data: bytes) -> KernelRule:
    """Take a rule's bytes apart, ours or the kernel's; padding behind the strings is ignored.

    Raises:
        RuleError: its counts or lengths do not fit.
    """
    if len(data) < HEADER_BYTES:
        raise RuleError([f"a rule has at least {HEADER_BYTES} bytes, not {len(data)}"])
    flags, action, count, *columns, buffer_length = _LAYOUT.unpack_from(data)
    if count > _MAX_FIELDS or HEADER_BYTES + buffer_length > len(data):
        raise RuleError([f"{len(data)} bytes hold no rule of {count} fields and {buffer_length} bytes of strings"])
    mask, numbers, values, operators = (columns[at : at + _MASK_WORDS] for at in range(0, len(columns), _MASK_WORDS))
    fields = []
    start, end = HEADER_BYTES, HEADER_BYTES + buffer_length
    for number, value, operator in list(zip(numbers, values, operators, strict=True))[:count]:
        facts = field_numbered(number)
        if facts is None or not facts.is_string:
            fields.append(Field(number, operator, value))
            continue
        if start + value > end:
            raise RuleError([f"the string of the rule's field {facts.name} is longer than the rule"])
        fields.append(Field(number, operator, string=data[start : start + value]))
        start += value
    return KernelRule(flags, action, tuple(mask), tuple(fields))


@lru_cache(maxsize=1024)
def comparable(data: bytes) -> bytes:
    """Return the rule in the form in which two that do the same are equal, be they sent or listed.

    The listing lacks the flag for prepending, pads the strings, and has half of a full mask's last word cleared.
    Results are remembered, since the same rules are listed every few seconds.

    Raises:
        RuleError: *data* is shorter than a rule.
    """
    if len(data) < HEADER_BYTES:
        raise RuleError([f"a rule has at least {HEADER_BYTES} bytes, not {len(data)}"])
    values = list(_LAYOUT.unpack_from(data))
    values[0] &= ~FLAG_PREPEND
    last_word = 2 + _MASK_WORDS
    if _is_full(values[3 : last_word + 1]):
        values[last_word] = _SYSCALLS_OF_LAST_WORD
    return _LAYOUT.pack(*values) + data[HEADER_BYTES : HEADER_BYTES + values[-1]]


def rule_list(data: bytes) -> int:
    """Return the number of the list that a rule in the form of `comparable` is in."""
    return read_kernel_rule(data).flags


def key_of(data: bytes) -> bytes:
    """Return all keys of a rule as the kernel has them; b"" if there is none.

    Raises:
        RuleError: *data* is no whole rule.
    """
    key = known_field("key").number
    return b"".join(field.string for field in read_kernel_rule(data).fields if field.number == key)


def _is_full(mask: Iterable[int]) -> bool:
    *words, last = mask
    return all(word == _FULL_WORD for word in words) and last in (_FULL_WORD, _SYSCALLS_OF_LAST_WORD)


def _key_fields(rule: Rule) -> list[Field]:
    """Return the one field for all keys, the last of the rule wherever they were written."""
    joined = os.fsencode(KEY_SEPARATOR.join(rule.keys))
    return [Field(known_field("key").number, operator_number("="), string=joined)] if joined else []


def _mask(syscalls: frozenset[int] | None) -> list[int]:
    if syscalls is None:
        return [_FULL_WORD] * _MASK_WORDS
    mask = [0] * _MASK_WORDS
    for number in syscalls:
        mask[number // 32] |= 1 << number % 32
    return mask


def _column(values: Iterable[int]) -> list[int]:
    column = list(values)
    return column + [0] * (_MAX_FIELDS - len(column))
