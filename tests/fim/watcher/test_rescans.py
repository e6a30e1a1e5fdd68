"""Comparing everything from time to time, and how fast contents are read for it."""

import subprocess
import time
from pathlib import Path

import pytest

from auditline.workers.fim.rate import Bucket


def set_flag(flag: str, path: Path) -> None:
    """Set one of the flags of which the kernel tells no events."""
    done = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no flags can be set here: {done.stderr}")


class TestRescans:
    def test_what_no_event_told_of_is_found_and_said_to_be(self, start, watched):
        (watched / "file").write_text("text")
        running = start({"rescan_seconds": 0.3})

        set_flag("+d", watched / "file")
        running.turn_until(lambda: "rescan" in running.reasons)

        assert running.told == [("attributes_modified", "file")]
        assert running.changes[0].detected_by == "scan"
        [coverage] = [entry for entry in running.coverage if entry.reason == "rescan"]
        assert coverage.start_ns < running.changes[0].time_ns <= coverage.end_ns

    def test_one_that_finds_nothing_is_not_told_of(self, start, watched):
        (watched / "file").write_text("text")
        running = start({"rescan_seconds": 0.1})
        scans = running.life.counters.get("scans_total")

        running.turn_until(lambda: running.life.counters.get("scans_total") >= scans + 3)

        assert running.reasons == ["first_walk"]
        assert running.told == []

    def test_one_that_could_not_see_all_is_told_of(self, start, watched, bound_by_rights):
        (watched / "closed").mkdir(mode=0)
        with bound_by_rights():
            running = start({"rescan_seconds": 0.1})
            running.turn_until(lambda: "rescan" in running.reasons)

        assert [entry.detail["unreadable_directories"] for entry in running.coverage if entry.reason == "rescan"] == [1]

    def test_without_an_interval_there_are_none(self, start):
        running = start({"rescan_seconds": 0.0})
        scans = running.life.counters.get("scans_total")

        running.turns_in(0.3)

        assert running.life.counters.get("scans_total") == scans

    def test_waiting_for_one_keeps_nobody_busy(self, start, watched):
        (watched / "file").write_text("text")
        running = start({"rescan_seconds": 1000.0})
        running.hold_hasher()

        running.watcher._walker.scans.repeat()
        turns = running.turns_in(0.5)

        assert turns < 30


class TestRate:
    def test_files_are_read_no_faster_than_said(self, start, watched):
        """Pitfall 58."""
        for number in range(10):
            (watched / f"f{number}").write_bytes(b"x" * 10_000)

        began = time.monotonic()
        running = start(scan_bytes_per_second=100_000)
        seconds = time.monotonic() - began

        assert seconds >= 0.6
        assert all(running.watch.baseline.known(b"f%d" % number).hashes for number in range(10))

    def test_what_an_event_asks_for_does_not_wait(self, start, watched):
        for number in range(10):
            (watched / f"f{number}").write_bytes(b"x" * 10_000)
        running = start(is_settled=False, scan_bytes_per_second=1000)
        running.turn_until(lambda: running.in_hand >= 9)

        (watched / "f9").write_text("written to")
        (watched / "new").write_text("text")
        running.turn_until(lambda: ("created", "new") in running.told)
        running.turn_until(lambda: running.watch.baseline.known(b"f9"))

        assert running.in_hand >= 5

    def test_waiting_for_it_keeps_nobody_busy(self, start, watched):
        for number in range(3):
            (watched / f"f{number}").write_bytes(b"x" * 10_000)
        running = start(is_settled=False, scan_bytes_per_second=1000)
        running.turn_until(lambda: running.in_hand == 2)

        turns = running.turns_in(0.5)

        assert turns < 30


@pytest.mark.parametrize("size", [10, 1000, 70_000, 500_000])
def test_over_a_time_the_rate_is_kept(make_clock, size):
    clock = make_clock(100.0)
    bucket = Bucket(100_000, clock)
    taken = 0

    while clock.now < 200:
        while bucket.seconds_until_free <= 0:
            bucket.take(size)
            taken += size
        clock.now += 0.01

    assert taken / 100 == pytest.approx(100_000, rel=0.1)


def test_a_time_in_which_nothing_was_read_is_not_made_up_for(clock):
    bucket = Bucket(100, clock)
    clock.now += 1000
    taken = 0

    while bucket.seconds_until_free <= 0:
        bucket.take(1)
        taken += 1

    assert taken <= 30
