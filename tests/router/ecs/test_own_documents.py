"""Documents that only we make, in schema `ecs`: one object under the same name, and an envelope around it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.drift_entry import Drift
from auditline.workers.common.file_entry import Coverage
from auditline.workers.router.event import Event
from auditline.workers.router.health import Health, ProcessFeed
from auditline.workers.router.render.coverage_event import render_coverage
from auditline.workers.router.render.drift_event import render_drift
from auditline.workers.router.render.last_resort import render_raw
from auditline.workers.router.stream import Lines
from auditline.workers.router.unparsed import unparsed_line

HOST = ("0" * 16, "web1")
COVERAGE = Coverage(identity="12ab-7", path=b"/etc", reason="overflow", action="compared everything", start_ns=10**18)
DRIFT = Drift(what="enabled", wanted=1, found=0, since_ns=0, time_ns=10**18, repaired=False, traces=())
ENVELOPE = {"@timestamp", "event", "host", "agent", "ecs", "service"}


def both(audit: tuple[str, str], ecs: tuple[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two documents, which have one id."""
    assert audit[0] == ecs[0]
    return json.loads(audit[1]), json.loads(ecs[1])


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("coverage", [render_coverage(COVERAGE, *HOST, schema) for schema in ("audit", "ecs")]),
        ("drift", [render_drift(DRIFT, None, HOST, "run", 1, schema) for schema in ("audit", "ecs")]),
    ],
)
def test_what_is_said_is_the_same_in_both_schemas(kind: str, lines: list[tuple[str, str]]):
    audit, ecs = both(*lines)

    assert ecs["audit"] == audit["audit"]
    assert ecs["auditline"] == audit["auditline"]
    assert set(ecs) == ENVELOPE | {"audit", "auditline"}
    assert (ecs["event"]["module"], ecs["event"]["dataset"]) == ("auditline", f"auditline.{kind}")
    assert ecs["agent"] == {"type": "auditline", "name": "web1"}


def test_a_health_event_is_a_line_in_each_schema_that_is_asked_for(tmp_path: Path):
    read_fd, write_fd = os.pipe()
    lines = Lines(("audit", "ecs"))
    measured: dict[str, Any] = {"counters": {}, "loss": {}, "balance": {"outputs": {}}}
    health = Health(lines, HOST, 60, ProcessFeed(read_fd), lambda: measured, dict)

    health.tell("period")

    taken = lines.take()
    audit, ecs = (json.loads(taken[schema][0].data) for schema in ("audit", "ecs"))
    os.close(read_fd)
    os.close(write_fd)
    assert ecs["audit"] == audit["audit"]
    assert ecs["event"] == {
        "id": audit["event"]["id"], "kind": "metric", "module": "auditline", "dataset": "auditline.health",
        "category": ["host"], "type": ["info"], "action": "health",
    }  # fmt: skip


def test_a_record_that_cannot_be_read_has_its_text_where_auditbeat_has_it():
    raw, about = b"type=SYSCALL msg=nonsense \xff", (HOST, "replay", "1", "2023-11-14T22:13:20.000Z", "it is no record")

    audit, ecs = both(*(unparsed_line(raw, *about, schema) for schema in ("audit", "ecs")))

    assert ecs["event"]["original"] == audit["audit"]["kernel"]["messages"]
    assert ecs["error"]["message"] == audit["audit"]["kernel"]["warnings"]
    assert ecs["auditd"] == {"message_type": "unparsed"}
    assert ecs["auditline"] == audit["auditline"]


def test_an_event_that_our_own_code_fails_on_has_its_records_in_both_schemas():
    event = Event("audit(1.000:7", None, "1", "000", 7)
    event.types, event.bodies = [1300], ["arch=c000003e"]

    audit, ecs = both(*(render_raw(event, *HOST, ValueError("x"), schema)[:2] for schema in ("audit", "ecs")))

    assert ecs["event"]["original"] == audit["audit"]["kernel"]["messages"]
    assert ecs["auditd"] == {"message_type": "syscall", "sequence": 7}
