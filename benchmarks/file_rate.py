"""How many new files a second the file half can tell of without falling behind, and what each costs.

    python -m benchmarks.file_rate [--files N] [--rates R,R,…] [--backend NAME] [--in DIRECTORY]

One process makes files of 512 bytes in a hundred directories at a steady rate; a real `auditline run` (no kernel
events, one watch, sha256, its output a pipe) tells of each. The delay is from the end of the writing to the last line:
what is behind by then was not told in time. CPU is of each process of ours, for one file. The rates are tried one
after the other; the service keeps up with one while the delay is at most 2 s and no file is missing.

What the writing itself costs depends on where: 20 µs a file on a file system in memory (`--in /dev/shm`), 80 to 400 on
ext4 on a disk, whose journal also slows down all who look at what is in its directories. Watching adds 5 to 10.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.running import file_settings, service

DIRECTORIES = 100
LATEST_SECONDS = 2.0
_WRITE = """
import os, sys, time
root, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
begin = time.monotonic()
for number in range(count):
    path = f"{root}/{number // 50 % 100}/file-{number:06}"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x" * 512)
    os.close(fd)
    if number % 50 == 49:
        time.sleep(max(0, begin + number / rate - time.monotonic()))
print(time.monotonic() - begin, sum(os.times()[:2]))
"""


def measure(scratch: Path, backend: str, count: int, rate: float) -> None:
    """Make the files, wait until all are told of, and print how long that took and what it cost."""
    root = scratch / "root"
    for number in range(DIRECTORIES):
        (root / str(number)).mkdir(parents=True)
    settings = file_settings(root).replace("[[fim.watch]]", f'[[fim.watch]]\nbackend = "{backend}"')
    with service(scratch / "service", settings) as running:
        running.wait_for_first_walks(1)
        before = running.cpu_seconds()
        begin = time.monotonic()
        command = [sys.executable, "-c", _WRITE, str(root), str(count), str(rate)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(count):
                running.wait_for(
                    lambda event: (
                        (file := event["audit"].get("file", {})).get("action") == "created" and file["type"] == "file"
                    )
                )
            seconds = time.monotonic() - begin
            assert writer.stdout is not None
            write_seconds, write_cpu_seconds = map(float, writer.stdout.read().split())
        used = {title: value - before.get(title, 0) for title, value in running.cpu_seconds().items()}
    late_seconds = seconds - write_seconds
    verdict = "keeps up" if late_seconds <= LATEST_SECONDS else "falls behind"
    rate = count / write_seconds
    print(f"{backend}: {count} files at {rate:.0f} a second, all told {late_seconds:.2f} s later: {verdict}")
    for title, cpu_seconds in [*used.items(), ("the writing", write_cpu_seconds)]:
        print(f"    {cpu_seconds / count * 1e6:7.1f} µs of CPU for one file  {title}")
    total = sum(used.values()) + write_cpu_seconds
    print(f"    {total / count * 1e6:7.1f} µs together: {os.cpu_count() or 1} CPUs are full at", end=" ")
    print(f"{(os.cpu_count() or 1) * count / total:.0f} files a second")


def main() -> None:
    """Read the options and measure each rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rates", default="5000", help="with commas between them")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--in", dest="place", type=Path, help="where the files are made; a temporary directory else")
    options = parser.parse_args()
    for rate in map(float, options.rates.split(",")):
        with tempfile.TemporaryDirectory(prefix="rate-", dir=options.place) as scratch:
            measure(Path(scratch), options.backend, options.files, rate)


if __name__ == "__main__":
    main()
