"""Paths are resolved by children, and one that hangs costs two seconds and nothing else."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from auditline.workers.common import resolving
from auditline.workers.common.resolving import resolve_paths

real_realpath = os.path.realpath


def hang(path: bytes) -> bytes:
    """Resolve a path as the kernel does; a dead file system is the one where the process stops."""
    if path.endswith(b"/dead"):
        os.kill(os.getpid(), signal.SIGSTOP)
    return real_realpath(path)


@pytest.fixture
def folder(tmp_path: Path) -> bytes:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    return os.fsencode(tmp_path.resolve())


@pytest.fixture
def children(wait_until: Callable[..., None]) -> set[int]:
    """The children that this process has already, none of them one of ours that was left behind."""
    wait_until(lambda: resolve_paths([]) == {} and not resolving._left_behind)
    return list_children()


def list_children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_links_are_followed_and_each_path_is_looked_at_once(folder, children):
    found = resolve_paths([folder + b"/link/a", folder + b"/link/a", folder + b"/none"])

    assert found == {folder + b"/link/a": folder + b"/real/a", folder + b"/none": folder + b"/none"}
    assert list_children() == children


def test_nothing_to_resolve_is_nothing(children):
    assert resolve_paths([]) == {}
    assert list_children() == children


def test_a_path_that_hangs_holds_up_no_other_and_its_child_is_ended(folder, children, monkeypatch, wait_until):
    monkeypatch.setattr(os.path, "realpath", hang)
    monkeypatch.setattr(resolving, "RESOLVE_SECONDS", 0.3)

    start = time.monotonic()
    found = resolve_paths([folder + b"/dead", folder + b"/link"])
    seconds = time.monotonic() - start

    assert found == {folder + b"/dead": None, folder + b"/link": folder + b"/real"}
    assert 0.3 <= seconds < 2
    wait_until(lambda: resolve_paths([]) == {} and list_children() == children)


def test_a_path_longer_than_a_pipe_s_piece_comes_whole(folder, monkeypatch):
    # The look-up of so long a path takes a busy machine seconds.
    monkeypatch.setattr(resolving, "RESOLVE_SECONDS", 60)
    long = folder + b"/link" + b"/a" * 40_000

    assert resolve_paths([long]) == {long: folder + b"/real" + b"/a" * 40_000}


def test_a_child_that_fails_leaves_the_path_unresolved(folder):
    assert resolve_paths([folder + b"/with\0zero"]) == {folder + b"/with\0zero": None}


def test_where_no_process_can_be_made_nothing_is_resolved(folder, monkeypatch):
    def refuse() -> int:
        raise BlockingIOError

    descriptors = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "fork", refuse)

    assert resolve_paths([folder]) == {folder: None}
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_child_that_hangs_holds_nothing_of_its_parent_s(folder, monkeypatch):
    read_fd, write_fd = os.pipe()
    monkeypatch.setattr(os.path, "realpath", hang)
    monkeypatch.setattr(resolving, "RESOLVE_SECONDS", 0.3)
    monkeypatch.setattr(os, "kill", lambda pid, number: number == signal.SIGKILL or real_kill(pid, number))

    resolve_paths([folder + b"/dead"])
    os.close(write_fd)
    at_end = os.read(read_fd, 1)  # would wait for ever, were the other end open in the child
    os.close(read_fd)

    real_kill(resolving._left_behind[-1], signal.SIGKILL)
    assert at_end == b""


real_kill = os.kill
