"""`auditline scan` and `explain`: their options."""

import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.errors import Exit, InputError
from auditline.workers.supervisor.command_line import add_command, add_config_option, load_chosen

if TYPE_CHECKING:
    from auditline.workers.supervisor.command_line import Commands

_DESCRIPTION = """\
Compares what is there now with what was approved, and reports the differences. --init approves all that is there;
--update approves what has changed since. Needs no running service, and works beside one. Ends with 0 if nothing
differs, with 3 if something does."""


_EXPLAIN = """\
Says of one path which watch has it and why, what of it is compared, what was seen of it and when, what is approved,
and which package it is from. Needs no running service; beside one it says how the directory is watched."""


def add_scan_commands(commands: "Commands") -> None:
    """Add both commands."""
    _add_scan(commands)
    explained = add_command(
        commands, "explain", _explain,
        summary="say what is known of a path, and why it is watched", description=_EXPLAIN,
        example="sudo auditline explain /etc/hosts",
    )  # fmt: skip
    explained.add_argument("path", type=Path, metavar="PATH", help="a file or directory, also one that is gone")
    add_config_option(explained)


def _add_scan(commands: "Commands") -> None:
    parser = add_command(
        commands, "scan", _scan,
        summary="compare directories with their approved state", description=_DESCRIPTION,
        example="sudo auditline scan --init /etc && sudo auditline scan /etc",
    )  # fmt: skip
    add = parser.add_argument
    approving = parser.add_mutually_exclusive_group()
    approving.add_argument("--init", action="store_true", help="approve all that is there")
    approving.add_argument("--update", action="store_true", help="approve the differences that are shown")
    add("--packaged", action="store_true", help="with --update: only what is as installed packages have it")
    add("--deep", action="store_true", help="read every file, whatever its times say")
    add("--hash", action="append", default=[], metavar="NAME", help="hash with this (default: fim.hashes)")
    add("--workers", type=_count, metavar="N", help="processes that read files (default: one for each processor)")
    add("--format", choices=("text", "jsonl"), default="text", help="a report, or events as of `run` (default: text)")
    directory_help = "what to compare (default: all that fim.watch names)"
    add("directory", nargs="*", type=Path, metavar="DIRECTORY", help=directory_help)
    add_config_option(parser)


def _scan(options: Namespace) -> Exit:
    from auditline.workers.scan.command import ScanOptions, scan_command

    if options.packaged and not options.update:
        raise InputError(["--packaged goes with --update"])
    settings = load_chosen(options)
    return scan_command(
        settings,
        ScanOptions(
            directories=tuple(options.directory),
            does_init=options.init,
            does_update=options.update,
            hashes=tuple(options.hash),
            processes=options.workers,
            is_packaged=options.packaged,
            is_json=options.format == "jsonl",
            is_deep=options.deep,
        ),
    )


def _explain(options: Namespace) -> Exit:
    from auditline.workers.scan.explaining import explain_command

    code, lines = explain_command(load_chosen(options), options.path)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return code


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 256:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 to 256")
    return int(text)
