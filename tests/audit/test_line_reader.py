"""Lines on a pipe or a socket: what the receiver gives, and what becomes of it when its process is killed."""

import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from auditline.workers.audit import worker
from auditline.workers.audit.journal import Journal
from auditline.workers.audit.line_buffer import LONGEST_LINE_BYTES, LineBuffer
from auditline.workers.audit.line_reader import LINE_COUNTERS, LineReader
from auditline.workers.audit.line_receiver import LineReceiver
from auditline.workers.audit.worker import READER_COUNTERS
from auditline.workers.common.batch import BatchKind
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life

LINE = b"type=SYSCALL msg=audit(1.000:%d): arch=c000003e\n"


class Stream:
    """A pipe or a pair of sockets, and a receiver at its reading end."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd, self._write_fd = read_fd, write_fd
        self.counts: Counter[str] = Counter()
        self.buffer = LineBuffer()
        self.receiver = LineReceiver(read_fd, self.buffer, lambda name, amount: self.counts.update({name: amount}))

    def write(self, text: bytes) -> None:
        os.write(self._write_fd, text)

    def end(self) -> None:
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1

    def take_all(self) -> bytes:
        """Take as long as there is something, as a reader does."""
        taken = b""
        while (received := self.receiver.receive()) is not None:
            self.buffer.hold(1, self.receiver.given_bytes)
            self.buffer.drop()
            taken += received.payload
        return taken


def pipe() -> tuple[int, int]:
    return os.pipe()


def pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return ours.detach(), theirs.detach()


@pytest.fixture(params=[pipe, pair])
def stream(request: Any) -> Iterator[Stream]:
    opened = Stream(*request.param())
    yield opened
    opened.end()
    os.close(opened.read_fd)


def test_lines_are_one_batch_of_their_kind(stream: Stream) -> None:
    stream.write(LINE % 1 + LINE % 2)

    received = stream.receiver.receive()

    assert received is not None
    assert (received.kind, received.types, received.count) == (BatchKind.LINES, b"", 2)
    assert received.payload == LINE % 1 + LINE % 2


def test_nothing_is_waited_for(stream: Stream) -> None:
    assert stream.receiver.receive() is None
    assert not stream.receiver.is_over


def test_the_end_gives_the_last_line_a_newline(stream: Stream) -> None:
    stream.write(b"one\ntwo")
    stream.end()

    taken = stream.take_all() + stream.take_all()

    assert taken == b"one\ntwo\n"
    assert stream.receiver.is_over
    assert stream.counts == {}


def test_bytes_are_taken_as_they_are(stream: Stream) -> None:
    stream.write(b"a\0b\n\xff\xfe\n\r\n\n")

    assert stream.take_all() == b"a\0b\n\xff\xfe\n\r\n\n"


def test_a_line_beyond_all_measure_is_cut_and_counted(stream: Stream, caplog: Any) -> None:
    writer = threading.Thread(target=write_all, args=(stream, b"x" * (LONGEST_LINE_BYTES + 10) + b"\nnext\n"))
    writer.start()

    taken = b""
    while not taken.endswith(b"next\n"):
        taken += stream.take_all()
    writer.join()

    assert taken == b"x" * LONGEST_LINE_BYTES + b"\n" + b"x" * 10 + b"\nnext\n"
    assert stream.counts == {"lines_cut_total": 1}
    assert "is cut there" in caplog.text


def write_all(stream: Stream, text: bytes) -> None:
    while text:
        stream.write(text[:4096])
        text = text[4096:]


def test_a_pipe_that_somebody_made_non_blocking_is_no_end(stream: Stream) -> None:
    os.set_blocking(stream.read_fd, False)

    taken = stream.take_all()

    assert taken == b""
    assert not stream.receiver.is_over


class Bench:
    """A reader in a thread with a stub for the bus."""

    def __init__(self, stream: Stream, journal: Journal, sender: Any, counters: CounterPage | None = None) -> None:
        self.counters = counters or CounterPage.unshared((*READER_COUNTERS, *LINE_COUNTERS))
        self.life = Life("audit", self.counters)
        self.journal = journal
        self.sender = sender
        receiver = LineReceiver(stream.read_fd, stream.buffer, self.counters.add)
        self.reader = LineReader(self.life, journal, self.sender, receiver, stream.read_fd)
        self._thread = threading.Thread(target=self.reader.run)

    def start(self) -> "Bench":
        self._thread.start()
        return self

    def stop(self) -> None:
        self.life.request_stop()
        self.join()

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def kinds(self) -> list[int]:
        return [batch.kind for batch in self.sender.offered]

    @property
    def text(self) -> bytes:
        return b"".join(batch.payload for batch in self.sender.offered if batch.kind == BatchKind.LINES)


@pytest.fixture
def start_reader(stream: Stream, open_journal: Callable[..., Journal], make_sender: Any) -> Callable[..., Bench]:
    def start(journal: Journal | None = None, counters: CounterPage | None = None, max_bytes: int = 1 << 24) -> Bench:
        return Bench(stream, journal or open_journal(max_bytes=max_bytes), make_sender(), counters).start()

    return start


def test_lines_go_to_the_journal_and_to_the_bus(stream: Stream, start_reader: Any, wait_until: Any) -> None:
    bench = start_reader()

    stream.write(LINE % 1 + LINE % 2)
    wait_until(lambda: bench.text == LINE % 1 + LINE % 2)
    bench.stop()

    assert bench.kinds == [BatchKind.START, BatchKind.LINES]
    assert bench.journal.read(2) == bench.sender.offered[1]
    assert bench.counters.get("records_received_total") == 2
    assert b'"mode": "stdin"' in bench.sender.offered[0].payload


def test_a_silence_is_marked(stream: Stream, start_reader: Any, monkeypatch: Any, wait_until: Any) -> None:
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.05)
    bench = start_reader()

    stream.write(LINE % 1)
    wait_until(lambda: bench.kinds[-2:] == [BatchKind.LINES, BatchKind.IDLE])
    bench.stop()


def test_the_end_is_marked_and_ends_the_reader(stream: Stream, start_reader: Any) -> None:
    bench = start_reader()

    stream.write(LINE % 1 + b"without a newline")
    stream.end()
    bench.join()

    assert bench.text == LINE % 1 + b"without a newline\n"
    assert bench.kinds[-1] == BatchKind.IDLE
    assert bench.sender.has_bye


def test_an_end_during_the_stop_is_marked_too(stream: Stream, start_reader: Any, wait_until: Any) -> None:
    bench = start_reader()
    wait_until(lambda: bench.kinds == [BatchKind.START])

    stream.write(LINE % 1)
    stream.end()
    bench.stop()

    assert bench.text == LINE % 1
    assert bench.kinds[-1] == BatchKind.IDLE


def test_a_stop_takes_what_is_still_there_and_marks_nothing(stream: Stream, start_reader: Any, wait_until: Any) -> None:
    bench = start_reader()
    wait_until(lambda: bench.kinds == [BatchKind.START])

    stream.write(LINE % 1 + b"half")
    bench.stop()

    assert bench.text == LINE % 1
    assert bench.kinds[-1] == BatchKind.LINES


def test_the_half_line_of_one_reader_is_the_next_one_s(stream: Stream, start_reader: Any, wait_until: Any) -> None:
    first = start_reader()
    wait_until(lambda: first.kinds == [BatchKind.START])
    stream.write(b"ha")
    first.stop()

    second = start_reader(journal=first.journal)
    stream.write(b"lf\n")
    wait_until(lambda: second.text == b"half\n")
    second.stop()


def test_a_batch_in_the_hands_of_a_killed_reader_is_no_loss(stream: Stream, start_reader: Any, wait_until: Any) -> None:
    stream.write(LINE % 1)
    stream.receiver.receive()
    stream.buffer.hold(1, stream.receiver.given_bytes)
    counters = CounterPage.unshared((*READER_COUNTERS, *LINE_COUNTERS))
    counters.set("batch_in_hand", 1)
    counters.set("received_with_hand", 1)
    counters.set("records_in_hand", 1)

    bench = start_reader(counters=counters)
    wait_until(lambda: bench.text == LINE % 1)
    bench.stop()

    assert counters.get("records_received_total") == 1
    assert counters.get("records_killed_total") == 0


def test_one_that_died_with_its_supervisor_is_counted(stream: Stream, start_reader: Any, wait_until: Any) -> None:
    counters = CounterPage.unshared((*READER_COUNTERS, *LINE_COUNTERS))
    counters.set("batch_in_hand", 1)
    counters.set("received_with_hand", 3)
    counters.set("records_in_hand", 3)

    bench = start_reader(counters=counters)
    wait_until(lambda: bench.kinds == [BatchKind.START])
    bench.stop()

    assert counters.get("records_received_total") == 3
    assert counters.get("records_killed_total") == 3


def test_what_a_full_journal_refuses_is_counted_with_its_serials(
    stream: Stream, start_reader: Any, wait_until: Any
) -> None:
    bench = start_reader(max_bytes=150)

    stream.write(LINE % 5 + b"no record\n" + LINE % 7)
    wait_until(lambda: bench.counters.get("records_overflow_total") == 3)
    stream.write(LINE % 8)
    wait_until(lambda: bench.counters.get("records_overflow_total") == 4)
    bench.stop()

    assert bench.counters.get("records_received_total") == 4
    assert bench.counters.get("overflow_first_serial") == 5
    assert bench.counters.get("overflow_last_serial") == 8
