"""Very many small segments: neither who writes them nor who reads them keeps anything of those that are gone."""

import os
import threading

import psutil
import pytest

from auditline.plugins.outputs.api import Line, OutputContext
from auditline.plugins.outputs.segments import SegmentsOutput
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import SegmentsSettings

KEPT_BYTES = 400_000
LINES_OF_A_SEGMENT = 6
COUNT = 10_000


class Held:
    """What two processes and the directory between them hold, at one moment after another."""

    def __init__(self, directory, reader):
        self._directory = directory
        self._processes = [psutil.Process(), psutil.Process(reader.pid)]
        self.descriptors = []
        self.megabytes = []
        self.files = []

    def note(self):
        self.descriptors.append(sum(process.num_fds() for process in self._processes))
        self.megabytes.append(sum(process.memory_info().rss for process in self._processes) // 1024**2)
        self.files.append(len(os.listdir(self._directory)))


@pytest.fixture
def output(series, cursor, tmp_path):
    """An output that begins a segment after each few lines, and keeps those that the cursor needs."""
    settings = SegmentsSettings(
        name="segments", directory=series.directory, segment_bytes=4096, keep_bytes=KEPT_BYTES, cursors=(cursor,)
    )
    context = OutputContext(stdout_fd=1, state_directory=tmp_path / "state", counters=CounterPage.unshared(()))
    opened = SegmentsOutput(settings, context)
    yield opened
    opened.close(5)


def lines_of(segment):
    first = segment * LINES_OF_A_SEGMENT + 1
    return [
        Line(number, f"h-{number}", b'{"@timestamp":"2026-01-01T00:00:00.000Z","event":{"id":"h-%d"},"x":"%b"}\n' % (
            number, b"x" * 560,
        ))
        for number in range(first, first + LINES_OF_A_SEGMENT)
    ]  # fmt: skip


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_small_segments_come_and_go_and_leave_nothing_behind(output, series, cursor, start, numbers_in, wait_until):
    reader = start("stream")
    said: list[int] = []
    drain = threading.Thread(target=lambda: said.extend(numbers_in(line)[0] for line in reader.stdout))
    drain.start()
    held = Held(series.directory, reader)
    for part in range(10):
        for segment in range(part * COUNT // 10, (part + 1) * COUNT // 10):
            output.write(lines_of(segment))
            output.pump()
            output.confirm((segment + 1) * LINES_OF_A_SEGMENT)
        newest = max(os.listdir(series.directory))
        wait_until(lambda newest=newest: cursor.exists() and newest in cursor.read_text(), 60)
        output._series.delete_old()
        held.note()
    reader.terminate()
    drain.join(30)

    assert said == list(range(1, COUNT * LINES_OF_A_SEGMENT + 1))
    assert max(held.files) <= KEPT_BYTES // 4000 + 5
    assert max(held.descriptors[1:]) <= held.descriptors[0] + 2
    assert max(held.megabytes) - held.megabytes[1] <= 8
