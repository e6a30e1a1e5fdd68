"""A worker's life: signals set flags and wake it, descriptors that are not its own are closed."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import SAME_REQUEST_SECONDS, Life, close_other_descriptors, ignore_signal

InChild = Callable[[Callable[[], Any]], Any]
ANSWER_FD = 200
"""Where `in_child` takes the answer."""


@pytest.fixture
def life() -> Iterator[Life]:
    """A life that takes this process's signals, which get their handlers back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    made = Life("audit", CounterPage.unshared([]))
    made.take_signals()
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_stop_signal_sets_the_flag_and_wakes(life: Life, number: int) -> None:
    os.kill(os.getpid(), number)

    assert life.stopping
    assert is_readable(life.wakeup_fd)


def test_a_hangup_is_one_reload(life: Life) -> None:
    os.kill(os.getpid(), signal.SIGHUP)

    assert [life.take_reload(), life.take_reload()] == [True, False]
    assert not life.stopping


def test_a_drained_wakeup_is_quiet_until_the_next_signal(life: Life) -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    life.drain_wakeup()
    assert not is_readable(life.wakeup_fd)

    os.kill(os.getpid(), signal.SIGHUP)

    assert is_readable(life.wakeup_fd)


def test_more_signals_than_the_wakeup_holds_harm_nothing(life: Life) -> None:
    for _ in range(70_000):
        os.kill(os.getpid(), signal.SIGHUP)

    life.drain_wakeup()

    assert life.take_reload()


def test_a_request_does_what_a_signal_does(life: Life) -> None:
    life.request_stop()

    assert life.stopping
    assert is_readable(life.wakeup_fd)


def test_the_second_stop_signal_leaves_at_once() -> None:
    pid = os.fork()
    if pid == 0:
        life = Life("replay", CounterPage.unshared([]))
        life.take_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        life.drain_wakeup()
        life.wait(2 * SAME_REQUEST_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)

    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM


def test_a_signal_to_the_process_and_its_group_is_one_request(life: Life) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)

    assert life.stopping


def test_a_worker_leaves_interrupts_and_second_signals_to_its_supervisor(in_child: InChild) -> None:
    def take_three() -> bool:
        life = Life("control", CounterPage.unshared([]), at_second=ignore_signal)
        life.take_signals(ignores_interrupt=True)
        os.kill(os.getpid(), signal.SIGINT)
        assert not life.stopping
        os.kill(os.getpid(), signal.SIGTERM)
        life.drain_wakeup()
        life.wait(2 * SAME_REQUEST_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        return life.stopping

    assert in_child(take_three) is True


def test_ready_is_told_once() -> None:
    read_fd, write_fd = os.pipe()
    life = Life("audit", CounterPage.unshared([]), ready_fd=write_fd)

    life.ready()
    life.ready()

    with os.fdopen(read_fd, "rb") as pipe:
        assert pipe.read() == b"r"
    life.close()


def test_ready_without_a_supervisor_does_nothing(life: Life) -> None:
    life.ready()

    assert not life.stopping


def test_waiting_ends_with_a_signal(life: Life) -> None:
    life.request_stop()

    life.wait(30)

    assert life.stopping


def test_a_worker_keeps_only_its_own_descriptors(in_child: InChild) -> None:
    def close_and_list() -> list[str]:
        kept_fd = os.open("/proc/self/stat", os.O_RDONLY)
        os.open("/proc/self/maps", os.O_RDONLY)
        close_other_descriptors({kept_fd, ANSWER_FD})
        # What the listing itself is read from is closed again before its entries are looked at.
        own = sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) not in (2, ANSWER_FD))
        links = [f"/proc/self/fd/{number}" for number in own]
        return [os.readlink(link).rpartition("/")[2] for link in links if os.path.lexists(link)]

    assert in_child(close_and_list) == ["null", "null", "stat"]


def test_stdout_stays_where_it_is_kept(in_child: InChild) -> None:
    def close_and_look() -> bool:
        before = os.readlink("/proc/self/fd/1")
        close_other_descriptors({1, ANSWER_FD})
        return os.readlink("/proc/self/fd/1") == before

    assert in_child(close_and_look) is True
