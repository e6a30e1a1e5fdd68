"""Which of two compiled rules has to come first, and a copy that may stand in for a rule while it is moved.

The first rule of a list that matches an event decides: kernel/auditsc.c, audit_filter_syscall().
"""

import struct
from dataclasses import dataclass
from functools import lru_cache

from auditline.workers.control.compile import FLAG_PREPEND, HEADER_BYTES, key_of, read_kernel_rule
from auditline.workers.control.fields import known_field, operator_number
from auditline.workers.control.rule import Action, RuleList

_WORDS = struct.Struct("=260I")
"""struct audit_rule_data as words: three, then 64 each of mask, fields, values, operators, then one."""
_FLAGS, _ACTION, _FIELD_COUNT, _FIELDS, _VALUES, _OPERATORS = 0, 1, 2, 67, 131, 195
_MASK_BYTES = slice(4 * 3, 4 * 67)
_MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class _Facts:
    """What decides whether two rules can match the same event, and whether one can tell which of them did."""

    rule_list: int
    action: int
    key: bytes
    syscalls: int
    """The mask as one number; all bits where the kernel does not look at it."""
    arch: int | None


def is_prepended(rule: bytes) -> bool:
    """Tell whether *rule* asks to be put before the others of its list."""
    return bool(_WORDS.unpack_from(rule)[_FLAGS] & FLAG_PREPEND)


def is_silencing(rule: bytes) -> bool:
    """Tell whether *rule* keeps events from being recorded."""
    return bool(_WORDS.unpack_from(rule)[_ACTION] == Action.NEVER)


def order_matters(one: bytes, other: bytes) -> bool:
    """Tell whether it shows which of two rules comes first: an event is recorded or not, or gets another key."""
    a, b = _facts(one), _facts(other)
    if a.rule_list != b.rule_list or not a.syscalls & b.syscalls:
        return False
    if a.arch is not None and b.arch is not None and a.arch != b.arch:
        return False
    return a.action != b.action or (a.action != Action.NEVER and a.key != b.key)


def stand_in(rule: bytes) -> bytes | None:
    """Return *rule* with the further condition pid >= 0, which always holds; None where that cannot be added."""
    words = list(_WORDS.unpack_from(rule))
    count = words[_FIELD_COUNT]
    if words[_FLAGS] & ~FLAG_PREPEND != RuleList.EXIT or count >= _MAX_FIELDS:
        return None
    words[_FIELD_COUNT] = count + 1
    words[_FIELDS + count] = known_field("pid").number
    words[_VALUES + count] = 0
    words[_OPERATORS + count] = operator_number(">=")
    return _WORDS.pack(*words) + rule[HEADER_BYTES:]


@lru_cache(maxsize=4096)
def _facts(rule: bytes) -> _Facts:
    known = read_kernel_rule(rule)
    is_arch = (known_field("arch").number, operator_number("="))
    rule_list = known.flags & ~FLAG_PREPEND
    return _Facts(
        rule_list=rule_list,
        action=known.action,
        key=key_of(rule),
        # Only the exit list looks at the mask.
        syscalls=int.from_bytes(rule[_MASK_BYTES], "little") if rule_list == RuleList.EXIT else -1,
        arch=next((field.value for field in known.fields if (field.number, field.operator) == is_arch), None),
    )
