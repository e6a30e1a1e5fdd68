"""A writer that is killed with -9 at any moment, its reader, and its successors."""

import json
import os
import random
import select
import signal
import time

import pytest

from auditline.plugins.outputs.api import OutputContext
from auditline.plugins.outputs.stdout import StdoutOutput
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import StdoutSettings

KILLS = 40


def _write_until_killed(write_fd, page_path, make_line, longest) -> None:
    random.seed()
    counters = CounterPage.open(page_path, ())
    output = StdoutOutput(
        StdoutSettings(name="stdout"), OutputContext(stdout_fd=write_fd, state_directory=page_path, counters=counters)
    )
    sequence = 0
    while True:
        if output.write_fd is None:
            output.write([make_line(sequence + i, random.randint(100, longest)) for i in range(1, 21)])
            sequence += 20
        else:
            select.select([], [output.write_fd], [], 0.1)
        output.pump()


@pytest.fixture
def kill_writers(pipe, tmp_path, make_line, read_all):
    """Run KILLS writers one after the other on one pipe that is mostly full; return what the reader got."""
    read_fd, write_fd = pipe

    def run(longest: int) -> bytes:
        received = b""
        for _ in range(KILLS):
            pid = os.fork()
            if pid == 0:
                try:
                    _write_until_killed(write_fd, tmp_path / "router.page", make_line, longest)
                finally:
                    os._exit(1)
            deadline = time.monotonic() + random.uniform(0.02, 0.08)
            while time.monotonic() < deadline:
                select.select([read_fd], [], [], 0.01)
                received += os.read(read_fd, random.randint(1, 30_000)) if _has_bytes(read_fd) else b""
            os.kill(pid, signal.SIGKILL)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        rest: bytes = read_all(read_fd)
        return received + rest

    return run


def _has_bytes(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_every_line_up_to_4096_bytes_is_whole_whenever_its_writer_is_killed(kill_writers):
    received = kill_writers(longest=4096)

    assert received.endswith(b"\n")
    events = [json.loads(line) for line in received.splitlines()]
    assert len(events) > 20 * KILLS


def test_a_longer_line_that_was_cut_off_never_runs_into_the_next_one(kill_writers):
    received = kill_writers(longest=30_000)

    lines = received.splitlines()
    torn = [line for line in lines if not line.endswith(b'"}')]
    assert 0 < len(torn) <= KILLS
    assert all(line.count(b"@timestamp") == 1 for line in lines if line not in torn)
    assert all(line.count(b"@timestamp") <= 1 for line in torn)
