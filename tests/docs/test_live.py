"""The pipes that the documents show, live: on the kernel, with rules for uid 65534 alone, and on a directory."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open"
DENIED_OPEN = ("setsid", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", "/etc/gshadow")

pytestmark = pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")


def make_a_file(directory: Path) -> None:
    (directory / str(time.monotonic_ns())).touch()


def live_pipes(document: Any, about: str) -> list[str]:
    lines = [line for example in document.examples if example.language == "sh" for line in example.text.splitlines()]
    return [line for line in lines if re.match(r"\S*auditline run .*\|", line) and about in line]


@pytest.mark.kernel
def test_event_comes_through_the_pipe_that_the_readme_shows(
    read_document: Callable[[str], Any],
    run_service: Callable[..., Any],
    wait_until: Callable[..., None],
    kernel_audit: Any,  # this test's alone until its end
) -> None:
    (pipe,) = live_pipes(read_document("README.md"), ".audit.kernel")

    with run_service(f'[audit]\nrules_files = []\nrules = ["{RULE}"]\n[fim]\nwatch = []\n', pipe=pipe) as run:
        wait_until(lambda: "rules of ours are loaded" in run.diagnostics.read_text(), 20)
        subprocess.run(DENIED_OPEN, stderr=subprocess.DEVNULL, check=False)
        wait_until(run.lines)

    assert ["nobody", "opened-file", "/etc/gshadow", "fail"] in run.lines()


@pytest.mark.parametrize("name", ["README.md", "docs/file-integrity.md"])
def test_change_of_a_file_comes_through_the_pipes_that_are_shown(
    name: str,
    read_document: Callable[[str], Any],
    run_service: Callable[..., Any],
    wait_until: Callable[..., None],
    watched: Path,
) -> None:
    (pipe,) = live_pipes(read_document(name), ".audit.file")

    with run_service(watched=watched, pipe=pipe) as run:

        def has_a_line_after_one_more_file() -> bool:
            make_a_file(watched)
            return bool(run.lines())

        # Nothing in the pipe tells when the watch is on.
        wait_until(has_a_line_after_one_more_file, 30)

    action, path, *_ = run.lines()[0]
    assert (action, Path(path).parent) == ("created", watched)


def test_first_walk_comes_through_the_pipe_that_is_shown(
    read_document: Callable[[str], Any],
    run_service: Callable[..., Any],
    wait_until: Callable[..., None],
    watched: Path,
) -> None:
    (pipe,) = live_pipes(read_document("docs/file-integrity.md"), ".audit.coverage")

    with run_service(watched=watched, pipe=pipe) as run:
        wait_until(run.lines)

    coverage = run.lines()[0]
    assert (coverage["path"], coverage["reason"]) == (str(watched), "first_walk")
