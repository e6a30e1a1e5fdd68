"""What a million files cost the file half: memory while they are walked and after, the baseline's size, and a restart.

    python -m benchmarks.file_million [--files N] [--flat] [--in DIRECTORY]

Small files with paths of about 75 bytes, ten in a directory, or with --flat all in one; a real `auditline run` (no
kernel events, one watch, sha256) walks them, is stopped, and started again with nothing changed. Memory is the sum of
the PSS of watcher and hashers, looked at all the time; disk is the watcher's database with its log when the service has
ended. Takes minutes.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.memory import share_of
from benchmarks.running import Service, file_settings, service, title_of

FILES_PER_DIRECTORY = 10
CONTENT = b"sixty-four bytes, as small as files of settings are, or flags...\n"
_OURS = ("auditline: fim ", "auditline: hasher")
_LOOK_EVERY_SECONDS = 0.25


def make_tree(root: Path, count: int, *, is_flat: bool) -> float:
    """Make *count* files; return how many bytes their paths have on the average."""
    path_bytes = 0
    for number in range(count):
        group = 0 if is_flat else number // FILES_PER_DIRECTORY
        directory = root / f"package-{group // 100:05}" / f"some-directory-{group:06}"
        if number % FILES_PER_DIRECTORY == 0:
            directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"file-{number:07}.txt"
        path.write_bytes(CONTENT)
        path_bytes += len(str(path))
    return path_bytes / count


def memory_of(running: Service) -> int:
    """Return the bytes that watcher and hashers take now."""
    total = 0
    for process in running.processes():
        with suppress(OSError, psutil.Error):
            if title_of(process).startswith(_OURS):
                total += share_of(process.pid).proportional_bytes
    return total


@contextmanager
def peak_memory(running: Service) -> Iterator[list[int]]:
    """Give a list whose last entry is the most that was seen, once the block is left."""
    peak = [0]
    has_ended = threading.Event()

    def look() -> None:
        while not has_ended.wait(_LOOK_EVERY_SECONDS):
            peak.append(max(peak[-1], memory_of(running)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        has_ended.set()
        thread.join()


def measure(label: str, directory: Path, root: Path, reason: str) -> None:
    """Run the service until it tells of the walk with a coverage event of *reason*, and print what that took."""
    begin = time.monotonic()
    with service(directory, file_settings(root)) as running:
        with peak_memory(running) as peak:
            running.wait_for(lambda event: event["audit"].get("coverage", {}).get("reason") == reason)
        seconds = time.monotonic() - begin
        used = running.cpu_seconds()
        after = memory_of(running)
    print(f"{label}: {seconds:.1f} s, memory {peak[-1] / 1e6:.1f} MB at most, {after / 1e6:.1f} MB after")
    for title, cpu_seconds in used.items():
        print(f"    {cpu_seconds:8.2f} CPU s  {title}")
    print(f"    {sum(used.values()):8.2f} CPU s  together", flush=True)


def main() -> None:
    """Make the files, walk them, start again, and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--flat", action="store_true", help="all in one directory")
    parser.add_argument("--in", dest="place", type=Path, help="where the files are made; a temporary directory else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="million-", dir=options.place) as scratch:
        root, directory = Path(scratch) / "tree", Path(scratch) / "service"
        path_bytes = make_tree(root, options.files, is_flat=options.flat)
        print(f"{options.files} files, paths of {path_bytes:.0f} bytes", flush=True)
        measure("first walk", directory, root, "first_walk")
        stored = sum(path.stat().st_size for path in (directory / "state" / "baselines").iterdir())
        print(f"baseline: {stored / 1e6:.1f} MB, {stored / options.files:.1f} bytes per file", flush=True)
        measure("restart", directory, root, "restart")


if __name__ == "__main__":
    main()
