"""Readers killed at random moments: nothing is missing, and nothing that was committed comes again."""

import random
import threading
import time

import pytest

from auditline.plugins.outputs.positions import read_position

EVENTS = 8000
OFTEN = pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])


class Killed:
    """Readers of one cursor that are killed one after the other, and what came from each."""

    def __init__(self, start, series, cursor, numbers_in):
        self.outputs: list[list[int]] = []
        """The numbers of the whole lines of each reader."""
        self.committed: list[int] = []
        """How many events were behind the cursor when each reader had ended."""
        self._start, self._series, self._cursor, self._numbers_in = start, series, cursor, numbers_in

    def run(self, command, *options, kill_after=None):
        """Let one reader live for so many seconds, or until it ends."""
        process = self._start(command, *options)
        timer = threading.Timer(kill_after, process.kill) if kill_after is not None else None
        if timer is not None:
            timer.start()
        output = process.communicate(timeout=60)[0]
        if timer is not None:
            timer.cancel()
        self.outputs.append(self._numbers_in(output[: output.rfind(b"\n") + 1]))
        self.committed.append(self._count_committed())

    @property
    def seen(self):
        return {number for output in self.outputs for number in output}

    @property
    def came_again(self):
        """What a reader printed though it was committed before that reader began."""
        before = [0, *self.committed[:-1]]
        pairs = zip(before, self.outputs, strict=True)
        return [number for committed, output in pairs for number in output if number <= committed]

    @property
    def skipped(self):
        """What was committed without having come out of any reader until then."""
        seen, skipped = set(), []
        for committed, output in zip(self.committed, self.outputs, strict=True):
            seen.update(output)
            skipped += [number for number in range(1, committed + 1) if number not in seen]
        return skipped

    def _count_committed(self):
        try:
            position, _ = read_position(self._cursor)
        except FileNotFoundError:
            return 0
        older = [path for path in sorted(self._series.directory.iterdir()) if path.name < position.segment]
        newest = (self._series.directory / position.segment).read_bytes()[: position.offset]
        return sum(path.read_bytes().count(b"\n") for path in older) + newest.count(b"\n")


@pytest.fixture
def killed(start, series, cursor, numbers_in):
    return Killed(start, series, cursor, numbers_in)


@pytest.mark.parametrize("kills", [15, OFTEN])
def test_kills_of_read_cost_no_event_and_repeat_none_that_was_committed(killed, series, kills):
    """Point 9."""
    series.write(1, *range(1, EVENTS // 2 + 1), pad=100)
    series.write(2, *range(EVENTS // 2 + 1, EVENTS + 1), pad=100)
    chance = random.Random(kills)

    for _ in range(kills):
        killed.run("read", "--max-events", str(2 * EVENTS // kills + 100), kill_after=chance.uniform(0.05, 0.6))
    killed.run("read")

    assert killed.seen == set(range(1, EVENTS + 1))
    assert (killed.came_again, killed.skipped) == ([], [])


@pytest.mark.parametrize("kills", [15, OFTEN])
def test_kills_of_stream_cost_no_event_and_repeat_none_that_was_committed(killed, series, kills):
    """Point 9."""
    chance = random.Random(kills)
    per_kill = EVENTS // kills
    last = 0

    for counter in range(1, kills + 1):
        series.write(counter, *range(last + 1, last + per_kill + 1), pad=100)
        last += per_kill
        killed.run("stream", kill_after=chance.uniform(0.05, 2.2))
    killed.run("read")

    assert killed.seen == set(range(1, last + 1))
    assert (killed.came_again, killed.skipped) == ([], [])


def test_a_stream_commits_while_it_goes_on(series, start, cursor, wait_until):
    series.write(1, *range(1, 100))
    process = start("stream")
    began = time.monotonic()
    size = series.path(1).stat().st_size
    process.stdout.read(size)

    wait_until(cursor.exists)

    assert time.monotonic() - began >= 1
    assert read_position(cursor)[0].offset == size
