"""The sets of rules that come with auditline: what they hold, and that Debian's auditctl reads and lists them alike."""

import re
import subprocess
from pathlib import Path

import pytest

from auditline.workers.control.canonical import rule_text
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.files import read_shipped_set, shipped_set_names
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_rules
from auditline.workers.control.messages import add_rule
from auditline.workers.control.rulesets import load_rule_files

BY_PURPOSE = [
    *("execution", "identity", "access-denied", "privilege", "modules", "time", "mount", "network"),
    "container-escape",
]


def lines_of(name: str) -> list[str]:
    return (read_shipped_set(name) or "").splitlines()


def test_there_is_a_set_for_each_purpose() -> None:
    assert shipped_set_names() == ["default", *BY_PURPOSE]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "i686", "armv7l", "ppc64le", "s390x", "riscv64"])
def test_all_sets_together_have_no_problem_on_any_machine(machine: str) -> None:
    found = load_rule_files([f"@{name}" for name in shipped_set_names()], [], Path("/"), machine)

    assert found.problems == found.warnings == ()
    assert found.rules != ()
    assert not found.delete_all


@pytest.mark.parametrize("name", BY_PURPOSE)
def test_every_call_of_a_set_is_one_of_x86_64(name: str) -> None:
    found = parse_rules("\n".join(lines_of(name)), name, "x86_64")

    assert found.problems == found.warnings == ()
    assert len(found.rules) == len(set(map(comparable, map(compile_rule, found.rules))))


@pytest.mark.parametrize("name", BY_PURPOSE)
def test_every_group_of_rules_has_one_sentence(name: str) -> None:
    blocks = re.findall(r"((?:^#.*\n)+)((?:^-.*\n)+)", "\n".join(lines_of(name)) + "\n", re.MULTILINE)

    sentences = [comment.rstrip("\n").split("\n") for comment, _ in blocks]
    assert sum(rules.count("\n") for _, rules in blocks) == sum(line.startswith("-") for line in lines_of(name))
    assert all(len(sentence) == 1 and re.fullmatch(r"# [A-Z].*\.", sentence[0]) for sentence in sentences)


@pytest.mark.parametrize("name", BY_PURPOSE)
def test_no_rule_of_a_set_is_compared_with_every_call_but_watches_of_single_files(name: str) -> None:
    rules = [line for line in lines_of(name) if line.startswith("-")]
    watched = [line.split()[1] for line in rules if line.startswith("-w")]

    assert all(" -S " in line and " -S all" not in line for line in rules if line.startswith("-a"))
    assert not any(Path(path).is_dir() for path in watched)


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["default", *BY_PURPOSE])
def test_auditctl_loads_a_set_as_we_do_and_lists_it_as_we_list_it(
    name: str, kernel_audit: AuditControl, auditctl: str, tmp_path: Path
) -> None:
    # They have no scope: nothing is audited meanwhile.
    kernel_audit.set_status(enabled=0)
    foreign = len(kernel_audit.list_rules())
    rules = load_rule_files([f"@{name}"], [], Path("/")).rules
    file = tmp_path / "loadable.rules"
    file.write_text("".join(f"{lines_of(name)[rule.line - 1]}\n" for rule in rules))

    subprocess.run([auditctl, "-R", file], check=True)
    listed = kernel_audit.list_rules()[foreign:]
    answer = subprocess.run([auditctl, "-l"], capture_output=True, text=True, check=True)

    assert [comparable(rule) for rule in listed] == [comparable(rule.data) for rule in rules]
    assert [rule_text(rule) for rule in listed] == [line.rstrip() for line in answer.stdout.splitlines()[foreign:]]


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["default", *BY_PURPOSE])
def test_the_kernel_takes_a_set_from_us(name: str, kernel_audit: AuditControl) -> None:
    kernel_audit.set_status(enabled=0)
    rules = [rule.data for rule in load_rule_files([f"@{name}"], [], Path("/")).rules]

    codes = kernel_audit.change([add_rule(rule) for rule in rules])

    assert set(codes) == {0}
    assert set(map(comparable, rules)) <= set(map(comparable, kernel_audit.list_rules()))
