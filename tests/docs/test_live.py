"""The pipes that the documents show, live: on the real kernel, with rules for uid 65534 alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open"
DENIED_OPEN = ("setsid", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", "/etc/gshadow")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "auditline.toml"
    file.write_text(
        f'[state]\ndirectory = "{tmp_path}/state"\n[run]\ndirectory = "{tmp_path}/run"\n'
        f'[audit]\nrules_files = []\nrules = ["{RULE}"]\n'
    )
    file.chmod(0o600)
    return file


def live_pipes(document: Any) -> list[str]:
    lines = [line for example in document.examples if example.language == "sh" for line in example.text.splitlines()]
    return [line for line in lines if re.match(r"\S*auditline run \|", line)]


@pytest.mark.kernel
@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_event_comes_through_the_pipe_that_the_readme_shows(
    read_document: Callable[[str], Any],
    configuration: Path,
    shell_environment: dict[str, str],
    tmp_path: Path,
    wait_until: Callable[..., None],
    kernel_audit: Any,  # this test's alone until its end
) -> None:
    (pipe,) = live_pipes(read_document("README.md"))
    # The service is ended by its own pid, which the shell tells; `jq -c` alone would keep its output until the end.
    program = f"{Path(sys.executable).with_name('auditline')} run --config {configuration}"
    script = re.sub(r"^\S*auditline run", f"(echo $BASHPID > pid; exec {program} 2> diagnostics)", pipe)
    script = script.replace("jq -c", "jq --unbuffered -c")

    for name in ("pid", "diagnostics", "events"):
        (tmp_path / name).touch()

    with (
        (tmp_path / "events").open("wb") as events,
        subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=shell_environment, stdout=events) as shell,
    ):
        wait_until((tmp_path / "pid").read_text)
        try:
            wait_until(lambda: "rules of ours are loaded" in (tmp_path / "diagnostics").read_text(), 20)
            subprocess.run(DENIED_OPEN, stderr=subprocess.DEVNULL, check=False)
            wait_until(lambda: "/etc/gshadow" in (tmp_path / "events").read_text())
        finally:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
            shell.wait(10)

    lines = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert ["nobody", "opened-file", "/etc/gshadow", "fail"] in lines
