"""auditctl's rule language: text in, rules and problems out."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from auditline.workers.common.errors import RuleError
from auditline.workers.control.draft import Draft
from auditline.workers.control.rule import MachineError, MachineProblem, Rule, RuleFile
from auditline.workers.control.syscalls import this_machine
from auditline.workers.control.words import shown, split_words

_MAX_LINE_CHARACTERS = 32768
_DELETE_ALL = "-D"
_NOT_IN_TEXT = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = 0xD800
_ESCAPED_BYTE = 0xDC00
"""Python's surrogateescape shows the byte 0xE9 that is not UTF-8 as U+DCE9."""

_TAKE: Mapping[str, Callable[[Draft, str], None]] = {
    "-a": Draft.append,
    "-A": Draft.prepend,
    "-w": Draft.watch,
    "-p": Draft.permissions,
    "-F": Draft.condition,
    "-C": Draft.comparison,
    "-S": Draft.system_calls,
    "-k": Draft.key,
}
_NOT_YET: Mapping[str, str] = {
    "-b": "set [audit] backlog_limit instead",
    "-f": "set [audit] failure_mode instead",
    "-r": "set [audit] rate_limit instead",
    "--backlog_wait_time": "set [audit] backlog_wait_seconds instead",
    "-e": "auditing is switched on while auditline runs",
    "-i": "every rule with a problem is told, the others count",
    "-c": "every rule with a problem is told, the others count",
    "-d": "leave the rule out instead",
    "-W": "leave the watch out instead",
    "-q": "",
    "-t": "",
    "--loginuid-immutable": "",
    "--reset-lost": "",
    "--reset_backlog_wait_time_actual": "",
}
_NO_RULE = frozenset({"-h", "-l", "-m", "-R", "-s", "-v", "--help", "--signal", "--version"})


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
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._machine_problems: list[MachineProblem] = []
        self._delete_all = False

    def read(self, lines: Iterable[str]) -> RuleFile:
        """Take all lines and return what they give; a wrong one leaves a problem and the rules as they were."""
        for number, line in enumerate(lines, 1):
            self._take_or_tell(number, line)
        return RuleFile(
            rules=tuple(self._rules),
            delete_all=self._delete_all,
            problems=tuple(self._problems),
            warnings=tuple(self._warnings),
            machine_problems=tuple(self._machine_problems),
        )

    def _take_or_tell(self, number: int, line: str) -> None:
        try:
            self._take(number, line)
        except RuleError as error:
            problem = f"{self._file}:{number}: {error}"
            self._problems.append(problem)
            if isinstance(error, MachineError):
                self._machine_problems.append(MachineProblem(self._file, number, line.strip(), str(error), problem))

    def _take(self, number: int, line: str) -> None:
        content = line.strip(" \t")
        if not content or content.startswith("#"):
            return
        _check_characters(line)
        words = _split(content)
        if words == [_DELETE_ALL]:
            self._take_delete_all()
            return
        draft = Draft(self._machine, leaves_out_unknown_calls=self._leaves_out_unknown_calls)
        for option, value in _options(words):
            _TAKE[option](draft, value)
        self._rules.append(draft.finish(self._file, number, content))
        self._warnings += [f"{self._file}:{number}: {warning}" for warning in draft.warnings]

    def _take_delete_all(self) -> None:
        if self._rules:
            raise RuleError(["-D must stand before the file's rules: auditctl would delete those above it"])
        self._delete_all = True


def _check_characters(line: str) -> None:
    if len(line) > _MAX_LINE_CHARACTERS:
        raise RuleError([f"the line has {len(line)} characters, more than {_MAX_LINE_CHARACTERS}"])
    found = _NOT_IN_TEXT.search(line)
    if found is None:
        return
    code = ord(found.group())
    if code < _SURROGATE:
        raise RuleError([f"character {found.start() + 1} is the control character 0x{code:02x}"])
    raise RuleError([f"character {found.start() + 1} is not UTF-8: 0x{code - _ESCAPED_BYTE & 0xFFFF:02x}"])


def _split(content: str) -> list[str]:
    try:
        return split_words(content)
    except ValueError as error:
        raise RuleError([str(error)]) from error


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option with its value, which may be the rest of its word, as getopt does."""
    rest = iter(words)
    for word in rest:
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        if name not in _TAKE:
            raise RuleError([_refusal(name, word)])
        value = word[2:] or next(rest, None)
        if value is None:
            raise RuleError([f"{name} needs a value behind it"])
        yield name, value


def _refusal(name: str, word: str) -> str:
    if name in _NOT_YET:
        hint = _NOT_YET[name]
        return f"{name} is not supported yet" + (f": {hint}" if hint else "")
    if name in _NO_RULE:
        return f"{name} is a command of auditctl, not a part of a rule"
    if name == _DELETE_ALL:
        return "-D stands alone on its line; -D -k is not supported yet"
    if word.startswith("#"):
        return "a comment has a line of its own"
    if word.startswith("-") and word not in ("-", "--"):
        return f"{shown(name)} is an unknown option"
    return f"{shown(word)} stands where an option is expected"
