import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.files import read_shipped_set
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_rules
from auditline.workers.control.rulesets import RuleSet, load_rule_files


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def load(base: Path, *patterns: str, lines: Sequence[str] = (), machine: str = "x86_64") -> RuleSet:
    return load_rule_files(patterns, lines, base, machine)


def default_rules(machine: str) -> RuleSet:
    return load(Path("/"), "@default", machine=machine)


def texts(rule_set: RuleSet) -> list[str]:
    return [rule.text for rule in rule_set.rules]


def test_files_are_read_in_the_order_of_patterns_and_then_of_names(tmp_path: Path) -> None:
    write(tmp_path / "rules.d" / "20-b.rules", "-a never,user -F pid=20")
    write(tmp_path / "rules.d" / "10-a.rules", "-a never,user -F pid=10")
    write(tmp_path / "first.rules", "-a never,user -F pid=1")

    found = load(tmp_path, "first.rules", "rules.d/*.rules")

    assert texts(found) == ["-a never,user -F pid=1", "-a never,user -F pid=10", "-a never,user -F pid=20"]
    assert found.problems == found.warnings == ()


def test_a_pattern_may_be_absolute(tmp_path: Path) -> None:
    write(tmp_path / "a.rules", "-a never,user -F pid=1")

    assert len(load(Path("/nowhere"), f"{tmp_path}/*.rules").rules) == 1


def test_lines_of_the_configuration_come_before_the_files(tmp_path: Path) -> None:
    write(tmp_path / "a.rules", "-a always,user -F pid=1")

    found = load(tmp_path, "a.rules", lines=["# a comment", "-a never,user -F pid=1"])

    assert [(rule.file, rule.line) for rule in found.rules] == [("[audit] rules", 2), (f"{tmp_path}/a.rules", 1)]


def test_a_pattern_without_a_match_is_a_warning(tmp_path: Path) -> None:
    found = load(tmp_path, "none/*.rules")

    assert found.warnings == (f"{tmp_path}/none/*.rules: no rules file matches",)
    assert found.problems == ()


def test_a_file_that_two_patterns_match_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "a.rules", "-a never,user -F pid=1")

    found = load(tmp_path, "*.rules", "a.rules", "@default", "@default")

    assert found.warnings == ()


def test_a_rule_that_is_there_twice_is_loaded_once_and_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rules", "-a never,user -F auid=unset", "-A user,never -F loginuid=-1")

    found = load(tmp_path, "a.rules")

    assert len(found.rules) == 1
    assert found.warnings == (f"{path}:2: the same rule as {path}:1",)


def test_a_compiled_rule_has_bytes_text_and_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rules", "", "-a exit,always -F arch=b64 -S 2 -k x")

    [rule] = load(tmp_path, "a.rules").rules

    assert (rule.text, rule.file, rule.line) == ("-a always,exit -F arch=b64 -S open -F key=x", str(path), 2)
    assert rule.data == compile_rule(parse_rules(rule.text, "", "x86_64").rules[0])
    assert not rule.is_shipped


def test_delete_all_in_any_file_counts(tmp_path: Path) -> None:
    write(tmp_path / "a.rules", "-D")

    assert load(tmp_path, "a.rules").delete_all
    assert not load(tmp_path).delete_all


def test_problems_of_all_sources_are_told_together(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rules", "-b many", "-a always,exit -S nosuch", "-a never,task")

    found = load(tmp_path, "a.rules", "@nosuch", lines=["-w x"])

    assert [problem.partition(": ")[0] for problem in found.problems] == [
        "[audit] rules:1",
        f"{path}:1",
        f"{path}:2",
        "@nosuch",
    ]
    assert found.problems[-1].startswith("@nosuch: there is no such set of rules; shipped are @default, @execution, ")
    assert len(found.rules) == 1


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rules", "-a never,task")
    path.chmod(0o666)

    found = load(tmp_path, "a.rules")

    assert found.problems == (f"{path}: may be written by everybody: chmod o-w",)
    assert found.rules == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rules", "-a never,task")
    os.chown(path, 65534, 65534)

    assert load(tmp_path, "a.rules").problems == (f"{path}: belongs to uid 65534, neither root nor us",)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.rules")
    (tmp_path / "folder.rules").mkdir()
    (tmp_path / "dangling.rules").symlink_to("nowhere")

    found = load(tmp_path, "*.rules")

    assert found.problems == (
        f"{tmp_path}/dangling.rules: cannot be read: No such file or directory",
        f"{tmp_path}/folder.rules: is not a regular file",
        f"{tmp_path}/pipe.rules: is not a regular file",
    )


def test_a_file_whose_name_is_no_text_is_told_in_one_line_of_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9\n.rules"))
    path.write_bytes(b"-a never,task\n-w caf\xe9\n")

    [problem] = load(tmp_path, "*.rules").problems

    assert problem == rf"{tmp_path}/\xe9\n.rules:2: path: 'caf\udce9' must begin with /"


@pytest.mark.parametrize("condition", ["dir={0}", "path={0}/file", "exe={0}/program"])
def test_a_rule_is_skipped_until_the_path_that_it_needs_appears(tmp_path: Path, condition: str) -> None:
    path = tmp_path / "later"
    write(tmp_path / "a.rules", f"-a always,exit -F {condition.format(path)} -k x")

    before = load(tmp_path, "a.rules")
    path.mkdir()
    after = load(tmp_path, "a.rules")

    [skipped] = before.skipped
    assert (skipped.path, skipped.line, skipped.is_shipped) == (path, 1, False)
    assert skipped.message == (
        f"{tmp_path}/a.rules:1: not loaded: {path} does not exist; it is loaded when that appears"
    )
    assert (before.rules, before.problems, before.warnings) == ((), (), ())
    assert after.skipped == ()
    assert after.rules == (skipped.rule,)


def test_a_path_whose_last_part_is_missing_is_watched_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "a.rules", f"-w {tmp_path}/later -p wa")

    assert len(load(tmp_path, "a.rules").rules) == 1


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "i686", "armv7l", "ppc64le", "s390x", "riscv64"])
def test_the_default_set_has_no_problem_on_any_machine(machine: str) -> None:
    found = default_rules(machine)

    assert found.problems == found.warnings == ()
    assert not found.delete_all
    assert all(rule.is_shipped for rule in found.rules)
    assert all(rule.is_shipped for rule in found.skipped)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_default_set_watches_what_it_promises(machine: str) -> None:
    keys = {rule.text.rpartition(" ")[2].removeprefix("key=") for rule in default_rules(machine).rules}

    assert keys == {"exec", "open", "identity", "privilege", "module", "time", "mount"}


def test_every_system_call_of_the_default_set_is_one_of_x86_64() -> None:
    found = parse_rules(read_shipped_set("default") or "", "@default", "x86_64")

    assert found.problems == ()


def test_calls_that_64_bit_arm_never_had_are_left_out_there() -> None:
    found = default_rules("aarch64")

    assert [skipped.message for skipped in found.skipped if skipped.path is None] == []
    assert "-a always,exit -F arch=b64 -S truncate,openat,open_by_handle_at,openat2 -F exit=-EPERM -F key=open" in {
        rule.text for rule in found.rules
    }


def test_a_shipped_rule_of_a_side_that_the_machine_lacks_is_skipped_for_good() -> None:
    skipped = default_rules("i686").skipped[0]

    assert (skipped.rule, skipped.path) == (None, None)
    assert skipped.message == "@default:19: not loaded: arch: this machine, i686, has no b64"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_set_of_calls_is_watched_for_32_bit_programs_too(machine: str) -> None:
    rules = [rule.text for rule in default_rules(machine).rules if " -F arch=" in rule.text]
    keys = {side: {text.rpartition(" ")[2] for text in rules if f"arch={side}" in text} for side in ("b64", "b32")}

    assert keys["b64"] == keys["b32"]


def test_no_rule_of_the_default_set_is_compared_with_every_call() -> None:
    lines = [line for line in (read_shipped_set("default") or "").splitlines() if line.startswith("-a")]

    assert lines != []
    assert all(" -S " in line and " -S all" not in line for line in lines)


@pytest.mark.kernel
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_kernel_takes_every_rule_of_the_default_set(kernel_audit: AuditControl, machine: str) -> None:
    scoped = "\n".join(f"{rule.text} -F uid=65534" for rule in default_rules(machine).rules)
    rules = [compile_rule(rule) for rule in parse_rules(scoped, "scoped", machine).rules]

    for rule in rules:
        kernel_audit.add_rule(rule)

    assert len(rules) == len(default_rules(machine).rules)
    assert set(map(comparable, rules)) <= set(map(comparable, kernel_audit.list_rules()))


def test_a_shipped_set_is_found_by_its_name_without_the_number() -> None:
    assert (read_shipped_set("default") or "").startswith("# What auditline watches")
    assert read_shipped_set("10-default") is None
