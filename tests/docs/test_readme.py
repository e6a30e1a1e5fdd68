"""README.md: short, in agreement with what continuous integration runs and with the unit that it installs."""

import re
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.errors import Exit
from auditline.workers.common.settings import Settings, find_places
from auditline.workers.common.settings_loading import DEFAULT_FILE

MOST_LINES = 150
FIRST_SCREEN_LINES = 52
NOT_USED_YET = {Exit.DIFFERENCES, Exit.DEGRADED}
"""Of commands that are still to come."""


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("README.md")


def commands_of(document: Any) -> list[str]:
    return [line for example in document.examples if example.language == "sh" for line in example.text.splitlines()]


def unit_values(key: str) -> list[str]:
    unit = files("auditline.conf").joinpath("auditline.service").read_text(encoding="utf-8")
    return re.findall(rf"^{key}=(.*)$", unit, flags=re.MULTILINE)


def test_readme_is_short(document: Any) -> None:
    assert len(document.text.splitlines()) <= MOST_LINES


def test_first_screen_has_a_record_a_change_what_comes_of_them_and_both_commands(document: Any) -> None:
    first = [example for example in document.examples if example.line < FIRST_SCREEN_LINES]

    assert [example.language for example in first] == ["log", "json", "sh", "json", "sh", "sh"]


def test_continuous_integration_runs_the_test_command(document: Any, tree: Path) -> None:
    (command,) = [command for command in commands_of(document) if "tox" in command]

    assert command in (tree / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_exit_codes_are_those_of_the_code(document: Any) -> None:
    documented = {int(row["code"]) for row in document.table("Exit codes")}

    assert documented == set(Exit) - NOT_USED_YET


def test_places_are_the_defaults(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    places = Settings().places

    documented = {path for row in document.table("Where things are kept") for path in codes_of(row["where"])}

    assert documented == {str(path) for path in (DEFAULT_FILE, places.state, places.run, places.log)}


def test_places_of_another_user_are_the_defaults(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    environment = {"HOME": "/home/anna", "XDG_RUNTIME_DIR": "/run/user/1000"}
    places = find_places(is_root=False, environment=environment)
    section = document.section("Where things are kept")

    (sentence,) = [line for line in section.splitlines() if line.startswith("Another user")]

    named = [
        path.replace("~", "/home/anna").replace("$XDG_RUNTIME_DIR", "/run/user/1000") for path in codes_of(sentence)
    ]
    assert named == [str(places.state), str(places.run)]


def test_service_is_installed_where_its_unit_looks(
    document: Any, reader_directory: Path, shell_environment: dict[str, str], tmp_path: Path
) -> None:
    host = tmp_path / "host"
    (example,) = [example for example in document.examples if "systemctl" in example.text]
    made, *installs, started = example.text.splitlines()

    for command in installs:
        into_host = command.replace(" /etc/", f" {host}/etc/")
        subprocess.run(["bash", "-c", into_host], cwd=reader_directory, env=shell_environment, check=True)

    program, *_, configuration = unit_values("ExecStart")[0].split()
    assert made.split(" && ")[0] == f"python3 -m venv {Path(program).parents[1]}"
    assert (host / configuration.removeprefix("/")).is_file()
    unit = host / "etc" / "systemd" / "system" / f"{started.split()[-1]}.service"
    assert unit.read_text(encoding="utf-8").count(f"ExecStart={program}") == 1


def test_service_is_reloaded_by_a_signal_as_said(document: Any) -> None:
    assert "systemctl reload auditline" in document.section("As a service")
    assert unit_values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
