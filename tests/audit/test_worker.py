import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from auditline.workers.audit import worker
from auditline.workers.audit.journal import Journal
from auditline.workers.audit.netlink import Received
from auditline.workers.audit.overflow import Overflow, find_serials
from auditline.workers.audit.recvmmsg import make_receiver
from auditline.workers.audit.worker import READER_COUNTERS, Reader
from auditline.workers.common import leave
from auditline.workers.common.batch import BatchKind
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.host import boot_id
from auditline.workers.common.lifecycle import Life

MEBIBYTE = 1024 * 1024


def wait_until(is_so: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


class Bench:
    """A reader in a thread, with a wire before it and a stub behind it."""

    def __init__(self, wire, journal: Journal, sender, mode="unicast", counters: CounterPage | None = None) -> None:
        self.wire = wire
        self.journal = journal
        self.counters = counters or CounterPage.unshared(READER_COUNTERS)
        self.life = Life("audit", self.counters)
        self.sender = sender
        receiver = wire.receiver(lambda fd, _count, **keys: make_receiver(fd, self.counters.add, **keys))
        self.reader = Reader(self.life, journal, self.sender, receiver, wire.reader.fileno(), mode)
        self._thread = threading.Thread(target=self.reader.run)
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.life.request_stop()
            self._thread.join(5)
            self.life.close()

    def kinds(self) -> list[int]:
        return [batch.kind for batch in self.sender.offered]

    def records(self) -> int:
        return sum(batch.record_count for batch in self.sender.offered)


@pytest.fixture
def start_reader(wire, open_journal, make_sender) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def start(max_bytes: int = 16 * MEBIBYTE, **options) -> Bench:
        benches.append(
            Bench(wire, options.pop("journal", None) or open_journal(max_bytes=max_bytes), make_sender(), **options)
        )
        return benches[-1]

    yield start
    for bench in benches:
        bench.stop()


def test_reading_begins_with_a_batch_that_names_the_boot_and_the_mode(start_reader):
    bench = start_reader()

    wait_until(lambda: len(bench.sender.offered) == 1)

    assert bench.sender.offered[0].kind == BatchKind.START
    assert json.loads(bench.sender.offered[0].payload) == {"boot_id": boot_id(), "mode": "unicast"}


def test_records_go_to_the_journal_and_then_to_the_bus(start_reader, wire):
    bench = start_reader()

    wire.send(1300, b"audit(1.000:1): arch=c000003e")
    wait_until(lambda: bench.records() == 1)

    assert bench.sender.offered[1] == bench.journal.read(2)
    assert bench.counters.get("records_received_total") == 1
    assert bench.counters.get("batches_received_total") == 1
    assert bench.counters.get("journal_bytes") == bench.journal.kept_bytes > 0


def has_turned(bench: Bench, turns: int) -> bool:
    return bool(bench.sender.turns >= turns)


def test_a_silence_is_marked_once_and_again_after_the_next_records(start_reader, wire, monkeypatch):
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(worker, "_TURN_SECONDS", 0.02)
    bench = start_reader()

    wait_until(lambda: bench.kinds() == [2, 1])
    wait_until(partial(has_turned, bench, bench.sender.turns + 20))
    wire.send(1300, b"audit(1.000:1): x")
    wait_until(lambda: len(bench.kinds()) == 4)

    assert bench.kinds() == [2, 1, 0, 1]


def send_until_so_many_are_lost(bench: Bench, lost_records: int) -> int:
    """Send records one by one, with serials from 1 on; return how many were kept before the first loss."""
    sent = 0
    while bench.counters.get("records_overflow_total") < lost_records:
        sent += 1
        bench.wire.send(1300, b"audit(1.000:%d): " % sent + b"x" * 7000)
        wait_until(partial(has_received, bench, sent))
    return sent - lost_records


def has_received(bench: Bench, records: int) -> bool:
    return bench.counters.get("records_received_total") == records


def test_what_the_journal_refuses_is_counted_with_its_serials_and_told_at_once(start_reader, wire, caplog):
    bench = start_reader(max_bytes=MEBIBYTE)
    kept = send_until_so_many_are_lost(bench, 300)

    bench.journal.forget(bench.journal.last_number, b"")
    wire.send(1300, b"audit(1.000:77777): x")
    wait_until(lambda: bench.records() == kept + 1)

    assert bench.counters.get("records_received_total") == kept + 301
    assert bench.counters.get("batches_overflow_total") == 300
    assert bench.counters.get("overflow_first_serial") == kept + 1
    assert bench.counters.get("overflow_last_serial") == kept + 300
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]
    assert f"1 records with serials from {kept + 1} to {kept + 1} are lost" in caplog.messages[0]
    assert (
        f"takes records again; 300 records with serials from {kept + 1} to {kept + 300} are lost" in caplog.messages[1]
    )


def test_a_reader_that_starts_with_a_full_journal_announces_itself_later(start_reader, wire, open_journal):
    journal = open_journal(max_bytes=MEBIBYTE)
    journal.append(BatchKind.RECORDS, b"\x14\x05", b"x" * (MEBIBYTE - 31))
    bench = start_reader(journal=journal)
    wire.send(1300, b"audit(1.000:1): lost")
    wait_until(lambda: bench.counters.get("records_overflow_total") == 1)

    journal.forget(1, b"")
    wire.send(1300, b"audit(1.000:2): kept")
    wait_until(lambda: bench.records() == 1)

    assert bench.kinds() == [BatchKind.START, BatchKind.RECORDS]


def test_records_of_an_earlier_run_are_carried_into_a_new_page_only(start_reader, open_journal):
    journal = open_journal()
    journal.append(BatchKind.RECORDS, b"\x14\x05" * 3, b"a\0b\0c")
    journal.close()
    first = start_reader()
    wait_until(lambda: first.sender.offered != [])
    first.stop()
    first.journal.close()

    second = start_reader(counters=first.counters)
    wait_until(lambda: second.sender.offered != [])

    assert first.counters.get("records_carried_total") == 3


def test_stopping_reads_what_is_left_and_says_bye(start_reader, wire):
    bench = start_reader()
    wait_until(lambda: bench.sender.offered != [])
    for serial in range(2000):
        wire.send(1300, b"audit(1.000:%d): x" % serial)

    bench.stop()

    assert bench.records() == 2000
    assert bench.sender.has_bye


def test_a_router_that_does_not_answer_delays_the_end_by_a_bounded_time(start_reader, monkeypatch):
    monkeypatch.setattr(leave, "BYE_SECONDS", 0.3)
    bench = start_reader()
    monkeypatch.setattr(bench.sender, "say_bye", lambda: None)
    begun = time.monotonic()

    bench.stop()

    assert 0.3 <= time.monotonic() - begun < 2


def test_a_router_that_is_not_there_is_hardly_waited_for(start_reader, monkeypatch):
    bench = start_reader()
    bench.sender.is_greeted = False
    monkeypatch.setattr(bench.sender, "say_bye", lambda: None)
    begun = time.monotonic()

    bench.stop()

    assert time.monotonic() - begun < leave.BYE_SECONDS / 2


def test_what_the_router_leaves_waiting_is_forced_to_the_disk(start_reader, wire, monkeypatch):
    monkeypatch.setattr(worker, "SYNC_SECONDS", 0.05)
    synced = threading.Event()
    monkeypatch.setattr(Journal, "sync", lambda _self: synced.set())
    start_reader()

    assert synced.wait(5)


def test_a_multicast_listener_that_hears_nothing_says_why_that_may_be(start_reader, monkeypatch, caplog):
    monkeypatch.setattr(worker, "DEAF_SECONDS", 0.1)
    start_reader(mode="multicast")

    wait_until(lambda: caplog.messages != [])

    assert caplog.messages[0].startswith("deaf: the audit multicast group has given no record")


def test_a_multicast_listener_that_hears_its_own_joining_is_not_deaf(start_reader, wire, monkeypatch, caplog):
    monkeypatch.setattr(worker, "DEAF_SECONDS", 0.1)
    wire.send(1335, b"audit(1.000:1): pid=1 op=connect nl-mcgrp=1 res=1")
    bench = start_reader(mode="multicast")

    wait_until(lambda: bench.reader._is_deafness_settled)

    assert caplog.messages == []


@pytest.mark.parametrize(
    ("payload", "serials"),
    [
        (b"audit(1.000:5): x", (5, 5)),
        (b"audit(1.000:4294967295): x\0audit(1.001:0): y\0audit(1.001:1): z", (4294967295, 1)),
        (b"no header\0audit(1.001:7): y", (0, 7)),
        (b"audit(1.001:99999999999): y", (0, 0)),
        (b"", (0, 0)),
    ],
)
def test_serials_are_found_at_both_ends_of_a_batch(payload, serials):
    assert find_serials(Received(b"", payload, 0, False)) == serials


def test_a_long_overflow_is_told_every_thousandth_batch(caplog):
    overflow = Overflow(CounterPage.unshared(READER_COUNTERS))
    for serial in range(2500):
        overflow.add(Received(b"\x14\x05", b"audit(1.000:%d): x" % serial, 1, is_full=False), "full")
    overflow.end()
    overflow.end()

    assert len(caplog.messages) == 4


@pytest.mark.parametrize(("written", "killed"), [(0, 7), (1, 0)])
def test_what_a_killed_reader_had_in_its_hands_is_counted_unless_the_journal_has_it(
    start_reader, open_journal, written, killed
):
    journal = open_journal()
    for _ in range(written):
        journal.append(BatchKind.RECORDS, b"\x14\x05" * 7, b"\0".join([b"x"] * 7))
    journal.close()
    counters = CounterPage.unshared(READER_COUNTERS)
    counters.set("records_received_total", 100)
    counters.set("received_with_hand", 107)
    counters.set("records_in_hand", 7)
    counters.set("batch_in_hand", 1)

    bench = start_reader(counters=counters)

    wait_until(lambda: bench.sender.offered != [])
    assert counters.get("records_received_total") == 107
    assert counters.get("records_killed_total") == killed
