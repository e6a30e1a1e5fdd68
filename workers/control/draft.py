"""One rule while its options are read, from left to right as auditctl reads them."""

import os
import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from auditline.workers.common.errors import RuleError
from auditline.workers.common.tables import lookup
from auditline.workers.control import paths
from auditline.workers.control.fields import (
    COMPARISON_FIELD,
    EQUALITY,
    FieldFacts,
    ValueKind,
    field_named,
    known_field,
    operator_number,
)
from auditline.workers.control.rule import KEY_SEPARATOR, Action, Field, MachineError, Rule, RuleList
from auditline.workers.control.syscalls import syscall_number, syscalls_differ_in_32_bits
from auditline.workers.control.values import UNSET, parse_permissions, parse_value
from auditline.workers.control.words import shown

_MAX_KEY_BYTES = 256
"""Source: linux/audit.h, AUDIT_MAX_KEY_LEN."""

_MAX_FIELDS = 63
"""One less than the kernel takes: libaudit 3.0.9 adds none to 63."""

_MAX_BUFFER_BYTES = 8970 - 16 - 1040
"""What libaudit sends: the message less its header and the rule's fixed part. Source: libaudit.h of 3.0.9."""

_ALL_PERMISSIONS = 15
_OPERATOR = re.compile(r"!=|>=|<=|&=|=|>|<|&")
_EXCLUSIVE = (frozenset({"path", "dir", "inode"}), frozenset({"exe"}), frozenset({"key"}))
"""A rule has one of each set: the kernel answers EINVAL."""

_KEY_NEEDS = "a watch, -S, path, dir, perm, exe or fstype"
_REFUSED_LISTS = {
    "entry": "the kernel has no entry list any more; use exit",
    "watch": "watch is no list of rules; use -w, or exit with -F path=",
    "io_uring": "auditctl 3.0.9 does not know the list io_uring",
}
_POSSIBLE = "possible"
_KEY_FIELDS = frozenset({"path", "dir", "perm", "exe", "fstype"})


class Operation(Enum):
    """What a line does with its rule."""

    ADD = auto()
    DELETE = auto()


class Draft:
    """Collects one rule; each method takes one option's value and raises RuleError where that makes no rule."""

    def __init__(self, machine: str, *, leaves_out_unknown_calls: bool) -> None:
        self._machine = machine
        self._leaves_out_unknown_calls = leaves_out_unknown_calls
        self._list: RuleList | None = None
        self._action = Action.ALWAYS
        self._is_prepended = False
        self._is_watch = False
        self._architecture: int | None = None
        self._syscalls: set[int] = set()
        self._has_syscalls = False
        self._is_every_syscall = False
        self._has_list = False
        self._fields: list[Field] = []
        self._names: set[str] = set()
        self._keys: list[str] = []
        self.operation = Operation.ADD
        self.warnings: list[str] = []

    def append(self, text: str) -> None:
        """Take `-a list,action`, in either order."""
        self._take_list(text)
        self.operation = Operation.ADD

    def prepend(self, text: str) -> None:
        """Take `-A list,action`."""
        self._take_list(text)
        self.operation, self._is_prepended = Operation.ADD, True

    def delete(self, text: str) -> None:
        """Take `-d list,action`: the rule is to go."""
        self._take_list(text)
        self.operation = Operation.DELETE

    def watch(self, text: str) -> None:
        """Take `-w PATH`: what is there now decides whether a directory or one path is watched."""
        self._take_watch("-w", text)
        self.operation = Operation.ADD

    def unwatch(self, text: str) -> None:
        """Take `-W PATH`: the watch is to go."""
        self._take_watch("-W", text)
        self.operation = Operation.DELETE

    def permissions(self, text: str) -> None:
        """Take `-p rwxa`, which replaces what -w begins with."""
        perm = known_field("perm")
        if not self._fields:
            raise RuleError(["-p needs a -w or a path before it"])
        self._check_list(perm)
        field = Field(perm.number, operator_number("="), parse_permissions(text))
        if perm.name in self._names:
            self._fields = [field if other.number == perm.number else other for other in self._fields]
        else:
            self._append(perm, field)

    def key(self, text: str) -> None:
        """Take `-k KEY`."""
        if self._list is None or not self._may_have_key:
            raise RuleError([f"-k needs {_KEY_NEEDS} before it"])
        self._check_list(known_field("key"))
        self._add_key(text)

    def condition(self, text: str) -> None:
        """Take `-F FIELD OPERATOR VALUE`, written as one word."""
        if text == "key=":
            self._add_key("")
            return
        name, symbol, value = _split_condition("-F", text)
        facts = field_named(name)
        if facts is None:
            raise RuleError([f"{shown(name)} is no field of a rule"])
        # Only -p takes it in other lists.
        self._check_list(facts, is_strict=facts.kind is ValueKind.PERMISSIONS)
        if symbol not in facts.operators:
            raise RuleError([f"{facts.name} takes {' '.join(facts.operators)}, not {symbol}"])
        if facts.kind is ValueKind.KEY and symbol == "=":
            self._add_key(value)
        elif facts.kind is ValueKind.KEY and not self._may_have_key:
            raise RuleError([f"a key needs {_KEY_NEEDS} before it"])
        elif facts.is_string:
            self._add_string(facts, symbol, value)
        else:
            self._add_value(facts, symbol, value)

    def comparison(self, text: str) -> None:
        """Take `-C FIELD=FIELD` or `-C FIELD!=FIELD`."""
        left, symbol, right = _split_condition("-C", text)
        if self._list is not RuleList.EXIT:
            raise RuleError(["-C is for the exit list, which -a has to name before it"])
        if symbol not in EQUALITY:
            raise RuleError([f"-C takes = !=, not {symbol}"])
        value = lookup.rule_comparison_number(left.lower(), right.lower())
        if value is None:
            raise RuleError([f"the kernel cannot compare {shown(left)} with {shown(right)}"])
        self._fields.append(Field(COMPARISON_FIELD, operator_number(symbol), value))

    def system_calls(self, text: str) -> None:
        """Take `-S NAME,NUMBER,…` or `-S all`."""
        if self._list not in (None, RuleList.EXIT):
            raise RuleError([f"-S is for the exit list, not for {self._list.text}"])
        names = [name for name in text.split(",") if name]
        if not names:
            self.warnings.append(f"-S {shown(text)} names no system call")
        if self._is_watch:
            self.warnings.append("a watch is one of all system calls: -S changes nothing")
        self._has_syscalls = True
        self._is_every_syscall = self._is_every_syscall or "all" in names
        named = [name for name in names if name != "all"]
        self._syscalls.update(self._syscall_numbers(named))
        if self._architecture is None and syscalls_differ_in_32_bits(named, self._machine):
            self.warnings.append("-S without -F arch= before it: 32-bit programs have other calls under these numbers")

    def finish(self, file: str, line: int, text: str) -> Rule:
        """Return the rule; *file*, *line* and *text* say where it was written."""
        if self._list is None:
            raise RuleError(["there is no -a, -A, -d, -w or -W"])
        if self._keys and not self._may_have_key:
            raise RuleError([f"a key needs {_KEY_NEEDS} in its rule"])
        if self._keys and "key" in self._names:
            raise RuleError(["key is given twice: the kernel takes one of them"])
        if len(self._fields) + bool(self._keys) > _MAX_FIELDS:
            raise RuleError([f"a rule has at most {_MAX_FIELDS} fields, the key included"])
        buffer_bytes = sum(len(field.string) for field in self._fields) + self._key_bytes
        if buffer_bytes > _MAX_BUFFER_BYTES:
            raise RuleError([f"paths, labels and keys are {buffer_bytes} bytes, more than {_MAX_BUFFER_BYTES}"])
        return Rule(
            rule_list=self._list,
            action=self._action,
            is_prepended=self._is_prepended,
            syscalls=self._selected_syscalls,
            fields=tuple(self._fields),
            keys=tuple(self._keys),
            file=file,
            line=line,
            text=text,
        )

    @property
    def _selected_syscalls(self) -> frozenset[int] | None:
        if self._list is RuleList.TASK:
            return frozenset()
        return None if self._is_every_syscall or not self._has_syscalls else frozenset(self._syscalls)

    @property
    def _may_have_key(self) -> bool:
        return self._has_syscalls or not _KEY_FIELDS.isdisjoint(self._names)

    @property
    def _key_bytes(self) -> int:
        return len(os.fsencode(KEY_SEPARATOR.join(self._keys)))

    def _syscall_numbers(self, names: Sequence[str]) -> Iterator[int]:
        """Yield numbers; what the machine lacks is left out, where that is wanted and something remains."""
        unknown: list[MachineError] = []
        for name in names:
            try:
                yield syscall_number(name, self._architecture, self._machine)
            except MachineError as error:
                unknown.append(error)
        if unknown and (len(unknown) == len(names) or not self._leaves_out_unknown_calls):
            raise unknown[0]

    def _take_list(self, text: str) -> None:
        if self._list is not None and not self._may_have_list(text):
            raise RuleError(["a rule has one -a, -A, -d, -w or -W, and one only"])
        rule_list, action = _parse_list(text)
        if rule_list is RuleList.TASK and self._has_syscalls:
            raise RuleError(["-S is for the exit list, not for task"])
        if rule_list is not RuleList.EXIT and self._has_syscalls:
            self.warnings.append(f"-S has no meaning in the list {rule_list.text}")
        self._list, self._action, self._has_list = rule_list, action, True

    def _may_have_list(self, text: str) -> bool:
        """Tell whether auditctl takes `-a list,action`, in this order, behind a -w: it decides what the watch does."""
        is_first = self._is_watch and self.operation is Operation.ADD and not self._has_list
        return is_first and text.partition(",")[0] in {known.text for known in RuleList}

    def _take_watch(self, option: str, text: str) -> None:
        if self._list is not None:
            raise RuleError([f"{option} stands alone, without -a, -A, -d or another watch"])
        # As auditctl does it, down to //, which stays as it is.
        path = (text.rstrip("/") or text[:1]) if len(text) > len("//") else text
        self.warnings += paths.watch_warnings(path)
        if self._syscalls:
            self.warnings.append(f"{option} is for all system calls: -S before it changes nothing")
        self._list, self._is_watch = RuleList.EXIT, True
        self._has_syscalls = self._is_every_syscall = True
        self._add_string(known_field("dir" if paths.is_directory(path) else "path"), "=", path)
        perm = known_field("perm")
        self._append(perm, Field(perm.number, operator_number("="), _ALL_PERMISSIONS))

    def _check_list(self, facts: FieldFacts, *, is_strict: bool = False) -> None:
        if self._list is None:
            raise RuleError([f"-a list,action has to stand before {facts.name}"])
        if self._list in facts.idle_lists and not is_strict:
            self.warnings.append(f"{facts.name} has no meaning in the list {self._list.text}")
        elif self._list not in facts.lists:
            allowed = ", ".join(sorted(known.text for known in facts.lists))
            raise RuleError([f"{facts.name} is not for the list {self._list.text}, only for {allowed}"])

    def _add_value(self, facts: FieldFacts, symbol: str, text: str) -> None:
        if facts.kind is ValueKind.ARCHITECTURE and self._has_syscalls:
            raise RuleError(["arch must be before -S, whose names depend on it"])
        try:
            value, doubt = parse_value(facts.kind, text, self._machine)
        except RuleError as error:
            raise type(error)([f"{facts.name}: {error}"]) from error
        if doubt:
            self.warnings.append(f"{facts.name}: {doubt}")
        if facts.kind is ValueKind.ARCHITECTURE and self._architecture is not None:
            self.warnings.append("arch is given twice: no call is of both")
        if facts.kind is ValueKind.LOGIN_USER and value == UNSET and symbol not in EQUALITY:
            raise RuleError([f"auid: unset takes = !=, not {symbol}"])
        if facts.number == COMPARISON_FIELD and value not in lookup.rule_comparison_names():
            self.warnings.append(f"{facts.name}: the kernel knows no comparison {value}")
        self._append(facts, Field(facts.number, operator_number(symbol), value))
        if facts.kind is ValueKind.ARCHITECTURE:
            self._architecture = value

    def _add_string(self, facts: FieldFacts, symbol: str, text: str) -> None:
        if facts.kind is ValueKind.PATH:
            paths.check_path(facts.name, text)
        self._append(facts, Field(facts.number, operator_number(symbol), string=os.fsencode(text)))

    def _append(self, facts: FieldFacts, field: Field) -> None:
        for exclusive in _EXCLUSIVE:
            for other in sorted(self._names & exclusive if facts.name in exclusive else ()):
                pair = f"{facts.name} is given twice" if other == facts.name else f"{facts.name} stands beside {other}"
                raise RuleError([f"{pair}: the kernel takes one of them"])
        self._names.add(facts.name)
        self._fields.append(field)

    def _add_key(self, text: str) -> None:
        if not text:
            self.warnings.append("the key is empty: there is none")
            return
        self._keys.append(text)
        if self._key_bytes > _MAX_KEY_BYTES:
            raise RuleError([f"the keys are {self._key_bytes} bytes together, more than {_MAX_KEY_BYTES}"])


def _parse_list(text: str) -> tuple[RuleList, Action]:
    names = text.split(",")
    lists = [known for known in RuleList if known.text in names]
    actions = [known for known in Action if known.text in names]
    if len(names) == len(lists) + len(actions) == 2 and lists and actions:
        return lists[0], actions[0]
    for name in names:
        if name in _REFUSED_LISTS:
            raise RuleError([f"{shown(text)}: {_REFUSED_LISTS[name]}"])
    wanted = f"one of {', '.join(known.text for known in RuleList)}, and always or never"
    raise RuleError([f"{shown(text)} is not list,action: {wanted}"])


def _split_condition(option: str, text: str) -> tuple[str, str, str]:
    operator = _OPERATOR.search(text)
    if operator is None:
        raise RuleError([f"{option} {shown(text)} has no operator"])
    name, value = text[: operator.start()], text[operator.end() :]
    if not name or not value:
        missing = "field before" if not name else "value behind"
        raise RuleError([f"{option} {shown(text)} has no {missing} its operator"])
    return name, operator.group(), value
