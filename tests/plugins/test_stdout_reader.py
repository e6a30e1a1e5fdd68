"""A reader of stdout that stalls, comes back, or goes away."""

import os

import pytest

from auditline.plugins.outputs.stdout import BLOCK_BYTES, StdoutOutput


@pytest.fixture
def assert_balance():
    def check(output: StdoutOutput) -> None:
        counts = output.counts()
        outcomes = ("written", "filtered", "missed", "rejected", "pending")
        assert counts["events"] == sum(counts[word] for word in outcomes)

    return check


def test_a_reader_that_stalls_for_longer_than_allowed_is_detached_and_its_events_counted(
    pipe, clock, open_stdout, make_lines
):
    output = open_stdout(pipe[1], stall_seconds=30)
    output.others_attached = True
    output.write(make_lines(1, 100, 1000))
    output.pump()
    clock.now += 30
    output.pump()
    assert output.is_attached

    clock.now += 1
    output.pump()
    output.write(make_lines(101, 110, 1000))
    output.pump()

    assert not output.is_attached
    assert not output.is_blocked
    assert output.done_sequence == 110
    assert output.counts() == {
        "events": 110, "written": 64, "filtered": 0, "missed": 46, "rejected": 0, "pending": 0,
    }  # fmt: skip


def test_a_reader_that_stalls_with_16_mib_unsent_is_detached_at_once(pipe, open_stdout, make_lines):
    output = open_stdout(pipe[1])
    output.others_attached = True

    output.write(make_lines(1, 17, 1024**2))
    output.pump()

    assert not output.is_attached
    assert output.counts()["missed"] == 17


def test_a_reader_that_reads_slowly_is_not_taken_for_one_that_stalls(pipe, clock, open_stdout, make_lines):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd, stall_seconds=30)
    output.others_attached = True
    output.write(make_lines(1, 200, 1000))

    for _ in range(20):
        output.pump()
        clock.now += 20
        os.read(read_fd, 4096)

    output.pump()
    assert output.is_attached


def test_a_detached_reader_that_reads_again_gets_whole_lines_again(
    pipe, clock, open_stdout, make_lines, read_all, assert_balance
):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd)
    output.others_attached = True
    output.write(make_lines(1, 100, 10_000))
    output.pump()
    clock.now += 31
    output.pump()
    assert output.write_fd == write_fd
    output.write(make_lines(101, 200, 10_000))

    received = read_all(read_fd)
    output.pump()
    output.write(make_lines(201, 202, 10_000))
    output.pump()
    received += read_all(read_fd)
    output.pump()

    lines = received.splitlines(keepends=True)
    expected = make_lines(1, len(lines) - 2, 10_000) + make_lines(201, 202, 10_000)
    assert lines == [line.data for line in expected]
    assert output.is_attached
    assert output.done_sequence == 202
    assert output.counts()["missed"] == 200 - (len(lines) - 2) + 1  # the line that was begun counts as missed
    assert_balance(output)


def test_the_last_attached_output_blocks_and_misses_nothing(pipe, clock, open_stdout, make_lines, read_all):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd)
    lines = make_lines(1, 2000, 1000)

    output.write(lines)
    output.pump()
    clock.now += 1000
    output.pump()

    assert output.is_attached
    assert output.pending_bytes > BLOCK_BYTES
    assert output.is_blocked
    assert output.write_fd == write_fd
    received = b""
    while output.pending_bytes or output.done_sequence < 2000:
        received += read_all(read_fd)
        output.pump()
    assert received == b"".join(line.data for line in lines)
    assert not output.is_blocked
    assert output.counts()["missed"] == 0


def test_a_detached_output_is_attached_again_when_it_is_the_last(pipe, clock, open_stdout, make_lines):
    output = open_stdout(pipe[1])
    output.others_attached = True
    output.write(make_lines(1, 100, 1000))
    output.pump()
    clock.now += 31
    output.pump()

    output.others_attached = False
    output.pump()
    output.write(make_lines(101, 102, 1000))

    assert output.is_attached
    assert output.counts()["pending"] == 2


def test_a_reader_that_went_away_leaves_the_rest_undone_where_stdout_is_the_only_output(pipe, open_stdout, make_lines):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd)
    output.write(make_lines(1, 8, 1000))
    output.pump()
    os.read(read_fd, 4000)
    output.pump()

    os.close(read_fd)
    output.pump()
    output.write(make_lines(9, 9, 1000))
    output.pump()

    assert output.is_gone
    assert output.is_blocked
    assert output.write_fd is None
    assert output.done_sequence == 4
    assert output.counts()["pending"] == 1


def test_a_reader_that_went_away_is_given_up_where_others_go_on(pipe, clock, open_stdout, make_lines, assert_balance):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd)
    output.others_attached = True
    output.write(make_lines(1, 100, 1000))
    output.pump()

    os.close(read_fd)
    output.pump()
    output.pump()
    clock.now += 1000
    output.write(make_lines(101, 102, 1000))
    output.pump()

    assert output.is_gone
    assert not output.is_attached
    assert not output.is_blocked
    assert output.write_fd is None
    assert output.done_sequence == 102
    assert output.counts()["missed"] == 38
    assert_balance(output)


def test_two_outputs_whose_common_reader_went_away_both_keep_the_rest(pipe, open_stdout, make_lines):
    first, second = open_stdout(pipe[1], name="one"), open_stdout(pipe[1], name="two")
    for output in (first, second):
        output.write(make_lines(1, 100, 1000))
        output.pump()

    os.close(pipe[0])
    for output, other in [(first, second), (second, first)] * 2:
        output.others_attached = other.is_attached
        output.pump()

    assert first.is_gone
    assert second.is_gone
    assert first.done_sequence == second.done_sequence == 0


def test_a_reader_that_goes_away_is_noticed_without_anything_to_write(pipe, open_stdout):
    output = open_stdout(pipe[1])

    os.close(pipe[0])
    output.pump()

    assert output.is_gone


@pytest.mark.parametrize("descriptor", ["/dev/full"])
def test_a_device_that_is_always_full_is_detached_like_a_stalled_reader(descriptor, open_stdout, clock, make_lines):
    full = os.open(descriptor, os.O_WRONLY)
    output = open_stdout(full)
    output.others_attached = True
    output.write(make_lines(1, 3))
    output.pump()
    assert output.write_fd is None

    clock.now += 31
    output.pump()

    assert not output.is_attached
    assert output.counts()["missed"] == 3
    os.close(full)
