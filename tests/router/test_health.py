"""Health events: exactly what the design says, when it is due, and no more often."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from auditline.workers.router.health import ENDED_SECONDS, LOSS_SECONDS, Health, ProcessFeed
from auditline.workers.router.stream import Lines

LOSSES = ("kernel_lost", "serial_gaps", "enobufs", "incomplete", "unparsed", "overflow", "rejected")
OUTPUT = {"events": 1, "written": 1, "filtered": 0, "missed": 0, "rejected": 0, "pending": 0}


@dataclass
class Measured:
    """What is measured, as the test likes it."""

    loss: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LOSSES, 0))
    detail: dict[str, Any] = field(default_factory=dict)
    calls: int = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        records = {"received": 1, "written": 1, "filtered": 0, "dropped": 0, "open": 0}
        return {
            "counters": {"audit_records_received_total": 1},
            "loss": dict(self.loss),
            "balance": {"records": records, "outputs": {"stdout": dict(OUTPUT)}},
            "detail": self.detail,
        }


@pytest.fixture
def pipe() -> Iterator[tuple[ProcessFeed, int]]:
    read_fd, write_fd = os.pipe()
    yield ProcessFeed(read_fd), write_fd
    os.close(read_fd)
    os.close(write_fd)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the clock of health."""
    now = [1000.0]
    monkeypatch.setattr("auditline.workers.router.health.time.monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def report(name: str, pid: int, state: str = "started", restarts: int = 0) -> bytes:
    return json.dumps({"name": name, "pid": pid, "state": state, "restarts": restarts}).encode() + b"\n"


def make_health(feed: ProcessFeed, measured: Measured, period_seconds: float = 60) -> tuple[Health, Lines]:
    lines = Lines()
    return Health(lines, ("0" * 16, "web1"), period_seconds, feed, measured, lambda: dict(measured.loss)), lines


def documents(lines: Lines) -> list[dict[str, Any]]:
    return [json.loads(line.data) for line in lines.take()["audit"]]


def test_a_health_event_has_exactly_the_keys_of_the_design(pipe):
    feed, write_fd = pipe
    os.write(write_fd, report("audit", os.getpid()))
    feed.read()
    health, lines = make_health(feed, Measured())

    health.tell("state")

    (line,) = lines.take()["audit"]
    document = json.loads(line.data)
    event = document["audit"]["health"]
    assert line.data.startswith(b'{"@timestamp":"20')
    assert list(document) == ["@timestamp", "event", "host", "audit", "auditline"]
    assert document["event"] == {"id": line.event_id}
    assert line.event_id.startswith("0" * 16 + "-health-")
    assert list(event) == ["reason", "processes", "counters", "loss", "balance"]
    assert list(event["processes"][0]) == ["name", "pid", "state", "restarts", "cpu_seconds", "rss_bytes"]
    assert tuple(event["loss"]) == LOSSES
    assert set(event["balance"]) == {"records", "outputs"}
    assert event["processes"][0]["rss_bytes"] > 1_000_000


def test_what_is_known_of_the_losses_stands_beside_the_event(pipe):
    gaps = [{"from": 7, "to": 9, "count": 3}]
    health, lines = make_health(pipe[0], Measured(detail={"gaps": gaps}))

    health.tell("loss")

    (document,) = documents(lines)
    assert document["auditline"] == {"complete": True, "detail": {"gaps": gaps}}


def test_every_event_has_an_id_of_its_own(pipe):
    health, lines = make_health(pipe[0], Measured())
    other, other_lines = make_health(pipe[0], Measured())

    for each in (health, health, other):
        each.tell("period")

    assert len({line.event_id for line in (*lines.take()["audit"], *other_lines.take()["audit"])}) == 3


def test_once_in_a_period_one_is_told(pipe, later: Callable[[float], None]):
    health, lines = make_health(pipe[0], Measured(), period_seconds=60)

    for _ in range(130):
        later(1)
        health.tick(state_changed=False)

    assert [document["audit"]["health"]["reason"] for document in documents(lines)] == ["period", "period"]


@pytest.mark.parametrize("kind", LOSSES)
def test_each_kind_of_loss_is_told_within_a_second_and_once(pipe, later: Callable[[float], None], kind: str):
    measured = Measured()
    health, lines = make_health(pipe[0], measured)
    later(LOSS_SECONDS)
    health.tick(state_changed=False)

    measured.loss[kind] += 2
    for _ in range(5):
        later(LOSS_SECONDS)
        health.tick(state_changed=False)

    told = [document["audit"]["health"] for document in documents(lines)]
    assert [(event["reason"], event["loss"][kind]) for event in told] == [("loss", 2)]


def test_while_nothing_is_lost_only_the_losses_are_counted(pipe, later: Callable[[float], None]):
    measured = Measured()
    health, _ = make_health(pipe[0], measured)

    for _ in range(5):
        later(LOSS_SECONDS)
        health.tick(state_changed=False)

    assert measured.calls == 0


def test_an_output_that_missed_the_last_event_brings_forth_no_other(pipe, later: Callable[[float], None]):
    measured = Measured()
    health, lines = make_health(pipe[0], measured)
    health.tell("state")

    measured.loss["rejected"] = 1
    for _ in range(3):
        later(LOSS_SECONDS)
        health.tick(state_changed=False)

    assert [document["audit"]["health"]["reason"] for document in documents(lines)] == ["state"]


def test_a_loss_that_goes_on_is_told_once_in_a_second(pipe, later: Callable[[float], None]):
    measured = Measured()
    health, lines = make_health(pipe[0], measured)

    for _ in range(100):
        later(LOSS_SECONDS / 10)
        measured.loss["overflow"] += 1
        health.tick(state_changed=False)

    assert 9 <= len(documents(lines)) <= 11


def test_what_a_predecessor_counted_is_told_once_more(pipe, later: Callable[[float], None]):
    measured = Measured()
    measured.loss["serial_gaps"] = 5
    health, lines = make_health(pipe[0], measured)

    for _ in range(5):
        later(LOSS_SECONDS)
        health.tick(state_changed=False)

    assert [document["audit"]["health"]["reason"] for document in documents(lines)] == ["loss"]


def test_a_count_that_fell_and_rises_again_is_told(pipe, later: Callable[[float], None]):
    measured = Measured()
    health, lines = make_health(pipe[0], measured)

    for value in (5, 0, 5):
        measured.loss["incomplete"] = value
        later(LOSS_SECONDS)
        health.tick(state_changed=False)

    assert [document["audit"]["health"]["loss"]["incomplete"] for document in documents(lines)] == [5, 5]


def test_a_change_of_state_is_told_at_once(pipe):
    health, lines = make_health(pipe[0], Measured())

    health.tick(state_changed=True)
    health.tick(state_changed=False)

    assert [document["audit"]["health"]["reason"] for document in documents(lines)] == ["state"]


def test_reports_that_come_in_pieces_are_whole(pipe):
    feed, write_fd = pipe
    line = report("audit", 7) + report("control", 8)

    for byte in line:
        os.write(write_fd, bytes([byte]))
        feed.read()

    assert {name: process["pid"] for name, process in feed.processes.items()} == {"audit": 7, "control": 8}


@pytest.mark.parametrize(
    "junk",
    [
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\xff",
        b"{}",
        b'{"name": "audit"}',
        b'{"name": "control", "pi{"name": "names"}',
        b"",
    ],
)
def test_a_report_that_is_torn_harms_no_other(pipe, junk: bytes):
    feed, write_fd = pipe
    os.write(write_fd, report("audit", 7) + junk + b"\n" + report("control", 8))

    feed.read()

    assert {process["name"]: process["pid"] for process in feed.describe()} == {"audit": 7, "control": 8}


def test_who_is_given_up_is_known(pipe):
    feed, write_fd = pipe
    os.write(write_fd, report("fim-etc", 7, "given_up") + report("fim-bin", 8) + report("fim-old", 9, "stopped"))

    feed.read()

    assert (feed.given_up, feed.gone) == ({"fim-etc"}, {"fim-etc", "fim-old"})


@pytest.mark.parametrize(
    ("reports", "has_changed"),
    [
        ([report("audit", 7)], False),
        ([report("audit", 7), report("audit", 7, "died")], True),
        ([report("audit", 7), report("audit", 9, restarts=1)], True),
        ([report("audit", 7), report("audit", 7, "given_up")], True),
        ([report("audit", 7), report("audit", 7)], False),
    ],
)
def test_deaths_and_restarts_are_changes(pipe, reports: list[bytes], has_changed: bool):
    feed, write_fd = pipe

    os.write(write_fd, b"".join(reports))

    assert feed.read() is has_changed


def test_a_supervisor_that_is_gone_is_no_error():
    read_fd, write_fd = os.pipe()
    feed = ProcessFeed(read_fd)
    os.write(write_fd, report("audit", 7))
    os.close(write_fd)

    assert feed.read() is False
    assert (feed.fd, list(feed.processes)) == (None, ["audit"])
    assert feed.read() is False
    os.close(read_fd)


def test_pids_of_the_dead_are_ours_for_some_seconds_more(pipe, later: Callable[[float], None]):
    feed, write_fd = pipe
    os.write(write_fd, report("audit", 7) + report("audit", 9, restarts=1))
    feed.read()
    both = set(feed.pids)

    later(ENDED_SECONDS + 1)
    feed.read()

    assert (both, feed.pids) == ({7, 9}, {9})


def test_a_process_that_has_ended_uses_nothing(pipe):
    feed, write_fd = pipe
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass

    os.write(write_fd, report("audit", ended.pid, "died"))
    feed.read()

    assert feed.describe()[0] | {"pid": 0} == {
        "name": "audit", "pid": 0, "state": "died", "restarts": 0, "cpu_seconds": 0.0, "rss_bytes": 0,
    }  # fmt: skip


def test_what_a_process_tells_of_itself_is_told_with_it():
    read_fd, write_fd = os.pipe()
    feed = ProcessFeed(read_fd, lambda name: {"backend": "inotify"} if name == "fim-etc" else {})
    os.write(write_fd, report("audit", 7) + report("fim-etc", 8))
    feed.read()

    told = [process.get("backend") for process in feed.describe()]

    os.close(read_fd)
    os.close(write_fd)
    assert told == [None, "inotify"]
