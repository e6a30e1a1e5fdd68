"""Kernels before 6.13 give times in steps, so two writes may leave the same ones: files just written have to wait."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditline.workers.common.file_state import STABLE, FileState
from auditline.workers.common.jobs import Result
from auditline.workers.hasher import snapshot
from auditline.workers.hasher.snapshot import Order, look_at

MANY = 1 << 40
SHA256 = Order(("sha256",), MANY, MANY)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's own directory."""
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def look(folder: int, name: str) -> Result:
    return look_at(os.fsencode(name), folder, SHA256)


def state_of(result: Result) -> FileState:
    assert result.state is not None, result
    return result.state


def with_coarse_times(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = int) -> list[float]:
    """Make it a kernel before 6.13; return how long was slept, and *meanwhile* done."""
    slept: list[float] = []
    sleep = time.sleep

    def note_and_sleep(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)
        meanwhile()

    monkeypatch.setattr(snapshot, "_HAS_COARSE_TIMES", True)
    monkeypatch.setattr(time, "sleep", note_and_sleep)
    return slept


def test_where_times_are_coarse_a_file_just_written_is_waited_for(tmp_path: Path, folder: int, monkeypatch):
    """Pitfall 28."""
    slept = with_coarse_times(monkeypatch)
    (tmp_path / "file").write_bytes(b"content")

    result = look(folder, "file")

    assert (state_of(result).hash_state, slept) == (STABLE, [0.02])


def test_where_times_are_coarse_an_old_file_is_not_waited_for(tmp_path: Path, folder: int, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")
    time.sleep(0.03)
    slept = with_coarse_times(monkeypatch)

    result = look(folder, "file")

    assert (state_of(result).hash_state, slept) == (STABLE, [])


def test_where_times_are_coarse_a_file_that_is_written_all_the_time_is_unstable(
    tmp_path: Path, folder: int, monkeypatch
):
    slept = with_coarse_times(monkeypatch, lambda: (tmp_path / "file").write_bytes(b"CONTENT"))
    (tmp_path / "file").write_bytes(b"content")

    result = look(folder, "file")

    assert (state_of(result).hash_state, len(slept)) == ("unstable", snapshot.MOST_TRIES)
