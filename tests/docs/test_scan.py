"""docs/scan.md says of the profiles what the code has, and its commands do what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.errors import Exit
from auditline.workers.common.profiles import ATTRIBUTES, PROFILES
from auditline.workers.supervisor.cli import main


@pytest.fixture
def rows(read_document: Callable[[str], Any]) -> dict[str, str]:
    table = read_document("docs/scan.md").table("Profiles")
    return {row["profile"].strip("`"): row["compared"] for row in table}


def test_all_profiles_are_documented(rows: dict[str, str]) -> None:
    assert rows.keys() == PROFILES.keys()


@pytest.mark.parametrize("name", ["log", "rotating-log", "volatile"])
def test_what_is_compared_is_listed(name: Any, rows: dict[str, str], codes_of: Callable[[str], list[str]]) -> None:
    assert set(codes_of(rows[name])) == PROFILES[name].attributes


@pytest.mark.parametrize("name", ["static", "secrets", "executables"])
def test_what_is_not_compared_is_listed(name: Any, rows: dict[str, str], codes_of: Callable[[str], list[str]]) -> None:
    assert set(codes_of(rows[name])) == set(ATTRIBUTES) - PROFILES[name].attributes


def test_of_configuration_files_the_time_of_modification_is_left_out_as_well() -> None:
    assert PROFILES["static"].attributes - PROFILES["config"].attributes == {"mtime"}


def test_weights_are_documented(rows: dict[str, str]) -> None:
    told = {name: f"weight {profile.weight}" in rows[name] for name, profile in PROFILES.items() if profile.weight}

    assert all(told.values()), told


def test_the_commands_approve_find_a_difference_and_approve_that(
    read_document: Callable[[str], Any], tmp_path: Path
) -> None:
    hosts, configuration = tmp_path / "etc" / "hosts", tmp_path / "auditline.toml"
    hosts.parent.mkdir()
    hosts.write_text("127.0.0.1 localhost\n")
    watched = f'[[fim.watch]]\npath = "{hosts.parent}"\n'
    configuration.write_text(f'[state]\ndirectory = "{tmp_path / "state"}"\n[audit]\nenabled = false\n{watched}')
    configuration.chmod(0o600)
    [example] = [each for each in read_document("docs/scan.md").examples if each.language == "sh"]
    first, second, third = (
        [*line.replace("/etc/hosts", str(hosts)).split()[2:], "--config", str(configuration)]
        for line in example.text.splitlines()
    )

    approved = main(first)
    hosts.write_text("127.0.0.1 localhost elsewhere\n")
    codes = [main(second), main(third), main(second)]

    assert (approved, codes) == (Exit.OK, [Exit.DIFFERENCES, Exit.OK, Exit.OK])
