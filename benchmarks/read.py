"""What `auditline read` costs beside `cat`, and how long it takes when nothing is new.

    python -m benchmarks.read [--events N] [--line-bytes BYTES] [--rounds R]

Segments of N events are written into a pipe that somebody empties: by `cat`, and by `auditline read` with a new cursor.
CPU is of the writing process alone. Wanted: at most 3 times that of `cat`, besides what the start costs, which is
measured as `read` with nothing new. All are run in turns; that of the median round counts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SEGMENT_EVENTS = 50_000
MOST_TIMES_CAT = 3.0
MOST_IDLE_SECONDS = 0.3


class Used(NamedTuple):
    """What one command took."""

    cpu_seconds: float
    seconds: float


def measure(command: Sequence[str]) -> Used:
    """Run *command* into a pipe that is emptied, and return what it took, without the emptying."""
    drain = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert drain.stdin is not None
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=drain.stdin)
    drain.stdin.close()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    drain.wait()
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Used(used.ru_utime + used.ru_stime, seconds)


def write_segments(directory: Path, count: int, line_bytes: int) -> list[str]:
    """Write *count* events into segments, and return their paths."""
    directory.mkdir()
    paths = []
    for first in range(0, count, SEGMENT_EVENTS):
        path = directory / f"auditline-{first // SEGMENT_EVENTS + 1:012}-0badcafe.jsonl"
        with path.open("wb") as file:
            for number in range(first, min(first + SEGMENT_EVENTS, count)):
                head = f'{{"@timestamp":"2026-01-01T00:00:00.000Z","event":{{"id":"h-{number:08}"}},"pad":"'.encode()
                file.write(head + b"x" * (line_bytes - len(head) - 3) + b'"}\n')
        paths.append(str(path))
    return paths


def report(cat: Sequence[Used], read: Sequence[Used], idle: Sequence[Used]) -> None:
    """Print what was measured, and the two figures that are wanted."""
    for name, rounds in (("cat", cat), ("read, all of it", read), ("read, nothing new", idle)):
        cpu = " ".join(f"{each.cpu_seconds:.3f}" for each in rounds)
        wall = " ".join(f"{each.seconds:.3f}" for each in rounds)
        print(f"{name:18}  CPU s: {cpu}  whole command, s: {wall}")
    cat_cpu, read_cpu, idle_cpu = (
        statistics.median(each.cpu_seconds for each in rounds) for rounds in (cat, read, idle)
    )
    print(f"reading beyond the start: {(read_cpu - idle_cpu) / cat_cpu:.2f} times cat (wanted: {MOST_TIMES_CAT})")
    idle_seconds = statistics.median(each.seconds for each in idle)
    print(f"nothing new, whole command: {idle_seconds:.3f} s (wanted: {MOST_IDLE_SECONDS} s)")


def main() -> None:
    """Read the options, write the segments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--line-bytes", type=int, default=790)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    cat, read, idle = [], [], []
    with tempfile.TemporaryDirectory(prefix="read-") as scratch:
        folder = Path(scratch)
        paths = write_segments(folder / "segments", options.events, options.line_bytes)
        command = [sys.executable, "-m", "auditline.workers.supervisor", "read", "--cursor", str(folder / "cursor")]
        for _ in range(options.rounds):
            cat.append(measure(["cat", *paths]))
            (folder / "cursor").unlink(missing_ok=True)
            read.append(measure([*command, str(folder / "segments")]))
            idle.append(measure([*command, str(folder / "segments")]))
    report(cat, read, idle)


if __name__ == "__main__":
    main()
