import pytest

from auditline.workers.audit.gathering import GATHERED_RECORDS, RATE_SECONDS, SUSTAINED_RATE, Gathering

MOST_SECONDS = 0.1


@pytest.fixture
def gathering() -> Gathering:
    return Gathering(MOST_SECONDS, now=100.0)


def test_the_first_records_after_a_silence_are_not_held_up(gathering):
    pauses = [gathering.note(200, now) for now in (103.0, 103.001, 103.002)]

    assert pauses == [0, 0, 0]


def test_a_burst_that_is_soon_over_makes_nothing_gather(gathering):
    gathering.note(10_000, 100.01)

    assert gathering.note(1, 100.02) == 0


def test_records_that_come_all_the_time_gather_as_long_as_allowed(gathering):
    assert gathering.note(60, 100.1) == MOST_SECONDS


def test_the_faster_records_come_the_shorter_they_gather(gathering):
    assert gathering.note(GATHERED_RECORDS * 10, 101.0) == pytest.approx(MOST_SECONDS)
    assert gathering.note(GATHERED_RECORDS * 50, 102.0) == pytest.approx(0.02)


def test_a_rate_holds_until_the_next_one_is_found(gathering):
    gathering.note(60, 100.1)

    assert gathering.note(0, 100.1 + RATE_SECONDS / 2) == MOST_SECONDS
    assert gathering.note(1, 100.1 + 2 * RATE_SECONDS) == 0


def test_records_that_come_one_event_at_a_time_are_never_held_up(gathering):
    rates = [gathering.note(5, 100.0 + number * 5.1 / SUSTAINED_RATE) for number in range(1, 50)]

    assert set(rates) == {0}


def test_nothing_gathers_where_that_is_not_allowed():
    gathering = Gathering(0.0, now=100.0)

    assert gathering.note(100_000, 101.0) == 0
