"""How outputs stand, as the router's page says it."""

from dataclasses import dataclass

import pytest

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.status_slots import OUTPUT_STATES, output_error, output_state, output_waits_since
from auditline.workers.router.output_states import NOTE_SECONDS, OutputStates


@dataclass
class Standing:
    """What is looked at of an output."""

    name: str = "o"
    done_sequence: int = 0
    is_attached: bool = True
    is_blocked: bool = False
    is_gone: bool = False
    error_number: int = 0


@pytest.fixture
def output():
    return Standing()


@pytest.fixture
def page():
    return CounterPage.unshared(())


@pytest.fixture
def states(output, page, clock):
    return OutputStates(page, [output], clock)


@pytest.fixture
def note(states, clock):
    """Look again after some seconds."""

    def look(sequence, seconds=NOTE_SECONDS):
        clock.now += seconds
        states.note(sequence)

    return look


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "attached"),
        ({"is_blocked": True}, "blocked"),
        ({"is_attached": False}, "detached"),
        ({"is_attached": False, "is_gone": True}, "gone"),
    ],
)
def test_the_state_is_noted(output, page, note, changes, state):
    for name, value in changes.items():
        setattr(output, name, value)

    note(0)

    assert OUTPUT_STATES[page.get(output_state("o"))] == state


def test_an_error_is_noted_for_as_long_as_it_lasts(output, page, note):
    output.error_number = 28
    note(0)
    during = page.get(output_error("o"))
    output.error_number = 0
    note(0)

    assert (during, page.get(output_error("o"))) == (28, 0)


def test_an_event_that_is_not_written_waits_since_it_was_seen_first(output, page, note, clock):
    note(5)
    since = page.get(output_waits_since("o"))
    note(9, 60)

    assert since == int(clock.now - 60)
    assert page.get(output_waits_since("o")) == since


def test_what_comes_later_has_waited_for_less(output, page, note, clock):
    note(5)
    output.done_sequence = 5
    note(9, 60)

    assert page.get(output_waits_since("o")) == int(clock.now)


def test_when_all_is_written_nothing_waits(output, page, note):
    note(5)
    output.done_sequence = 9
    note(9)

    assert page.get(output_waits_since("o")) == 0


def test_it_is_looked_only_now_and_then(output, page, note):
    note(5)
    output.is_blocked = True
    note(5, NOTE_SECONDS / 4)

    assert OUTPUT_STATES[page.get(output_state("o"))] == "attached"


def test_a_clock_that_is_set_back_does_not_stop_it(output, page, note):
    note(5)
    output.is_blocked = True
    note(5, -3600)

    assert OUTPUT_STATES[page.get(output_state("o"))] == "blocked"
