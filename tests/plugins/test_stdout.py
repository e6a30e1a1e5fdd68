import fcntl
import os
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditline.plugins.outputs.api import OutputContext
from auditline.plugins.outputs.stdout import BLOCK_BYTES, PARTIAL_LINE, StdoutOutput
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.settings import StdoutSettings

F_SETPIPE_SZ = 1031
PIPE_BYTES = 65536


def _read(descriptor: int, size: int) -> bytes:
    try:
        return os.read(descriptor, size)
    except BlockingIOError:
        return b""


def _balance_holds(output: StdoutOutput) -> bool:
    counts = output.counts()
    return counts["events"] == sum(counts[word] for word in ("written", "filtered", "missed", "rejected", "pending"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    st.lists(st.integers(80, 12_000), min_size=1, max_size=60),
    st.lists(st.integers(0, 20_000), min_size=1),
    st.sampled_from([4096, 65536]),
)
def test_the_reader_gets_every_byte_however_slowly_it_reads(make_line, sizes, reads, pipe_bytes):
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    fcntl.fcntl(write_fd, F_SETPIPE_SZ, pipe_bytes)
    context = OutputContext(stdout_fd=write_fd, state_directory=None, counters=CounterPage.unshared(()))  # type: ignore[arg-type]
    output = StdoutOutput(StdoutSettings(name="stdout"), context)
    lines = [make_line(i, size) for i, size in enumerate(sizes, 1)]
    received = b""
    output.write(lines)
    output.pump()

    for size in reads:
        received += _read(read_fd, size)
        output.pump()
    while output.done_sequence < len(lines):
        received += _read(read_fd, 1 << 20)
        output.pump()

    assert received == b"".join(line.data for line in lines)
    assert output.counts()["written"] == len(lines)
    assert _balance_holds(output)
    output.close(0)
    os.close(read_fd)
    os.close(write_fd)


def test_lines_go_out_packed_and_whole_in_at_most_4096_bytes(open_stdout, make_lines):
    # A socket that keeps the borders of messages would not be a pipe: a pipe in packet mode is.
    read_fd, write_fd = os.pipe2(os.O_DIRECT)
    os.set_blocking(read_fd, False)
    output = open_stdout(write_fd)

    output.write(make_lines(1, 12, 1000))
    output.pump()

    assert [len(os.read(read_fd, 1 << 20)) for _ in range(3)] == [4000, 4000, 4000]
    os.close(read_fd)


def test_done_is_what_the_reader_has_taken(pipe, open_stdout, make_lines):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd)

    output.write(make_lines(1, 8, 1000))
    output.pump()

    assert output.counts()["written"] == 8
    assert output.done_sequence == 0
    os.read(read_fd, 4000)
    output.pump()
    assert output.done_sequence == 4
    os.read(read_fd, 3999)
    output.pump()
    assert output.done_sequence == 4
    os.read(read_fd, 1)
    output.pump()
    assert output.done_sequence == 8


def test_what_others_put_into_the_pipe_never_makes_a_line_done_too_early(pipe, open_stdout, make_lines):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd)
    os.write(write_fd, b"a diagnostic of somebody else\n")

    output.write(make_lines(1, 1))
    output.pump()
    os.read(read_fd, 30)
    output.pump()

    assert output.done_sequence == 0
    os.read(read_fd, 4096)
    output.pump()
    assert output.done_sequence == 1


def test_written_is_done_for_a_file(tmp_path, open_stdout, make_lines):
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    lines = make_lines(1, 5000, 1000)
    output = open_stdout(descriptor)

    output.write(lines)
    output.pump()

    assert output.done_sequence == 5000
    assert (tmp_path / "file").read_bytes() == b"".join(line.data for line in lines)
    assert output.write_fd is None


def test_a_socket_is_written_in_pieces_that_make_up_the_lines(open_stdout, make_lines):
    ours, theirs = socket.socketpair()
    output = open_stdout(ours.fileno())
    lines = make_lines(1, 2000, 1000)
    received = b""

    output.write(lines)
    output.pump()
    while output.done_sequence < 2000:
        received += theirs.recv(1 << 20)
        output.pump()

    assert received == b"".join(line.data for line in lines)
    output.close(0)
    ours.close()
    theirs.close()


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


def test_a_detached_reader_that_reads_again_gets_whole_lines_again(pipe, clock, open_stdout, make_lines, read_all):
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
    assert _balance_holds(output)


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


def test_a_reader_that_went_away_is_given_up_where_others_go_on(pipe, clock, open_stdout, make_lines):
    read_fd, write_fd = pipe
    output = open_stdout(write_fd)
    output.others_attached = True
    output.write(make_lines(1, 100, 1000))
    output.pump()

    os.close(read_fd)
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
    assert _balance_holds(output)


def test_a_reader_that_goes_away_is_noticed_without_anything_to_write(pipe, open_stdout):
    output = open_stdout(pipe[1])

    os.close(pipe[0])
    output.pump()

    assert output.is_gone


def test_a_full_disk_behind_a_redirection_is_tried_again_each_second(open_stdout, clock, make_lines, small_disk):
    path = small_disk / "out"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(128 * 1024))
    lines = make_lines(1, 200, 1000)
    output = open_stdout(descriptor)

    output.write(lines)
    output.pump()
    ballast.unlink()
    output.pump()
    assert output.counts()["pending"] > 0
    clock.now += 1
    output.pump()

    assert path.read_bytes() == b"".join(line.data for line in lines)
    assert output.done_sequence == 200
    os.close(descriptor)


def test_a_predecessors_torn_line_is_ended_first(pipe, counters, open_stdout, make_lines, read_all):
    counters.extend((PARTIAL_LINE,))
    counters.set(PARTIAL_LINE, 12345)
    output = open_stdout(pipe[1])
    [line] = make_lines(1, 1)

    output.write([line])
    output.pump()

    assert read_all(pipe[0]) == b"\n" + line.data
    assert counters.get(PARTIAL_LINE) == 0


def test_a_line_of_many_pieces_is_marked_until_it_is_whole(pipe, counters, open_stdout, make_lines, read_all):
    output = open_stdout(pipe[1])
    output.write(make_lines(1, 1, PIPE_BYTES + 1))

    output.pump()
    assert counters.get(PARTIAL_LINE) != 0
    read_all(pipe[0])
    output.pump()

    assert counters.get(PARTIAL_LINE) == 0


def test_two_outputs_on_one_stdout_do_not_write_into_each_others_lines(pipe, open_stdout, make_lines, read_all):
    first, second = open_stdout(pipe[1], name="one"), open_stdout(pipe[1], name="two")
    long = make_lines(1, 1, PIPE_BYTES + 5000)
    short = make_lines(2, 2)
    first.write(long)
    second.write(short)

    first.pump()
    received = read_all(pipe[0])
    second.pump()
    first.pump()
    second.pump()
    received += read_all(pipe[0])

    assert received == long[0].data + short[0].data


def test_closing_waits_for_the_reader_and_keeps_what_it_could_not_write(pipe, open_stdout, clock, make_lines):
    output = open_stdout(pipe[1])
    output.write(make_lines(1, 100, 1000))

    output.close(0)

    assert output.done_sequence == 0
    assert output.counts() == {
        "events": 64, "written": 64, "filtered": 0, "missed": 0, "rejected": 0, "pending": 0,
    }  # fmt: skip


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
