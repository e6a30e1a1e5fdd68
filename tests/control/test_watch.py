"""What the kernel's status says when it is asked again and again."""

import logging
import select
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import KernelError
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.language import parse_rules
from auditline.workers.control.messages import KernelStatus
from auditline.workers.control.poll import RuleListing, StatusPoller, lost_between
from auditline.workers.control.watch import (
    COUNTERS,
    EXCLUDE_RULES,
    KERNEL_BACKLOG,
    KERNEL_LOST,
    KERNEL_PID,
    POLLS_FAILED,
    RuleWatch,
    StatusWatch,
)

SUPERVISOR = 4711
LAST = 2**32 - 1


def status(**changes: int) -> KernelStatus:
    fields = {"enabled": 1, "failure": 1, "pid": SUPERVISOR, "rate_limit": 0, "backlog_limit": 64, "lost": 0}
    rest = {"backlog": 0, "features": 0, "backlog_wait_time": 0, "backlog_wait_time_actual": 0}
    return KernelStatus(**{**fields, **rest, **changes})


@pytest.fixture
def counters() -> CounterPage:
    return CounterPage.unshared(COUNTERS)


@given(before=st.integers(0, LAST), lost=st.integers(0, 2**31 - 1))
def test_loss_is_counted_over_the_end_of_the_kernels_counter(before: int, lost: int) -> None:
    assert lost_between(before, (before + lost) % 2**32) == lost


@given(before=st.integers(1, 2**31), now=st.integers(0, LAST))
def test_reset_counter_never_gives_an_absurd_loss(before: int, now: int) -> None:
    assert 0 <= lost_between(before, now) <= max(now, now - before)


def test_loss_after_a_reset_is_what_the_counter_shows() -> None:
    assert lost_between(500, 20) == 20


def test_what_was_lost_before_we_came_is_not_ours(counters: CounterPage) -> None:
    watch = StatusWatch(counters, SUPERVISOR, is_multicast=False)

    watch.take(status(lost=100))
    watch.take(status(lost=107, backlog=9))

    assert (counters.get(KERNEL_LOST), counters.get(KERNEL_BACKLOG), counters.get(KERNEL_PID)) == (7, 9, SUPERVISOR)


def test_counting_tells_nothing_of_what_we_change_ourselves(
    counters: CounterPage, caplog: pytest.LogCaptureFixture
) -> None:
    watch = StatusWatch(counters, SUPERVISOR, is_multicast=False)

    watch.count(status(lost=100, enabled=0))
    watch.take(status(lost=100))

    assert (counters.get(KERNEL_LOST), caplog.messages) == (0, [])


def test_loss_while_the_process_was_dead_is_counted_by_the_next(tmp_path: Path) -> None:
    page = CounterPage.open(tmp_path / "control.page", COUNTERS)
    StatusWatch(page, SUPERVISOR, is_multicast=False).take(status(lost=100))
    page.close()

    page = CounterPage.open(tmp_path / "control.page", COUNTERS)
    StatusWatch(page, SUPERVISOR, is_multicast=False).take(status(lost=105))

    assert page.get(KERNEL_LOST) == 5


def test_loss_between_two_supervisors_is_not_counted(counters: CounterPage) -> None:
    StatusWatch(counters, SUPERVISOR, is_multicast=False).take(status(lost=100))
    StatusWatch(counters, SUPERVISOR + 1, is_multicast=False).take(status(lost=105))

    assert counters.get(KERNEL_LOST) == 0


def test_another_daemon_is_told_once_and_our_return_too(
    counters: CounterPage, caplog: pytest.LogCaptureFixture
) -> None:
    watch = StatusWatch(counters, SUPERVISOR, is_multicast=False)

    for pid in (SUPERVISOR, 99, 99, 0, SUPERVISOR):
        watch.take(status(pid=pid))

    assert [record.getMessage() for record in caplog.records] == [
        "we are not the registered audit daemon any more, so no records arrive: pid 99 is",
        "we are not the registered audit daemon any more, so no records arrive: nobody is",
        "we are registered as the audit daemon again",
    ]


def test_multicast_tells_that_the_daemon_has_changed(counters: CounterPage, caplog: pytest.LogCaptureFixture) -> None:
    watch = StatusWatch(counters, SUPERVISOR, is_multicast=True)

    for pid in (99, 99, 0):
        watch.take(status(pid=pid))

    assert [record.getMessage() for record in caplog.records] == [
        "the registered audit daemon has changed: it was pid 99, now it is nobody"
    ]


def test_audit_that_somebody_switches_off_is_told(counters: CounterPage, caplog: pytest.LogCaptureFixture) -> None:
    watch = StatusWatch(counters, SUPERVISOR, is_multicast=False)

    for enabled in (1, 0, 0, 2):
        watch.take(status(enabled=enabled))

    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_failed_polls_are_counted_and_told_once(counters: CounterPage, caplog: pytest.LogCaptureFixture) -> None:
    watch = StatusWatch(counters, SUPERVISOR, is_multicast=True)

    for _ in range(3):
        watch.take(KernelError("read audit status", 1, "not permitted"))

    assert counters.get(POLLS_FAILED) == 3
    assert len(caplog.records) == 1


def test_poller_answers_at_once_and_stops() -> None:
    poller = StatusPoller(60)
    poller.start()

    readable, _, _ = select.select([poller.fd], [], [], 10)
    results = poller.take()
    poller.stop()

    assert readable == [poller.fd]
    assert isinstance(results[0], KernelStatus | KernelError)


def test_poller_lists_the_rules_now_and_then(wait_until: Callable[..., None]) -> None:
    poller = StatusPoller(0.001)
    answers: list[object] = []

    def has_listing() -> bool:
        answers.extend(poller.take())
        if any(isinstance(answer, KernelError) for answer in answers):
            pytest.skip("the kernel tells us nothing")
        return any(isinstance(answer, RuleListing) for answer in answers)

    poller.start()
    wait_until(has_listing)
    poller.stop()

    listings = [answer for answer in answers if isinstance(answer, RuleListing)]
    assert len(listings) <= len(answers) / 2


def test_rules_of_the_list_exclude_are_counted_whoever_loaded_them(counters: CounterPage) -> None:
    watch = StatusWatch(counters, SUPERVISOR, is_multicast=True)
    lines = ("-a always,exclude -F msgtype=EOE", "-a never,exclude -F uid=7", "-a always,exit -S swapon")
    rules = [comparable(compile_rule(rule)) for rule in parse_rules("\n".join(lines), "test").rules]

    watch.count_rules(rules)
    loaded = counters.get(EXCLUDE_RULES)
    watch.count_rules(rules[2:])

    assert (loaded, counters.get(EXCLUDE_RULES)) == (2, 0)


OURS = {b"a": "-a first", b"b": "-a second", b"c": "-a third", b"d": "-a fourth", b"e": "-a fifth"}


def test_rules_that_somebody_took_out_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = RuleWatch()

    for present in (b"abcdef", b"acde", b"acde", b"abcde", b"acde"):
        watch.take({bytes([letter]) for letter in present}, OURS)

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("1 of our 5 audit rules" in text and text.endswith(": -a second") for text in told)


def test_of_many_missing_rules_only_some_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    RuleWatch().take((), OURS)

    (record,) = caplog.records
    assert record.getMessage().endswith(": -a first; -a second; -a third; …")
    assert "5 of our 5" in record.getMessage()
