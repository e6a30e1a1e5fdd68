"""auditctl's rule language: text in, rules and problems out."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from auditline.workers.common.errors import RuleError
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.directives import Directives
from auditline.workers.control.draft import Draft, Operation
from auditline.workers.control.options import OptionReader
from auditline.workers.control.rule import KEY_SEPARATOR, MachineError, MachineProblem, Rule, RuleList
from auditline.workers.control.rule_file import RuleFile
from auditline.workers.control.syscalls import this_machine
from auditline.workers.control.words import shown, split_words

_MAX_LINE_CHARACTERS = 32768
_NOT_IN_TEXT = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_NEVER = "\x00\n"
_SURROGATE = 0xD800
_ESCAPED_BYTE = 0xDC00
"""Python's surrogateescape shows the byte 0xE9 that is not UTF-8 as U+DCE9."""

RULE_OPTIONS: Mapping[str, Callable[[Draft, str], None]] = {
    "-a": Draft.append,
    "-A": Draft.prepend,
    "-d": Draft.delete,
    "-w": Draft.watch,
    "-W": Draft.unwatch,
    "-p": Draft.permissions,
    "-F": Draft.condition,
    "-C": Draft.comparison,
    "-S": Draft.system_calls,
    "-k": Draft.key,
}
DELETE_ALL = "-D"
IDLE_OPTIONS = frozenset({"-l", "-m", "-s", "-v", "--signal"})
"""Taken because auditctl takes them; nothing is done about them."""
REFUSED_OPTIONS = {
    "-h": "-h is a command of auditctl, not a part of a rules file",
    "-R": "a rules file cannot read another one with -R; name it in rules_files",
}
_LAST_OPTIONS = frozenset({"-i", "-c", "-l", "-m", "-s", "-v"})
"""auditctl refuses what stands behind them."""
_FINAL_OPTIONS = frozenset({"-q", "-t", "--loginuid-immutable", "--reset-lost", "--reset_backlog_wait_time_actual"})
"""auditctl does not look at what stands behind them."""


def parse_rules(
    text: str, file: str, machine: str | None = None, *, leaves_out_unknown_calls: bool = False
) -> RuleFile:
    """Read a rules file; *file* is the name in messages, *machine* decides b64, b32 and numbers (None: this one).

    A rule with an unknown system call is a problem; with *leaves_out_unknown_calls* only if no other call remains.

    Bytes that were not UTF-8 are expected as surrogates (errors="surrogateescape"); outside of comments they are a
    problem of their line, like any control character. A line ends with LF or CR LF.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    parser = _Parser(file, machine or this_machine(), leaves_out_unknown_calls=leaves_out_unknown_calls)
    return parser.read(line.removesuffix("\r") for line in lines)


def parse_lines(lines: Iterable[str], file: str, machine: str | None = None) -> RuleFile:
    """Read rules that are apart already; their numbers in messages begin at 1."""
    return _Parser(file, machine or this_machine(), leaves_out_unknown_calls=False).read(lines)


class _Parser:
    """Collects what the lines of one file give."""

    def __init__(self, file: str, machine: str, *, leaves_out_unknown_calls: bool) -> None:
        self._file = file
        self._machine = machine
        self._leaves_out_unknown_calls = leaves_out_unknown_calls
        self._rules: list[Rule] = []
        self._deletions: list[Rule] = []
        self._deleted_keys: list[str] = []
        self._problems: list[str] = []
        self._ignored: list[str] = []
        self._warnings: list[str] = []
        self._machine_problems: list[MachineProblem] = []
        self._delete_all = False
        self._directives = Directives()

    def read(self, lines: Iterable[str]) -> RuleFile:
        """Take all lines and return what they give; a wrong one leaves a problem and the rules as they were."""
        for number, line in enumerate(lines, 1):
            self._take_or_tell(number, line)
        return RuleFile(
            rules=tuple(self._rules),
            delete_all=self._delete_all,
            problems=tuple(self._problems),
            ignored=tuple(self._ignored),
            fails_late=self._directives.fails_late,
            warnings=tuple(self._warnings),
            machine_problems=tuple(self._machine_problems),
            deletions=tuple(self._deletions),
            deleted_keys=tuple(self._deleted_keys),
            status=self._directives.status,
            commands=tuple(self._directives.commands),
        )

    def _take_or_tell(self, number: int, line: str) -> None:
        try:
            self._take(number, line)
        except RuleError as error:
            problem = f"{self._file}:{number}: {error}"
            (self._ignored if self._directives.ignores_errors else self._problems).append(problem)
            if isinstance(error, MachineError):
                self._machine_problems.append(MachineProblem(self._file, number, line.strip(), str(error), problem))

    def _take(self, number: int, line: str) -> None:
        content = line.strip(" \t")
        if not content or content.startswith("#"):
            return
        warnings = _check_characters(line)
        words = _split(content)
        if words[0] == DELETE_ALL:
            self._take_delete_all(words, warnings.append)
        else:
            self._take_options(words, number, content, warnings)
        self._warnings += [f"{self._file}:{number}: {warning}" for warning in warnings]

    def _take_options(self, words: Sequence[str], number: int, content: str, warnings: list[str]) -> None:
        draft: Draft | None = None
        directives = Directives()
        reader = OptionReader(words)
        for option, value in reader:
            if option in ("-a", "-A", "-d") and is_deprecated(value):
                warnings.append(f"the kernel has no action possible any more, so {option} {value} does nothing")
                return
            if option in RULE_OPTIONS:
                draft = draft or Draft(self._machine, leaves_out_unknown_calls=self._leaves_out_unknown_calls)
                RULE_OPTIONS[option](draft, value)
                continue
            # At once: what is wrong on the same line is ignored, too.
            self._directives.note_ignoring(option)
            _check_place(option, reader, warnings, has_rule=draft is not None)
            directives.take(option, value, warnings.append)
        self._directives.add(directives)
        if draft is not None:
            self._take_rule(draft.finish(self._file, number, content), draft.operation)
            warnings += draft.warnings

    def _take_rule(self, rule: Rule, operation: Operation) -> None:
        if operation is Operation.ADD:
            self._deletions = [other for other in self._deletions if not is_same(other, rule)]
            self._rules.append(rule)
        else:
            self._rules = [other for other in self._rules if not is_same(other, rule)]
            self._deletions.append(rule)

    def _take_delete_all(self, words: Sequence[str], warn: Callable[[str], None]) -> None:
        key = words[2] if len(words) == 3 and words[1] == "-k" else None
        if key is None and len(words) > 1:
            raise RuleError(["-D takes nothing behind it but -k KEY"])
        kept = [] if key is None else [rule for rule in self._rules if key not in KEY_SEPARATOR.join(rule.keys)]
        if len(kept) < len(self._rules):
            warn(f"{len(self._rules) - len(kept)} rules of the lines before it are taken back")
        self._rules = kept
        if key is None:
            self._delete_all = True
        else:
            self._deleted_keys.append(key)


def is_deprecated(text: str) -> bool:
    """Tell whether *text* is `list,possible`, which auditctl reads and does nothing about."""
    rule_list, _, action = text.partition(",")
    return action == "possible" and rule_list in {known.text for known in RuleList}


def is_same(one: Rule, other: Rule) -> bool:
    """Tell whether the kernel would take two rules for one."""
    return comparable(compile_rule(one)) == comparable(compile_rule(other))


def _check_characters(line: str) -> list[str]:
    """Return what is odd about a line's characters."""
    if len(line) > _MAX_LINE_CHARACTERS:
        raise RuleError([f"the line has {len(line)} characters, more than {_MAX_LINE_CHARACTERS}"])
    found = _NOT_IN_TEXT.search(line)
    if found is None:
        return []
    code = ord(found.group())
    if code >= _SURROGATE:
        return [f"character {found.start() + 1} is not UTF-8: 0x{code - _ESCAPED_BYTE & 0xFFFF:02x}"]
    problem = f"character {found.start() + 1} is the control character 0x{code:02x}"
    if not set(_NEVER).isdisjoint(line):
        raise RuleError([problem])
    return [problem]


def _split(content: str) -> list[str]:
    try:
        return split_words(content)
    except ValueError as error:
        raise RuleError([str(error)]) from error


def _check_place(option: str, reader: OptionReader, warnings: list[str], *, has_rule: bool) -> None:
    """Refuse an option that is no part of a rule where auditctl would refuse it, or would drop the rule before it."""
    if option in REFUSED_OPTIONS:
        raise RuleError([REFUSED_OPTIONS[option]])
    if option == DELETE_ALL:
        raise RuleError(["-D stands alone on its line, or with -k KEY behind it"])
    ends = option in _LAST_OPTIONS or option in _FINAL_OPTIONS
    if has_rule and ends:
        raise RuleError([f"auditctl loads nothing of a rule with {option} behind it"])
    if reader.is_at_end or not ends:
        return
    rest = reader.take_all()
    if option in _FINAL_OPTIONS:
        warnings.append(f"what stands behind {option} is not read: {shown(' '.join(rest))}")
    elif (option, tuple(rest[:1]), len(rest)) not in _COMPANIONS:
        raise RuleError([f"{shown(rest[0])} cannot stand behind {option}"])


_COMPANIONS = frozenset({("-s", ("-i",), 1), ("-l", ("-i",), 1), ("-l", ("-k",), 2)})
