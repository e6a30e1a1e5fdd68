"""Cursors and segments that are not as they were left; nothing of it ends a reader, and all of it is told."""

import json
import signal

import psutil
import pytest

SEGMENTS = 10_000


def finish(process):
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors.decode()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\0" * 64, b'{"segment": "../x", "offset": 1}', b"[" * 5000],
    ids=["empty", "cut", "zeros", "elsewhere", "deep"],
)
def test_a_damaged_cursor_is_told_and_everything_comes_again(series, start, cursor, numbers_in, content):
    series.write(1, 1, 2)
    cursor.write_bytes(content)

    code, output, errors = finish(start("read"))

    assert (code, numbers_in(output)) == (0, [1, 2])
    assert "begins with the oldest event" in errors
    assert cursor.with_name("cursor.damaged").read_bytes() == content
    assert finish(start("read")) == (0, b"", "")


def test_a_cursor_from_another_host_is_told_and_everything_comes_again(series, start, cursor, numbers_in):
    series.write(1, 1, 2)
    finish(start("read"))
    own = cursor.read_text()
    cursor.write_text(own.replace('"host": "', '"host": "f'))

    code, output, errors = finish(start("read"))

    assert (code, numbers_in(output)) == (0, [1, 2])
    assert "belongs to another host" in errors


def test_a_cursor_behind_the_end_of_its_segment_goes_on_with_the_next_one(series, start, cursor, numbers_in):
    series.write(1, 1, 2)
    finish(start("read"))
    series.path(1).write_bytes(b"")
    series.write(2, 3)

    code, output, errors = finish(start("read"))

    assert (code, numbers_in(output)) == (0, [3])
    assert "shorter than it was" in errors


def test_segments_deleted_under_a_stream_are_told_with_their_numbers_and_it_goes_on(series, start, cursor, numbers_in):
    series.write(1, 1)
    process = start("stream")
    first = process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    for counter in range(2, 8):
        series.write(counter, counter)
    for counter in range(1, 6):
        series.path(counter).unlink()
    process.send_signal(signal.SIGCONT)

    rest = process.stdout.readline() + process.stdout.readline()
    process.terminate()
    code, _, errors = finish(process)

    assert (code, numbers_in(first + rest)) == (0, [1, 6, 7])
    assert json.loads(cursor.read_bytes())["missed_segments"] == 4
    assert "4 segments were deleted before they were read: numbers 2 to 5" in errors


def test_ten_thousand_small_segments_leave_no_descriptor_no_memory_and_no_file_behind(
    series, start, cursor, wait_until
):
    for counter in range(1, SEGMENTS + 1):
        series.write(counter, counter)
    process = start("stream")
    found = psutil.Process(process.pid)
    _ = [process.stdout.readline() for _ in range(SEGMENTS // 10)]
    before = found.num_fds(), found.memory_info().rss

    _ = [process.stdout.readline() for _ in range(SEGMENTS - SEGMENTS // 10)]

    after = found.num_fds(), found.memory_info().rss
    wait_until(cursor.exists)
    process.terminate()
    assert finish(process)[0] == 0
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 4 * 1024 * 1024
    assert sorted(path.name for path in cursor.parent.iterdir()) == ["cursor", "cursor.lock", "segments"]
