"""What one rules file holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from auditline.workers.control.directives import Command
from auditline.workers.control.rule import MachineProblem, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """What one rules file asks for; a line with a problem gives no rule."""

    rules: tuple[Rule, ...]
    delete_all: bool
    """The file has -D: rules of others are to go, too."""
    problems: tuple[str, ...]
    """`file:line: what is wrong`."""
    ignored: tuple[str, ...] = ()
    """Same form: what is wrong behind -i or -c, which keeps nothing from being loaded."""
    fails_late: bool = False
    """The file has -c: what is ignored is a failure all the same."""
    warnings: tuple[str, ...] = ()
    """Same form; the rule counts nevertheless."""
    machine_problems: tuple[MachineProblem, ...] = ()
    """Those of the problems that another machine would not have."""
    deletions: tuple[Rule, ...] = ()
    """-d and -W: rules that are to go, whoever loaded them; none of them is in `rules`."""
    deleted_keys: tuple[str, ...] = ()
    """-D -k KEY: rules of others with such a text in their key are to go."""
    status: Mapping[str, int] = field(default_factory=dict)
    """Wanted values of the kernel's status, by their name in `KernelStatus`."""
    commands: tuple[Command, ...] = ()

    @property
    def is_wrong(self) -> bool:
        """Whether auditctl would end with an error after reading it."""
        return bool(self.problems) or (self.fails_late and bool(self.ignored))
