"""docs/rules.md shows an event of drift as it is rendered, and the limits that the code has."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from auditline.workers.common.drift_entry import Drift, Trace
from auditline.workers.control import drift, outbox, reports, worker
from auditline.workers.control.kernel_commands import LOADED_FILE
from auditline.workers.router.config_changes import ConfigChanges
from auditline.workers.router.event import Event
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.drift_event import render_drift

SECOND = 1_000_000_000


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/rules.md")


def test_the_event_of_drift_is_the_document_s(document: Any) -> None:
    (example,) = [example for example in document.examples if example.language == "json"]
    removal = Event("audit(1700000002.500:7", None, "1700000002", "500", 7)
    removal.types = [1305, 1300]
    removal.bodies = [
        'auid=1000 ses=3 op=remove_rule key="identity" list=4 res=1',
        'pid=77 auid=1000 uid=0 ses=3 comm="auditctl" exe="/usr/sbin/auditctl"',
    ]
    changes = ConfigChanges(NoNames())
    changes.note(removal, "0123456789abcdef-1700000002.500-7")
    found = Drift(
        what="rules",
        wanted=("-w /etc/passwd -p wa -k identity",),
        found=(),
        since_ns=1_700_000_000 * SECOND,
        time_ns=1_700_000_004 * SECOND,
        repaired=False,
        traces=(Trace(operation="remove_rule", rule_list=4, key="identity"),),
    )

    _, line = render_drift(found, changes.find(found), ("0123456789abcdef", "web1"), "00112233445566ff", 1)

    assert json.loads(line) == json.loads(example.text)


def test_files_and_limits_are_those_of_the_code(document: Any) -> None:
    words = document.prose

    assert f"`{LOADED_FILE}`" in words
    assert f"`{outbox.OUTBOX_FILE}`" in words
    assert f"Every {worker.CHECK_SECONDS:.0f} s" in words
    assert f"waits {reports.HOLD_SECONDS:.0f} s for that" in words
    assert f"After {drift.MOST_REPAIRS} repairs in {drift.REPAIR_SECONDS / 60:.0f} minutes" in words
    assert f"{outbox.MOST_ENTRIES:,} at most" in words
