"""How far behind a cursor is."""

import json
import os
import time

import pytest

from auditline.plugins.outputs.positions import Position, find_position
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.status import positions
from auditline.workers.status.positions import FoundCursor, Lag, look_at_cursor, measure, measure_bytes


def measured(directory, position=None) -> Lag:
    """Return what lies behind a position, which must be possible to find out."""
    lag = measure(directory, position)
    assert lag is not None
    return lag


@pytest.fixture
def at(series):
    """Return a position in the series."""
    return lambda counter, offset: Position(series.path(counter).name, offset)


@pytest.fixture
def two_segments(series):
    """Segments 1 and 3, of two events each."""
    series.write(1, 1, 2)
    series.write(3, 3, 4)
    return series


def test_without_a_cursor_everything_is_behind(two_segments):
    size = sum(path.stat().st_size for path in two_segments.directory.iterdir())

    lag = measured(two_segments.directory)

    assert lag[:2] == (size, 4)
    assert measure_bytes(two_segments.directory, None) == size


def test_what_is_delivered_is_not_counted(two_segments, at):
    line_bytes = two_segments.path(1).stat().st_size // 2

    lag = measured(two_segments.directory, at(1, line_bytes))

    assert lag[:2] == (3 * line_bytes, 3)


@pytest.mark.parametrize("counter", [2, 3])
def test_a_cursor_in_a_segment_that_is_gone_or_read_counts_what_is_behind_it(two_segments, at, counter):
    line_bytes = two_segments.path(3).stat().st_size // 2

    lag = measured(two_segments.directory, at(counter, 0))

    assert lag[:2] == (2 * line_bytes, 2)


def test_at_the_end_nothing_is_behind(two_segments, at):
    end = at(3, two_segments.path(3).stat().st_size)

    assert measure(two_segments.directory, end) == (0, 0, 0.0)


def test_a_directory_that_is_not_there_holds_nothing(tmp_path):
    assert measure(tmp_path / "nowhere", None) == (0, 0, 0.0)


def test_the_age_is_that_of_the_oldest_event(series):
    now = timestamp_of_ns(time.time_ns() - 90 * 10**9)
    series.path(1).write_text(f'{{"@timestamp":"{now}","event":{{"id":"x"}}}}\n')

    assert 90 <= measured(series.directory).seconds < 150


def test_the_rest_of_a_torn_line_has_no_age(series):
    series.path(1).write_bytes(b'ent":{"id":"x"}}')

    assert measured(series.directory).seconds == 0


def test_very_many_events_are_estimated_from_the_first(series, monkeypatch):
    monkeypatch.setattr(positions, "COUNTED_BYTES", 1000)
    series.write(1, *range(100, 200))

    assert 90 <= measured(series.directory).events <= 110


def test_a_cursor_is_read_with_its_age(tmp_path):
    path = tmp_path / "cursor"
    path.write_text(json.dumps({"segment": "auditline-000000000007-0badcafe.jsonl", "offset": 5, "host": "h"}))
    os.utime(path, (time.time() - 50, time.time() - 50))

    assert find_position(path) == Position("auditline-000000000007-0badcafe.jsonl", 5)
    assert 50 <= (look_at_cursor(path).age_seconds or 0) < 100


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("garbage", "it is not JSON"),
        ("[" * 5000, "it is nested too deeply"),
        ("\0" * 3_000_000, "it is not JSON"),
        ("{}", "segment must be a segment's file name, not null"),
        ('{"segment": "../x", "offset": 1}', 'segment must be a segment\'s file name, not "../x"'),
        (
            '{"segment": "auditline-000000000001-0badcafe.jsonl", "offset": -1}',
            "offset must be a number of bytes, not -1",
        ),
    ],
)
def test_a_damaged_cursor_is_told_with_what_is_wrong_and_nobody_knows_what_is_behind_it(
    two_segments, tmp_path, text, problem
):
    (tmp_path / "cursor").write_text(text)

    found = look_at_cursor(tmp_path / "cursor")

    assert (found.position, found.problem) == (None, problem)
    assert (found.measure(two_segments.directory), found.measure_bytes(two_segments.directory)) == (None, None)
    assert find_position(tmp_path / "cursor") is None


def test_a_directory_or_a_pipe_in_the_place_of_a_cursor_is_told_and_leaves_no_descriptor_open(tmp_path):
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd")

    problems = [look_at_cursor(tmp_path / name).problem for name in ("directory", "pipe")]

    assert problems == ["it is no regular file"] * 2
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_cursor_that_is_not_there_yet_is_not_damaged(two_segments, tmp_path):
    size = sum(path.stat().st_size for path in two_segments.directory.iterdir())

    found = look_at_cursor(tmp_path / "nowhere")

    assert found == FoundCursor(None)
    assert found.measure_bytes(two_segments.directory) == size
