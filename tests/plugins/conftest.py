"""Fixtures for outputs: lines, pipes, and outputs that are closed at the end."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auditline.plugins.outputs.api import Line, OutputContext
from auditline.plugins.outputs.segments import SegmentsOutput
from auditline.plugins.outputs.stdout import StdoutOutput
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import SegmentsSettings, StdoutSettings


@pytest.fixture
def counters() -> CounterPage:
    return CounterPage.unshared(())


@pytest.fixture
def make_line() -> Callable[..., Line]:
    """Make the line of event `e-SEQUENCE`, of *size* bytes."""

    def make(sequence: int, size: int = 200, event_id: str | None = None) -> Line:
        identifier = event_id or f"e-{sequence}"
        head = b'{"@timestamp":"2017-08-01T20:34:15.636Z","event":{"id":"%b"},"x":"' % identifier.encode()
        return Line(sequence, identifier, head + b"y" * (size - len(head) - 3) + b'"}\n')

    return make


@pytest.fixture
def make_lines(make_line) -> Callable[..., list[Line]]:
    return lambda first, last, size=200: [make_line(sequence, size) for sequence in range(first, last + 1)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return a pipe's two ends; reading never waits. The test may close them."""
    with _open_pipe() as ends:
        yield ends


@pytest.fixture
def other_pipe() -> Iterator[tuple[int, int]]:
    """Return the ends of one more."""
    with _open_pipe() as ends:
        yield ends


@contextmanager
def _open_pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(read_fd, fcntl.F_SETFL, os.O_NONBLOCK)
    yield read_fd, write_fd
    for descriptor in (read_fd, write_fd):
        try:
            os.close(descriptor)
        except OSError:
            continue


@pytest.fixture
def read_all() -> Callable[[int], bytes]:
    """Return all that a descriptor has now."""

    def read(descriptor: int) -> bytes:
        parts = []
        try:
            while part := os.read(descriptor, 1 << 20):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts)

    return read


@pytest.fixture
def open_stdout(tmp_path, counters, clock) -> Iterator[Callable[..., StdoutOutput]]:
    opened: list[StdoutOutput] = []

    def make(descriptor: int, name: str = "stdout", stall_seconds: float = 30) -> StdoutOutput:
        context = OutputContext(stdout_fd=descriptor, state_directory=tmp_path, counters=counters, clock=clock)
        opened.append(StdoutOutput(StdoutSettings(name=name, stall_seconds=stall_seconds), context))
        return opened[-1]

    yield make
    for output in opened:
        output.close(0)


@pytest.fixture
def open_segments(tmp_path, counters, clock) -> Iterator[Callable[..., SegmentsOutput]]:
    """Open a segments output in `tmp_path`; to open it again first `abandon` the one before."""
    opened: list[SegmentsOutput] = []

    def make(directory: Path = tmp_path / "log", name: str = "segments", **settings: object) -> SegmentsOutput:
        context = OutputContext(stdout_fd=1, state_directory=tmp_path / "state", counters=counters, clock=clock)
        wanted = {"segment_bytes": 4096, "keep_bytes": 1 << 30, "sync": "never"} | settings
        opened.append(SegmentsOutput(SegmentsSettings(name=name, directory=directory, **wanted), context))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for output in opened:
        if not output._is_closed:
            output.close(5)


@pytest.fixture
def abandon() -> Callable[[SegmentsOutput], None]:
    """Do what a kill -9 does: nothing is stored or counted any more, and the lock is free."""

    def kill(output: SegmentsOutput) -> None:
        output._series.close(5)
        output._is_closed = True

    return kill


@pytest.fixture
def lines_in() -> Callable[[Path], list[bytes]]:
    """Return the lines of all segments of a directory, in order; a torn last line of a segment stands for itself."""

    def read(directory: Path) -> list[bytes]:
        paths = sorted(directory.glob("*.jsonl"))
        return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]

    return read


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Mount an empty file system of 256 KiB; skipped where that is not allowed."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "auditline-test", str(path)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mount.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)
