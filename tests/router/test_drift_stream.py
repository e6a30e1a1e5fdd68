"""Entries of the control process become lines that say who did it, if the kernel's records say so."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.common.drift_entry import CONTROL_SOURCE, Drift, Trace, encode_drift
from auditline.workers.router.config_changes import ConfigChanges
from auditline.workers.router.drift_stream import DriftStream
from auditline.workers.router.event import Event
from auditline.workers.router.names import NoNames
from auditline.workers.router.stream import Lines

SECOND = 1_000_000_000
EPOCH = "00112233445566ff"
HOST = ("0123456789abcdef", "web1")
REMOVED = 'auid=1000 ses=3 subj=unconfined op=remove_rule key="ours" list=4 res=1'
CALLER = (
    "arch=c000003e syscall=44 success=yes exit=1084 a0=4 ppid=10 pid=77 auid=1000 uid=0 ses=3"
    ' comm="auditctl" exe="/usr/sbin/auditctl" key=(null)'
)
DRIFT = Drift(
    what="rules",
    wanted=("-w /etc/passwd -p wa -k ours",),
    found=(),
    since_ns=1_700_000_000 * SECOND,
    time_ns=1_700_000_004 * SECOND,
    repaired=True,
    traces=(Trace(operation="remove_rule", rule_list=4, key="ours"),),
)


def config_change(body: str, *, second: int = 1_700_000_002, caller: str | None = CALLER) -> Event:
    event = Event(f"audit({second}.500:7", None, str(second), "500", 7)
    event.types = [1305] if caller is None else [1305, 1300]
    event.bodies = [body] if caller is None else [body, caller]
    return event


@pytest.fixture
def changes() -> ConfigChanges:
    return ConfigChanges(NoNames())


def document_of(changes: ConfigChanges, payload: bytes, kind: int = BatchKind.DRIFT) -> dict[str, Any]:
    lines = Lines()
    hello = Hello(b"peer", 1, CONTROL_SOURCE, EPOCH, 0, 1, b"")
    stream = DriftStream(hello, lines, changes, HOST)
    stream.take(Batch(1, kind, b"", payload))
    (line,) = lines.take()["audit"]
    document: dict[str, Any] = json.loads(line.data)
    return document


def actor_of(changes: ConfigChanges, drift: Drift = DRIFT) -> Any:
    return document_of(changes, encode_drift(drift))["audit"]["drift"]["actor"]


def test_a_drift_is_a_line_with_what_was_wanted_and_what_is_found(changes: ConfigChanges) -> None:
    document = document_of(changes, encode_drift(DRIFT))

    assert document == {
        "@timestamp": "2023-11-14T22:13:24.000Z",
        "event": {"id": f"0123456789abcdef-drift-{EPOCH}-1"},
        "host": {"name": "web1"},
        "audit": {
            "drift": {
                "what": "rules",
                "wanted": ["-w /etc/passwd -p wa -k ours"],
                "found": [],
                "actor": None,
                "repaired": True,
            }
        },
        "auditline": {"complete": True, "detail": {"since": "2023-11-14T22:13:20.000Z"}},
    }


def test_who_did_it_is_named_by_the_record_of_the_change(changes: ConfigChanges) -> None:
    changes.note(config_change(REMOVED), "the-event")

    assert actor_of(changes) == {
        "auid": "1000",
        "uid": "0",
        "session": "3",
        "pid": 77,
        "comm": "auditctl",
        "exe": "/usr/sbin/auditctl",
        "event": {"id": "the-event"},
    }


def test_without_the_call_s_record_the_login_is_named(changes: ConfigChanges) -> None:
    changes.note(config_change(REMOVED.replace("auid=1000 ses=3", "auid=4294967295 ses=4294967295"), caller=None), "e")

    assert actor_of(changes) == {"auid": "unset", "event": {"id": "e"}}


@pytest.mark.parametrize(
    "body",
    [
        REMOVED.replace("remove_rule", "add_rule"),
        REMOVED.replace("list=4", "list=5"),
        REMOVED.replace('"ours"', '"theirs"'),
        REMOVED.replace('"ours"', "(null)"),
        "op=set audit_enabled=0 old=1 auid=1000 ses=3 res=1",
    ],
)
def test_another_change_is_not_taken_for_it(changes: ConfigChanges, body: str) -> None:
    changes.note(config_change(body), "the-event")

    assert actor_of(changes) is None


@pytest.mark.parametrize("second", [1_699_999_998, 1_700_000_006])
def test_a_change_at_another_time_is_not_taken_for_it(changes: ConfigChanges, second: int) -> None:
    changes.note(config_change(REMOVED, second=second), "the-event")

    assert actor_of(changes) is None


def test_the_latest_of_several_changes_is_named_in_whatever_order_they_came(changes: ConfigChanges) -> None:
    changes.note(config_change(REMOVED, second=1_700_000_003), "later")
    changes.note(config_change(REMOVED, second=1_700_000_001), "sooner")

    assert actor_of(changes)["event"] == {"id": "later"}


def test_a_field_that_was_set_to_something_else_was_not_set_by_this_change(changes: ConfigChanges) -> None:
    changes.note(config_change("op=set audit_backlog_limit=8192 old=64 auid=1000 ses=3 res=1"), "ours")
    traces = (Trace(operation="set", field="audit_backlog_limit"),)

    assert actor_of(changes, replace(DRIFT, what="backlog_limit", wanted=8192, found=9999, traces=traces)) is None


def test_keys_are_compared_as_bytes(changes: ConfigChanges) -> None:
    changes.note(config_change(REMOVED.replace('"ours"', "6F6E650174776FE9")), "the-event")

    drift = replace(DRIFT, traces=(replace(DRIFT.traces[0], key=os.fsdecode(b"one\x01two\xe9")),))

    assert actor_of(changes, drift)["event"] == {"id": "the-event"}


def test_a_field_of_the_status_is_found_in_old_and_new_records(changes: ConfigChanges) -> None:
    changes.note(config_change("audit_enabled=0 old=1 auid=1000 ses=3 res=1"), "the-event")

    drift = replace(DRIFT, what="enabled", wanted=1, found=0, traces=(Trace(operation="set", field="audit_enabled"),))

    assert actor_of(changes, drift)["pid"] == 77


def test_events_of_other_types_are_not_kept(changes: ConfigChanges) -> None:
    event = config_change(REMOVED)
    event.types, event.bodies = [1300], [CALLER]

    changes.note(event, "the-event")

    assert actor_of(changes) is None


@pytest.mark.parametrize(
    ("payload", "kind"), [(b"\xff", BatchKind.DRIFT), (b"{}", BatchKind.DRIFT), (encode_drift(DRIFT), BatchKind.FILE)]
)
def test_an_entry_that_cannot_be_read_is_kept_as_it_came(changes: ConfigChanges, payload: bytes, kind: int) -> None:
    document = document_of(changes, payload, kind)

    assert document["audit"]["kernel"]["record_type"] == "unparsed"
    assert document["event"]["id"].startswith("0123456789abcdef-u-")
