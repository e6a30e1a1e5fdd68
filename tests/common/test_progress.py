"""The progress bar: on a terminal only, and gone at the end."""

import fcntl
import io
import os
import struct
import sys
import termios

import pytest

from auditline.workers.common.progress import Progress, show_bytes, show_duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _stdout_in_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())


@pytest.fixture
def terminal():
    return Terminal()


def test_work_of_a_second_shows_nothing(terminal, clock):
    with Progress(100, terminal, clock=clock) as progress:
        clock.now += 0.9
        progress.advance(99)

    assert terminal.getvalue() == ""


def test_longer_work_shows_how_much_is_done_how_fast_and_what_is_left(terminal, clock):
    progress = Progress(400_000_000, terminal, clock=clock)
    clock.now += 2

    progress.advance(100_000_000)

    assert terminal.getvalue() == "\r 25 % [######                  ] 100 MB of 400 MB  50.0 MB/s  0:06 left"


def test_without_a_total_there_is_no_bar(terminal, clock):
    progress = Progress(None, terminal, clock=clock)
    clock.now += 2

    progress.advance(3_000_000)

    assert terminal.getvalue() == "\r3.0 MB  1.5 MB/s"


@pytest.mark.parametrize("done", [0, 500])
def test_nothing_done_and_more_done_than_there_was_are_shown_too(terminal, clock, done):
    progress = Progress(100, terminal, clock=clock)
    clock.now += 2

    progress.advance(done)

    assert "left" not in terminal.getvalue()


def test_it_is_written_a_few_times_a_second_at_most(terminal, clock):
    progress = Progress(100, terminal, clock=clock)
    clock.now += 2

    progress.advance(1)
    progress.advance(2)

    assert terminal.getvalue().count("\r") == 1


def test_a_shorter_line_leaves_nothing_of_a_longer_one(terminal, clock):
    progress = Progress(None, terminal, clock=clock)
    clock.now += 2
    progress.advance(123_000_000)
    clock.now += 1000

    progress.advance(123_000_000)

    *_, before, after = terminal.getvalue().split("\r")
    assert len(after) == len(before)


def test_at_the_end_the_line_is_blank(terminal, clock):
    with Progress(100, terminal, clock=clock) as progress:
        clock.now += 2
        progress.advance(50)

    *_, shown, blank, end = terminal.getvalue().split("\r")
    assert (blank, end) == (" " * len(shown), "")


def test_an_interrupt_blanks_the_line_too(terminal, clock):
    def work():
        with Progress(100, terminal, clock=clock) as progress:
            clock.now += 2
            progress.advance(50)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()

    *_, shown, blank, end = terminal.getvalue().split("\r")
    assert (blank, end) == (" " * len(shown), "")


def test_in_a_pipe_nothing_is_written(clock):
    pipe = io.StringIO()

    with Progress(100, pipe, clock=clock) as progress:
        clock.now += 2
        progress.advance(50)

    assert pipe.getvalue() == ""


def test_where_the_output_itself_goes_to_the_terminal_nothing_is_written(terminal, clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())

    with Progress(100, terminal, clock=clock) as progress:
        clock.now += 2
        progress.advance(50)

    assert terminal.getvalue() == ""


@pytest.fixture
def narrow_terminal():
    """A terminal of 40 columns, and its screen."""
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb", buffering=0) as screen:
        yield terminal, screen


def test_a_narrow_terminal_does_not_wrap_the_line(narrow_terminal, clock):
    terminal, screen = narrow_terminal
    progress = Progress(400_000_000, terminal, clock=clock)
    clock.now += 2

    progress.advance(100_000_000)

    assert len(screen.read(1000)) == len("\r") + 39


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456_789, "123 MB"), (5e9, "5.0 GB"), (7e15, "7000 TB")],
)
def test_amounts_read_as_people_write_them(amount, shown):
    assert show_bytes(amount) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.9, "0:00"), (65, "1:05"), (3661, "1:01:01")])
def test_durations_read_as_people_write_them(seconds, shown):
    assert show_duration(seconds) == shown
