"""How long it takes until very many directories are watched.

    python -m benchmarks.file_directories [--directories N] [--backends NAME,…] [--in DIRECTORY]

Seconds from the start of a service that has never seen them until it says that its first walk is done, less those of
one with an empty directory, and the CPU seconds of both; beside `find -type d`, which only lists them.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.running import cpu_of, file_settings, measured_children, service

BACKENDS = ("fanotify", "fanotify-filesystem", "inotify", "poll")
IN_EACH = 100


def make_directories(root: Path, count: int) -> None:
    """Make so many directories, a hundred in each of the upper ones."""
    for number in range(count):
        path = root / f"{number // IN_EACH}"
        path = path if number % IN_EACH == 0 else path / f"{number % IN_EACH}"
        path.mkdir(parents=True)


def start(scratch: Path, root: Path, backend: str) -> tuple[float, float]:
    """Return after how many seconds a new service watches *root*, and its CPU seconds until it has ended."""
    settings = file_settings(root).replace("[[fim.watch]]", f'[[fim.watch]]\nbackend = "{backend}"')
    begin = time.monotonic()
    with measured_children() as used, service(scratch, settings) as running:
        running.wait_for_first_walks(1)
        seconds = time.monotonic() - begin
    return seconds, used()


def measure(scratch: Path, count: int, backends: list[str]) -> None:
    """Make the directories, and let each backend watch them."""
    root, empty = scratch / "tree", scratch / "empty"
    empty.mkdir()
    make_directories(root, count)
    begin = time.monotonic()
    cpu_seconds = cpu_of(["find", str(root), "-type", "d"])
    print(f"{count} directories: find lists them in {time.monotonic() - begin:.2f} s, {cpu_seconds:.2f} CPU s")
    for backend in backends:
        nothing, nothing_cpu = start(scratch / f"empty-{backend}", empty, backend)
        seconds, used = start(scratch / f"service-{backend}", root, backend)
        print(
            f"{backend:20} watches after {seconds:5.2f} s, {used:.2f} CPU s; an empty directory {nothing:.2f} s, "
            f"{nothing_cpu:.2f} CPU s; the directories alone {seconds - nothing:.2f} s, {used - nothing_cpu:.2f} CPU s"
        )


def main() -> None:
    """Measure in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directories", type=int, default=20_000)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--in", dest="parent", help="where to make them; default: the usual temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="file-directories-", dir=options.parent) as scratch:
        measure(Path(scratch), options.directories, options.backends.split(","))


if __name__ == "__main__":
    main()
