"""docs/replay.md: its lines hold records, its times are understood, its options are those of the command."""

import re
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from auditline.workers.common.points_in_time import parse_moment
from auditline.workers.router.decode import types
from auditline.workers.router.log_lines import frame
from auditline.workers.router.replaying.following import IDLE_SECONDS
from auditline.workers.router.replaying.syslog import SyslogLines
from auditline.workers.supervisor.replay_options import add_replay_options

NOW = datetime(2026, 11, 26, 14, 19, 8)  # noqa: DTZ001 (local time)
EVERY_OPTION = re.compile(r"--[a-z][a-z-]*")


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/replay.md")


def test_every_line_that_is_shown_holds_a_record(document: Any, code_of: Callable[[str], str]) -> None:
    lines = [code_of(row["line"]) for row in document.table("Lines")]
    syslog = SyslogLines()

    kinds, payloads = frame(lines, syslog.take)

    assert kinds == [types.SYSCALL] * len(lines)
    assert all(payload.endswith("audit(1700000000.001:7): …") for payload in payloads)


def test_every_time_that_is_shown_is_understood(document: Any, codes_of: Callable[[str], list[str]]) -> None:
    rows = [row for table in document.tables("Which events") for row in table if "time" in row]

    times = [text for row in rows for text in codes_of(row["for example"])]

    assert len(times) > len(rows)
    assert all(parse_moment(text, NOW) for text in times)


def test_every_option_is_told_and_no_other(document: Any) -> None:
    parser = ArgumentParser()
    add_replay_options(parser)
    known = set(EVERY_OPTION.findall(parser.format_help())) - {"--help"}

    told = set(EVERY_OPTION.findall(document.prose))

    assert told == known


def test_the_idle_time_is_the_code_s(document: Any) -> None:
    assert f"been written for {IDLE_SECONDS:.0f} s" in document.prose
