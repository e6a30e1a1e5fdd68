"""An audit rule between its text and the kernel's bytes."""

from dataclasses import dataclass
from enum import IntEnum

from auditline.workers.common.errors import RuleError

KEY_SEPARATOR = "\x01"
"""Between several keys in the one field that the kernel has for them. Source: linux/audit.h, AUDIT_KEY_SEPARATOR."""


class RuleList(IntEnum):
    """The kernel's lists of rules that we load. Source: linux/audit.h, AUDIT_FILTER_*."""

    USER = 0
    TASK = 1
    EXIT = 4
    EXCLUDE = 5
    FILESYSTEM = 6

    @property
    def text(self) -> str:
        """How a rule names it."""
        return self.name.lower()


class Action(IntEnum):
    """What a rule that matches does. The kernel refuses the third one, possible. Source: linux/audit.h."""

    NEVER = 0
    ALWAYS = 2

    @property
    def text(self) -> str:
        """How a rule names it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Field:
    """One condition; what the kernel takes as a string is in `string`, everything else in `value`."""

    number: int
    operator: int
    """As in the rule's field flags: 0x40000000 is `=`."""
    value: int = 0
    """Two's complement in 32 bits."""
    string: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule with where it was written; its names are resolved for one machine."""

    rule_list: RuleList
    action: Action
    is_prepended: bool = False
    syscalls: frozenset[int] | None = None
    """None: all of them. Empty on the task list, where the kernel does not look at it, and where -S names none."""
    fields: tuple[Field, ...] = ()
    """In the order in which the kernel tries them; without the key."""
    keys: tuple[str, ...] = ()
    file: str
    line: int
    text: str


class MachineError(RuleError):
    """A rule names a system call, or a side such as b32, that this machine does not have or our tables lack."""


@dataclass(frozen=True, slots=True)
class MachineProblem:
    """A rule that was refused only because of the machine that it is for."""

    file: str
    line: int
    text: str
    reason: str
    problem: str
    """As it stands in the file's problems."""
