"""Who did it is looked up before hints are read: by then the process may be gone."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditline.workers.common.process_info import Process
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.backend import Backend, Hint
from auditline.workers.fim.choosing import open_backend


class Seen:
    """Who was looked up."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def see(self, pid: int, _pidfd: int | None) -> Process:
        self.pids.append(pid)
        return Process(pid)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def backend(seen: Seen, root: Path) -> Iterator[Backend]:
    backend = open_backend(FimSettings(), "fanotify", see=seen.see)
    if backend.name != "fanotify":
        backend.close()
        pytest.skip(backend.reason)
    fd = os.open(root, os.O_RDONLY)
    backend.watch(b"", fd)
    os.close(fd)
    yield backend
    backend.close()


def touch(path: Path) -> int:
    process = subprocess.Popen(["touch", str(path)])
    process.wait()
    return process.pid


def hints_about(hints: list[Hint], path: bytes) -> list[Hint]:
    return [hint for hint in hints if hint.path == path]


def test_what_was_gathered_is_read_later_with_who_did_it(backend: Backend, seen: Seen, root: Path) -> None:
    pid = touch(root / "a")
    backend.gather()
    looked_up = set(seen.pids)
    other = touch(root / "b")

    hints = backend.read()

    assert looked_up == {pid}
    assert [hint.process for hint in hints_about(hints, b"a")] == [Process(pid)]
    assert [hint.process for hint in hints_about(hints, b"b")] == [Process(other)]
    assert backend.read() == []


def test_nothing_is_gathered_where_nobody_is_wanted(root: Path) -> None:
    backend = open_backend(FimSettings(actor="off"), "fanotify", see=lambda pid, _: Process(pid))

    early_fd = backend.early_fd
    backend.close()

    assert early_fd is None


@pytest.mark.parametrize("name", ["inotify", "poll"])
def test_backends_that_name_nobody_gather_nothing(name: str, root: Path) -> None:
    backend = open_backend(FimSettings(), name)  # type: ignore[arg-type]
    backend.gather()

    early_fd = backend.early_fd
    backend.close()

    assert early_fd is None
