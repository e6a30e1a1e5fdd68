"""Whatever becomes of real records: every event has its lines, no line breaks its contract, and memory stays flat."""

import os

import pytest

FEW, MANY = 20_000, 1_000_000
EVENTS_IN_BATCH = 50
MEGABYTE = 1 << 20


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def feed(examiner, events, records):
    """Feed that many records more."""
    goal = examiner.records + records
    while examiner.records < goal:
        examiner.take([record for _ in range(EVENTS_IN_BATCH) for record in next(events)])


def test_every_event_of_mutated_records_has_lines_that_can_be_trusted(examiner, mutated_events):
    feed(examiner, mutated_events, FEW)
    examiner.end()

    assert examiner.events > FEW / 20
    assert examiner.incomplete > FEW / 200


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_million_mutated_records_take_no_more_memory_than_the_first_tenth(examiner, mutated_events):
    feed(examiner, mutated_events, MANY // 10)
    before = resident_bytes()

    feed(examiner, mutated_events, MANY - MANY // 10)
    after = resident_bytes()
    examiner.end()

    assert after - before < 16 * MEGABYTE
    assert examiner.unparsed < MANY / 100
