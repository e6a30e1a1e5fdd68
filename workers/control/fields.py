"""What each field of a rule may be: its kind of value, the lists that take it, its operators.

Source: what auditctl 3.0.9 accepts (lib/libaudit.c) less what the kernel then refuses (kernel/auditfilter.c); what
it looks at in which list: audit_filter_rules() in kernel/auditsc.c, audit_filter() in kernel/auditfilter.c.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

from auditline.workers.common.tables import lookup
from auditline.workers.control.rule import RuleList

EQUALITY = ("=", "!=")
ORDER = ("=", "!=", "<", ">", "<=", ">=")
EVERY_OPERATOR = (*ORDER, "&", "&=")

COMPARISON_FIELD = 111
"""Field of -C, whose value says which two fields are compared. Source: linux/audit.h, AUDIT_FIELD_COMPARE."""


class ValueKind(Enum):
    """How a field's value is written and printed."""

    USER = auto()
    LOGIN_USER = auto()
    GROUP = auto()
    NUMBER = auto()
    INODE = auto()
    ARGUMENT = auto()
    SESSION = auto()
    EXIT_CODE = auto()
    SUCCESS = auto()
    MESSAGE_TYPE = auto()
    ARCHITECTURE = auto()
    PERMISSIONS = auto()
    FILE_TYPE = auto()
    FILE_SYSTEM = auto()
    ADDRESS_FAMILY = auto()
    LABEL = auto()
    PATH = auto()
    KEY = auto()


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """One field that rules can have."""

    name: str
    number: int
    kind: ValueKind
    lists: frozenset[RuleList]
    operators: tuple[str, ...]
    idle_lists: frozenset[RuleList]
    """Where auditctl and the kernel take it, and the kernel never looks at it."""

    @property
    def is_string(self) -> bool:
        """Tell whether the kernel takes the value from the buffer behind the rule."""
        return self.kind in _STRING_KINDS


def field_named(name: str) -> FieldFacts | None:
    """Return the field that a rule calls *name*, in any case; `loginuid` is `auid`."""
    number = lookup.rule_field_number(name.lower())
    return None if number is None else field_numbered(number)


def field_numbered(number: int) -> FieldFacts | None:
    """Return a field by its number; None for one that we do not load."""
    return _facts().get(number)


def known_field(name: str) -> FieldFacts:
    """Return a field that our code names itself.

    Raises:
        KeyError: the tables lack it.
    """
    facts = field_named(name)
    if facts is None:
        raise KeyError(name)
    return facts


def operator_number(symbol: str) -> int:
    """Return the field flags of an operator.

    Raises:
        KeyError: there is no such operator.
    """
    number = lookup.rule_operator_number(symbol)
    if number is None:
        raise KeyError(symbol)
    return number


@cache
def _facts() -> Mapping[int, FieldFacts]:
    facts: dict[int, FieldFacts] = {}
    for names, kind, lists, operators in _FIELDS:
        for name in names.split():
            number = lookup.rule_field_number(name)
            if number is not None:
                idle = frozenset(_IDLE_LISTS.get(name, ()))
                facts[number] = FieldFacts(name, number, kind, frozenset(lists), operators, idle)
    return facts


_STRING_KINDS = frozenset({ValueKind.LABEL, ValueKind.PATH, ValueKind.KEY})
_EXIT = (RuleList.EXIT,)
_PROCESS = (RuleList.EXIT, RuleList.TASK, RuleList.USER)
_CREDENTIAL = (*_PROCESS, RuleList.EXCLUDE)
_IDLE_LISTS: Mapping[str, Iterable[RuleList]] = {
    **dict.fromkeys(("a0", "a1", "a2", "a3", "obj_uid", "obj_gid", "saddr_fam"), (RuleList.TASK, RuleList.USER)),
    "perm": (RuleList.TASK, RuleList.USER, RuleList.EXCLUDE),
}
_FIELDS: Sequence[tuple[str, ValueKind, Iterable[RuleList], tuple[str, ...]]] = (
    ("pid", ValueKind.NUMBER, _CREDENTIAL, ORDER),
    ("uid", ValueKind.USER, _CREDENTIAL, ORDER),
    ("auid", ValueKind.LOGIN_USER, _CREDENTIAL, ORDER),
    ("gid", ValueKind.GROUP, _CREDENTIAL, ORDER),
    ("euid suid fsuid", ValueKind.USER, _PROCESS, ORDER),
    ("egid sgid fsgid", ValueKind.GROUP, _PROCESS, ORDER),
    ("obj_uid", ValueKind.USER, _EXIT, ORDER),
    ("obj_gid", ValueKind.GROUP, _EXIT, ORDER),
    ("ppid devmajor", ValueKind.NUMBER, _EXIT, ORDER),
    ("devminor", ValueKind.NUMBER, _EXIT, EVERY_OPERATOR),
    ("inode", ValueKind.INODE, _EXIT, EQUALITY),
    ("pers", ValueKind.NUMBER, _PROCESS, EVERY_OPERATOR),
    ("a0 a1 a2 a3", ValueKind.ARGUMENT, _EXIT, EVERY_OPERATOR),
    ("sessionid", ValueKind.SESSION, (RuleList.EXIT, RuleList.USER), ORDER),
    ("exit", ValueKind.EXIT_CODE, _EXIT, ORDER),
    ("success", ValueKind.SUCCESS, _EXIT, ORDER),
    ("msgtype", ValueKind.MESSAGE_TYPE, (RuleList.EXCLUDE, RuleList.USER), ORDER),
    ("arch", ValueKind.ARCHITECTURE, _PROCESS, EQUALITY),
    ("perm", ValueKind.PERMISSIONS, _EXIT, ("=",)),
    ("filetype", ValueKind.FILE_TYPE, _EXIT, EQUALITY),
    ("fstype", ValueKind.FILE_SYSTEM, (RuleList.FILESYSTEM,), EQUALITY),
    ("saddr_fam", ValueKind.ADDRESS_FAMILY, _EXIT, ORDER),
    ("subj_user subj_role subj_type", ValueKind.LABEL, _CREDENTIAL, EQUALITY),
    ("subj_sen subj_clr", ValueKind.LABEL, _CREDENTIAL, ORDER),
    ("obj_user obj_role obj_type", ValueKind.LABEL, _EXIT, EQUALITY),
    ("obj_lev_low obj_lev_high", ValueKind.LABEL, _EXIT, ORDER),
    ("exe", ValueKind.PATH, _CREDENTIAL, EQUALITY),
    ("path dir", ValueKind.PATH, _EXIT, ("=",)),
    ("key", ValueKind.KEY, (*_PROCESS, RuleList.FILESYSTEM), EQUALITY),
    ("field_compare", ValueKind.NUMBER, _EXIT, EQUALITY),
)
