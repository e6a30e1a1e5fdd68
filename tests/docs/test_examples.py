"""Every example that a document shows is run here, or by the test that is named here for it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.settings_loading import load_settings
from auditline.workers.control.language import parse_rules

RUN_ELSEWHERE = {
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/auditline run": "test_quick_start.py",
    "echo 'admin ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers.d/admins": "test_examples.py",
    "chmod 4755 /usr/local/bin/backup": "test_examples.py",
    "sysctl -w fs.inotify.max_user_watches=1048576": "test_file_integrity.py",
    "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox": "test_readme.py",
    "python3 -m venv /opt/auditline && /opt/auditline/bin/pip install .": "test_readme.py",
    "install -D -m 644 conf/service.toml /etc/auditline/auditline.toml": "test_readme.py",
    "install -D -m 644 conf/auditline.service /etc/systemd/system/auditline.service": "test_readme.py",
    "systemctl daemon-reload && systemctl enable --now auditline": "test_readme.py",
    "sudo auditline scan --init": "test_scan.py",
    "sudo auditline scan": "test_scan.py",
    "sudo auditline scan --update /etc/hosts": "test_scan.py",
}
"""Commands that change the system, and who tests them; a pipe that begins with `auditline run` is test_live.py's."""
BEFORE = {
    "/etc/sudoers.d/admins": ("anna ALL=(ALL:ALL) ALL\n", 0o440),
    "/usr/local/bin/backup": ("#!/bin/sh\n", 0o755),
}
"""Content and mode of the files that are changed in examples."""
TIMES = {"mtime", "ctime", "atime"}
LANGUAGES = {"log", "json", "sh", "console", "toml", "rules", "text"}
"""`text` is for diagrams, which nothing can run."""


def split_commands(text: str) -> list[tuple[str, str]]:
    """Return each command of a console block, continuation lines included, with the output shown behind it."""
    commands: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], ""))
        elif line.startswith("> "):
            commands[-1] = (f"{commands[-1][0]}\n{line[2:]}", "")
        else:
            commands[-1] = (commands[-1][0], f"{commands[-1][1]}{line}\n")
    return commands


def read_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield JSON objects that stand one after another, wrapped or not."""
    decoder = json.JSONDecoder()
    rest = text.strip()
    while rest:
        found, end = decoder.raw_decode(rest)
        yield found
        rest = rest[end:].lstrip()


def is_part(shown: object, actual: object) -> bool:
    """Whether all that is shown is there; objects may have more keys."""
    if isinstance(shown, dict) and isinstance(actual, dict):
        return all(key in actual and is_part(value, actual[key]) for key, value in shown.items())
    if isinstance(shown, list) and isinstance(actual, list):
        return len(shown) == len(actual) and all(map(is_part, shown, actual))
    return shown == actual


def test_every_block_says_what_it_is(each_document: Any) -> None:
    languages = {example.language for example in each_document.examples}

    assert languages <= LANGUAGES


def test_console_example_gives_what_is_shown(
    console_example: Any, reader_directory: Path, shell_environment: dict[str, str]
) -> None:
    if "jq" in console_example.text and not shutil.which("jq"):
        pytest.skip("jq is not installed")
    # A marker between the commands tells their outputs apart, also where one ends without a newline.
    commands = split_commands(console_example.text)
    script = "\n".join(f"{command}\nprintf '\\0'" for command, _ in commands)

    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=reader_directory,
        env=shell_environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert ran.stdout.split("\0")[:-1] == [output for _, output in commands]


def test_records_give_the_events_shown_behind_them(
    record_pair: tuple[Any, Any], tree: Path, shell_environment: dict[str, str]
) -> None:
    records, events = record_pair
    names = tree / "tests" / "data" / "seed"

    ran = subprocess.run(
        ["auditline", "replay", "--node", "web1", "--passwd", names / "passwd", "--group", names / "group"],
        input=records.text,
        env=shell_environment,
        capture_output=True,
        text=True,
        check=True,
    )

    shown, actual = list(read_objects(events.text)), list(read_objects(ran.stdout))
    assert len(shown) == len(actual)
    assert [pair for pair in zip(shown, actual, strict=True) if not is_part(*pair)] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="the files of the examples belong to root")
def test_change_gives_the_event_shown_behind_it(
    change_pair: tuple[Any, Any], run_service: Callable[..., Any], wait_until: Callable[..., None], watched: Path
) -> None:
    (shown,) = read_objects(change_pair[1].text)
    path = shown["audit"]["file"]["path"]
    make_file(Path(f"{watched}{path}"), *BEFORE[path])

    with run_service(watched=watched) as run:
        wait_until(run.is_walked)
        subprocess.run(["bash", "-c", change_pair[0].text.replace(path, f"{watched}{path}")], check=True)
        wait_until(run.changes)

    (event,) = run.changes()
    event["audit"]["file"]["path"] = event["audit"]["file"]["path"].removeprefix(str(watched))
    assert is_part(shown, event)
    shown_change, change = shown["auditline"]["change"], event["auditline"]["change"]
    assert change["before"].keys() - TIMES == shown_change["before"].keys()
    assert change["after"].keys() - TIMES == shown_change["after"].keys()


def make_file(path: Path, content: str, mode: int) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(mode)


def test_shell_example_has_a_test_of_its_own(sh_example: Any, tree: Path) -> None:
    commands = [line for line in sh_example.text.splitlines() if not re.match(r"\S*auditline run .*\|", line)]

    tests = {command: RUN_ELSEWHERE.get(command) for command in commands}

    assert None not in tests.values(), tests
    assert all((tree / "tests" / "docs" / test).is_file() for test in tests.values() if test)


def test_configuration_example_loads(toml_example: Any, tmp_path: Path) -> None:
    file = tmp_path / "auditline.toml"
    file.write_text(toml_example.text, encoding="utf-8")
    file.chmod(0o600)

    settings = load_settings(file, is_root=True, environment={})

    assert settings.source == file
    assert not parse_rules("\n".join(settings.audit.rules), "rules").problems


def test_rules_example_is_understood(rules_example: Any) -> None:
    rule_file = parse_rules(rules_example.text, "example")

    assert rule_file.rules
    assert not rule_file.problems


def test_objects_may_have_more_keys_than_are_shown_but_not_others() -> None:
    actual = {"a": 1, "b": [{"c": 2, "d": 3}]}

    assert is_part({"b": [{"c": 2}]}, actual)
    assert not is_part({"b": [{"c": 3}]}, actual)
    assert not is_part({"b": []}, actual)


def test_a_command_may_go_on_over_several_lines() -> None:
    commands = split_commands("$ cat <<'END'\n> a\n> END\na\n$ true\n")

    assert commands == [("cat <<'END'\na\nEND", "a\n"), ("true", "")]


def test_documents_are_found(read_document: Callable[[str], Any]) -> None:
    names = ["architecture", "bus", "configuration", "events", "file-integrity"]

    assert all(read_document(f"docs/{name}.md").examples for name in names)
