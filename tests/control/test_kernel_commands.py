"""`auditline rules list`, `load` and `delete`, on the real kernel with rules for uid 65534."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from auditline.workers.common.errors import Exit, RuleError
from auditline.workers.common.settings import AuditSettings, Settings, StateSettings
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.kernel_commands import (
    LOADED_FILE,
    delete_command,
    list_command,
    list_kernel_command,
    load_command,
)
from auditline.workers.control.language import parse_rules
from auditline.workers.control.note import NOTE_FILE, note_of, write_note

ONE, TWO, THREE = (
    f"-a always,exit -F arch=b64 -S {call} -F uid=65534 -F key={key}"
    for call, key in (("swapon", "one"), ("swapoff", "two"), ("acct", "three"))
)
FOREIGN = "-a always,exit -F arch=b64 -S reboot -F uid=65534 -F key=foreign"


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return comparable(compile_rule(rule))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state=StateSettings(directory=tmp_path / "state"), audit=AuditSettings(rules_files=(), rules=(ONE,))
    )


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


class Loaded:
    """The kernel's rules beside those that were there before the test."""

    def __init__(self, control: AuditControl) -> None:
        self._control = control
        self._before = set(map(comparable, control.list_rules()))

    @property
    def rules(self) -> list[bytes]:
        return [rule for rule in map(comparable, self._control.list_rules()) if rule not in self._before]


@pytest.fixture
def loaded(kernel_audit: AuditControl) -> Loaded:
    return Loaded(kernel_audit)


def rules_file(folder: Path, *lines: str, name: str = "a.rules") -> str:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_the_configured_rules_are_listed_when_no_file_is_named(settings: Settings, out: io.StringIO) -> None:
    list_command(settings, [], out)

    assert out.getvalue() == f"{ONE}\n"


def test_the_rules_of_files_and_sets_are_listed_as_they_would_be_loaded(
    settings: Settings, out: io.StringIO, tmp_path: Path
) -> None:
    path = rules_file(tmp_path, "-b 9", TWO, THREE, f"-d {TWO.removeprefix('-a ')}")

    list_command(settings, [path, "@time"], out)

    lines = out.getvalue().splitlines()
    assert lines[0] == THREE
    assert "-a always,exit -F arch=b64 -S settimeofday -F key=time" in lines


def test_rules_with_a_mistake_are_not_listed(settings: Settings, out: io.StringIO, tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"a\.rules:2: "):
        list_command(settings, [rules_file(tmp_path, ONE, "-a nonsense")], out)

    assert out.getvalue() == ""


@pytest.mark.kernel
def test_the_kernel_s_rules_are_listed_so_that_they_load_again(
    settings: Settings, out: io.StringIO, tmp_path: Path, loaded: Loaded, kernel_audit: AuditControl
) -> None:
    for text in (FOREIGN, ONE):
        kernel_audit.add_rule(compiled(text))
    before = loaded.rules

    list_kernel_command(out)
    path = rules_file(tmp_path, *out.getvalue().splitlines())
    for rule in before:
        kernel_audit.delete_rule(rule)
    load_command(settings, [path], io.StringIO(), deletes_others=False)

    assert out.getvalue().endswith(f"{FOREIGN}\n{ONE}\n")
    assert loaded.rules == before


@pytest.mark.kernel
def test_load_adds_what_is_new_takes_out_what_is_gone_and_leaves_others_alone(
    settings: Settings, out: io.StringIO, tmp_path: Path, loaded: Loaded, kernel_audit: AuditControl
) -> None:
    kernel_audit.add_rule(compiled(FOREIGN))

    first = load_command(settings, [rules_file(tmp_path, ONE, TWO)], out, deletes_others=False)
    second = load_command(settings, [rules_file(tmp_path, TWO, THREE)], out, deletes_others=False)

    assert (first, second) == (Exit.OK, Exit.OK)
    assert set(loaded.rules) == {compiled(FOREIGN), compiled(TWO), compiled(THREE)}
    assert [line.split(", ")[:2] for line in out.getvalue().splitlines()] == [
        ["2 loaded", "0 taken out"], ["1 loaded", "1 taken out"],
    ]  # fmt: skip


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("lines", "deletes_others"), [(["-D", ONE], False), ([ONE], True), (["-D -k foreign", ONE], False)]
)
def test_load_takes_out_others_on_demand(
    settings: Settings,
    out: io.StringIO,
    tmp_path: Path,
    loaded: Loaded,
    kernel_audit: AuditControl,
    lines: list[str],
    deletes_others: bool,
) -> None:
    kernel_audit.add_rule(compiled(FOREIGN))

    load_command(settings, [rules_file(tmp_path, *lines)], out, deletes_others=deletes_others)

    assert loaded.rules == [compiled(ONE)]


@pytest.mark.kernel
def test_load_and_delete_spare_the_rules_of_a_service(
    settings: Settings, out: io.StringIO, tmp_path: Path, loaded: Loaded, kernel_audit: AuditControl
) -> None:
    kernel_audit.add_rule(compiled(FOREIGN))
    settings.state.directory.mkdir()
    note = replace(note_of(kernel_audit.status(), os.getpid()), rules=(compiled(FOREIGN),))
    write_note(settings.state.directory / NOTE_FILE, note)

    load_command(settings, [rules_file(tmp_path, "-D", ONE)], out, deletes_others=True)
    during = set(loaded.rules)
    delete_command(settings, [], out, deletes_all=True)

    assert during == {compiled(FOREIGN), compiled(ONE)}
    assert loaded.rules == [compiled(FOREIGN)]


@pytest.mark.kernel
def test_load_changes_nothing_when_a_rule_is_wrong(
    settings: Settings, out: io.StringIO, tmp_path: Path, loaded: Loaded
) -> None:
    with pytest.raises(RuleError):
        load_command(settings, [rules_file(tmp_path, ONE, "-a nonsense")], out, deletes_others=False)

    assert loaded.rules == []
    assert not settings.state.directory.exists()


@pytest.mark.kernel
def test_load_sets_the_status_that_files_ask_for(
    settings: Settings, out: io.StringIO, tmp_path: Path, kernel_audit: AuditControl
) -> None:
    code = load_command(
        settings, [rules_file(tmp_path, "-b 5000", "-r 9", "-f 0", "-e 1", "-t")], out, deletes_others=False
    )

    status = kernel_audit.status()
    assert code is Exit.OK
    assert (status.backlog_limit, status.rate_limit, status.failure, status.enabled) == (5000, 9, 0, 1)


@pytest.mark.kernel
def test_load_tells_what_this_host_cannot_load_and_loads_the_rest(
    settings: Settings, out: io.StringIO, tmp_path: Path, loaded: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rules_file(tmp_path, f"-a always,exit -F dir={tmp_path}/nowhere -F uid=65534", ONE)

    code = load_command(settings, [path], out, deletes_others=False)

    assert code is Exit.FAILURE
    assert loaded.rules == [compiled(ONE)]
    assert f"{path}:1: not loaded: {tmp_path}/nowhere does not exist" in capsys.readouterr().err


@pytest.mark.kernel
def test_delete_takes_out_what_load_loaded(
    settings: Settings, out: io.StringIO, tmp_path: Path, loaded: Loaded, kernel_audit: AuditControl
) -> None:
    kernel_audit.add_rule(compiled(FOREIGN))
    load_command(settings, [rules_file(tmp_path, ONE, TWO)], out, deletes_others=False)

    code = delete_command(settings, [], out, deletes_all=False)

    assert code is Exit.OK
    assert loaded.rules == [compiled(FOREIGN)]
    assert not (settings.state.directory / LOADED_FILE).exists()


@pytest.mark.kernel
def test_delete_takes_out_the_rules_of_files_whoever_loaded_them(
    settings: Settings, out: io.StringIO, tmp_path: Path, loaded: Loaded, kernel_audit: AuditControl
) -> None:
    kernel_audit.add_rule(compiled(FOREIGN))
    load_command(settings, [rules_file(tmp_path, ONE, TWO)], out, deletes_others=False)

    delete_command(settings, [rules_file(tmp_path, FOREIGN, TWO, THREE)], out, deletes_all=False)
    between = loaded.rules
    delete_command(settings, [], out, deletes_all=False)

    assert between == [compiled(ONE)]
    assert loaded.rules == []


@pytest.mark.kernel
def test_delete_all_takes_out_many_rules_at_once(
    settings: Settings, out: io.StringIO, loaded: Loaded, kernel_audit: AuditControl
) -> None:
    for number in range(60):
        kernel_audit.add_rule(compiled(f"-a never,exit -F arch=b64 -S swapon -F uid=65534 -F a0={number}"))

    delete_command(settings, [], out, deletes_all=True)

    assert loaded.rules == []


@pytest.mark.kernel
def test_the_command_line_loads_lists_and_deletes(tmp_path: Path, loaded: Loaded) -> None:
    config = tmp_path / "auditline.toml"
    config.write_text(f'[state]\ndirectory = "{tmp_path}/state"\n')
    command = [sys.executable, "-m", "auditline.workers.supervisor", "rules"]
    path = rules_file(tmp_path, ONE)

    codes = [
        subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        for arguments in (["load", "--config", config, path], ["list", "--kernel"], ["delete", "--config", config])
    ]

    assert [code.returncode for code in codes] == [0, 0, 0]
    assert ONE in codes[1].stdout.splitlines()
    assert loaded.rules == []
