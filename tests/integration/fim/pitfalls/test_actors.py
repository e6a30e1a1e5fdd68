"""Pitfalls of who did it: in other namespaces of process ids."""

import os
import shutil
import subprocess

import psutil
import pytest

IN_NAMESPACE = ("unshare", "--pid", "--fork", "sh", "-c", 'read line; echo "$line" > "$1"; read line', "sh")


@pytest.fixture
def writer():
    """Start a shell in a namespace of its own, in which its pid is 1; it writes what it is told, then waits."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a namespace of process ids cannot be made here")
    started = []

    def start(path):
        started.append(subprocess.Popen([*IN_NAMESPACE, str(path)], stdin=subprocess.PIPE, text=True, bufsize=1))
        return started[-1]

    yield start
    for process in started:
        process.communicate("\n", timeout=10)


def test_who_writes_in_another_namespace_is_named_by_its_pid_here(corner, writer, wait_until):
    """Pitfall 48."""
    if not corner.names_processes:
        pytest.skip(f"{corner.backend} names nobody")
    unshare = writer(corner.root / "file")
    wait_until(lambda: psutil.Process(unshare.pid).children())
    (shell,) = psutil.Process(unshare.pid).children()

    unshare.stdin.write("one\n")
    created = corner.wait_for("created", corner.root / "file")

    actor = created.document["auditline"]["actor"]
    assert (actor["pid"], actor["executable"]) == (shell.pid, shell.exe())
