"""Who is pid N now: never another process than the one that had the pid."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.process_info import entity_id, read_start_ticks
from auditline.workers.router import process_table
from auditline.workers.router.event import Event
from auditline.workers.router.file_calls import call_of, time_ns_of
from auditline.workers.router.process_table import ProcessTable

Make = Callable[..., Event]
ARGUMENTS = 'EXECVE argc=3 a0="cp" a1=6120FF62 a2="/etc/hosts"'


@pytest.fixture
def table(proc: Path) -> ProcessTable:
    return ProcessTable("boot", proc)


def take(table: ProcessTable, event: Event) -> None:
    call = call_of(event)
    assert call is not None
    table.take(event, call)


def test_an_execution_says_who_a_process_is(table: ProcessTable, make_call: Make) -> None:
    take(table, make_call("execve", ARGUMENTS, exe="/usr/bin/cp", pid=4711, ppid=4000, uid=0, auid=1000, returned=0))

    program = table.program(4711)

    assert program is not None
    assert (program.executable, program.name, program.parent_pid) == ("/usr/bin/cp", "cp", 4000)
    assert (program.uid, program.login_uid, program.session) == (0, 1000, 3)
    assert program.arguments == ("cp", "a \udcffb", "/etc/hosts")


def test_nobody_logged_in_where_the_record_says_unset(table: ProcessTable, make_call: Make) -> None:
    take(table, make_call("execve", auid=4294967295, returned=0))

    program = table.program(4711)

    assert program is not None
    assert program.login_uid is None


def test_a_long_argument_ends_what_is_told(table: ProcessTable, make_call: Make) -> None:
    record = f'EXECVE argc=3 a0="cp" a1="{"x" * 5000}" a2="b"'
    take(table, make_call("execve", record, returned=0))

    program = table.program(4711)

    assert program is not None
    assert program.arguments == ("cp",)


def test_the_last_execution_counts(table: ProcessTable, make_call: Make) -> None:
    take(table, make_call("execve", exe="/usr/bin/sh", returned=0))
    take(table, make_call("execve", exe="/usr/bin/cp", returned=0))

    program = table.program(4711)

    assert program is not None
    assert program.executable == "/usr/bin/cp"


def test_a_pid_that_is_given_out_anew_begins_anew(table: ProcessTable, make_call: Make) -> None:
    take(table, make_call("execve", pid=4711, returned=0))
    take(table, make_call("clone", pid=4000, returned=4711))

    assert table.program(4711) is None


def test_a_process_of_long_ago_is_told_while_it_runs(
    table: ProcessTable, make_call: Make, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=3600)
    take(table, make_call("execve", returned=0, time_ns=time.time_ns() - 3_500_000_000_000))

    assert table.program(4711) is not None


def test_one_that_has_ended_since_may_be_another_one_by_now(table: ProcessTable, make_call: Make) -> None:
    take(table, make_call("execve", returned=0, time_ns=time.time_ns() - 60_000_000_000))

    assert table.program(4711) is None


def test_a_younger_process_has_got_the_pid_since(
    table: ProcessTable, make_call: Make, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=10)
    take(table, make_call("execve", returned=0, time_ns=time.time_ns() - 60_000_000_000))

    assert table.program(4711) is None


def test_a_running_process_has_a_start_and_a_name(
    table: ProcessTable, proc: Path, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=10)
    ticks = read_start_ticks(4711, proc)

    assert table.start_ticks(4711, time.time_ns()) == ticks
    assert table.entity(4711, time.time_ns()) == entity_id("boot", 4711, ticks)


def test_an_event_that_is_older_than_the_process_is_not_of_it(
    table: ProcessTable, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=10)

    assert table.entity(4711, time.time_ns() - 20_000_000_000) == ""


def test_a_process_that_was_looked_at_while_it_ran_is_known_afterwards(
    table: ProcessTable, proc: Path, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=10)
    before = table.entity(4711, time.time_ns())
    (proc / "4711" / "stat").unlink()

    assert table.entity(4711, time.time_ns()) == before != ""


def test_one_that_was_gone_is_looked_for_again_with_a_later_event_only(
    table: ProcessTable, put_process: Callable[..., None]
) -> None:
    early = time.time_ns()
    gone = table.entity(4711, early)
    put_process(4711, age_seconds=0)

    assert gone == ""
    assert table.entity(4711, early - 1_000_000_000) == ""
    assert table.entity(4711, time.time_ns()) != ""


def test_rows_are_bounded(proc: Path, make_call: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_table, "MOST_PROCESSES", 2)
    table = ProcessTable("boot", proc)
    for pid in (1, 2, 3):
        take(table, make_call("execve", pid=pid, returned=0))

    assert [table.program(pid) is not None for pid in (1, 2, 3)] == [False, True, True]


def test_not_more_is_looked_up_than_the_other_work_can_bear(
    proc: Path, put_process: Callable[..., None], clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_table, "MOST_LOOKS_PER_SECOND", 2)
    table = ProcessTable("boot", proc, clock)
    for pid in (1, 2, 3):
        put_process(pid, age_seconds=10)

    at_once = [table.entity(pid, time.time_ns()) != "" for pid in (1, 2, 3)]
    clock.now += 1

    assert at_once == [True, True, False]
    assert table.entity(3, time.time_ns()) != ""


def test_an_event_that_is_cut_off_is_no_error(table: ProcessTable, make_call: Make) -> None:
    event = make_call("execve", returned=0)
    event.bodies[0] = event.bodies[0][:60]

    take(table, event)

    assert table.program(4711) is None
    assert time_ns_of(event) > 0
