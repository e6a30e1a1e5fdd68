"""Memory of the whole idle service with the default settings. Needs root: the defaults read the kernel's events.

    python -m benchmarks.memory [--idle-seconds N]

The sum of PSS of all processes: pages that several share are divided among them, so that the sum is what the service
really takes. Beside it the PSS of a bare Python interpreter at the same time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.running import Service, service, title_of


def pss_bytes(pid: int) -> int:
    """Return a process's proportional share of the memory that it uses."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return kilobytes * 1024


def bare_interpreter_bytes() -> int:
    """Return the PSS of a Python that has imported nothing."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = pss_bytes(process.pid)
        process.communicate(b"\n")
    return used


def count_watchers(running: Service) -> int:
    """Return how many watchers the defaults are on this host, once they have all been started."""
    counts = [0]
    while counts[-1] == 0 or counts[-1] != counts[-2]:
        time.sleep(1)
        counts.append(sum(title_of(process).startswith("auditline: fim ") for process in running.processes()))
    return counts[-1]


def main() -> None:
    """Start the service, wait for its first walks, let it be idle, and print each process's share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle-seconds", type=float, default=10)
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    with tempfile.TemporaryDirectory(prefix="memory-") as scratch, service(Path(scratch), "") as running:
        running.wait_for_first_walks(count_watchers(running))
        time.sleep(options.idle_seconds)
        shares = {f"{title_of(process)} ({process.pid})": pss_bytes(process.pid) for process in running.processes()}
        bare = bare_interpreter_bytes()
    for title, used in shares.items():
        print(f"{title:44} {used / 1e6:6.1f} MB")
    total = sum(shares.values())
    print(f"{len(shares)} processes together: {total / 1e6:.1f} MB")
    print(f"a bare Python interpreter: {bare / 1e6:.1f} MB, so {total / bare:.1f} of them")


if __name__ == "__main__":
    main()
