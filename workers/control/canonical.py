"""A rule's bytes as text, in the way `auditctl -l` lists rules.

Where auditctl's text would compile to other bytes, ours differs: an architecture that is not this machine's has its
name, `arch` keeps its place among the fields, a file type has its name, ids beyond 31 bits are not negative,
blanks and quotes are escaped, and `-w` is used only where reading it gives the same rule.
"""

import os
from collections.abc import Callable, Mapping, Sequence

from auditline.workers.common.tables import lookup
from auditline.workers.control.compile import FLAG_PREPEND, KernelRule, read_kernel_rule
from auditline.workers.control.fields import COMPARISON_FIELD, ValueKind, field_numbered, known_field, operator_number
from auditline.workers.control.paths import is_directory
from auditline.workers.control.rule import KEY_SEPARATOR, Action, Field, RuleList
from auditline.workers.control.syscalls import this_machine
from auditline.workers.control.words import join_word

_LISTS = {known.value: known.text for known in RuleList}
_ACTIONS = {known.value: known.text for known in Action}
_LISTS_WITHOUT_SYSCALLS = frozenset({RuleList.USER, RuleList.TASK, RuleList.EXCLUDE, RuleList.FILESYSTEM})
_LAST_NAMED_CALL = 450
"""auditctl 3.0.9 knows no name of a newer call: neither shows nor reads it."""
_SIGN = 1 << 31


def rule_text(data: bytes, machine: str | None = None) -> str:
    """Return the line that compiles to *data*; *machine* decides what b64 and b32 are (None: this one).

    Of foreign rules what our language lacks is shown all the same: unknown fields as `f999`.

    Raises:
        RuleError: *data* is no whole rule.
    """
    rule = read_kernel_rule(data)
    machine = machine or this_machine()
    watch = _watch_words(rule)
    return " ".join(_rule_words(rule, machine) if watch is None else watch)


def _watch_words(rule: KernelRule) -> list[str] | None:
    """Return the `-w` form, or None where reading it would give another rule."""
    numbers = [field.number for field in rule.fields]
    path, directory, perm, key = (known_field(name).number for name in ("path", "dir", "perm", "key"))
    is_watch = numbers[:2] in ([path, perm], [directory, perm]) and numbers[2:] in ([], [key])
    if not is_watch or (rule.flags, rule.action) != (RuleList.EXIT, Action.ALWAYS) or not rule.is_every_syscall:
        return None
    watched, permissions, *keys = rule.fields
    name = os.fsdecode(watched.string)
    reads_the_same = is_directory(name) == (watched.number == directory) and (name == "/" or not name.endswith("/"))
    if not reads_the_same or any(field.operator != operator_number("=") for field in rule.fields):
        return None
    words = ["-w", _word(watched.string), "-p", _permissions(permissions.value)]
    return words + [word for field in keys for one in _keys(field.string) for word in ("-k", one)]


def _rule_words(rule: KernelRule, machine: str) -> list[str]:
    list_name = _LISTS.get(rule.flags & ~FLAG_PREPEND) or lookup.rule_list_name(rule.flags & ~FLAG_PREPEND)
    action = _ACTIONS.get(rule.action, str(rule.action))
    words = ["-A" if rule.flags & FLAG_PREPEND else "-a", f"{action},{list_name or rule.flags}"]
    arches = [at for at, field in enumerate(rule.fields) if field.number == known_field("arch").number]
    last_arch = arches[-1] if arches else -1
    for field in rule.fields[: last_arch + 1]:
        words += _field_words(field, machine, rule.flags & ~FLAG_PREPEND)
    syscalls = _syscall_words(rule, rule.fields[last_arch].value if arches else None, machine)
    # Behind the name of such a list -S is refused.
    words = [*syscalls, *words] if rule.flags & ~FLAG_PREPEND in _LISTS_WITHOUT_SYSCALLS else [*words, *syscalls]
    for field in rule.fields[last_arch + 1 :]:
        words += _field_words(field, machine, rule.flags & ~FLAG_PREPEND)
    return words


def _syscall_words(rule: KernelRule, architecture: int | None, machine: str) -> list[str]:
    has_meaning = rule.flags & ~FLAG_PREPEND not in _LISTS_WITHOUT_SYSCALLS
    if rule.is_every_syscall:
        return ["-S", "all"] if has_meaning else []
    word = lookup.architecture_word(machine) if architecture is None else architecture
    numbers = lookup.syscall_numbers(lookup.architecture_name(word or 0) or "")
    # The last of several names of a call is auditctl's.
    names = {number: name for name, number in numbers.items() if number <= _LAST_NAMED_CALL}
    selected = [at * 32 + bit for at, bits in enumerate(rule.mask) for bit in range(32) if bits >> bit & 1]
    if rule.flags & ~FLAG_PREPEND == RuleList.TASK and not selected:
        return []
    return ["-S", ",".join(names.get(number, str(number)) for number in selected) or ","]


def _field_words(field: Field, machine: str, rule_list: int) -> list[str]:
    symbol = lookup.rule_operator_symbol(field.operator) or f"<{field.operator:#x}>"
    if field.number == COMPARISON_FIELD and field.value in lookup.rule_comparison_names():
        left, right = lookup.rule_comparison_names()[field.value]
        return ["-C", f"{left}{symbol}{right}"]
    facts = field_numbered(field.number)
    if facts is None:
        return ["-F", f"f{field.number}{symbol}{field.value}"]
    if facts.kind is ValueKind.KEY:
        return [word for key in _keys(field.string) for word in ("-F", f"key{symbol}{key}")]
    if facts.is_string:
        return ["-F", f"{facts.name}{symbol}{_word(field.string)}"]
    if facts.kind is ValueKind.PERMISSIONS and rule_list != RuleList.EXIT:
        # auditctl takes it there, where it has no meaning, in this form only.
        return ["-p", _permissions(field.value)]
    is_architecture = facts.kind is ValueKind.ARCHITECTURE
    value = _architecture(field.value, machine) if is_architecture else _PRINTERS[facts.kind](field.value)
    return ["-F", f"{facts.name}{symbol}{value}"]


def _keys(joined: bytes) -> Sequence[str]:
    keys = joined.split(KEY_SEPARATOR.encode())
    # An empty one among them can only be written as a part of another.
    return [_word(key) for key in keys] if all(keys) else [_word(joined)]


def _word(string: bytes) -> str:
    """Return bytes as one word, which is text without anything that would steer a terminal."""
    return join_word(string.decode("utf-8", "surrogateescape"))


def _architecture(word: int, machine: str) -> str:
    for side in ("b64", "b32"):
        if lookup.architecture_word(side, machine) == word:
            return side
    return lookup.architecture_name(word) or f"{word:#x}"


def _permissions(bits: int) -> str:
    return "".join(letter for letter in "rwxa" if bits & (lookup.rule_permission_bit(letter) or 0))


def _signed(value: int) -> str:
    return str(value - 2 * _SIGN if value & _SIGN else value)


def _exit_code(value: int) -> str:
    name = lookup.errno_name(2 * _SIGN - value) if value & _SIGN else None
    return _signed(value) if name is None else f"-{name}"


def _message_type(value: int) -> str:
    name = lookup.record_type_names().get(value)
    return str(value) if name is None else name.upper()


_PRINTERS: Mapping[ValueKind, Callable[[int], str]] = {
    ValueKind.USER: _signed,
    ValueKind.LOGIN_USER: _signed,
    ValueKind.SESSION: _signed,
    ValueKind.GROUP: str,
    ValueKind.NUMBER: str,
    ValueKind.INODE: str,
    ValueKind.SUCCESS: str,
    ValueKind.ADDRESS_FAMILY: str,
    ValueKind.ARGUMENT: lambda value: f"0x{value:X}",
    ValueKind.EXIT_CODE: _exit_code,
    ValueKind.MESSAGE_TYPE: _message_type,
    ValueKind.PERMISSIONS: _permissions,
    ValueKind.FILE_TYPE: lambda value: lookup.filetype_name(value) or str(value),
    ValueKind.FILE_SYSTEM: lambda value: lookup.filesystem_name(value) or str(value),
}
