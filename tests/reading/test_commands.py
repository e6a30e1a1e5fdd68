"""The commands as a shipper runs them: real processes, real pipes. The numbers are those of the producer's contract."""

import fcntl
import os
import random
import signal
import subprocess
import sys
import termios
import time

import pytest

from auditline.plugins.outputs.positions import read_position


def unread_bytes(pipe):
    answer = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, answer)
    return int.from_bytes(answer, sys.byteorder)


def finish(process):
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors.decode()


def test_read_prints_what_is_new_and_only_once(series, start, numbers_in):
    series.write(1, 1, 2)
    first = finish(start("read"))
    series.write(1, 3)
    series.write(2, 4)

    second = finish(start("read"))
    third = finish(start("read"))

    assert (first[0], numbers_in(first[1])) == (0, [1, 2])
    assert (second[0], numbers_in(second[1])) == (0, [3, 4])
    assert third == (0, b"", "")


def test_read_ends_after_max_events_and_goes_on_there(series, start, numbers_in):
    series.write(1, *range(1, 11))

    runs = [finish(start("read", "--max-events", "4")) for _ in range(3)]

    assert [numbers_in(output) for _, output, _ in runs] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_read_ends_in_time_though_nobody_reads(series, start):
    series.write(1, *range(1, 2000), pad=500)
    began = time.monotonic()
    process = start("read", "--max-seconds", "0.5")

    process.wait(timeout=20)

    assert time.monotonic() - began < 10


def test_a_second_reader_of_a_cursor_ends_with_75_and_says_so(series, start):
    """Point 11."""
    series.write(1, *range(1, 2000), pad=500)
    first = start("stream")
    first.stdout.read(1)

    code, output, errors = finish(start("read"))

    assert (code, output) == (75, b"")
    assert "another reader uses it" in errors


def test_the_cursor_stays_where_the_pipe_s_reader_is(series, start, cursor):
    """Point 9: what lies in the pipe is not delivered."""
    series.write(1, *range(1, 50))
    process = start("read")

    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)

    assert not cursor.exists()
    assert process.communicate(timeout=10)[0]
    assert read_position(cursor)[0].offset == series.path(1).stat().st_size


def test_a_reader_that_goes_away_costs_nothing(series, start, cursor, numbers_in):
    """Point 7."""
    series.write(1, *range(1, 3000), pad=500)
    process = start("read")
    process.stdout.read(10)
    process.stdout.close()
    process.wait(timeout=10)

    code, output, _ = finish(start("read"))

    assert process.returncode == 0
    assert code == 0
    assert set(numbers_in(output)) == set(range(1, 3000))


def test_a_stream_prints_what_comes(series, start, numbers_in):
    series.write(1, 1)
    process = start("stream")
    first = process.stdout.readline()
    series.write(1, 2)
    second = process.stdout.readline()
    series.write(2, 3)
    third = process.stdout.readline()

    process.terminate()

    assert numbers_in(first + second + third) == [1, 2, 3]
    assert finish(process)[0] == 0


def test_sigterm_ends_a_stream_in_a_fifth_of_a_second_also_while_the_pipe_is_full(series, start, wait_until):
    """Point 6."""
    series.write(1, *range(1, 3000), pad=500)
    process = start("stream")
    process.stdout.read(1)
    wait_until(lambda: unread_bytes(process.stdout) > 40_000)
    began = time.monotonic()

    process.terminate()
    process.wait(timeout=10)

    # A fifth of a second, and what a busy machine needs beside it.
    assert time.monotonic() - began < 1
    assert process.returncode == 0


def test_a_stream_ends_when_its_reader_does_though_nothing_is_written(series, start):
    """Point 8."""
    series.write(1, 1)
    process = start("stream")
    process.stdout.readline()

    process.stdout.close()

    assert process.wait(timeout=10) == 0


def test_end_of_stdin_stops_a_stream_that_was_asked_to(series, start, numbers_in):
    """Point 7, second half."""
    series.write(1, 1)

    code, output, _ = finish(start("stream", "--stop-on-stdin-eof", stdin=subprocess.DEVNULL))

    assert code == 0
    assert numbers_in(output) == [1]


def test_end_of_stdin_stops_no_other_stream(series, start, numbers_in):
    series.write(1, 1)
    process = start("stream", stdin=subprocess.DEVNULL)
    first = process.stdout.readline()
    series.write(1, 2)

    assert numbers_in(first + process.stdout.readline()) == [1, 2]
    assert process.poll() is None


def test_heartbeats_come_with_ids_of_their_own(series, start):
    """Point 12."""
    series.write(1)
    process = start("stream", "--heartbeat-seconds", "0.2")

    beats = [process.stdout.readline() for _ in range(3)]

    assert len({beat.split(b'"id":"')[1].split(b'"')[0] for beat in beats}) == 3
    assert all(b'"kind":"metric"' in beat for beat in beats)


def test_long_lines_are_shortened_and_counted(series, start):
    """Point 4."""
    series.write(1, 1)
    series.write(1, 2, pad=50_000)

    _, output, errors = finish(start("read", "--max-line", "4000"))

    assert [len(line) <= 4000 for line in output.splitlines(keepends=True)] == [True, True]
    assert "1 events were longer" in errors


def test_kills_at_any_moment_cost_no_event(series, start, numbers_in, tmp_path):
    """Point 9."""
    series.write(1, *range(1, 4001), pad=100)
    series.write(2, *range(4001, 8001), pad=100)
    chance = random.Random(5)
    seen = set()
    for _ in range(20):
        process = start("read", "--max-events", "1500")
        time.sleep(chance.uniform(0.05, 0.45))
        process.kill()
        output = process.communicate()[0]
        whole = output[: output.rfind(b"\n") + 1]
        seen.update(numbers_in(whole))

    code, output, _ = finish(start("read"))

    assert code == 0
    assert seen | set(numbers_in(output)) == set(range(1, 8001))


def test_a_missing_directory_is_told_and_is_no_failure(series, start):
    series.directory.rmdir()

    code, output, errors = finish(start("read"))

    assert (code, output) == (0, b"")
    assert "is not there" in errors


def test_limits_that_make_no_sense_are_refused(start):
    code, _, errors = finish(start("read", "--max-line", "10"))

    assert code == 2
    assert "--max-line must be at least 1000, not 10" in errors


def test_sigterm_while_events_are_printed_costs_none_of_them(series, start, numbers_in):
    series.write(1, *range(1, 20_001), pad=100)
    process = start("read")
    first = process.stdout.read(100_000)
    os.kill(process.pid, signal.SIGTERM)
    first += process.stdout.read()
    process.wait(timeout=10)

    code, rest, _ = finish(start("read"))

    assert (process.returncode, code) == (0, 0)
    assert set(numbers_in(first)) | set(numbers_in(rest)) == set(range(1, 20_001))
