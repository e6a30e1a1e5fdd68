import fcntl
import os
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditline.plugins.outputs.api import OutputContext
from auditline.plugins.outputs.stdout import PARTIAL_LINE, StdoutOutput
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


@pytest.fixture
def tear_a_line(open_stdout, make_lines):
    """Write a line in part and be dead."""

    def tear(descriptor):
        output = open_stdout(descriptor)
        output.write(make_lines(1, 1, PIPE_BYTES + 1))
        output.pump()

    return tear


def test_a_predecessors_torn_line_is_ended_first(pipe, counters, tear_a_line, open_stdout, make_lines, read_all):
    tear_a_line(pipe[1])
    read_all(pipe[0])
    output = open_stdout(pipe[1])
    [line] = make_lines(1, 1)

    output.write([line])
    output.pump()

    assert read_all(pipe[0]) == b"\n" + line.data
    assert counters.get(PARTIAL_LINE) == 0


def test_a_line_that_a_killed_service_has_torn_on_another_stream_is_not_ended_here(
    pipe, other_pipe, counters, tear_a_line, open_stdout, make_lines, read_all
):
    tear_a_line(other_pipe[1])
    output = open_stdout(pipe[1])
    [line] = make_lines(1, 1)

    output.write([line])
    output.pump()

    assert read_all(pipe[0]) == line.data
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
