"""What `auditline rules check` and `auditline rules compile` do."""

import base64
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import ujson

from auditline.workers.common.errors import Exit, InputError, RuleError
from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import compile_rule
from auditline.workers.control.files import printable, read_rules_file
from auditline.workers.control.language import parse_rules
from auditline.workers.control.paths import missing_path
from auditline.workers.control.rule_file import RuleFile

FORMATS = ("json", "text")
"""One JSON object per rule, or its canonical text alone."""


def check_command(files: Sequence[Path], out: TextIO) -> Exit:
    """Write what is wrong in the files, a line each, or how many rules are good.

    What only this host lacks, such as a directory, is a warning: the files may be for another one.
    """
    is_wrong, rules = False, 0
    for rule_file in _read(files):
        is_wrong = is_wrong or rule_file.is_wrong
        rules += len(rule_file.rules)
        out.writelines(f"{problem}\n" for problem in rule_file.problems)
        out.writelines(f"ignored: {problem}\n" for problem in rule_file.ignored)
        out.writelines(f"warning: {warning}\n" for warning in (*rule_file.warnings, *_host_warnings(rule_file)))
    if is_wrong:
        return Exit.USAGE
    out.write("1 rule is good\n" if rules == 1 else f"{rules} rules are good\n")
    return Exit.OK


def compile_command(files: Sequence[Path], output_format: str, out: TextIO, err: TextIO) -> Exit:
    """Write each good rule, compiled for this machine, to *out* and each problem to *err*.

    Raises:
        InputError: there is no such format.
    """
    if output_format not in FORMATS:
        raise InputError([f"--format must be one of {', '.join(FORMATS)}, not {output_format!r}"])
    is_wrong = False
    for rule_file in _read(files):
        is_wrong = is_wrong or rule_file.is_wrong
        err.writelines(f"{problem}\n" for problem in (*rule_file.problems, *rule_file.ignored))
        err.writelines(f"warning: {warning}\n" for warning in rule_file.warnings)
        out.writelines(_compiled_lines(rule_file, output_format))
    return Exit.USAGE if is_wrong else Exit.OK


def _read(files: Sequence[Path]) -> Iterator[RuleFile]:
    for path in files:
        try:
            text = read_rules_file(path, must_be_trusted=False)
        except RuleError as error:
            yield RuleFile(rules=(), delete_all=False, problems=error.problems)
        else:
            yield parse_rules(text, printable(path))


def _host_warnings(rule_file: RuleFile) -> Iterator[str]:
    for rule in rule_file.rules:
        path = missing_path(rule)
        if path is not None:
            yield f"{rule.file}:{rule.line}: this host cannot load it now: {printable(path)} does not exist"
    for command in rule_file.commands:
        for name in filter(lambda name: not os.path.exists(name), command.paths):
            yield f"{printable(command.text)}: this host cannot do it now: {printable(name)} does not exist"


def _compiled_lines(rule_file: RuleFile, output_format: str) -> Iterator[str]:
    for rule in rule_file.rules:
        data = compile_rule(rule)
        text = rule_text(data)
        if output_format == "text":
            yield f"{text}\n"
            continue
        document = {
            "file": rule.file,
            "line": rule.line,
            "rule": text,
            "data": base64.b64encode(data).decode("ascii"),
        }
        yield ujson.dumps(document, escape_forward_slashes=False) + "\n"
