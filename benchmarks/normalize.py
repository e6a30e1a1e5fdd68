"""What it costs to turn raw audit records into JSON lines, beside laurel with names resolved and nothing from /proc.

    python benchmarks/normalize.py --laurel PATH [--pure] LOG...

For each log (plain or compressed) two ratios, ours over laurel's, and one of ours, each with both raw numbers:
* CPU per event of normalizing alone: grouping, decoding, naming, rendering, encoding. Ours is timed in this process
  over batches as the kernel reader makes them; laurel's is its whole process minus one that reads an empty log.
* The same in schema `ecs` over that in schema `audit`.
* CPU of the whole commands, start-up included: `auditline replay LOG` and laurel reading LOG.
With --pure the first two are of Python alone, as it is where nothing could be compiled.
The runs are interleaved; the median of --rounds counts.
"""

import argparse
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Any

from auditline.workers.common.memory import relax_collector
from auditline.workers.router.compiling import COMPILED, Compiled
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.ecs_fragments import EcsFragmentRenderer
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.render.lines import DEFAULT_KEEP
from auditline.workers.router.replaying.reading import read_chunks

BATCH_RECORDS = 256
RENDERERS = {"audit": FragmentRenderer, "ecs": EcsFragmentRenderer}
LAUREL_SETTINGS = """\
directory = "{directory}"
user = "root"
[auditlog]
file = "out.log"
size = 10000000000
[transform]
execve-argv = [ "array" ]
[translate]
universal = true
user-db = true
[enrich]
pid = false
container = false
execve-env = []
script = false
"""


def write_batches(log: str, batches: Path) -> None:
    """Write the log as the router gets it: types, and payloads joined by NUL."""
    lines = chain.from_iterable((line for line in chunk if line) for chunk, _ in read_chunks(log))
    with batches.open("wb") as file:
        while some := list(islice(lines, BATCH_RECORDS)):
            kinds, payloads = frame(some)
            pickle.dump((kinds, "\0".join(payloads).encode("utf-8", "surrogateescape")), file)


def read_batches(batches: Path) -> Iterator[tuple[list[int], bytes]]:
    """Yield the batches, one at a time: a process that held them all would have a colder memory than the router."""
    with batches.open("rb") as file:
        while file.peek(1):
            yield pickle.load(file)


def normalize(batches: Path, schema: str, compiled: Compiled | None = COMPILED) -> tuple[int, float]:
    """Return the number of events and our CPU seconds for them."""
    names = IdNames(Path("/etc/passwd"), Path("/etc/group"))
    render = RENDERERS[schema](names, DEFAULT_KEEP, compiled).render
    events: list[Any] = []
    grouper = Grouper(events.append, lambda *_: None, compiled=compiled)
    count, seconds = 0, 0.0
    for number, (kinds, payload) in enumerate(read_batches(batches)):
        start = time.process_time()
        grouper.feed(kinds, payload.decode("utf-8", "surrogateescape").split("\0"), number)
        "\n".join([render(event, "0" * 16, "host")[1] for event in events]).encode()
        seconds += time.process_time() - start
        count += len(events)
        events.clear()
    grouper.idle(0)
    return count + len(events), seconds


def cpu_of(command: Sequence[str], stdin: Path) -> float:
    """Return the CPU seconds of a command that reads *stdin*."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with stdin.open("rb") as log:
        subprocess.run(command, stdin=log, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(laurel: Sequence[str], path: str, scratch: Path, rounds: int, compiled: Compiled | None) -> None:
    """Print the two ratios for one log."""
    plain, empty = scratch / "log", scratch / "empty"
    plain.write_text("\n".join(line for chunk, _ in read_chunks(path) for line in chunk), errors="surrogateescape")
    empty.write_bytes(b"")
    batches = scratch / "batches"
    write_batches(path, batches)
    ours, ours_in_ecs, theirs, our_command, their_command = [], [], [], [], []
    events = 0
    for _ in range(rounds):
        events, seconds = normalize(batches, "audit", compiled)
        ours.append(seconds)
        ours_in_ecs.append(normalize(batches, "ecs", compiled)[1])
        their_command.append(cpu_of(laurel, plain))
        theirs.append(their_command[-1] - cpu_of(laurel, empty))
        our_command.append(cpu_of([sys.executable, "-m", "auditline.workers.supervisor", "replay", "-"], plain))
    name = Path(path).name
    per_event = [median(seconds) / events * 1e6 for seconds in (ours, theirs, ours_in_ecs)]
    show(f"{name}: normalizing", ("auditline", per_event[0]), ("laurel", per_event[1]), "us/event")
    show(f"{name}: schema ecs", ("ecs", per_event[2]), ("audit", per_event[0]), "us/event")
    show(f"{name}: whole command", ("auditline", median(our_command)), ("laurel", median(their_command)), "CPU s")


def show(what: str, one: tuple[str, float], other: tuple[str, float], unit: str) -> None:
    """Print a ratio and what it is made of."""
    print(f"{what}: ratio {one[1] / other[1]:.2f} ({one[0]} {one[1]:.2f} {unit}, {other[0]} {other[1]:.2f} {unit})")


def main() -> None:
    """Compare all logs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laurel", default="laurel", help="laurel's executable (0.5.1 is in Debian 12)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pure", action="store_true", help="leave out what is compiled")
    parser.add_argument("logs", nargs="+")
    options = parser.parse_args()
    compiled = None if options.pure else COMPILED
    print("in Python alone" if compiled is None else "with what is compiled")
    relax_collector()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        settings = Path(scratch) / "laurel.toml"
        settings.write_text(LAUREL_SETTINGS.format(directory=scratch))
        for log in options.logs:
            compare([options.laurel, "-c", str(settings)], log, Path(scratch), options.rounds, compiled)


if __name__ == "__main__":
    main()
