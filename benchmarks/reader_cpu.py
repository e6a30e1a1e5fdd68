"""CPU seconds that the kernel reader needs per million records, beside a loop that only calls recv.

    python benchmarks/reader_cpu.py [--records N] [--rounds N]

The records, five per event and 145 bytes on the mean as the kernel makes them for an open(), come through a netlink
socket from this process, so nothing of the kernel's audit state is touched. Only the receiving side is timed, user and
system time together, in bursts that fit the CPU's caches as they do in a live system; the rounds are interleaved.
"""

import argparse
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from auditline.workers.audit.journal import Journal
from auditline.workers.audit.netlink import SO_RCVBUFFORCE, PlainReceiver, Receiver
from auditline.workers.audit.recvmmsg import BatchReceiver
from auditline.workers.common.batch import BatchKind

NETLINK_USERSOCK = 2
BURST_RECORDS = 1500
EVENT = ((1300, 330), (1307, 75), (1302, 170), (1327, 110), (1320, 40))
"""Type and length of SYSCALL, CWD, PATH, PROCTITLE and EOE."""

Drain = Callable[[], int]


def make_datagrams() -> list[bytes]:
    """Return one burst of whole netlink datagrams."""
    datagrams = []
    for number in range(BURST_RECORDS):
        record_type, length = EVENT[number % len(EVENT)]
        text = b"audit(1700000000.123:%d): " % (number // len(EVENT))
        datagrams.append(struct.pack("=IHHII", length, record_type, 0, 0, 0) + text.ljust(length, b"x"))
    return datagrams


def recv_loop(reader: socket.socket) -> Drain:
    """Return a drain that receives one record per call and throws it away."""

    def drain() -> int:
        count = 0
        try:
            while reader.recv(8992, socket.MSG_DONTWAIT):
                count += 1
        except BlockingIOError:
            return count
        return count

    return drain


def receiving(receiver: Receiver) -> Drain:
    """Return a drain that makes batches and throws them away."""

    def drain() -> int:
        return sum(received.count for received in iter(receiver.receive, None))

    return drain


def journaling(receiver: Receiver, journal: Journal) -> Drain:
    """Return a drain that writes every batch to the journal, with a router that says done to each burst."""

    def drain() -> int:
        count = 0
        while (received := receiver.receive()) is not None:
            batch = journal.append(BatchKind.RECORDS, received.types, received.payload)
            if batch is None:
                raise SystemExit(f"the journal is full: {journal.refusal}")
            count += received.count
        journal.forget(journal.last_number, b"x" * 60)
        return count

    return drain


def measure(drain: Drain, send: Callable[[], None], records: int) -> float:
    """Return CPU seconds per million records."""
    spent = 0.0
    received = 0
    while received < records:
        send()
        begun = time.process_time()
        received += drain()
        spent += time.process_time() - begun
    return spent / received * 1e6


def main() -> None:
    """Measure and print each way's figures and its ratio to the recv loop."""
    parser = argparse.ArgumentParser(description="CPU of the kernel reader per million records")
    parser.add_argument("--records", type=int, default=100_000, help="records per way and round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as reader,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_USERSOCK) as sender,
        tempfile.TemporaryDirectory(prefix="reader-cpu-", dir=".") as directory,
    ):
        reader.bind((0, 0))
        sender.bind((0, 0))
        reader.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024)
        datagrams, address = make_datagrams(), reader.getsockname()

        def send() -> None:
            for datagram in datagrams:
                sender.sendto(datagram, address)

        def ignore(_name: str, _amount: int) -> None:
            pass

        fast = BatchReceiver(reader.fileno(), ignore, kernel_only=False)
        plain = PlainReceiver(reader.fileno(), ignore, kernel_only=False)
        journal = Journal.open(Path(directory), "audit", 256 * 1024 * 1024)
        ways = {
            "recv loop": recv_loop(reader),
            "receiver": receiving(fast),
            "receiver + journal": journaling(fast, journal),
            "fallback receiver": receiving(plain),
        }
        figures: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, drain in ways.items():
                figures[way].append(measure(drain, send, options.records))
        for closing in (fast, plain, journal):
            closing.close()
    report(figures)


def report(figures: dict[str, list[float]]) -> None:
    """Print a line per way."""
    base = median(figures["recv loop"])
    for way, seconds in figures.items():
        raw = " ".join(f"{second:.2f}" for second in seconds)
        print(f"{way:20} {median(seconds):5.2f} s/Mrec  ratio {median(seconds) / base:4.2f}  ({raw})")


if __name__ == "__main__":
    main()
