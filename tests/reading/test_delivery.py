"""Up to where what was written is safe with whoever reads it."""

import os

import pytest

from auditline.plugins.outputs.following import Chunk
from auditline.plugins.outputs.positions import Position
from auditline.plugins.outputs.streams import open_stream
from auditline.workers.reading.delivery import Delivery

SEGMENT = "auditline-000000000001-0badcafe.jsonl"
LINES = b"one\ntwo\n"
WRITTEN = Position(SEGMENT, len(LINES))
SIZES = (100, 3000, 3800, 9000, 10, 3000, 4000, 4100, 10)


@pytest.fixture
def pipe():
    read_fd, write_fd = os.pipe()
    ends = [os.fdopen(read_fd, "rb", buffering=0), os.fdopen(write_fd, "wb", buffering=0)]
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def delivery(pipe, clock):
    made = Delivery(open_stream(pipe[1].fileno()), 4000, clock)
    made.take(Chunk(SEGMENT, 0, LINES))
    made.pump()
    return made


def test_what_nobody_has_read_is_not_safe_however_long_it_lies_there(delivery, clock):
    delivery.look(1.0)
    clock.now += 60

    is_safe = delivery.look(1.0)

    assert (is_safe, delivery.safe_to) == (False, None)


def test_what_was_read_is_safe_once_it_has_settled(delivery, pipe, clock):
    pipe[0].read(100)
    at_once = delivery.look(1.0)
    clock.now += 1.0

    later = delivery.look(1.0)

    assert (at_once, later) == (False, True)
    assert delivery.safe_to == WRITTEN


def test_what_was_read_by_a_reader_that_has_gone_before_it_settled_is_not_safe(delivery, pipe, clock):
    pipe[0].read(100)
    delivery.look(1.0)
    pipe[0].close()
    clock.now += 60

    with pytest.raises(BrokenPipeError):
        delivery.look(1.0)

    assert delivery.safe_to is None


def test_what_has_settled_is_safe_though_more_was_written_since(delivery, pipe, clock):
    pipe[0].read(100)
    delivery.look(1.0)
    clock.now += 1.0
    delivery.take(Chunk(SEGMENT, len(LINES), b"three\n"))
    delivery.pump()

    is_safe = delivery.look(1.0)

    assert (is_safe, delivery.safe_to) == (False, WRITTEN)


def test_what_is_in_a_file_is_safe_at_once(tmp_path, clock):
    with (tmp_path / "copy").open("wb") as file:
        delivery = Delivery(open_stream(file.fileno()), 4000, clock)
        delivery.take(Chunk(SEGMENT, 0, LINES))
        delivery.pump()

        is_safe = delivery.look(1.0)

    assert (is_safe, delivery.safe_to) == (True, WRITTEN)


def test_a_line_that_is_too_long_is_shortened_wherever_it_stands_among_others(pipe, clock):
    lines = [b'{"event":{"id":"h-%d"},"pad":"%b"}\n' % (number, b"x" * size) for number, size in enumerate(SIZES)]
    delivery = Delivery(open_stream(pipe[1].fileno()), 4000, clock)
    delivery.take(Chunk(SEGMENT, 0, b"".join(lines)))

    is_written = delivery.pump()

    got = pipe[0].read(1 << 20).splitlines(keepends=True)
    assert is_written
    assert len(got) == len(lines)
    assert max(map(len, got)) <= 4000
    assert [line for line, size in zip(got, SIZES, strict=True) if size < 3900] == [
        line for line, size in zip(lines, SIZES, strict=True) if size < 3900
    ]
    assert delivery.shortened_lines == 3
