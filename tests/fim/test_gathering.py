"""How long hints are left to gather before they are read together."""

from auditline.workers.fim.gathering import Gathering


def test_those_that_come_now_and_then_are_read_at_once(clock):
    gathering = Gathering(0.02, clock)
    pauses = []

    for _ in range(10):
        clock.now += 0.05
        gathering.note()
        pauses.append(gathering.seconds_left)

    assert pauses == [0.0] * 10


def test_those_that_come_all_the_time_are_read_together_at_last(clock):
    gathering = Gathering(0.02, clock)
    pauses = []

    for _ in range(10):
        clock.now += max(0.0, gathering.seconds_left) + 0.0002
        gathering.note()
        pauses.append(round(gathering.seconds_left, 4))

    assert pauses == [0.001, 0.002, 0.004, 0.008, 0.016, 0.02, 0.02, 0.02, 0.02, 0.02]


def test_that_they_come_all_the_time_is_known_when_the_pause_is_the_longest(clock):
    gathering = Gathering(0.004, clock)
    known = []

    for _ in range(5):
        clock.now += max(0.0, gathering.seconds_left)
        gathering.note()
        known.append(gathering.is_sustained)

    assert known == [False, False, True, True, True]


def test_after_a_lull_they_are_read_at_once_again(clock):
    gathering = Gathering(0.02, clock)
    for _ in range(10):
        clock.now += max(0.0, gathering.seconds_left)
        gathering.note()

    clock.now += gathering.seconds_left + 0.1
    gathering.note()

    assert gathering.seconds_left == 0.0
