"""Whose doings are never told."""

import os
import subprocess
import sys

import pytest

from auditline.workers.fim.own_processes import LOOK_SECONDS, OwnProcesses


@pytest.fixture
def start():
    """Start a process that waits; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*, start_new_session: bool = False) -> int:
        command = [sys.executable, "-c", "input()"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=start_new_session))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def clock():
    now = [0.0]

    def clock(seconds: float = 0.0) -> float:
        now[0] += seconds
        return now[0]

    return clock


def test_the_supervisor_its_children_and_we_are_ours(start):
    child = start()

    pids = OwnProcesses(os.getpid()).pids()

    assert {os.getpid(), child} <= pids
    assert os.getppid() not in pids


def test_a_child_of_another_session_was_adopted(start):
    adopted = start(start_new_session=True)

    assert adopted not in OwnProcesses(os.getpid()).pids()


def test_children_that_come_later_are_known_soon(start, clock):
    own = OwnProcesses(os.getpid(), clock)
    own.pids()
    child = start()

    at_once = own.pids()
    clock(LOOK_SECONDS)

    assert child not in at_once
    assert child in own.pids()


def test_a_supervisor_that_is_gone_is_no_error():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert OwnProcesses(gone.pid).pids() == {os.getpid(), gone.pid}
