"""Diagnostics: one safe line each, and nobody ever waits for a reader that has stopped."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common import diagnostics
from auditline.workers.common.diagnostics import LineFormatter, RepeatedWarning, StderrHandler
from auditline.workers.common.text import make_safe


def record(message: str, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.WARNING, "file", 1, message, args, None)
    made.created, made.msecs, made.processName = 1700000000.25, 250.0, "router"
    return made


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes nothing more: (read end, write end)."""
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write_fd, b"x" * 4096)
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def test_a_line_tells_time_level_process_and_message() -> None:
    line = LineFormatter().format(record("%s went", "it"))

    assert line == "2023-11-14T22:13:20.250Z WARNING router: it went"


def test_foreign_text_is_no_format_string_and_reaches_no_terminal_raw() -> None:
    line = LineFormatter().format(record("name %s", "%s%n\x1b]0;owned\x07\n2026 ERROR\u202e\x9b"))

    assert line.endswith(r"router: name %s%n\x1b]0;owned\x07\n2026 ERROR\u202e\x9b")


@given(text=st.text())
def test_a_safe_text_is_one_printable_line(text: str) -> None:
    safe = make_safe(text)

    assert len(safe.splitlines()) <= 1
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in safe)
    safe.encode()


def test_a_very_long_message_is_cut_and_says_so() -> None:
    line = LineFormatter().format(record("%s", "a" * 100_000))

    assert len(line) < 5000
    assert line.endswith("characters)")


def test_a_traceback_follows_in_indented_lines() -> None:
    try:
        raise ValueError("one\ntwo")
    except ValueError as error:
        failed = record("failed")
        failed.exc_info = (ValueError, error, error.__traceback__)

    lines = LineFormatter().format(failed).split("\n")

    assert lines[0].endswith("router: failed")
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_stopped_reader_of_stderr_costs_lines_not_time(
    full_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "STDERR_PATIENCE_SECONDS", 0.05)
    handler = StderrHandler(full_pipe[1])

    start = time.monotonic()
    for _ in range(1000):
        handler.handle(record("nobody reads"))
    seconds = time.monotonic() - start
    os.read(full_pipe[0], 4096)
    handler.handle(record("again"))

    assert seconds < 2
    assert handler.dropped_lines == 1000
    first, second = os.read(full_pipe[0], 4096).decode().splitlines()
    assert first == "auditline: 1000 diagnostics were dropped, because nobody read stderr"
    assert second.endswith("router: again")


def test_a_closed_stderr_ends_nobody() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    handler = StderrHandler(write_fd)

    handler.handle(record("gone"))
    os.close(write_fd)
    handler.handle(record("closed"))

    assert handler.dropped_lines == 2


def test_repeated_failures_are_told_first_and_then_every_nth(caplog: pytest.LogCaptureFixture) -> None:
    failures = RepeatedWarning(logging.getLogger("test"), every=10)

    for number in range(25):
        failures.tell("cannot write %s", f"%{number}")
    ended = failures.end()
    failures.tell("cannot write %s", "again")

    assert [entry.getMessage() for entry in caplog.records] == [
        "cannot write %0",
        "cannot write %9 (10 times now)",
        "cannot write %19 (20 times now)",
        "cannot write again",
    ]
    assert ended == 25
