"""Whatever the order of writes, confirmations and kills: each event is in the segments once."""

import re
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from auditline.plugins.outputs.api import Line, OutputContext
from auditline.plugins.outputs.segments import SegmentsOutput
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import SegmentsSettings


def _line(event: int, sequence: int) -> Line:
    name = f"e-{event}"
    padding = "y" * (event * 37 % 900)
    text = f'{{"@timestamp":"2017-08-01T20:34:15.636Z","event":{{"id":"{name}"}},"x":"{padding}"}}\n'
    return Line(sequence, name, text.encode())


class SegmentsMachine(RuleBasedStateMachine):
    """Events are numbered from 1. A producer keeps what it has not stored as done, and hands it over again."""

    @initialize(sync=st.sampled_from(["never", "interval"]))
    def begin(self, sync):
        self.directory = Path(tempfile.mkdtemp())
        self.sync = sync
        self.now = 0.0
        self.counters = CounterPage.unshared(())
        self.producer_done = 0
        self.newest = 0
        self._open()

    def _open(self):
        self.sequences: dict[int, int] = {}  # of this router's process: sequence -> event
        self.next_event = self.producer_done + 1
        self.output = SegmentsOutput(
            SegmentsSettings(name="out", directory=self.directory / "log", segment_bytes=4096, sync=self.sync),
            OutputContext(stdout_fd=1, state_directory=self.directory, counters=self.counters, clock=lambda: self.now),
        )

    def _hand_over(self, count):
        lines = []
        for _ in range(count):
            sequence = len(self.sequences) + 1
            self.sequences[sequence] = self.next_event
            lines.append(_line(self.next_event, sequence))
            self.next_event += 1
        self.newest = max(self.newest, self.next_event - 1)
        self.output.write(lines)

    @rule(count=st.integers(1, 30), pumps=st.booleans())
    def hand_over(self, count, pumps):
        self._hand_over(count)
        if pumps:
            self.output.pump()

    @rule(seconds=st.sampled_from([0, 0.5, 2]))
    def pump(self, seconds):
        self.now += seconds
        self.output.pump()

    @rule(share=st.floats(0, 1), is_confirmed=st.booleans())
    def store_done(self, share, is_confirmed):
        sequence = int(self.output.done_sequence * share)
        self.producer_done = max(self.producer_done, self.sequences.get(sequence, 0))
        if is_confirmed:
            self.output.confirm(sequence)

    @precondition(lambda self: self.next_event > self.newest)
    @rule()
    def end_resends(self):
        self.output.end_resends()

    @rule(written=st.integers(0, 5), torn_bytes=st.integers(0, 60), loses_state=st.booleans())
    def kill_in_the_middle_of_a_write(self, written, torn_bytes, loses_state):
        writer = self.output._series._writer
        self.output._series.close(5)
        pending = [line.data for line in self.output._queue._lines]
        if writer:
            with writer.path.open("ab") as file:
                file.write(b"".join(pending[:written]) + b"".join(pending[written : written + 1])[:torn_bytes])
        if loses_state:
            (self.directory / "outputs" / "out.json").unlink(missing_ok=True)
        self._open()

    @invariant()
    def balance_holds(self):
        counts = self.output.counts()
        assert counts["events"] == counts["written"] + counts["pending"]

    @invariant()
    def each_event_is_there_once(self):
        events = self._events_in_segments()
        assert len(events) == len(set(events))
        done = self.sequences.get(self.output.done_sequence, 0)
        assert set(range(1, max(done, self.producer_done) + 1)) <= set(events)

    def _events_in_segments(self) -> list[int]:
        lines = [
            line
            for path in (self.directory / "log").glob("*.jsonl")
            for line in path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]
        return [int(match[1]) for line in lines if (match := re.search(rb'"id":"e-(\d+)"', line))]

    def teardown(self):
        if hasattr(self, "output"):
            self._hand_over(max(self.newest - self.next_event + 1, 1))
            self.output.close(5)
            assert sorted(self._events_in_segments()) == list(range(1, self.newest + 1))
            shutil.rmtree(self.directory)


SegmentsMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestSegments = SegmentsMachine.TestCase
