"""Who did it, of processes that end at once: most by fanotify alone, practically all with audit rules, nobody wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
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


COPY = """
import os

os.mkdir("new")
new = os.open("new", os.O_RDONLY)
os.mkdir("deep", dir_fd=new)
deep = os.open("deep", os.O_RDONLY, dir_fd=new)
for number in range(20):
    os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
"""
"""Fills a directory as `cp -r` does: nothing that it gives the kernel is a whole path."""


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


def key_of(event: dict[str, Any]) -> str:
    """Return the key of a system call's event; that rules are loaded is an event with their keys, too."""
    kernel = event["audit"].get("kernel", {})
    return kernel.get("key", "") if kernel.get("record_type") == "syscall" else ""


def joined(kernel_audit: AuditControl) -> int:
    """Return how many rules of the join are loaded."""
    return sum(b"auditline-fim" in rule for rule in kernel_audit.list_rules())


def names_in_ecs(lines: bytes, pid: int) -> dict[str, str]:
    """Return the name for good that this process has in events, by their data set."""
    documents = [json.loads(line) for line in lines.splitlines(keepends=True) if line.endswith(b"\n")]
    mine = [document for document in documents if document.get("process", {}).get("pid") == pid]
    return {document["event"]["dataset"]: document["process"].get("entity_id", "") for document in mine}


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
def test_with_rules_practically_everybody_is_known_also_where_the_kernel_names_nobody(
    kernel_audit: AuditControl, watched: Any
) -> None:
    by_inotify = watched.folder / "by-inotify"
    by_inotify.mkdir()
    make_files(watched.root, 80)
    make_files(by_inotify, 20)
    watches = {"path": watched.root}, {"path": by_inotify, "backend": "inotify"}

    watched.start(*watches, fim=DEFAULTS | {"actor": "audit"}, audit="")
    expected = act(watched.root, 80) | act(by_inotify, 20)
    watched.settle(by_inotify)
    watched.settle(watched.root)
    verdicts = judge(watched.changes, expected)

    assert verdicts["wrong"] == 0
    assert verdicts["right"] >= JOINED_AT_LEAST * 100


@pytest.mark.kernel
@pytest.mark.parametrize("backend", ["auto", "inotify"])
def test_with_rules_it_is_known_who_filled_a_directory_just_made(
    kernel_audit: AuditControl, watched: Any, backend: str
) -> None:
    watched.start({"path": watched.root, "backend": backend}, fim=DEFAULTS | {"actor": "audit"}, audit="")

    subprocess.run(["sh", "-c", "mkdir -p x/y; echo > x/y/f; echo > x/g"], cwd=watched.root, check=True)
    watched.settle()

    told = {
        os.path.relpath(change.path, watched.root): change.document["auditline"]["actor"]["name"]
        for change in watched.changes
    }
    assert told == {"x": "mkdir", "x/y": "mkdir", "x/y/f": "sh", "x/g": "sh"}


@pytest.mark.kernel
@pytest.mark.parametrize("backend", ["auto", "inotify"])
def test_with_rules_it_is_known_who_filled_a_new_directory_by_names_relative_to_a_descriptor(
    kernel_audit: AuditControl, watched: Any, backend: str
) -> None:
    watched.start({"path": watched.root, "backend": backend}, fim=DEFAULTS | {"actor": "audit"}, audit="")

    subprocess.run([sys.executable, "-c", COPY], cwd=watched.root, check=True)
    watched.settle()

    told = {
        os.path.relpath(change.path, watched.root): change.document["auditline"].get("actor", {}).get("executable")
        for change in watched.changes
    }
    names = {"new", "new/deep", *(f"new/deep/f{number}" for number in range(20))}
    assert told == dict.fromkeys(names, os.path.realpath(sys.executable))


@pytest.mark.kernel
@pytest.mark.soak
def test_with_rules_practically_everybody_of_a_thousand_is_known(
    kernel_audit: AuditControl, actors_of: Callable[..., Counter[str]]
) -> None:
    verdicts = actors_of(1000, "audit", "")

    assert verdicts["wrong"] == 0
    assert verdicts["right"] >= JOINED_AT_LEAST * 1000


@pytest.mark.kernel
def test_the_join_leaves_events_that_somebody_wants_alone_and_writes_no_others(
    kernel_audit: AuditControl, watched: Any
) -> None:
    (watched.root / "mine").mkdir()
    make_files(watched.root, 4)
    (watched.root / "mine").chmod(0o777)
    rules = watched.folder / "mine.rules"
    rules.write_text(f"-w {watched.root}/mine -p wa -k mine\n")
    rules.chmod(0o600)

    watched.start(fim=DEFAULTS | {"actor": "audit"}, audit=f'rules_files = ["{rules}"]')
    act(watched.root / "mine", 2)
    act(watched.root, 2)
    watched.settle()

    keys = Counter(map(key_of, watched.run.events))
    actors = {change.path: change.document["auditline"]["actor"] for change in watched.changes}
    ids = {event["event"]["id"] for event in watched.run.events if key_of(event) == "mine"}
    assert keys["mine"] > 0
    assert keys["auditline-fim"] == 0
    assert actors[f"{watched.root}/mine/sh0"]["event_id"] in ids
    assert actors[f"{watched.root}/sh0"]["match"] == "exact"
    assert actors[f"{watched.root}/sh0"]["event_id"] not in ids


@pytest.mark.kernel
def test_rules_of_the_join_follow_the_configuration(
    kernel_audit: AuditControl, watched: Any, wait_until: Callable[..., None]
) -> None:
    watched.start(fim=DEFAULTS | {"actor": "audit"}, audit="")
    wait_until(lambda: joined(kernel_audit) == 3)
    (watched.folder / "other").mkdir()
    config = watched.run.folder / "auditline.toml"
    config.write_text(config.read_text() + f'[[fim.watch]]\npath = "{watched.folder}/other"\n')

    os.kill(watched.run.pid, signal.SIGHUP)
    wait_until(lambda: joined(kernel_audit) == 4)
    config.write_text(config.read_text().replace('actor = "audit"', 'actor = "auto"'))
    os.kill(watched.run.pid, signal.SIGHUP)

    wait_until(lambda: joined(kernel_audit) == 0)


@pytest.mark.kernel
def test_a_process_has_the_same_name_in_events_of_the_kernel_and_of_files(
    kernel_audit: AuditControl, start_run: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    root, rules = tmp_path / "watched", tmp_path / "mine.rules"
    root.mkdir()
    rules.write_text(f"-w {root} -p w -k mine\n")
    rules.chmod(0o600)
    tables = f'[fim]\n[[fim.watch]]\npath = "{root}"\n[outputs.stdout]\nschema = "ecs"\n'
    run = start_run(audit=f'rules_files = ["{rules}"]', tables=tables)
    wait_until(lambda: b"first_walk" in run.stdout, 30)

    with subprocess.Popen(["sh", "-c", "echo > file; read end"], cwd=root, stdin=subprocess.PIPE) as process:
        wait_until(lambda: {"file", "auditd"} <= names_in_ecs(run.stdout, process.pid).keys())
    names = names_in_ecs(run.stdout, process.pid)

    assert names["file"] == names["auditd"]
    assert len(names["file"]) == 16


def test_without_rules_many_are_known_and_nobody_is_wrong(actors_of: Callable[..., Counter[str]]) -> None:
    verdicts = actors_of(100, "auto", "enabled = false")

    assert verdicts["wrong"] == 0
    assert verdicts["right"] >= ALONE_AT_LEAST * 100
