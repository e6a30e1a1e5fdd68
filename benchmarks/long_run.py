"""Memory of the router's work over very many events of which no two are alike: is it flat?

    python -m benchmarks.long_run [--events N] [--schema audit|ecs] [--loss]

Makes records of opens whose names, directories, inodes, pids, arguments and titles all differ, while there are some
dozens of users, programs and sessions, in batches as the kernel reader makes them, and takes them through grouping,
decoding, naming, rendering and the accounts of hand-over in this process. --loss leaves out a record of each tenth
event, and each hundredth event, as a kernel under overload does.
The resident memory is printed ten times on the way; what it is after the first tenth should be what it is at the end.
"""

import argparse
import os
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.memory import relax_collector
from auditline.workers.router.audit_stream import AuditStream
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.lines import DEFAULT_KEEP
from auditline.workers.router.render.schemas import open_renderer
from auditline.workers.router.stream import Lines

BATCH_RECORDS = 256
EVENTS_PER_SECOND = 10_000
MOST_PIDS = 1 << 22
"""Source: include/linux/threads.h, PID_MAX_LIMIT."""
KINDS = (1300, 1307, 1302, 1327, 1320)
SYSCALL = (
    "arch=c000003e syscall=257 success=yes exit={fd} a0=ffffff9c a1={n:x} a2=0 a3={m:x} items=1 ppid={ppid} pid={pid}"
    " auid={uid} uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} tty=pts{fd}"
    ' ses={session} comm="c{program}" exe="/opt/bin/c{program}" key="open"'
)
CWD = 'cwd="/home/{n}"'
PATH = 'item=0 name="/srv/{m}/{n}" inode={n} dev=fe:00 mode=0100644 ouid={uid} ogid={uid} rdev=00:00 nametype=NORMAL'
TITLE = "proctitle={title}"


def make_records(event_count: int, *, has_loss: bool) -> Iterator[tuple[int, str]]:
    """Yield the type and the text of each record of the events."""
    for n in range(event_count):
        if has_loss and n % 100 == 99:
            continue
        header = f"audit({1_700_000_000 + n // EVENTS_PER_SECOND}.{n // 10 % 1000:03}:{n % (1 << 32)}): "
        few = {"session": n % 31, "program": n % 53, "uid": n % 13, "fd": n % 7}
        many = {"n": n, "m": n * 2654435761 % (1 << 32), "pid": n % MOST_PIDS, "ppid": n * 7919 % MOST_PIDS}
        values = few | many
        title = f"c{n}\0{n}".encode().hex().upper()
        bodies = (SYSCALL.format(**values), CWD.format(n=n), PATH.format(**values), TITLE.format(title=title), "")
        missing = n % len(KINDS) if has_loss and n % 10 == 3 else None
        for position, (kind, body) in enumerate(zip(KINDS, bodies, strict=True)):
            if position != missing:
                yield kind, header + body


def make_batches(event_count: int, *, has_loss: bool) -> Iterator[Batch]:
    """Yield them as batches."""
    kinds, payloads, number = array("H"), [], 0
    for kind, payload in make_records(event_count, has_loss=has_loss):
        kinds.append(kind)
        payloads.append(payload)
        if len(kinds) == BATCH_RECORDS:
            number += 1
            yield Batch(number, BatchKind.RECORDS, kinds.tobytes(), "\0".join(payloads).encode())
            kinds, payloads = array("H"), []


def resident_bytes() -> int:
    """Return what of this process is in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Take the events through the router's work and print the memory on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--schema", choices=("audit", "ecs"), default="audit")
    parser.add_argument("--loss", action="store_true")
    options = parser.parse_args()
    lines = Lines((options.schema,))
    hello = Hello(b"", 1, "audit", "0" * 16, 0, 0, b"")
    renderer = open_renderer(options.schema, NoNames(), DEFAULT_KEEP)
    stream = AuditStream(hello, lines, [renderer], ("0" * 16, "host"), set())
    relax_collector()
    written, start, step = 0, time.process_time(), max(1, options.events // 10)
    for batch in make_batches(options.events, has_loss=options.loss):
        stream.take(batch)
        written += sum(len(each) for each in lines.take().values())
        finished = stream.inflow.advance(lines.sequence)
        if finished:
            stream.inflow.resume_state(finished[-1])
            stream.inflow.confirm(finished[-1].number)
        if written >= step:
            step += max(1, options.events // 10)
            show(written, start)
    # The last events may be in a batch that is not full, and never come.
    show(written, start)


def show(written: int, start: float) -> None:
    """Print where the run is."""
    seconds = time.process_time() - start
    print(f"{written:>10} events  {resident_bytes() / 1e6:6.1f} MB  {seconds:7.1f} s", flush=True)


if __name__ == "__main__":
    main()
