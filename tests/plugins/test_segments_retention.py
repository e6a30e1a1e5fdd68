import json
import os

import pytest


@pytest.fixture
def fill(open_segments, make_lines, clock):
    """Write lines of 1000 bytes, four to a segment, in a turn and second of their own each."""

    def write(output, first, last):
        for sequence in range(first, last + 1):
            output.write(make_lines(sequence, sequence, 1000))
            clock.now += 1
            output.pump()

    return write


def _segments(tmp_path):
    return sorted((tmp_path / "log").glob("*.jsonl"))


def _numbers(tmp_path):
    return [int(path.name.split("-")[1]) for path in _segments(tmp_path)]


def test_the_oldest_segments_go_beyond_keep_bytes(tmp_path, open_segments, fill):
    output = open_segments(keep_bytes=10_000)

    fill(output, 1, 40)

    assert _numbers(tmp_path) == [9, 10]
    assert sum(path.stat().st_size for path in _segments(tmp_path)) <= 10_000
    assert output.counts()["missed"] == 0


def test_what_a_cursor_still_needs_stays(tmp_path, open_segments, fill):
    cursor = tmp_path / "cursor.json"
    output = open_segments(keep_bytes=10_000, cursors=(cursor,))
    fill(output, 1, 8)
    cursor.write_text(json.dumps({"segment": _segments(tmp_path)[1].name, "offset": 100}))

    fill(output, 9, 40)
    assert _numbers(tmp_path) == list(range(2, 11))
    cursor.write_text(json.dumps({"segment": _segments(tmp_path)[4].name, "offset": 4000}))
    fill(output, 41, 41)

    assert _numbers(tmp_path) == list(range(7, 12))


def test_the_slowest_of_several_cursors_counts(tmp_path, open_segments, fill):
    cursors = (tmp_path / "one", tmp_path / "two")
    output = open_segments(keep_bytes=5000, cursors=cursors)
    fill(output, 1, 20)
    for cursor, segment in zip(cursors, _segments(tmp_path), strict=False):
        cursor.write_text(json.dumps({"segment": segment.name, "offset": 0}))
    kept = _numbers(tmp_path)

    fill(output, 21, 40)

    assert _numbers(tmp_path) == list(range(kept[0], 11))


def test_beyond_total_bytes_it_goes_in_any_case_and_the_unread_rest_is_counted(
    tmp_path, open_segments, fill, counters, caplog
):
    cursor = tmp_path / "cursor.json"
    output = open_segments(keep_bytes=10_000, total_bytes=20_000, cursors=(cursor,))
    fill(output, 1, 4)
    cursor.write_text(json.dumps({"segment": _segments(tmp_path)[0].name, "offset": 1000}))

    fill(output, 5, 40)

    assert sum(path.stat().st_size for path in _segments(tmp_path)) <= 20_000
    dropped = 10 - len(_numbers(tmp_path))
    assert counters.get("output_segments_segments_dropped_total") == dropped
    assert counters.get("output_segments_bytes_dropped_total") == dropped * 4000 - 1000
    assert counters.get("output_segments_events_dropped_total") == dropped * 4 - 1
    assert "deleted beyond total_bytes before it was read: 3000 bytes, 3 events" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"segment": 1, "offset": 0}', '{"segment": "x", "offset": 0}', "\xff", '{"offset": 0}', "[" * 5000],
)
def test_a_damaged_cursor_holds_nothing_back_and_is_said_once(tmp_path, open_segments, fill, text, caplog):
    cursor = tmp_path / "cursor.json"
    cursor.write_text(text, encoding="latin-1")
    output = open_segments(keep_bytes=10_000, cursors=(cursor,))

    fill(output, 1, 40)

    assert _numbers(tmp_path) == [9, 10]
    assert caplog.text.count(f"cursor {cursor} holds nothing back: ") == 1


def test_a_missing_cursor_holds_nothing_back_and_is_said_once(tmp_path, open_segments, fill, caplog):
    cursor = tmp_path / "cursor.json"
    output = open_segments(keep_bytes=10_000, cursors=(cursor,))

    fill(output, 1, 40)

    assert _numbers(tmp_path) == [9, 10]
    assert caplog.text.count(f"cursor {cursor} holds nothing back: No such file or directory") == 1


def test_the_segment_that_is_being_written_is_never_deleted(tmp_path, open_segments, fill, make_lines, lines_in):
    output = open_segments(segment_bytes=100_000, keep_bytes=4096)

    fill(output, 1, 50)

    assert lines_in(tmp_path / "log") == [line.data for line in make_lines(1, 50, 1000)]


def test_files_of_others_are_left_alone(tmp_path, open_segments, fill):
    (tmp_path / "log").mkdir()
    strange = [tmp_path / "log" / name for name in ("other.jsonl", "auditline-1-abcdef01.jsonl", "note")]
    for path in strange:
        path.write_bytes(bytes(20_000))
    os.symlink(strange[0], tmp_path / "log" / "auditline-000000000001-abcdef01.jsonl")
    output = open_segments(keep_bytes=10_000)

    fill(output, 1, 40)

    assert all(path.stat().st_size == 20_000 for path in strange)
    assert (tmp_path / "log" / "auditline-000000000001-abcdef01.jsonl").is_symlink()
