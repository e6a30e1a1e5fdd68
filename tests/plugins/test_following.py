from pathlib import Path

import pytest

from auditline.plugins.outputs.following import READ_BYTES, Follower
from auditline.plugins.outputs.positions import Position


@pytest.fixture
def told():
    return []


@pytest.fixture
def follow(series, told):
    followers = []

    def begin(start=None):
        followers.append(Follower(series.directory, start, told.append))
        return followers[-1]

    yield begin
    for follower in followers:
        follower.close()


def read_all(follower):
    lines = b""
    while (chunk := follower.next()) is not None:
        lines += chunk.lines
    return lines


def test_segments_are_read_in_the_order_of_their_numbers(series, follow, numbers_in):
    series.write(2, 3, 4)
    series.write(1, 1, 2)
    series.write(10, 5)

    lines = read_all(follow())

    assert numbers_in(lines) == [1, 2, 3, 4, 5]


def test_a_position_leaves_out_what_lies_before_it(series, follow, numbers_in):
    path = series.write(1, 1, 2)
    at = path.stat().st_size
    series.write(1, 3)
    series.write(2, 4)

    lines = read_all(follow(Position(path.name, at)))

    assert numbers_in(lines) == [3, 4]


@pytest.mark.parametrize("missing_bytes", [1, 7])
def test_a_position_within_a_line_is_told_and_begins_with_that_line(series, follow, told, numbers_in, missing_bytes):
    path = series.write(1, 1, 2, 3)
    at = path.stat().st_size - missing_bytes

    lines = read_all(follow(Position(path.name, at)))

    assert numbers_in(lines) == [3]
    assert told == [
        f"{path.name}: byte {at} is within a line: begins with that line, at byte {at + missing_bytes - len(lines)}"
    ]


def test_a_position_within_a_first_line_of_any_length_begins_with_it(series, follow, told):
    path = series.write(1)
    path.write_bytes(b"x" * (READ_BYTES + 9) + b"\n")

    lines = read_all(follow(Position(path.name, READ_BYTES + 5)))

    assert len(lines) == READ_BYTES + 10
    assert len(told) == 1


def test_a_chunk_says_where_its_lines_are(series, follow):
    path = series.write(1, 1, 2)
    at = path.stat().st_size
    series.write(1, 3)
    follower = follow(Position(path.name, at))

    chunk = follower.next()

    assert path.read_bytes()[chunk.offset :] == chunk.lines
    assert (chunk.segment, chunk.offset) == (path.name, at)


def test_a_line_comes_when_it_is_whole(series, follow, numbers_in):
    path = series.write(1, 1, end=b'{"event":')
    follower = follow()
    before = read_all(follower)
    with path.open("ab") as file:
        file.write(b'{"id":"h-2"}}\n')

    after = read_all(follower)

    assert (numbers_in(before), numbers_in(after)) == ([1], [2])


def test_a_torn_last_line_is_skipped_and_told_once_a_newer_segment_is_there(series, follow, told, numbers_in):
    series.write(1, 1, end=b'{"torn')
    series.write(2, 2)

    lines = read_all(follow())

    assert numbers_in(lines) == [1, 2]
    assert "its last line was torn" in told[0]
    assert "6 bytes" in told[0]


def test_lines_that_come_while_a_segment_is_left_are_read(series, follow, numbers_in):
    series.write(1, 1)
    follower = follow()
    first = read_all(follower)
    series.write(1, 2)
    series.write(2, 3)

    rest = read_all(follower)

    assert (numbers_in(first), numbers_in(rest)) == ([1], [2, 3])


def test_a_line_longer_than_the_buffer_is_whole(series, follow, numbers_in):
    series.write(1, 1, 2, pad=3 * READ_BYTES)

    lines = read_all(follow())

    assert numbers_in(lines) == [1, 2]


def test_deleted_segments_are_told_with_their_numbers(series, follow, told, numbers_in):
    for counter in range(1, 6):
        series.write(counter, counter)
    follower = follow()
    follower.next()
    for counter in (1, 2, 3):
        series.path(counter).unlink()

    lines = read_all(follower)

    assert numbers_in(lines) == [2, 3, 4, 5] or numbers_in(lines) == [4, 5]


def test_segments_deleted_before_the_start_are_told(series, follow, told, numbers_in):
    position = Position(series.path(1).name, 0)
    series.write(4, 4)
    follower = follow(position)

    lines = read_all(follower)

    assert numbers_in(lines) == [4]
    assert follower.missed_segments == 2
    assert told == [
        f"{position.segment}: was deleted, perhaps before all of it from byte 0 on was read",
        "2 segments were deleted before they were read: numbers 2 to 3",
    ]


def test_a_series_that_was_made_anew_is_read_from_its_beginning(series, follow, told, numbers_in):
    series.write(1, 1)

    lines = read_all(follow(Position(series.path(7).name, 100)))

    assert numbers_in(lines) == [1]
    assert "begins with the oldest one" in told[0]


def test_a_series_that_is_made_anew_under_a_reader_is_read_too(series, follow, numbers_in):
    series.write(7, 7)
    follower = follow()
    first = read_all(follower)
    series.path(7).unlink()
    series.write(1, 1)

    lines = read_all(follower)

    assert (numbers_in(first), numbers_in(lines)) == ([7], [1])


def test_a_directory_that_comes_later_is_read(series, follow, numbers_in):
    series.directory.rmdir()
    follower = follow()
    before = follower.next()
    series.directory.mkdir()
    series.write(1, 1)

    lines = read_all(follower)

    assert before is None
    assert numbers_in(lines) == [1]


def test_ten_thousand_segments_need_one_descriptor(series, follow, numbers_in):
    for counter in range(1, 10_001):
        series.write(counter, counter)
    follower = follow()
    before = len(list(Path("/proc/self/fd").iterdir()))

    lines = read_all(follower)

    assert numbers_in(lines) == list(range(1, 10_001))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
