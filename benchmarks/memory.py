"""Memory of the whole idle service with the default settings. Needs root: the defaults read the kernel's events.

    python -m benchmarks.memory [--idle-seconds N]

The sum of PSS of all processes: pages that several share are divided among them, so that the sum is what the service
really takes. "private" is the part of it that nobody shares. For scale: a Python that has imported nothing, alike.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.running import Service, service, title_of


class Share(NamedTuple):
    """Of the memory that is in use."""

    proportional_bytes: int
    private_bytes: int

    def __str__(self) -> str:
        return f"{self.proportional_bytes / 1e6:6.1f} MB, private {self.private_bytes / 1e6:5.1f} MB"


def share_of(pid: int) -> Share:
    """Return what a process takes."""
    kilobytes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        kilobytes[name] = int(value)
    private = kilobytes["Private_Clean:"] + kilobytes["Private_Dirty:"]
    return Share(kilobytes["Pss:"] * 1024, private * 1024)


def bare_share() -> Share:
    """Return what a Python takes that has imported nothing."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        share = share_of(process.pid)
        process.communicate(b"\n")
    return share


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
        shares = {f"{title_of(process)} ({process.pid})": share_of(process.pid) for process in running.processes()}
        bare = bare_share()
    for title, share in shares.items():
        print(f"{title:44} {share}")
    total = Share(*map(sum, zip(*shares.values(), strict=True)))
    print(f"{f'{len(shares)} processes together':44} {total}")
    print(f"{'a bare Python interpreter':44} {bare}")


if __name__ == "__main__":
    main()
