"""`auditline rules`: the options of its commands."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit
from auditline.workers.supervisor.command_line import add_command, add_config_option, add_group, load_chosen

if TYPE_CHECKING:
    from auditline.workers.supervisor.command_line import Commands


def add_rules_commands(commands: "Commands") -> None:
    """Add the commands about rules."""
    actions = add_group(
        commands,
        "rules",
        summary="check, list and load audit rules",
        description="""\
Reads audit rules as auditctl writes them: says what is wrong, and shows or loads what the kernel would be sent.
A running service loads the rules of its configuration itself.""",
        example="auditline rules check /etc/audit/rules.d/*.rules",
    )
    check = add_command(
        actions,
        "check",
        _check,
        summary="say what is wrong with rules files",
        description="Reads rules as auditctl writes them and says for each wrong one what is wrong, as FILE:LINE.",
        example="auditline rules check /etc/audit/rules.d/*.rules",
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rules as auditctl reads them")
    compile_ = add_command(
        actions,
        "compile",
        _compile,
        summary="print rules in the kernel's binary form",
        description="""\
Prints a JSON object per rule, a line each: file, line, rule (in canonical form) and data, which is base64 of
the bytes that the kernel is sent. With `--format text` the canonical rule alone. Nothing is loaded.""",
        example="auditline rules compile /etc/audit/rules.d/*.rules | jq -r .rule",
    )
    compile_.add_argument("--format", choices=["json", "text"], default="json", help="default: json")
    compile_.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rules as auditctl reads them")
    _add_kernel_rules(actions)


def _add_kernel_rules(actions: "Commands") -> None:
    file_help = "rules as auditctl reads them; @NAME is a set that comes with auditline"
    list_ = add_command(
        actions,
        "list",
        _list,
        summary="print the configured rules, or the kernel's",
        description="""\
Prints rules as `auditctl -l` does: those of the files, or without any those of the configuration. What is printed
can be loaded again, and gives the same rules. With --kernel: what is loaded now; that needs CAP_AUDIT_CONTROL.""",
        example="auditline rules list --kernel > now.rules",
    )
    list_.add_argument("--kernel", action="store_true", help="the rules that the kernel has now")
    list_.add_argument("files", nargs="*", metavar="FILE", help=file_help)
    load = add_command(
        actions,
        "load",
        _load,
        summary="load rules into the kernel, without the service",
        description="""\
Makes the rules of the files those that this command has loaded: new ones are added, those of the last time that
are in no file now go. Rules of others stay, unless a file has -D, and those of a running service in any case.""",
        example="auditline rules load /etc/audit/rules.d/*.rules",
    )
    load.add_argument("--delete-others", action="store_true", help="take the rules of others out, as -D does")
    load.add_argument("files", nargs="+", metavar="FILE", help=file_help)
    delete = add_command(
        actions,
        "delete",
        _delete,
        summary="take rules out of the kernel",
        description="""\
Takes out the rules of the files, or without any those that `auditline rules load` has loaded. Those of a running
service stay in any case.""",
        example="auditline rules delete",
    )
    delete.add_argument("--all", action="store_true", help="the rules of others, too")
    delete.add_argument("files", nargs="*", metavar="FILE", help=file_help)
    for command in (list_, load, delete):
        add_config_option(command)


def _check(options: Namespace) -> Exit:
    from auditline.workers.control.commands import check_command

    return check_command(options.files, sys.stdout)


def _compile(options: Namespace) -> Exit:
    from auditline.workers.control.commands import compile_command

    return compile_command(options.files, options.format, sys.stdout, sys.stderr)


def _list(options: Namespace) -> Exit:
    from auditline.workers.control.kernel_commands import list_command, list_kernel_command

    if options.kernel:
        return list_kernel_command(sys.stdout)
    return list_command(load_chosen(options), options.files, sys.stdout)


def _load(options: Namespace) -> Exit:
    from auditline.workers.control.kernel_commands import load_command

    return load_command(load_chosen(options), options.files, sys.stdout, deletes_others=options.delete_others)


def _delete(options: Namespace) -> Exit:
    from auditline.workers.control.kernel_commands import delete_command

    return delete_command(load_chosen(options), options.files, sys.stdout, deletes_all=options.all)
