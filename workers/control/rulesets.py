"""The rules that a configuration asks for: shipped sets, files and lines, compiled, with what is wrong in them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from auditline.workers.common.errors import RuleError
from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import comparable, compile_rule, key_of
from auditline.workers.control.directives import Command
from auditline.workers.control.files import find_files, printable, read_rules_file, read_shipped_set, shipped_set_names
from auditline.workers.control.language import parse_lines, parse_rules
from auditline.workers.control.paths import missing_path
from auditline.workers.control.rule import Rule
from auditline.workers.control.rule_file import RuleFile

LINES_NAME = "[audit] rules"
"""Where messages say that a line of the configuration itself stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """A rule ready for the kernel."""

    data: bytes
    text: str
    """Canonical: compiles to the same bytes."""
    file: str
    line: int
    is_shipped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRule:
    """A rule that this host cannot load now."""

    rule: CompiledRule | None
    """None: it cannot be compiled here, because it is for another machine."""
    file: str
    line: int
    text: str
    """As it was written."""
    reason: str
    path: Path | None
    """Once it is there, reading the rule sets again gives the rule; None: never on this machine."""
    is_shipped: bool

    @property
    def message(self) -> str:
        """One line for the log."""
        later = "" if self.path is None else "; it is loaded when that appears"
        return f"{self.file}:{self.line}: not loaded: {self.reason}{later}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """What is to be loaded, in the order in which the kernel is to try it."""

    rules: tuple[CompiledRule, ...]
    delete_all: bool
    """A file has -D: rules of others are to go, too."""
    problems: tuple[str, ...]
    """Not empty: nothing should be loaded."""
    warnings: tuple[str, ...]
    skipped: tuple[SkippedRule, ...]
    ignored: tuple[str, ...] = ()
    """Mistakes that keep nothing from being loaded, because of -i, -c or the configuration."""
    deletions: frozenset[bytes] = frozenset()
    """-d and -W: rules that are to go, whoever loaded them; in the form of `comparable`."""
    deleted_keys: tuple[bytes, ...] = ()
    """-D -k: rules of others with one of these in their key are to go."""
    status: Mapping[str, int] = field(default_factory=dict)
    """What files want of the kernel's status, by name in `KernelStatus`."""
    commands: tuple[Command, ...] = ()

    def removes(self, rule: bytes) -> bool:
        """Tell whether a rule of others, in the form of `comparable`, is to go."""
        if self.delete_all or rule in self.deletions:
            return True
        key = key_of(rule) if self.deleted_keys else b""
        return any(part in key for part in self.deleted_keys)


def load_rule_files(
    patterns: Sequence[str],
    lines: Sequence[str],
    base: Path,
    machine: str | None = None,
    *,
    ignores_errors: bool = False,
    last_lines: Mapping[str, Sequence[str]] | None = None,
) -> RuleSet:
    """Read everything that `rules_files` and `rules` of the configuration name.

    *lines* come first, because the kernel takes the first rule that matches: so they can except something from a set.
    Then *patterns* in their order: `@name` is a shipped set, everything else a glob relative to *base*.
    What depends on this host (paths, `-w` of a directory) is looked at now: read again when it changes.
    With *ignores_errors* no mistake in a rule is a problem. *last_lines* are more lines, by where they are from, behind
    all others; what is wrong with them is a warning: nobody has written them.
    """
    collector = _Collector(machine, ignores_errors=ignores_errors)
    collector.add(parse_lines(lines, LINES_NAME, machine), is_shipped=False)
    for pattern in patterns:
        if pattern.startswith("@"):
            collector.add_shipped(pattern)
        else:
            collector.add_files(pattern, base)
    for name, more in (last_lines or {}).items():
        collector.add_made(parse_lines(more, name, machine))
    return collector.rule_set


def load_named_files(names: Sequence[str]) -> RuleSet:
    """Read the rules files *names*, and shipped sets, which are called `@name`, in this order.

    Whoever owns the files is trusted with them: somebody names them here and now.
    """
    collector = _Collector(None, ignores_errors=False)
    for name in names:
        if name.startswith("@"):
            collector.add_shipped(name)
        else:
            collector.add_file(Path(name), must_be_trusted=False)
    return collector.rule_set


class _Collector:
    """Puts rules together; each file and each rule once."""

    def __init__(self, machine: str | None, *, ignores_errors: bool) -> None:
        self._machine = machine
        self._ignores_errors = ignores_errors
        self._rules: dict[bytes, CompiledRule] = {}
        self._sources: set[str] = set()
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._skipped: list[SkippedRule] = []
        self._ignored: list[str] = []
        self._deletions: set[bytes] = set()
        self._deleted_keys: list[bytes] = []
        self._status: dict[str, int] = {}
        self._commands: list[Command] = []
        self._delete_all = False

    @property
    def rule_set(self) -> RuleSet:
        return RuleSet(
            rules=tuple(self._rules.values()),
            delete_all=self._delete_all,
            problems=tuple(self._problems),
            warnings=tuple(self._warnings),
            skipped=tuple(self._skipped),
            ignored=tuple(self._ignored),
            deletions=frozenset(self._deletions.difference(self._rules)),
            deleted_keys=tuple(self._deleted_keys),
            status=self._status,
            commands=tuple(self._commands),
        )

    def add_shipped(self, pattern: str) -> None:
        """Take a set of the package, `@name`."""
        text = read_shipped_set(pattern.removeprefix("@"))
        if text is None:
            known = ", ".join(f"@{name}" for name in shipped_set_names())
            self._problems.append(f"{printable(pattern)}: there is no such set of rules; shipped are {known}")
        elif self._is_new(pattern):
            rule_file = parse_rules(text, pattern, self._machine, leaves_out_unknown_calls=True)
            self.add(rule_file, is_shipped=True)

    def add_files(self, pattern: str, base: Path) -> None:
        """Take the files that match a glob."""
        files = find_files(pattern, base)
        if not files:
            self._warnings.append(f"{printable(base / pattern)}: no rules file matches")
        for path in files:
            self.add_file(path, must_be_trusted=True)

    def add_file(self, path: Path, *, must_be_trusted: bool) -> None:
        """Take one file."""
        try:
            text = read_rules_file(path, must_be_trusted=must_be_trusted)
        except RuleError as error:
            self._problems += error.problems
            return
        if self._is_new(printable(path)):
            self.add(parse_rules(text, printable(path), self._machine), is_shipped=False)

    def add_made(self, rule_file: RuleFile) -> None:
        """Take rules that we have made ourselves: none of them keeps the others from being loaded."""
        excused = tuple(found.problem for found in rule_file.machine_problems)
        self._warnings += [problem for problem in rule_file.problems if problem not in excused]
        self.add(replace(rule_file, problems=excused), is_shipped=True)

    def add(self, rule_file: RuleFile, *, is_shipped: bool) -> None:
        """Take the rules of one file; a shipped rule for another machine is skipped, not wrong."""
        elsewhere = rule_file.machine_problems if is_shipped else ()
        excused = {found.problem for found in elsewhere}
        problems = [problem for problem in rule_file.problems if problem not in excused]
        (self._ignored if self._ignores_errors else self._problems).extend(problems)
        self._ignored += rule_file.ignored
        self._warnings += rule_file.warnings
        self._take_orders(rule_file)
        for found in elsewhere:
            skipped = SkippedRule(
                rule=None,
                file=found.file,
                line=found.line,
                text=found.text,
                reason=found.reason,
                path=None,
                is_shipped=is_shipped,
            )
            self._skipped.append(skipped)
        for rule in rule_file.rules:
            self._add_rule(rule, is_shipped=is_shipped)

    def _take_orders(self, rule_file: RuleFile) -> None:
        """Take what a file says beside its rules; a deletion is also one of a rule that another source named before."""
        self._delete_all = self._delete_all or rule_file.delete_all
        deletions = {comparable(compile_rule(rule)) for rule in rule_file.deletions}
        self._rules = {rule: compiled for rule, compiled in self._rules.items() if rule not in deletions}
        self._deletions |= deletions
        self._deleted_keys += map(os.fsencode, rule_file.deleted_keys)
        self._status |= rule_file.status
        self._commands += rule_file.commands

    def _add_rule(self, rule: Rule, *, is_shipped: bool) -> None:
        data = compile_rule(rule)
        text = rule_text(data, self._machine)
        compiled = CompiledRule(data=data, text=text, file=rule.file, line=rule.line, is_shipped=is_shipped)
        path = missing_path(rule)
        if path is not None:
            skipped = SkippedRule(
                rule=compiled,
                file=rule.file,
                line=rule.line,
                text=rule.text,
                reason=f"{printable(path)} does not exist",
                path=path,
                is_shipped=is_shipped,
            )
            self._skipped.append(skipped)
            return
        first = self._rules.setdefault(comparable(data), compiled)
        if first is not compiled and not (first.is_shipped and is_shipped):
            self._warnings.append(f"{rule.file}:{rule.line}: the same rule as {first.file}:{first.line}")

    def _is_new(self, source: str) -> bool:
        is_new = source not in self._sources
        self._sources.add(source)
        return is_new
