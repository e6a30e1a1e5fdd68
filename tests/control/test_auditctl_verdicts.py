"""Every option of auditctl, well and badly written: Debian's auditctl 3.0.9 and we take the same lines alike."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_rules
from auditline.workers.control.paths import missing_path

LINES = Path(__file__).parent.parent / "data" / "auditctl" / "lines.rules"
IRREVERSIBLE = re.compile(r"(^|\s)-[a-zA-Z]*[ef]\s*2|--l|--s")
START = {"enabled": 0, "failure": 1, "rate_limit": 7, "backlog_limit": 1111, "backlog_wait_time": 77}
OURS_ALONE = [
    ('-a never,exit -F uid=65534 -S open -k "two words"', "quotes, which auditctl takes for letters"),
    ("-a never,exit\t-F uid=65534", "tabs between words"),
    ("-d never,exit -F uid=65534", "a deletion of what is not loaded"),
    ("-W /etc/passwd -p wa -k x", "the end of a watch that is none"),
    ("-w / -k y -k y", "many short words, of which auditctl loses the last"),
]
AUDITCTL_S_ALONE = [
    ("-a never,exit -F uid=65534 -t", "the rule is dropped without a word"),
    ("-a never,exit -F uid=65534 -S 2047", "a class of calls, which the kernel replaces"),
]
Answer = tuple[bool, list[bytes], dict[str, int]]


class Oracle:
    """Debian's auditctl on the real kernel, one line at a time."""

    def __init__(self, control: AuditControl, auditctl: str, folder: Path) -> None:
        self._control = control
        self._auditctl = auditctl
        self._file = folder / "one.rules"
        self._foreign = set(map(comparable, control.list_rules()))

    def answer(self, line: str) -> Answer:
        """Return whether *line* is taken, and if so the rules that it loads and the status that it leaves."""
        assert not IRREVERSIBLE.search(line)
        self._control.set_status(**START)
        self._file.write_text(f"{line}\n", encoding="utf-8", errors="surrogateescape")
        code = subprocess.run([self._auditctl, "-R", self._file], capture_output=True, check=False).returncode
        loaded = [rule for rule in self._control.list_rules() if comparable(rule) not in self._foreign]
        status = self._control.status()
        for rule in loaded:
            self._control.delete_rule(rule)
        if code:
            return False, [], {}
        return True, [comparable(rule) for rule in loaded], {name: getattr(status, name) for name in START}


@pytest.fixture
def oracle(kernel_audit: AuditControl, auditctl: str, tmp_path: Path) -> Oracle:
    """An auditctl whose rules go again."""
    return Oracle(kernel_audit, auditctl, tmp_path)


def lines() -> list[str]:
    text = LINES.read_text(encoding="utf-8", errors="surrogateescape")
    return [line for line in text.split("\n")[2:] if line]


def our_answer(line: str) -> Answer:
    found = parse_rules(line, "one.rules")
    lacks = [*filter(None, map(missing_path, found.rules))]
    lacks += [Path(name) for command in found.commands for name in command.paths if not os.path.exists(name)]
    if found.is_wrong or lacks:
        return False, [], {}
    return True, [comparable(compile_rule(rule)) for rule in found.rules], {**START, **found.status}


def test_there_are_many_lines_and_every_option_is_among_them() -> None:
    options = {word for line in lines() for word in line.split(" ") if re.fullmatch(r"-[a-zA-Z]|--[a-z_-]+", word)}

    assert len(lines()) >= 300
    assert options >= {f"-{letter}" for letter in "abcdefhiklmpqrstvwACDFRSW"}


def test_no_line_does_what_cannot_be_undone() -> None:
    assert [line for line in lines() if IRREVERSIBLE.search(line)] == []


@pytest.mark.kernel
def test_auditctl_and_we_give_the_same_verdict_on_every_line(oracle: Oracle) -> None:
    theirs = [(line, *oracle.answer(line)) for line in lines()]

    ours = [(line, *our_answer(line)) for line in lines()]

    assert [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]] == []


@pytest.mark.kernel
def test_where_we_differ_from_auditctl_it_is_on_purpose(oracle: Oracle) -> None:
    more = [(oracle.answer(line)[0], our_answer(line)[0]) for line, _ in OURS_ALONE]
    less = [(oracle.answer(line)[0], our_answer(line)[0]) for line, _ in AUDITCTL_S_ALONE]

    assert set(more) == {(False, True)}
    assert set(less) == {(True, False)}
