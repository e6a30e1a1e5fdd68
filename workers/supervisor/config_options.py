"""`auditline config check` and `show`, and what of a configuration is looked at beyond its own form."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit, RuleError
from auditline.workers.common.text import make_safe
from auditline.workers.supervisor.command_line import add_command, add_config_option, add_group, load_chosen

if TYPE_CHECKING:
    from auditline.workers.common.settings import Settings
    from auditline.workers.supervisor.command_line import Commands


def add_config_commands(commands: "Commands") -> None:
    """Add both commands."""
    actions = add_group(
        commands,
        "config",
        summary="check or show the configuration",
        description="Says what is wrong with the configuration, or which settings are in effect.",
        example="auditline config check --config ./auditline.toml",
    )
    check = add_command(
        actions,
        "check",
        _check,
        summary="say all that is wrong with the configuration",
        description="""\
Reads the configuration and the rules that it names, and says all that is wrong, a line each; then ends with 2.""",
        example="auditline config check --config ./auditline.toml",
    )
    show = add_command(
        actions,
        "show",
        _show,
        summary="print the configuration in effect",
        description="Prints every setting in effect, defaults included, as TOML that can be used as a configuration.",
        example="auditline config show > auditline.toml",
    )
    add_config_option(check)
    add_config_option(show)


def check_rules(settings: "Settings") -> Sequence[str]:
    """Return the warnings about the configured rules.

    Raises:
        RuleError: what is wrong with them, all of it; better not started than started and blind.
    """
    from auditline.workers.control.rulesets import load_rule_files

    audit = settings.audit
    rules = load_rule_files(audit.rules_files, audit.rules, Path("/"), ignores_errors=audit.ignore_rule_errors)
    if rules.problems:
        raise RuleError(rules.problems)
    return (*rules.ignored, *rules.warnings)


def _check(options: Namespace) -> Exit:
    settings = load_chosen(options)
    from auditline.workers.supervisor.stdin_source import find_idle_settings

    for warning in (*check_rules(settings), *find_idle_settings(settings.audit), *_find_missing_watches(settings)):
        sys.stdout.write(f"warning: {make_safe(warning)}\n")
    sys.stdout.write(f"{make_safe(str(settings.source or 'no file, the defaults'))}: ok\n")
    return Exit.OK


def _show(options: Namespace) -> Exit:
    from auditline.workers.common.settings import show_settings

    # TOML is UTF-8, whatever the locale says.
    sys.stdout.buffer.write(show_settings(load_chosen(options)).encode())
    return Exit.OK


def _find_missing_watches(settings: "Settings") -> Iterator[str]:
    from auditline.workers.common.watch_plan import plan_watches

    for plan in plan_watches(settings.fim.watch).plans:
        try:
            os.lstat(plan.path)
        except FileNotFoundError:
            yield f"fim.watch: {os.fsdecode(plan.path)} does not exist; it is watched when it appears"
        except OSError as error:
            yield f"fim.watch: {os.fsdecode(plan.path)} cannot be watched: {error.strerror}"
