"""The rules that a configuration asks for: shipped sets, files and lines, compiled, with what is wrong in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditline.workers.common.errors import RuleError
from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.files import find_files, printable, read_rules_file, read_shipped_set, shipped_set_names
from auditline.workers.control.language import parse_lines, parse_rules
from auditline.workers.control.paths import missing_path
from auditline.workers.control.rule import Rule, RuleFile

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


def load_rule_files(patterns: Sequence[str], lines: Sequence[str], base: Path, machine: str | None = None) -> RuleSet:
    """Read everything that `rules_files` and `rules` of the configuration name.

    *lines* come first, because the kernel takes the first rule that matches: so they can except something from a set.
    Then *patterns* in their order: `@name` is a shipped set, everything else a glob relative to *base*.
    What depends on this host (paths, `-w` of a directory) is looked at now: read again when it changes.
    """
    collector = _Collector(machine)
    collector.add(parse_lines(lines, LINES_NAME, machine), is_shipped=False)
    for pattern in patterns:
        if pattern.startswith("@"):
            collector.add_shipped(pattern)
        else:
            collector.add_files(pattern, base)
    return collector.rule_set


class _Collector:
    """Puts rules together; each file and each rule once."""

    def __init__(self, machine: str | None) -> None:
        self._machine = machine
        self._rules: dict[bytes, CompiledRule] = {}
        self._sources: set[str] = set()
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._skipped: list[SkippedRule] = []
        self._delete_all = False

    @property
    def rule_set(self) -> RuleSet:
        return RuleSet(
            rules=tuple(self._rules.values()),
            delete_all=self._delete_all,
            problems=tuple(self._problems),
            warnings=tuple(self._warnings),
            skipped=tuple(self._skipped),
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
            try:
                text = read_rules_file(path, must_be_trusted=True)
            except RuleError as error:
                self._problems += error.problems
                continue
            if self._is_new(printable(path)):
                self.add(parse_rules(text, printable(path), self._machine), is_shipped=False)

    def add(self, rule_file: RuleFile, *, is_shipped: bool) -> None:
        """Take the rules of one file; a shipped rule for another machine is skipped, not wrong."""
        elsewhere = rule_file.machine_problems if is_shipped else ()
        excused = {found.problem for found in elsewhere}
        self._problems += [problem for problem in rule_file.problems if problem not in excused]
        self._warnings += rule_file.warnings
        self._delete_all = self._delete_all or rule_file.delete_all
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
        if first is not compiled:
            self._warnings.append(f"{rule.file}:{rule.line}: the same rule as {first.file}:{first.line}")

    def _is_new(self, source: str) -> bool:
        is_new = source not in self._sources
        self._sources.add(source)
        return is_new
