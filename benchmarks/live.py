"""How `auditline run` behaves on the live kernel: start, latency, and the rate it keeps up with. Needs root.

    python benchmarks/live.py start|latency|rate [--rounds N] [--rate N] [--seconds N]

* start: seconds from the start of the command until its rules are loaded and its pid is registered, and until the first
  event is on stdout. Auditbeat 9 by default takes 0.5 to 9 s and 10 to 18 s (research of this project, Debian 12).
* latency: milliseconds from an audited open() to its line on stdout.
* rate: two processes open numbered names at --rate opens per second together; segments only. Prints what came, the
  kernel's count of lost records, and the CPU of each process of ours.

Rules are scoped to uid 65534, and the audit state is put back by auditline itself.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from auditline.workers.control.kernel import AuditControl

NOBODY = 65534
RULE = "-a always,exit -F arch=b64 -S openat,open -F uid=65534 -F exit=-ENOENT -k benchmark"
OPENER = """
import os, sys, time
prefix, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
start = time.monotonic()
for number in range(int(rate * seconds)):
    try:
        os.open(f"{prefix}-{number}", os.O_RDONLY)
    except OSError:
        pass
    if number % 20 == 19:
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
"""


@contextmanager
def service(directory: Path, *, stdout: bool, rules: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run auditline with its files in *directory*."""
    config = directory / "auditline.toml"
    config.write_text(f"""
[state]
directory = "{directory}/state"
[run]
directory = "{directory}/run"
[audit]
{rules}
[outputs.stdout]
enabled = {str(stdout).lower()}
[outputs.segments]
enabled = {str(not stdout).lower()}
directory = "{directory}/log"
""")
    command = [sys.executable, "-m", "auditline.workers.supervisor", "run", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def as_nobody(script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a Python script as uid 65534."""
    return subprocess.Popen([sys.executable, "-c", script, *arguments], user=NOBODY, group=NOBODY, extra_groups=[])


def measure_start(rounds: int) -> None:
    """Print the times of start with the default rules."""
    loaded, first = [], []
    for _ in range(rounds):
        control = AuditControl()
        foreign = len(control.list_rules())
        with tempfile.TemporaryDirectory() as scratch:
            start = time.monotonic()
            with service(Path(scratch), stdout=True, rules="") as process:
                # Our never rule comes first, alone; the configured rules are loaded together, last.
                while control.status().pid != process.pid or len(control.list_rules()) < foreign + 2:
                    time.sleep(0.002)
                loaded.append(time.monotonic() - start)
                subprocess.run(["true"], user=NOBODY, group=NOBODY, extra_groups=[], check=True)
                assert process.stdout is not None
                process.stdout.readline()
                first.append(time.monotonic() - start)
        control.close()
    print(f"rules loaded, pid registered: median {median(loaded):.2f} s of {[round(each, 2) for each in loaded]}")
    print(f"first event on stdout: median {median(first):.2f} s of {[round(each, 2) for each in first]}")


def measure_latency(samples: int) -> None:
    """Print percentiles of the way from open() to stdout."""
    script = """
import os, sys, time
for line in sys.stdin:
    try:
        os.open(f"/nonexistent/at-{time.time_ns()}", os.O_RDONLY)
    except OSError:
        pass
"""
    milliseconds = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        service(Path(scratch), stdout=True, rules=f"rules_files = []\nrules = ['{RULE}']") as process,
    ):
        time.sleep(2)
        opener = subprocess.Popen(
            [sys.executable, "-uc", script], stdin=subprocess.PIPE, user=NOBODY, group=NOBODY, extra_groups=[]
        )
        assert process.stdout is not None
        assert opener.stdin is not None
        for _ in range(samples):
            opener.stdin.write(b"\n")
            opener.stdin.flush()
            for line in process.stdout:
                name = json.loads(line)["audit"].get("kernel", {}).get("thing", {}).get("primary", "")
                if name.startswith("/nonexistent/at-"):
                    milliseconds.append((time.time_ns() - int(name.rpartition("-")[2])) / 1e6)
                    break
            time.sleep(0.05)
        opener.stdin.close()
        opener.wait()
    milliseconds.sort()
    p50, p99 = milliseconds[len(milliseconds) // 2], milliseconds[int(len(milliseconds) * 0.99)]
    print(f"open() to line on stdout: p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {milliseconds[-1]:.1f} ms")


def measure_rate(rate: int, seconds: float) -> None:
    """Print what came of a paced load of two processes."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        with service(directory, stdout=False, rules=f"rules_files = []\nrules = ['{RULE}']") as process:
            time.sleep(2)
            control = AuditControl()
            lost = control.status().lost
            start = time.monotonic()
            loads = [as_nobody(OPENER, f"/nonexistent/{tag}", str(rate / 2), str(seconds)) for tag in ("a", "b")]
            for load in loads:
                load.wait()
            took = time.monotonic() - start
            wanted = 2 * int(rate / 2 * seconds)
            while (
                came := count_lines(directory / "log", b'"/nonexistent/')
            ) < wanted and time.monotonic() < start + 90:
                time.sleep(0.5)
            drained = time.monotonic() - start
            lost = control.status().lost - lost
            usage = {child.name(): sum(child.cpu_times()[:2]) for child in psutil.Process(process.pid).children()}
            control.close()
    print(
        f"{wanted} opens in {took:.1f} s ({wanted / took:.0f}/s): {came} came, the last after {drained:.1f} s,"
        f" lost {lost}"
    )
    print("CPU s: " + ", ".join(f"{name} {cpu:.1f}" for name, cpu in usage.items()))


def count_lines(directory: Path, needle: bytes, files: str = "*.jsonl") -> int:
    """Return how many lines of the segments, or of other *files*, hold *needle*."""
    return sum(line.count(needle) > 0 for path in directory.glob(files) for line in path.open("rb"))


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["start", "latency", "rate"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    if options.what == "start":
        measure_start(options.rounds)
    elif options.what == "latency":
        measure_latency(100)
    else:
        measure_rate(options.rate, options.seconds)


if __name__ == "__main__":
    main()
