"""`auditline check-shipper`: the longest line, and which limits it exceeds."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.plugins.outputs.segment_files import SegmentFile, list_segments
from auditline.workers.common.errors import StorageError
from auditline.workers.status import shipper
from auditline.workers.status.shipper import check_shipper, find_longest_line


def check(directory, *cursors):
    stdout = io.StringIO()
    code = check_shipper(directory, cursors, stdout, read_line_bytes=32_000)
    return code, stdout.getvalue()


def row_of(text, shipper_name):
    return next(line for line in text.splitlines() if line.strip().startswith(shipper_name))


def test_the_longest_line_is_named_by_its_event(series):
    series.write(1, 1, 2)
    series.write(2, 3, pad=3000)
    series.write(2, 4, pad=100)

    longest = find_longest_line(list_segments(series.directory))

    assert longest.event_id == "h-3"
    assert longest.bytes == max(map(len, series.path(2).read_bytes().splitlines()))


def test_a_torn_last_line_does_not_count(series):
    series.write(1, 1, end=b"x" * 5000)

    assert find_longest_line(list_segments(series.directory)).event_id == "h-1"


def test_a_segment_that_is_deleted_meanwhile_is_left_out(series):
    series.write(1, 1)
    segments = [*list_segments(series.directory), SegmentFile(2, series.path(2), 10)]

    assert find_longest_line(segments).event_id == "h-1"


@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), max_size=20), st.integers(1, 40))
def test_whatever_the_blocks_cut_the_longest_is_found(tmp_path_factory, lines, block_bytes):
    path = tmp_path_factory.mktemp("lines") / "segment"
    path.write_bytes(b"".join(line + b"\n" for line in lines))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipper, "_BLOCK_BYTES", block_bytes)
        longest = find_longest_line([SegmentFile(1, path, path.stat().st_size)])

    assert longest.bytes == max(map(len, lines), default=0)


def test_limits_that_are_too_small_are_told_with_what_helps(series):
    series.write(1, 1, pad=40_000)

    code, text = check(series.directory)

    assert code == 0
    assert row_of(text, "Fluent Bit, tail").endswith("TOO SMALL, the rest of that file is never read: set it to 128k")
    assert row_of(text, "rsyslog").endswith(
        "TOO SMALL, the line is cut and is no JSON any more: set it to 64k, or use --max-line 8000"
    )
    assert row_of(text, "syslog-ng").endswith("65,536  enough until now")


def test_short_lines_fit_everywhere(series):
    series.write(1, 1)

    _, text = check(series.directory)

    assert text.count("enough until now") == 4
    assert f"to follow     {series.directory}/auditline-*.jsonl" in text
    assert "  none: segments that are not yet read are deleted beyond keep_bytes" in text


def test_cursors_are_told(series, cursor):
    series.write(1, 1, 2)
    cursor.write_text(f'{{"segment":"{series.path(1).name}","offset":0}}')

    _, text = check(series.directory, cursor, cursor.with_name("other"))

    assert row_of(text, str(cursor)).partition("behind by ")[2].startswith("184 B, 2 events, the oldest of them ")
    assert f"  {cursor.with_name('other')}  not there yet, behind by 184 B, 2 events" in text


def test_a_damaged_cursor_is_told(series, cursor):
    series.write(1, 1, 2)
    cursor.mkdir()

    _, text = check(series.directory, cursor)

    assert f"  {cursor}  DAMAGED, it holds nothing back: it is no regular file\n" in text


def test_without_segments_it_says_so(tmp_path):
    with pytest.raises(StorageError, match="nowhere has no segments: is an output of type segments enabled"):
        check(tmp_path / "nowhere")
