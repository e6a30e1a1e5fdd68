"""What `[fim] actor = "audit"` loads so that the kernel tells who changes files."""

from pathlib import Path

import pytest

from auditline.workers.common.settings import FimSettings, WatchSettings
from auditline.workers.control.actor_rules import ACTOR_KEY, LINES_NAME, actor_lines
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_lines
from auditline.workers.control.rulesets import RuleSet, load_rule_files
from auditline.workers.router.actors import FIM_KEY


def fim(*paths: Path, actor: str = "audit") -> FimSettings:
    return FimSettings(watch=tuple(WatchSettings(path=path) for path in paths), actor=actor)  # type: ignore[arg-type]


def load(base: Path, settings: FimSettings, lines: tuple[str, ...] = ()) -> RuleSet:
    return load_rule_files((), lines, base, "x86_64", last_lines={LINES_NAME: actor_lines(settings)})


def texts(rule_set: RuleSet) -> list[str]:
    return [rule.text for rule in rule_set.rules]


def test_executions_and_changes_beneath_each_watch_are_told(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "one").touch()

    rule_set = load(tmp_path, fim(tmp_path / "a b", tmp_path / "one"))

    assert texts(rule_set) == [
        f"-a always,exit -F arch=b64 -S execve,execveat -F success=1 -F key={ACTOR_KEY}",
        f"-a always,exit -F arch=b32 -S execve,execveat -F success=1 -F key={ACTOR_KEY}",
        rf"-w {tmp_path}/a\ b -p wa -k {ACTOR_KEY}",
        f"-w {tmp_path}/one -p wa -k {ACTOR_KEY}",
    ]
    assert (rule_set.problems, rule_set.warnings, rule_set.skipped) == ((), (), ())


@pytest.mark.parametrize("actor", ["auto", "off"])
def test_nothing_is_loaded_that_was_not_asked_for(tmp_path: Path, actor: str) -> None:
    assert actor_lines(fim(tmp_path, actor=actor)) == ()


def test_nothing_is_loaded_where_nothing_is_watched() -> None:
    assert actor_lines(fim()) == ()


def test_where_a_link_leads_is_what_the_rule_is_about(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    lines = actor_lines(fim(tmp_path / "link"))

    assert lines[-1] == f"-a always,exit -F dir={tmp_path}/real -F perm=wa -F key={ACTOR_KEY}"


def test_the_configured_rules_come_first_so_that_their_events_keep_their_keys(tmp_path: Path) -> None:
    rule_set = load(tmp_path, fim(tmp_path), (f"-w {tmp_path} -p wa -k mine",))

    assert texts(rule_set)[0] == f"-w {tmp_path} -p wa -k mine"
    assert len(texts(rule_set)) == 4


def test_a_watch_of_what_is_not_there_waits_until_it_is(tmp_path: Path) -> None:
    missing = tmp_path / "missing"

    (skipped,) = load(tmp_path, fim(missing)).skipped
    missing.mkdir()
    rule_set = load(tmp_path, fim(missing))

    assert skipped.path == missing
    assert texts(rule_set)[-1] == f"-w {missing} -p wa -k {ACTOR_KEY}"


def test_a_path_that_no_rule_can_have_keeps_no_other_rule_from_being_loaded(tmp_path: Path) -> None:
    too_long = Path("/" + "/".join(["x" * 200] * 30))

    rule_set = load(tmp_path, fim(tmp_path, too_long), ("-a always,exit -F arch=b64 -S chroot -k mine",))

    assert len(rule_set.rules) == 4
    assert rule_set.problems == ()
    (warning,) = rule_set.warnings
    assert "longer than a path can be" in warning


def test_bytes_of_a_path_that_are_no_text_are_kept(tmp_path: Path) -> None:
    name = b"\xff new\nline"
    directory = Path(str(tmp_path)) / name.decode("utf-8", "surrogateescape")
    directory.mkdir()

    *_, line = actor_lines(fim(directory))
    (rule,) = parse_lines([line], "test", "x86_64").rules

    assert rule.fields[0].string == bytes(tmp_path) + b"/" + name


def test_the_router_knows_the_key_as_the_kernel_writes_it() -> None:
    assert f' key="{ACTOR_KEY}"' == FIM_KEY


@pytest.mark.kernel
def test_the_kernel_takes_them(kernel_audit: AuditControl, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    # Executions of all users would be everybody's.
    lines = [f"{line} -F uid=64173" for line in actor_lines(fim(tmp_path, tmp_path / "file"))]
    rules = [compile_rule(rule) for rule in parse_lines(lines, "test").rules]

    for rule in rules:
        kernel_audit.add_rule(rule)
    listed = list(map(comparable, kernel_audit.list_rules()))

    assert set(map(comparable, rules)) <= set(listed)
