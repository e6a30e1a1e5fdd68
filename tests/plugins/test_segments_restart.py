import json
import os
import signal
import time

import pytest

from auditline.plugins.outputs.api import OutputContext
from auditline.plugins.outputs.confirmed import RESENDS_END_SECONDS
from auditline.plugins.outputs.segments import SegmentsOutput
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import SegmentsSettings


@pytest.fixture
def write(make_lines):
    def run(output, first, last):
        output.write(make_lines(first, last))
        output.pump()

    return run


def _stored(tmp_path):
    return json.loads((tmp_path / "state" / "outputs" / "segments.json").read_text())


def _data(lines):
    return [line.data for line in lines]


def test_what_a_killed_predecessor_wrote_is_not_written_again(
    tmp_path, open_segments, abandon, write, make_lines, lines_in
):
    output = open_segments()
    write(output, 1, 50)
    abandon(output)

    output = open_segments()
    write(output, 31, 60)

    assert lines_in(tmp_path / "log") == _data(make_lines(1, 60))
    assert output.done_sequence == 60
    assert output.counts()["events"] == output.counts()["written"] == 60


def test_what_was_skipped_is_counted_as_resent(open_segments, abandon, write, counters):
    output = open_segments()
    write(output, 1, 50)
    abandon(output)

    output = open_segments()
    write(output, 31, 60)

    assert counters.get("output_segments_resent_total") == 20


def test_a_torn_last_line_is_left_alone_and_its_event_written_again(
    tmp_path, open_segments, abandon, write, make_lines, lines_in
):
    output = open_segments()
    write(output, 1, 3)
    abandon(output)
    [path] = (tmp_path / "log").glob("*.jsonl")
    os.truncate(path, path.stat().st_size - 1)

    output = open_segments()
    write(output, 1, 4)

    assert lines_in(tmp_path / "log") == [
        *_data(make_lines(1, 2)), make_lines(3, 3)[0].data[:-1], *_data(make_lines(3, 4)),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 3 << 20])
def test_a_long_line_is_known_again_and_a_torn_one_is_not(size, tmp_path, open_segments, abandon, make_line):
    lines = [make_line(1, size), make_line(2), make_line(3, size)]
    output = open_segments(segment_bytes=8 << 20)
    output.write(lines)
    output.pump()
    abandon(output)
    [path] = (tmp_path / "log").glob("*.jsonl")
    os.truncate(path, path.stat().st_size - 1)

    output = open_segments(segment_bytes=8 << 20)

    assert output._resent_ids == {"e-1", "e-2"}


def test_only_lines_behind_the_confirmed_position_are_read(tmp_path, open_segments, abandon, write, clock):
    output = open_segments(segment_bytes=1 << 20)
    for first in range(1, 101, 10):
        write(output, first, first + 9)
    output.confirm(70)
    clock.now += 2
    output.pump()
    abandon(output)

    output = open_segments(segment_bytes=1 << 20)

    assert output._resent_ids == {f"e-{sequence}" for sequence in range(71, 101)}


def test_the_position_is_stored_once_a_second_at_most(tmp_path, open_segments, write, clock):
    output = open_segments(segment_bytes=1 << 20)
    write(output, 1, 1)

    for turn in range(2, 22):
        write(output, turn, turn)
        output.confirm(turn)
        clock.now += 0.09

    assert _stored(tmp_path)["offset"] < 20 * 200
    clock.now += 1
    output.pump()
    assert _stored(tmp_path)["offset"] == 21 * 200


def test_a_confirmation_after_the_end_is_stored_at_once(tmp_path, open_segments, write):
    output = open_segments(segment_bytes=1 << 20)
    write(output, 1, 10)
    output.close(1)

    output.confirm(10)

    assert _stored(tmp_path)["offset"] == 2000


def test_the_position_stays_until_the_resends_are_over(tmp_path, open_segments, abandon, write, lines_in, clock):
    output = open_segments()
    write(output, 1, 50)
    abandon(output)
    output = open_segments()
    write(output, 51, 60)
    output.confirm(60)
    clock.now += 2
    output.pump()
    abandon(output)

    output = open_segments()
    write(output, 1, 60)

    assert len(lines_in(tmp_path / "log")) == 60


def test_the_position_moves_on_when_the_resends_are_over_and_confirmed(
    tmp_path, open_segments, abandon, write, make_line, clock
):
    output = open_segments()
    write(output, 1, 50)
    abandon(output)
    output = open_segments()
    output.write([make_line(1, event_id="new-1"), make_line(2, event_id="e-50"), make_line(3, event_id="new-3")])
    output.pump()

    output.end_resends()
    output.confirm(1)
    clock.now += 2
    output.pump()
    assert _stored(tmp_path)["segment"].startswith("auditline-000000000001-")
    output.confirm(3)
    clock.now += 2
    output.pump()

    assert _stored(tmp_path)["segment"].startswith("auditline-000000000004-")
    assert output._resent_ids == set()


def test_resends_that_nobody_ends_are_over_after_ten_minutes(tmp_path, open_segments, abandon, write, clock):
    output = open_segments()
    write(output, 1, 50)
    abandon(output)
    output = open_segments()
    write(output, 51, 60)
    output.confirm(60)

    clock.now += RESENDS_END_SECONDS
    output.pump()

    assert _stored(tmp_path)["segment"].startswith("auditline-000000000004-")


@pytest.mark.parametrize("text", ["", "{}", "[" * 4000, '{"segment": "../../etc/passwd", "offset": 0}'])
def test_a_damaged_position_means_that_all_segments_are_searched(
    tmp_path, open_segments, abandon, write, lines_in, text, caplog
):
    output = open_segments()
    write(output, 1, 50)
    abandon(output)
    (tmp_path / "state" / "outputs" / "segments.json").write_text(text)

    output = open_segments()
    write(output, 1, 60)

    assert len(lines_in(tmp_path / "log")) == 60
    assert "not usable, all segments are searched instead" in caplog.text


def test_more_ids_than_fit_into_memory_cost_duplicates_and_are_said(open_segments, abandon, write, monkeypatch, caplog):
    monkeypatch.setattr("auditline.plugins.outputs.resends.MOST_IDS", 30)
    output = open_segments()
    write(output, 1, 100)
    abandon(output)

    output = open_segments()

    assert "e-100" in output._resent_ids
    assert 30 < len(output._resent_ids) <= 50
    assert "older events may come twice" in caplog.text


def test_more_bytes_than_may_be_read_are_read_from_the_end(open_segments, abandon, write, monkeypatch, caplog):
    monkeypatch.setattr("auditline.plugins.outputs.resends.MOST_BYTES", 2100)
    output = open_segments(segment_bytes=1 << 20)
    write(output, 1, 100)
    abandon(output)

    output = open_segments(segment_bytes=1 << 20)

    assert output._resent_ids == {f"e-{sequence}" for sequence in range(91, 101)}
    assert "older events may come twice" in caplog.text


def test_a_state_directory_that_cannot_be_written_is_said_and_stops_nothing(
    tmp_path, open_segments, write, lines_in, caplog
):
    (tmp_path / "state").write_text("a file where a directory should be")
    output = open_segments()

    write(output, 1, 50)

    assert len(lines_in(tmp_path / "log")) == 50
    assert "segments.json: cannot be written: Not a directory" in caplog.text


def test_lines_that_were_written_but_not_counted_are_counted_by_the_successor(open_segments, abandon, write, counters):
    output = open_segments(segment_bytes=1 << 20)
    write(output, 1, 50)
    abandon(output)
    counters.set("output_segments_events_written_total", 0)

    output = open_segments()

    assert output.counts()["written"] == 50
    assert output.counts()["events"] == 50


def test_pending_events_of_a_killed_predecessor_leave_the_balance(open_segments, abandon, write, make_lines):
    output = open_segments()
    write(output, 1, 50)
    output.write(make_lines(51, 60))
    abandon(output)

    output = open_segments()
    write(output, 1, 60)

    assert output.counts()["events"] == output.counts()["written"] == 60


def _write_from(directory, page_path, make_line, sequence) -> None:
    output = SegmentsOutput(
        SegmentsSettings(name="segments", directory=directory / "log", segment_bytes=20_000, sync="never"),
        OutputContext(stdout_fd=1, state_directory=directory / "state", counters=CounterPage.open(page_path, ())),
    )
    while True:
        output.write([make_line(sequence + i, 300 + i) for i in range(7)])
        output.pump()
        sequence += 7
        if sequence % 3 == 0:
            output.confirm(sequence - 200)


def test_events_and_their_count_are_exact_whenever_the_writer_is_killed(tmp_path, make_line, lines_in):
    first = 1
    for _ in range(30):
        pid = os.fork()
        if pid == 0:
            try:
                _write_from(tmp_path, tmp_path / "router.page", make_line, first)
            finally:
                os._exit(1)
        time.sleep(0.03)  # the random moment: how far it comes is left to the machine
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        # The producers hand over again what is not done: the newest lines, and nothing older than is confirmed.
        whole = [line for line in lines_in(tmp_path / "log") if line.endswith(b"\n")]
        first = max(len(whole) // 7 * 7 - 140, 0) + 1

    whole = [line for line in lines_in(tmp_path / "log") if line.endswith(b"\n")]
    ids = [json.loads(line)["event"]["id"] for line in whole]
    assert sorted(ids, key=lambda name: int(name[2:])) == [f"e-{i}" for i in range(1, len(ids) + 1)]
    output = SegmentsOutput(
        SegmentsSettings(name="segments", directory=tmp_path / "log", sync="never"),
        OutputContext(
            stdout_fd=1, state_directory=tmp_path / "state", counters=CounterPage.open(tmp_path / "router.page", ())
        ),
    )
    assert output.counts()["written"] == output.counts()["events"] == len(ids)
    output.close(1)
