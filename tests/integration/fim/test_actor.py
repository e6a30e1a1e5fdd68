"""Who did it, of processes that end at once: most by fanotify alone, practically all with audit rules, nobody wrong."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from auditline.workers.control.kernel import AuditControl

USER, LOGIN = 64_317, 64_318
"""Nobody else on the host is them."""
ALONE_AT_LEAST, JOINED_AT_LEAST = 0.05, 0.99
"""A third to nine tenths alone, where the host has nothing else to do; the tests have it share its processors."""
DEFAULTS = {"debounce_seconds": 0.2, "max_delay_seconds": 2.0}
ACTIVITY = f"""
import os, subprocess, sys

open("/proc/self/loginuid", "w").write("{LOGIN}")
os.setresgid({USER}, {USER}, {USER})
os.setresuid({USER}, {USER}, {USER})
for number in range(int(sys.argv[1])):
    if number % 4 == 0:
        command = ["sh", "-c", f"echo {{number}} > sh{{number}}"]
    elif number % 4 == 1:
        command = ["touch", f"touch{{number}}"]
    elif number % 4 == 2:
        command = ["cp", "source", f"cp{{number}}"]
    else:
        command = ["mv", f"before{{number}}", f"mv{{number}}"]
    subprocess.run(command, check=True)
"""
"""Touches one file with each process, as another user who has logged in as a third one."""


def make_files(root: Any, count: int) -> None:
    root.chmod(0o777)
    (root / "source").write_text("source\n")
    for number in range(3, count, 4):
        (root / f"before{number}").touch()
        os.chown(root / f"before{number}", USER, USER)


def act(root: Any, count: int) -> dict[str, str]:
    """Let it happen; return for each path whose program it was."""
    subprocess.run([sys.executable, "-c", ACTIVITY, str(count)], cwd=root, check=True)
    names = ("sh", "touch", "cp", "mv")
    programs = {name: os.path.realpath(shutil.which(name) or "") for name in names}
    return {f"{root}/{names[number % 4]}{number}": programs[names[number % 4]] for number in range(count)}


def judge(changes: list[Any], expected: dict[str, str]) -> Counter[str]:
    """Count by what is told of who did it."""
    verdicts: Counter[str] = Counter()
    actors = {change.path: change.document["auditline"].get("actor") or {} for change in changes}
    for path, program in expected.items():
        actor = actors.get(path, {})
        people = {actor[key]["id"] for key in ("login_user", "user") if key in actor}
        if "executable" not in actor:
            verdicts["wrong" if people - {str(USER), str(LOGIN)} else "nobody"] += 1
        elif actor["executable"] == program and people <= {str(USER), str(LOGIN)}:
            verdicts["right" if actor.get("login_user", {}).get("id") == str(LOGIN) else "right program"] += 1
        else:
            verdicts["wrong"] += 1
    return verdicts


@pytest.fixture
def actors_of(watched: Any) -> Callable[..., Counter[str]]:
    """Watch, let so many processes do their work, and judge what is told."""

    def run(count: int, actor: str, audit: str) -> Counter[str]:
        make_files(watched.root, count)
        watched.start(fim=DEFAULTS | {"actor": actor}, audit=audit)
        expected = act(watched.root, count)
        watched.settle()
        return judge(watched.changes, expected)

    return run


@pytest.mark.kernel
def test_with_rules_practically_everybody_is_known(
    kernel_audit: AuditControl, actors_of: Callable[..., Counter[str]]
) -> None:
    verdicts = actors_of(100, "audit", "")

    assert verdicts["wrong"] == 0
    assert verdicts["right"] >= JOINED_AT_LEAST * 100


@pytest.mark.kernel
@pytest.mark.soak
def test_with_rules_practically_everybody_of_a_thousand_is_known(
    kernel_audit: AuditControl, actors_of: Callable[..., Counter[str]]
) -> None:
    verdicts = actors_of(1000, "audit", "")

    assert verdicts["wrong"] == 0
    assert verdicts["right"] >= JOINED_AT_LEAST * 1000


def test_without_rules_many_are_known_and_nobody_is_wrong(actors_of: Callable[..., Counter[str]]) -> None:
    verdicts = actors_of(100, "auto", "enabled = false")

    assert verdicts["wrong"] == 0
    assert verdicts["right"] >= ALONE_AT_LEAST * 100
