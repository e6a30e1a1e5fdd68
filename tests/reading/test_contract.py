"""What is left of the producer's contract with shippers; the numbers are its points.

1, 3, 4 and 5 are in `tests/integration/test_reading.py`, 6 to 8, 11 and 12 in `test_commands.py`, 9 in
`test_kills.py`; 15 is `auditline check-shipper`.
"""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

MEGABYTE = 1 << 20
NOT_NEEDED = {"zmq", "psutil", "sqlite3", "multiprocessing", "elasticsearch", "ujson", "asyncio"}
LIST_MODULES = "import sys; from auditline.workers.supervisor.cli import main; main(sys.argv[1:]); print(*sys.modules)"


def test_whatever_moment_it_is_killed_at_only_whole_lines_are_in_the_pipe(series, start, numbers_in, wait_until):
    """Point 2."""
    series.write(1, *range(1, 3000), pad=500)
    process = start("stream")
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING and process.stdout.peek(1))

    process.kill()
    process.wait()

    found = numbers_in(process.stdout.read())
    assert found == list(range(1, len(found) + 1))


def test_a_line_comes_out_at_once(series, start):
    """Point 2, second half."""
    series.write(1, 1)
    process = start("stream")
    process.stdout.readline()
    began = time.monotonic()

    series.write(1, 2)
    process.stdout.readline()

    # A fifth of a second, and what a busy machine needs beside it.
    assert time.monotonic() - began < 1.2


def test_a_reader_that_stands_still_makes_the_stream_wait_and_costs_neither_memory_nor_events(
    series, start, numbers_in, wait_until
):
    """Point 10."""
    series.write(1, *range(1, 1000), pad=500)
    process = start("stream")
    first = process.stdout.readline()
    before = psutil.Process(process.pid).memory_info().rss
    series.write(1, *range(1000, 60_001), pad=500)
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)

    grown = psutil.Process(process.pid).memory_info().rss - before
    lines = first + b"".join(process.stdout.readline() for _ in range(59_999))

    assert grown < 8 * MEGABYTE
    assert numbers_in(lines) == list(range(1, 60_001))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["read", "--cursor", "{folder}/cursor", "{folder}/segments"], 0),
        (["read", "--cursor", "{folder}/missing/cursor", "{folder}/segments"], 1),
        (["read", "{folder}/segments"], 2),
        (["stream", "--cursor", "{folder}/cursor", "--max-events", "1"], 2),
        (["read", "--cursor", "{folder}/cursor", "--max-events", "0"], 2),
        (["read", "--cursor", "", "{folder}/segments"], 2),
        (["stream", "--cursor", "{folder}/", "{folder}/segments"], 2),
        (["read", "--cursor", "{folder}/cursor", "--max-seconds", "nan"], 2),
        (["read", "--cursor", "{folder}/cursor", "--config", "{folder}/missing.toml"], 2),
    ],
)
def test_each_way_to_end_has_its_exit_code(series, tmp_path, arguments, code):
    """Point 13; 75 is in point 11."""
    words = [word.format(folder=tmp_path) for word in arguments]

    done = subprocess.run(
        [sys.executable, "-m", "auditline.workers.supervisor", *words], capture_output=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (code, b"")
    assert bool(done.stderr) == (code != 0)


def test_a_start_brings_no_more_than_it_needs(series, cursor):
    """Point 14: shippers start it again and again without a pause."""
    words = [sys.executable, "-c", LIST_MODULES, "read", "--cursor", str(cursor), str(series.directory)]

    modules = subprocess.run(words, capture_output=True, timeout=60, check=True, text=True).stdout.split()

    assert "auditline.workers.reading.commands" in modules
    assert NOT_NEEDED.intersection(modules) == set()


def test_the_next_one_starts_while_the_killed_one_is_not_buried_yet(series, start):
    """Point 14, second half: the lock goes with the process."""
    series.write(1, 1)
    first = start("stream")
    first.stdout.readline()
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)

    second = start("stream")

    assert b"h-1" in second.stdout.readline()
