"""A router that is stopped, and a journal that is full: the kernel is read on, and what does not fit is counted."""

import re
import time

import pytest

pytestmark = pytest.mark.kernel

RECORDS_OF_AN_OPEN = 5
"""SYSCALL, CWD, PATH, PROCTITLE, EOE."""
JOURNAL_BYTES = 1 << 20


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("stopped_seconds", "per_second"), [(10, 700), pytest.param(60, 1000, marks=pytest.mark.soak)])
def test_what_a_full_journal_does_not_take_is_counted_and_the_kernel_loses_nothing(
    kernel_audit, loaded, wait_until, stopped_seconds, per_second
):
    lost_before = kernel_audit.status().lost
    loaded.start(segments=True, audit=f"journal_max_bytes = {JOURNAL_BYTES}")
    loaded.worker("router").suspend()
    start = time.monotonic()
    opener = loaded.open_names("stopped", per_second=per_second, seconds=stopped_seconds * 0.8)
    opener.wait()

    # Read on while the router is stopped: all of it, into a journal that keeps to its size.
    wait_until(lambda: loaded.counters("audit")["records_received_total"] >= RECORDS_OF_AN_OPEN * len(opener.names))
    reader = loaded.counters("audit")
    time.sleep(max(0.0, start + stopped_seconds - time.monotonic()))
    loaded.worker("router").resume()
    # Until the journal has room again; it may lose some of what comes before.
    wait_until(lambda: loaded.counters("audit")["journal_bytes"] < JOURNAL_BYTES / 2)
    later = loaded.open_names("later", per_second=500, seconds=1)
    loaded.wait_until_quiet()
    loaded.stop()

    assert kernel_audit.status().lost == lost_before
    assert reader["journal_bytes"] <= JOURNAL_BYTES
    assert 0 < reader["overflow_first_serial"] <= reader["overflow_last_serial"]
    assert re.search(r"[1-9]\d* records with serials from [1-9]\d* to [1-9]\d* are lost", loaded.run.stderr)
    events = loaded.segments
    events.assert_well_formed()
    assert later.names <= events.names.keys()
    assert "loss" in events.reasons
    assert_balance(events, opener.names)


def assert_balance(events, names):
    overflow = events.health["loss"]["overflow"]
    gone = len(names - events.names.keys())
    # Of an event that lost a part of its records the rest came, as an incomplete one: one to four records. It is gone
    # as well if its name was among those.
    partly = events.incomplete
    most_left = RECORDS_OF_AN_OPEN - 1
    assert RECORDS_OF_AN_OPEN * gone - most_left * partly <= overflow <= RECORDS_OF_AN_OPEN * gone + most_left * partly
    assert gone - partly <= events.health["loss"]["serial_gaps"] <= gone
    assert events.records["dropped"] == overflow
    events.assert_balance()
    assert 0 < events.detail["overflow"]["from"] <= events.detail["overflow"]["to"]
