"""What the kernel does under pressure: nothing is lost that need not be, and what is lost is said where it was."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from auditline.workers.control.compile import compile_rule
from auditline.workers.control.language import parse_rules

pytestmark = pytest.mark.kernel

RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open"
SEGMENTS = '[outputs.segments]\nenabled = true\ndirectory = "{}"\n[outputs.stdout]\nenabled = false\n'
BATCH_RECORDS = 256
SMALL_BUFFER = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
"""Without that right the kernel gives no more than net.core.rmem_max."""


def open_from_two(loaded, *, per_second, seconds):
    for tag in ("one", "two"):
        loaded.open_names(tag, per_second=per_second / 2, seconds=seconds)


def complete_calls_of(loaded):
    """What is said of system calls that are called complete."""
    documents = map(json.loads, loaded.segments.lines_by_id.values())
    complete = (each["audit"].get("kernel", {}) for each in documents if each["auditline"]["complete"])
    return [kernel for kernel in complete if kernel.get("record_type") == "syscall"]


def test_a_reader_that_is_stopped_for_four_seconds_costs_no_record(loaded, wait_until):
    loaded.start(segments=True)
    open_from_two(loaded, per_second=1000, seconds=4.5)
    reader = loaded.worker("audit reader")

    reader.suspend()
    for opener in loaded.openers:
        opener.wait()
    reader.resume()
    loaded.wait_until_done()
    loaded.stop()

    events = loaded.segments
    events.assert_well_formed()
    events.assert_ledger(loaded.names)


@pytest.mark.soak
def test_five_kills_of_reader_and_router_at_full_load_cost_at_most_a_batch_each(loaded, at_moments):
    loaded.start(segments=True)
    open_from_two(loaded, per_second=10_000, seconds=12)

    for title in at_moments(5 * ("audit reader", "router"), 11):
        loaded.kill(title)
    loaded.wait_until_quiet()
    loaded.stop()

    events = loaded.segments
    events.assert_well_formed()
    events.assert_balance()
    assert events.records["dropped"] <= 5 * BATCH_RECORDS
    # The kernel loses more if the machine has so much else to do that its buffer is full before a reader is there.
    assert len(loaded.names - events.names.keys()) <= events.losses.get("serial_gaps", 0) + events.incomplete


def test_a_buffer_that_overflows_is_told_with_the_serials_that_never_came(kernel_audit, loaded, start_run, wait_until):
    (rule,) = parse_rules(RULE, "test").rules
    kernel_audit.add_rule(compile_rule(rule))
    kernel_audit.set_status(enabled=1)
    tables = SEGMENTS.format(loaded.segments_directory)
    loaded.run = run = start_run(
        stdout=subprocess.DEVNULL, prefix=SMALL_BUFFER, audit='socket = "multicast"', tables=tables
    )
    wait_until(lambda: loaded.counters("audit").get("records_received_total"))
    reader = loaded.worker("audit reader")

    reader.suspend()
    loaded.open_names("flood", per_second=5000, seconds=1).wait()
    reader.resume()
    loaded.open_names("after", per_second=500, seconds=0.5)
    loaded.wait_until_quiet()
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(6) == 0

    events = loaded.segments
    events.assert_well_formed()
    events.assert_balance()
    missing = loaded.names - events.names.keys()
    assert len(missing) > 1000
    assert "loss" in events.reasons
    assert events.losses.keys() == {"enobufs", "serial_gaps", "incomplete"} & events.losses.keys() | {"enobufs"}
    assert events.losses["serial_gaps"] + events.incomplete >= len(missing)
    assert sum(gap["count"] for gap in events.detail["gaps"]) == events.losses["serial_gaps"]


def test_of_an_event_from_which_the_kernel_refused_records_none_is_called_complete(kernel_audit, loaded):
    kernel_audit.set_status(backlog_limit=64, backlog_wait_time=0)
    loaded.start(segments=True, audit="backlog_limit = 64\nbacklog_wait_seconds = 0")
    loaded.open_names("usual", per_second=500, seconds=1).wait()

    for tag in ("one", "two", "three"):
        loaded.open_names(tag, per_second=1_000_000, seconds=0.006)
    loaded.wait_until_quiet()
    loaded.stop()

    events = loaded.segments
    events.assert_well_formed()
    events.assert_balance()
    assert events.losses["kernel_lost"] > 0
    calls = complete_calls_of(loaded)
    assert len(calls) > 100
    assert [call for call in calls if not ({"cwd", "proctitle"} <= call["data"].keys() and call.get("paths"))] == []


@pytest.mark.soak
def test_a_kernel_that_lets_askers_wait_holds_up_nobody_for_long(kernel_audit, loaded, wait_until):
    kernel_audit.set_status(backlog_limit=64, backlog_wait_time=1000)
    tables = SEGMENTS.format(loaded.segments_directory)
    run = loaded.start_into(subprocess.DEVNULL, audit="backlog_limit = 64", tables=tables, prefix=SMALL_BUFFER)
    reader = loaded.worker("audit reader")

    reader.suspend()
    for tag in ("one", "two"):
        loaded.open_names(tag, per_second=10_000, seconds=1)
    # The socket's buffer is full, then the queue: whoever makes a record, or asks for the status, has to wait.
    wait_until(lambda: loaded.counters("control")["kernel_backlog"] > 64 or is_waiting(loaded.worker("control")))
    run.process.send_signal(signal.SIGHUP)
    reader.resume()
    loaded.wait_until_quiet()
    loaded.stop()

    events = loaded.segments
    events.assert_well_formed()
    events.assert_balance()
    lost = events.losses.get("kernel_lost", 0) + events.losses.get("serial_gaps", 0) + events.incomplete
    assert len(loaded.names - events.names.keys()) <= lost


def is_waiting(process):
    """Whether one of its threads waits where no signal reaches it."""
    return any(
        path.read_text().rpartition(") ")[2][0] == "D" for path in Path(f"/proc/{process.pid}/task").glob("*/stat")
    )
