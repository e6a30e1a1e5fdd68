"""The first command of README.md, as a newcomer types it: in a clone, as root."""

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.settings import DEFAULT_FILE

INSTALL_SECONDS = 400
FIRST_EVENT_SECONDS = 30
# Its own directories must not be those of this host's service, nor its rules find others in them.
OWN_DIRECTORIES = "mount -t tmpfs none /var/lib && mount -t tmpfs none /run && "


@pytest.fixture
def clone(tree: Path, tmp_path: Path) -> Path:
    """What git knows of the checkout, alone in a folder."""
    if not shutil.which("git") or not (tree / ".git").exists():
        pytest.skip("needs a git checkout to clone from")
    folder = tmp_path / "auditline"
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=tree, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if name and (tree / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / name, folder / name)
    return folder


def first_line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], FIRST_EVENT_SECONDS)
    assert readable, "no event came"
    return process.stdout.readline()


@pytest.mark.soak
@pytest.mark.kernel
@pytest.mark.timeout(INSTALL_SECONDS + 100)
@pytest.mark.skipif(
    DEFAULT_FILE.exists(), reason=f"{DEFAULT_FILE} is there: the command would not run with the defaults"
)
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_first_command_prints_this_host_s_events(
    read_document: Callable[[str], Any],
    clone: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    (command,) = [
        example.text.strip()
        for example in read_document("README.md").examples
        if example.text.strip().endswith("auditline run")
    ]
    make, install, run = command.split(" && ")
    environment = {"PATH": f"/usr/bin:/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}

    subprocess.run(
        ["bash", "-c", f"{make} && {install}"], cwd=clone, env=environment, check=True, timeout=INSTALL_SECONDS
    )
    # Only now: to install takes long, and others need the kernel, too.
    request.getfixturevalue("kernel_audit")
    service = subprocess.Popen(
        ["unshare", "--mount", "bash", "-c", f"{OWN_DIRECTORIES} exec {run}"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
    )
    try:
        event = json.loads(first_line(service))
    finally:
        service.send_signal(signal.SIGINT)
        service.communicate(timeout=10)

    assert event["audit"]["kernel"]["sequence"] > 0
    assert service.returncode == 0
