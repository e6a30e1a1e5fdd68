"""docs/file-integrity.md: the changes that its table shows are made in a real directory, watched by a real service."""

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, get_args

import pytest

from auditline.workers.common.file_entry import Action


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/file-integrity.md")


class Directory:
    """A watched directory in which commands are run one after another."""

    def __init__(self, path: Path, run: Any, wait_until: Callable[..., None]) -> None:
        self._path = path
        self._run = run
        self._wait_until = wait_until
        self._seen = 0

    def events_of(self, command: str, count: int) -> list[str]:
        """Run *command*, wait for *count* events, and return all that came since the last one, sorted."""
        subprocess.run(["bash", "-c", command], cwd=self._path, check=True)
        self._wait_until(lambda: len(self._run.changes()) >= self._seen + count)
        found = self._run.changes()[self._seen :]
        self._seen += len(found)
        return sorted(f"{event['audit']['file']['action']} {self._name(event)}" for event in found)

    def _name(self, event: Any) -> str:
        return os.path.relpath(event["audit"]["file"]["path"], self._path)


def test_each_change_gives_the_events_that_the_table_says(
    document: Any,
    codes_of: Callable[[str], list[str]],
    run_service: Callable[..., AbstractContextManager[Any]],
    wait_until: Callable[..., None],
    watched: Path,
) -> None:
    table = document.table("What you do, and what comes")
    rows = [(codes_of(row["you do"])[0], sorted(codes_of(row["events: action and path"]))) for row in table]
    # An event too many shows with the row behind it.
    rows.append(("mkdir last", ["created last"]))

    with run_service(watched=watched) as run:
        wait_until(run.is_walked)
        directory = Directory(watched, run, wait_until)
        found = [(command, directory.events_of(command, len(events))) for command, events in rows]

    assert found == rows


def test_actions_are_those_of_the_code(document: Any, code_of: Callable[[str], str]) -> None:
    documented = {code_of(row["action"]) for row in document.table("Actions")}

    assert documented == set(get_args(Action))


def test_watch_limit_has_the_name_that_is_shown(document: Any) -> None:
    (command,) = [line for example in document.examples for line in example.text.splitlines() if "sysctl" in line]

    (name,) = re.findall(r"sysctl -w ([\w.]+)=\d+", command)

    assert int(Path("/proc/sys", *name.split(".")).read_text()) > 0
