"""What a line of a rules file says beside rules: values of the kernel's status, and things to be done once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from auditline.workers.common.errors import RuleError
from auditline.workers.control.status_fields import ticks_per_second
from auditline.workers.control.values import parse_integer, read_number
from auditline.workers.control.words import shown

IGNORING_OPTIONS = frozenset({"-i", "-c"})

_LONGEST_WAIT_SECONDS = 600
"""Ten times the kernel's default. Source: kernel/audit.c, audit_receive_msg()."""
_MOST_UNSIGNED_LONG = (1 << 64) - 1
_SIGNALS = ("TERM", "HUP", "USR1", "USR2", "CONT")
_FIRST_PRINTABLE = 32
_FIRST_BEYOND_ASCII = 128


class CommandKind(Enum):
    """Something that the kernel does once, when the rules are loaded."""

    TRIM = "-t"
    """Forget mounts below watched directories that are gone."""
    EQUIVALENT = "-q"
    """Watch a subtree as what is mounted there."""
    RESET_LOST = "--reset-lost"
    RESET_WAIT = "--reset_backlog_wait_time_actual"
    LOGINUID_IMMUTABLE = "--loginuid-immutable"
    """Until the next boot: the kernel keeps it locked."""


@dataclass(frozen=True, slots=True)
class Command:
    """One of them, with the paths that it is about."""

    kind: CommandKind
    paths: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """How a rules file writes it."""
        return " ".join([self.kind.value, *([",".join(self.paths)] if self.paths else [])])


class Directives:
    """Collects those of one file; what stands later wins."""

    def __init__(self) -> None:
        self.status: dict[str, int] = {}
        """Wanted values, by their name in `KernelStatus`."""
        self.commands: list[Command] = []
        self.ignores_errors = False
        """-i or -c: a wrong line from here on keeps nothing from being loaded."""
        self.fails_late = False
        """-c: but it is a failure in the end."""

    def add(self, later: "Directives") -> None:
        """Take over what a later line says."""
        self.status |= later.status
        self.commands += later.commands

    def note_ignoring(self, option: str) -> None:
        """Ignore errors from here on if that is what *option* says."""
        self.ignores_errors = self.ignores_errors or option in IGNORING_OPTIONS
        self.fails_late = self.fails_late or option == "-c"

    def take(self, option: str, value: str, warn: Callable[[str], None]) -> None:
        """Take one option that is no part of a rule.

        Raises:
            RuleError: auditctl would refuse it.
        """
        if option in _STATUS:
            name, read = _STATUS[option]
            self.status[name] = read(option, value, warn)
        elif option in _COMMANDS:
            self.commands.append(Command(_COMMANDS[option]))
        elif option == CommandKind.EQUIVALENT.value:
            self.commands.append(Command(CommandKind.EQUIVALENT, _parse_equivalent(value)))
        elif option not in IGNORING_OPTIONS:
            _check_idle(option, value)
            warn(f"{option} is a command of auditctl for people; nothing is done about it")


def _switch(option: str, value: str, _warn: Callable[[str], None]) -> int:
    if value not in ("0", "1", "2"):
        raise RuleError([f"{option} takes 0, 1 or 2, not {shown(value)}"])
    return int(value)


def _unsigned(option: str, value: str, warn: Callable[[str], None]) -> int:
    number = read_number(value)
    if number is None or (parse_integer(value) or 0) > _MOST_UNSIGNED_LONG:
        raise RuleError([f"{option} takes a number from 0 to 4294967295, not {shown(value)}"])
    if number.doubt:
        warn(f"{option}: {number.doubt}")
    return number.number


def _ticks(option: str, value: str, warn: Callable[[str], None]) -> int:
    ticks = _unsigned(option, value, warn)
    most = _LONGEST_WAIT_SECONDS * ticks_per_second()
    if ticks > most:
        raise RuleError([f"{option} takes at most {most} here, which is {_LONGEST_WAIT_SECONDS} s, not {shown(value)}"])
    return ticks


def _parse_equivalent(value: str) -> tuple[str, str]:
    mount_point, _, subtree = value.partition(",")
    if not mount_point or not subtree or "," in subtree:
        raise RuleError([f"-q takes MOUNT,SUBTREE, not {shown(value)}"])
    return mount_point, subtree


def _check_idle(option: str, value: str) -> None:
    if option == "--signal" and value.upper() not in _SIGNALS:
        raise RuleError([f"--signal takes one of {', '.join(_SIGNALS)}, not {shown(value)}"])
    codes = map(ord, value)
    if option == "-m" and not all(_FIRST_PRINTABLE <= code < _FIRST_BEYOND_ASCII for code in codes):
        raise RuleError(["-m takes a text of printable ASCII characters"])


_STATUS: Mapping[str, tuple[str, Callable[[str, str, Callable[[str], None]], int]]] = {
    "-e": ("enabled", _switch),
    "-f": ("failure", _switch),
    "-r": ("rate_limit", _unsigned),
    "-b": ("backlog_limit", _unsigned),
    "--backlog_wait_time": ("backlog_wait_time", _ticks),
}
_COMMANDS: Mapping[str, CommandKind] = {kind.value: kind for kind in CommandKind if kind is not CommandKind.EQUIVALENT}
