"""The first commands of README.md, as a newcomer types them: in a clone, as root."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.settings_loading import DEFAULT_FILE

INSTALL_SECONDS = 400
EVENT_SECONDS = 60
# Its own directories must not be those of this host's service, nor its rules find others in them; and /etc is a copy,
# so that a file can be made there.
OWN_DIRECTORIES = "mount -t tmpfs none /var/lib && mount -t tmpfs none /run && mount --bind {etc} /etc && "


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


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    copy = tmp_path / "etc"
    subprocess.run(["cp", "-a", "/etc", copy], check=True)
    return copy


def find_event(file: Path, is_wanted: Callable[[Any], object]) -> Any:
    """Return the first event of whole lines in *file* that is wanted; None: there is none yet."""
    events = (json.loads(line) for line in file.read_bytes().split(b"\n")[:-1])
    return next(filter(is_wanted, events), None)


def is_of_kernel(event: Any) -> bool:
    return "kernel" in event["audit"]


def is_of_file(event: Any) -> bool:
    return "file" in event["audit"]


def is_first_walk_of_etc(event: Any) -> bool:
    coverage = event["audit"].get("coverage", {})
    return (coverage.get("path"), coverage.get("reason")) == ("/etc", "first_walk")


@pytest.mark.soak
@pytest.mark.kernel
@pytest.mark.timeout(INSTALL_SECONDS + 200)
@pytest.mark.skipif(
    DEFAULT_FILE.exists(), reason=f"{DEFAULT_FILE} is there: the command would not run with the defaults"
)
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_first_command_prints_events_of_this_host_s_kernel_and_files(
    read_document: Callable[[str], Any],
    clone: Path,
    etc: Path,
    tmp_path: Path,
    wait_until: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    output = tmp_path / "events"
    document = read_document("README.md")
    (command,) = [
        example.text.strip() for example in document.examples if example.text.strip().endswith("auditline run")
    ]
    (touched,) = re.findall(r"`touch /etc/(\w+)` in a second terminal", document.text)
    make, install, run = command.split(" && ")
    environment = {"PATH": f"/usr/bin:/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}

    subprocess.run(
        ["bash", "-c", f"{make} && {install}"], cwd=clone, env=environment, check=True, timeout=INSTALL_SECONDS
    )
    # Only now: to install takes long, and others need the kernel, too.
    request.getfixturevalue("kernel_audit")
    with output.open("wb") as stdout:
        service = subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", f"{OWN_DIRECTORIES.format(etc=etc)} exec {run}"],
            cwd=clone,
            env=environment,
            stdout=stdout,
        )
    try:
        wait_until(lambda: find_event(output, is_of_kernel), EVENT_SECONDS)
        wait_until(lambda: find_event(output, is_first_walk_of_etc), EVENT_SECONDS)
        (etc / touched).touch()
        wait_until(lambda: find_event(output, is_of_file), EVENT_SECONDS)
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(10)

    changed = find_event(output, is_of_file)["audit"]["file"]
    assert find_event(output, is_of_kernel)["audit"]["kernel"]["sequence"] > 0
    assert (changed["action"], changed["path"]) == ("created", f"/etc/{touched}")
    assert service.returncode == 0
