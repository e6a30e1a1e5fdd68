import fcntl
import os
import socket
import tty

import pytest

from auditline.plugins.outputs.streams import (
    FileStream,
    PipeStream,
    SocketStream,
    TerminalStream,
    is_reader_gone,
    open_stream,
)
from auditline.workers.common.errors import StorageError

F_SETPIPE_SZ = 1031


def _fill(stream) -> int:
    total = 0
    while written := stream.write(b"x" * min(stream.piece_bytes, 4096)):
        total += written
    return total


@pytest.mark.parametrize("use_nowait", [True, False])
@pytest.mark.parametrize("pipe_bytes", [4096, 8192, 65536])
def test_a_pipe_of_any_size_is_filled_without_waiting(pipe, use_nowait, pipe_bytes):
    read_fd, write_fd = pipe
    fcntl.fcntl(write_fd, F_SETPIPE_SZ, pipe_bytes)
    stream = PipeStream(write_fd, use_nowait=use_nowait)

    filled = _fill(stream)

    assert filled == pipe_bytes
    assert stream.unread_bytes() == pipe_bytes
    assert not stream.has_room()
    os.read(read_fd, 4096)
    assert stream.has_room()
    assert stream.write(b"x" * 4096) == 4096


@pytest.mark.parametrize("use_nowait", [True, False])
def test_a_pipe_that_has_room_for_less_than_a_page_takes_nothing(pipe, use_nowait):
    read_fd, write_fd = pipe
    stream = PipeStream(write_fd, use_nowait=use_nowait)
    _fill(stream)

    os.read(read_fd, 100)

    assert stream.write(b"x" * 4096) == 0


@pytest.mark.parametrize("use_nowait", [True, False])
def test_a_pipe_without_a_reader_is_gone(pipe, use_nowait):
    read_fd, write_fd = pipe
    stream = PipeStream(write_fd, use_nowait=use_nowait)
    stream.write(b"x")

    os.close(read_fd)

    assert stream.is_gone()
    with pytest.raises(BrokenPipeError) as caught:
        stream.write(b"x")
    assert is_reader_gone(caught.value)


def test_a_pipe_that_somebody_made_non_blocking_only_has_no_room(pipe):
    _, write_fd = pipe
    os.set_blocking(write_fd, False)
    stream = PipeStream(write_fd, use_nowait=False)
    _fill(stream)

    assert stream.write(b"x" * 4096) == 0


@pytest.mark.parametrize("kind", ["pipe", "socket", "file", "terminal"])
def test_the_flags_of_the_shared_descriptor_are_left_alone(kind, tmp_path, pipe):
    ours, theirs = socket.socketpair()
    _, terminal_fd = os.openpty()
    file_fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    descriptor = {"pipe": pipe[1], "socket": ours.fileno(), "file": file_fd, "terminal": terminal_fd}[kind]
    before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    stream = open_stream(descriptor)

    stream.write(b"x")

    assert fcntl.fcntl(descriptor, fcntl.F_GETFL) == before
    stream.close()
    ours.close()
    theirs.close()


def test_a_socket_takes_a_piece_and_says_what_was_not_read():
    ours, theirs = socket.socketpair()
    stream = open_stream(ours.fileno())
    assert isinstance(stream, SocketStream)

    filled = _fill(stream)

    assert filled > 0
    assert stream.unread_bytes() >= filled
    received = 0
    while received < filled:
        received += len(theirs.recv(1 << 20))
    assert stream.unread_bytes() == 0
    assert stream.has_room()
    theirs.close()
    assert stream.is_gone()
    with pytest.raises(BrokenPipeError):
        stream.write(b"x")
    stream.close()
    ours.close()


def test_a_terminal_that_nobody_reads_fills_up_without_waiting():
    master, slave = os.openpty()
    stream = open_stream(slave)
    assert isinstance(stream, TerminalStream)
    line = b"z" * 700 + b"\n"
    written = b""

    while taken := stream.write((line * 2)[len(written) % len(line) :][:256]):
        written += line[len(written) % len(line) :][:taken]

    assert len(written) > 2000
    assert not stream.has_room()
    os.close(master)
    assert stream.is_gone()
    os.close(slave)


def test_a_terminal_gets_every_byte():
    master, slave = os.openpty()
    tty.setraw(slave)
    stream = open_stream(slave)
    data = (b"a" * 300 + b"\n") * 50
    rest, received = data, b""

    while len(received) < len(data):
        rest = rest[stream.write(rest[:256]) :] if rest else rest
        received += os.read(master, 4096) if not stream.has_room() or not rest else b""

    assert received == data
    os.close(master)
    os.close(slave)


def test_a_file_and_the_null_device_always_have_room(tmp_path):
    for path in (tmp_path / "file", "/dev/null"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        stream = open_stream(descriptor)

        assert isinstance(stream, FileStream)
        assert stream.write(b"x" * 100_000) == 100_000
        assert stream.unread_bytes() == 0
        assert stream.has_room()
        assert not stream.is_gone()
        os.close(descriptor)


def test_a_closed_stdout_is_an_error_that_says_so(pipe):
    os.close(pipe[1])

    with pytest.raises(StorageError, match=f"stdout: descriptor {pipe[1]} is not open"):
        open_stream(pipe[1])


@pytest.mark.parametrize("pipe_bytes", [4096, 65536])
def test_an_empty_pipe_takes_all_that_fits_in_one_piece_and_after_that_a_page(pipe, read_all, pipe_bytes):
    read_fd, write_fd = pipe
    fcntl.fcntl(write_fd, F_SETPIPE_SZ, pipe_bytes)
    stream = PipeStream(write_fd)

    written = stream.write(b"x" * stream.fitting_bytes())

    assert written == pipe_bytes
    assert stream.fitting_bytes() == 4096
    assert len(read_all(read_fd)) == pipe_bytes
