"""What the server will never take is kept up to a limit, and what goes beyond it is counted."""

import json

import pytest

from auditline.workers.common.counters import CounterPage
from auditline.workers.elasticsearch.dead_letters import DELETED, DeadLetters


@pytest.fixture
def counters():
    return CounterPage.unshared((DELETED,))


def kept(folder):
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_letters_are_kept_in_their_order_over_restarts(tmp_path, counters):
    for number in range(3):
        letters = DeadLetters(tmp_path / "letters", 1024**2, counters)
        letters.append([b'{"n":%d}\n' % number])
        letters.close()

    assert kept(tmp_path / "letters") == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert counters.get(DELETED) == 0


def test_the_oldest_go_beyond_the_limit_and_each_is_counted(tmp_path, counters):
    letters = DeadLetters(tmp_path / "letters", 20_000, counters)

    for number in range(100):
        letters.append([b'{"n":%d,"pad":"%b"}\n' % (number, b"x" * 1000)])
    letters.close()

    left = [letter["n"] for letter in kept(tmp_path / "letters")]
    assert left == list(range(100 - len(left), 100))
    assert 0 < len(left) < 25
    assert counters.get(DELETED) == 100 - len(left)
