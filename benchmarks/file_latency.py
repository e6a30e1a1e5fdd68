"""How soon a change of a file is a line on stdout, and what watching costs while nothing changes.

    python -m benchmarks.file_latency [--samples N] [--files N] [--idle-seconds N]

* latency: milliseconds from the close() of a written file of 4 KiB until the line with its present sha256 is read from
  the pipe, with `debounce_seconds = 0`. Beside it, in turns, Debian's `inotifywait` (unpacked into a temporary
  directory), which only prints the name: less than that no watcher can need here and now.
* idle: CPU of all processes while --files files are watched and nothing changes, beside the same service with nothing
  to watch. In milliseconds per minute: 600 are one percent of a core.
"""

import argparse
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from benchmarks.running import Event, file_settings, make_files, service, unpack

CONTENT_BYTES = 4096
PAUSE_SECONDS = 0.05
SETTLE_SECONDS = 30
"""A router sleeps longer, and a watcher looks less often, once nothing has come for a while."""
TURNS = 5
PEER_PACKAGES = ("inotify-tools", "libinotifytools0")
WATCHES_NOTHING = "[audit]\nenabled = false\n[fim]\nwatch = []\n"


def write_file(path: Path) -> tuple[str, int]:
    """Write new content; return its sha256 and when it was to be closed, in nanoseconds."""
    content = os.urandom(CONTENT_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    with path.open("wb", buffering=0) as file:
        file.write(content)
        before_close = time.monotonic_ns()
    return digest, before_close


def has_digest(digest: str) -> Callable[[Event], bool]:
    """Return what knows the event that tells of this content."""
    return lambda event: event["audit"].get("file", {}).get("sha256") == digest


def measure_ours(directory: Path, files: Sequence[Path], samples: int) -> list[float]:
    """Return milliseconds from close() to our line."""
    milliseconds = []
    with service(directory, file_settings(files[0].parent, "debounce_seconds = 0")) as running:
        running.wait_for_first_walks(1)
        for number in range(samples):
            digest, closed = write_file(files[number % len(files)])
            running.wait_for(has_digest(digest))
            milliseconds.append((time.monotonic_ns() - closed) / 1e6)
            time.sleep(PAUSE_SECONDS)
    return milliseconds


def measure_peer(
    command: Sequence[str], environment: dict[str, str], files: Sequence[Path], samples: int
) -> list[float]:
    """Return milliseconds from close() to inotifywait's line."""
    milliseconds = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        await_watches(process.stderr)
        for number in range(samples):
            _, closed = write_file(files[number % len(files)])
            process.stdout.readline()
            milliseconds.append((time.monotonic_ns() - closed) / 1e6)
            time.sleep(PAUSE_SECONDS)
        process.terminate()
    return milliseconds


def await_watches(stderr: IO[bytes]) -> None:
    """Return when inotifywait says that it watches."""
    while b"established" not in stderr.readline():
        pass


def measure_latency(scratch: Path, samples: int) -> None:
    """Print percentiles of both sides, which take turns."""
    root = scratch / "written"
    root.mkdir()
    files = [root / f"file-{number:02}" for number in range(50)]
    for file in files:
        write_file(file)
    ours: list[float] = []
    theirs: list[float] = []
    environment = unpack(PEER_PACKAGES, scratch / "debian")
    for turn in range(TURNS):
        ours += measure_ours(scratch / f"service-{turn}", files, samples // TURNS)
        if environment is not None:
            command = ["inotifywait", "--monitor", "--event", "close_write", str(root)]
            theirs += measure_peer(command, environment, files, samples // TURNS)
    show("auditline", ours)
    if theirs:
        show("inotifywait", theirs)
    else:
        print("inotifywait is left out: its packages cannot be had here")


def show(who: str, milliseconds: Sequence[float]) -> None:
    """Print percentiles."""
    in_order = sorted(milliseconds)
    p50, p99 = in_order[len(in_order) // 2], in_order[int(len(in_order) * 0.99)]
    print(
        f"close() to line: {who:12} p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {in_order[-1]:.2f} ms of {len(in_order)}"
    )


def measure_idle(scratch: Path, files: int, seconds: float) -> None:
    """Print what the service uses when nothing happens, by process."""
    root = scratch / "watched"
    make_files(root, files, (1024, 4096))
    with (
        service(scratch / "watching", file_settings(root)) as watching,
        service(scratch / "idle", WATCHES_NOTHING) as idle,
    ):
        watching.wait_for_first_walks(1)
        time.sleep(SETTLE_SECONDS)
        before, nothing_before = watching.cpu_seconds(), idle.cpu_seconds()
        time.sleep(seconds)
        after, nothing_after = watching.cpu_seconds(), idle.cpu_seconds()
    print(f"idle for {seconds:.0f} s with {files} files watched:")
    show_idle("nothing to watch, all processes", sum(nothing_after.values()) - sum(nothing_before.values()), seconds)
    show_idle("all processes", sum(after.values()) - sum(before.values()), seconds)
    for title, used in after.items():
        show_idle(f"    {title}", used - before[title], seconds)


def show_idle(what: str, used: float, seconds: float) -> None:
    """Print CPU time per minute."""
    print(f"{what:36} {used / seconds * 60_000:7.1f} ms/min  ({used / seconds:.3%} of a core)")


def main() -> None:
    """Measure in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--idle-seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="file-latency-") as scratch:
        measure_latency(Path(scratch), options.samples)
        measure_idle(Path(scratch), options.files, options.idle_seconds)


if __name__ == "__main__":
    main()
