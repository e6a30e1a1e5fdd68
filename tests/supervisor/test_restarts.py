"""The pauses before a restart, and the limit."""

import pytest

from auditline.workers.supervisor.restarts import MOST_DEATHS, RECENT_SECONDS, STABLE_SECONDS, Restarts


def test_pauses_double_until_the_worker_is_given_up():
    restarts = Restarts()

    pauses = [restarts.pause_after_death(lived_seconds=0, was_killed=False) for _ in range(MOST_DEATHS)]

    assert pauses[-1] is None
    assert pauses[:-1] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6])


def test_a_worker_that_ran_stable_has_its_deaths_forgotten():
    restarts = Restarts()
    for _ in range(MOST_DEATHS - 1):
        restarts.pause_after_death(lived_seconds=0, was_killed=False)

    pause = restarts.pause_after_death(lived_seconds=STABLE_SECONDS, was_killed=False)

    assert pause == pytest.approx(0.1)


def test_five_hundred_kills_from_outside_are_no_reason_to_give_up():
    restarts = Restarts()

    pauses = {restarts.pause_after_death(lived_seconds=0.01, was_killed=True) for _ in range(500)}

    assert pauses == {0.1}


def test_recent_deaths_are_counted_whatever_they_were(clock):
    restarts = Restarts(clock)
    restarts.pause_after_death(lived_seconds=100, was_killed=False)
    clock.now += RECENT_SECONDS - 1
    restarts.pause_after_death(lived_seconds=100, was_killed=True)

    before = restarts.recent_deaths
    clock.now += 2

    assert (before, restarts.recent_deaths) == (2, 1)
