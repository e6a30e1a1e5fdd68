"""What schema `ecs` says of processes beyond an event's records: the same by the fast way and by the plain one."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.process_info import entity_id, read_start_ticks
from auditline.workers.router.event import Event
from auditline.workers.router.kin import Kinship
from auditline.workers.router.names import NoNames
from auditline.workers.router.process_table import ProcessTable
from auditline.workers.router.render.ecs import EcsRenderer
from auditline.workers.router.render.ecs_fragments import EcsFragmentRenderer

Make = Callable[..., Event]
Render = Callable[[Event], dict[str, Any]]
HOST = "0123456789abcdef"


@pytest.fixture
def render(proc: Path) -> Render:
    """Render an event both ways, and return the document."""
    kinship = Kinship(ProcessTable("boot", proc))
    fast, plain = EcsFragmentRenderer(NoNames(), kinship=kinship), EcsRenderer(NoNames(), kinship=kinship)

    def render(event: Event) -> dict[str, Any]:
        lines = [renderer.render(event, HOST, None) for renderer in (fast, plain)]
        assert lines[0] == lines[1]
        document: dict[str, Any] = json.loads(lines[0][1])
        return document

    return render


def name_of(pid: int, proc: Path) -> str:
    return entity_id("boot", pid, read_start_ticks(pid, proc))


def test_processes_that_run_have_their_names_for_good(
    render: Render, make_write: Make, put_process: Callable[..., None], proc: Path
) -> None:
    put_process(4711, age_seconds=10)
    put_process(4000, age_seconds=20)

    document = render(make_write(pid=4711, ppid=4000))

    assert document["process"]["entity_id"] == name_of(4711, proc)
    assert document["process"]["parent"] == {"pid": 4000, "entity_id": name_of(4000, proc)}
    assert document["auditline"]["inferred"] == ["process.entity_id", "process.parent.entity_id"]


def test_the_parent_is_told_by_what_it_executed_last(render: Render, make_call: Make, make_write: Make) -> None:
    render(make_call("execve", 'EXECVE argc=1 a0="sh"', pid=4000, exe="/bin/sh", returned=0, time_ns=time.time_ns()))
    render(make_call("execve", 'EXECVE argc=1 a0="sh"', pid=4000, exe="/bin/bash", returned=0, time_ns=time.time_ns()))

    document = render(make_write(pid=4711, ppid=4000, time_ns=time.time_ns() + 1_000_000))

    assert document["process"]["parent"] == {"pid": 4000, "executable": "/bin/bash"}
    assert document["auditline"]["inferred"] == ["process.parent.executable"]


def test_what_the_parent_executed_later_is_not_told(render: Render, make_call: Make, make_write: Make) -> None:
    render(make_call("execve", 'EXECVE argc=1 a0="sh"', pid=4000, exe="/bin/sh", returned=0))

    document = render(make_write(pid=4711, ppid=4000, time_ns=time.time_ns() - 1_000_000_000))

    assert document["process"]["parent"] == {"pid": 4000}
    assert "inferred" not in document["auditline"]


def test_of_processes_that_are_gone_nothing_is_told(render: Render, make_write: Make) -> None:
    document = render(make_write(pid=4711, ppid=4000))

    assert "entity_id" not in document["process"]
    assert document["process"]["parent"] == {"pid": 4000}
    assert "inferred" not in document["auditline"]


def test_who_has_got_the_pid_since_is_not_told(
    render: Render, make_write: Make, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=10)

    document = render(make_write(pid=4711, time_ns=time.time_ns() - 20_000_000_000))

    assert "entity_id" not in document["process"]


def test_an_older_event_is_not_told_what_a_newer_one_was(
    render: Render, make_write: Make, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=1)

    newer = render(make_write(pid=4711))
    older = render(make_write(pid=4711, time_ns=time.time_ns() - 5_000_000_000))

    assert "entity_id" in newer["process"]
    assert "entity_id" not in older["process"]


def test_events_of_other_hosts_are_about_other_processes(
    render: Render, make_write: Make, put_process: Callable[..., None]
) -> None:
    put_process(4711, age_seconds=10)
    event = make_write(pid=4711)
    event.node = "elsewhere"

    assert "entity_id" not in render(event)["process"]


def test_a_program_of_a_name_that_is_no_text_is_told_in_a_readable_form(
    render: Render, make_call: Make, make_write: Make
) -> None:
    event = make_call("execve", 'EXECVE argc=1 a0="x"', pid=4000, returned=0)
    event.bodies[0] = event.bodies[0].replace('exe="/usr/bin/touch"', "exe=2F61FF")
    render(event)

    document = render(make_write(pid=4711, ppid=4000, time_ns=time.time_ns() + 1_000_000))

    assert document["process"]["parent"]["executable"] == r"/a\xff"


def test_without_processes_nothing_is_told(make_write: Make, put_process: Callable[..., None]) -> None:
    put_process(4711, age_seconds=10)

    line = EcsFragmentRenderer(NoNames()).render(make_write(pid=4711), HOST, None)[1]

    assert "entity_id" not in line
