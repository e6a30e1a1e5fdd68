"""Events that go-libaudit coalesced, and ours for the same records, in the words of schema `ecs`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditline.workers.router.naming.engine import category_of
from auditline.workers.router.record_names import type_number

TYPE_BY_MODE = "`auditd.summary.object.type`"
PARENT = "`file`, `auditd.summary.object.primary` where the kernel writes `objtype=`"
DIFFERENT_ON_PURPOSE = {
    ("mount syscall", "auditd.summary.object.type"): ("directory", TYPE_BY_MODE),
    ("make-device", "auditd.summary.object.type"): ("named-pipe", TYPE_BY_MODE),
    ("make-device", "auditd.summary.object.primary"): ("/run/systemd/sessions/23.ref", PARENT),
    ("connect syscall", "auditd.result"): ("success", "`event.outcome`, `auditd.result` of EINPROGRESS"),
}
"""Case and leaf; what we say, and the row of docs/differences-from-auditbeat.md that says why."""

Document = dict[str, Any]
RenderOne = Callable[..., Document]


def in_our_words(event: Document) -> Document:
    """Return what is compared of a golden, by the leaves that we have for it."""
    summary, process = event["summary"], event["process"]
    words = {
        "auditd.sequence": event["sequence"],
        "auditd.message_type": event["record_type"],
        "auditd.result": event["result"],
        "auditd.session": None if event["session"] in ("", "unset") else event["session"],
        "auditd.summary.actor": summary["actor"],
        "auditd.summary.how": summary.get("how"),
        "event.action": summary["action"],
        "event.category": event["ecs"]["event"]["category"],
        "event.type": event["ecs"]["event"]["type"],
        "tags": event.get("tags"),
        "network.direction": event.get("network", {}).get("direction"),
        "source.ip": event.get("source", {}).get("ip"),
        "destination.ip": event.get("destination", {}).get("ip"),
        "destination.port": event.get("destination", {}).get("port"),
    }
    words |= {f"auditd.summary.object.{key}": value for key, value in summary["object"].items()}
    words |= {
        f"process.{ours}": process[theirs]
        for theirs, ours in (("exe", "executable"), ("name", "name"), ("title", "title"), ("args", "args"))
        if theirs in process
    }
    return words


def look_up(document: Document, path: str) -> Any:
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def test_event_says_what_the_reference_says_but_for_listed_differences(
    name: str, records: str, golden: Document, render_one: RenderOne
):
    document = render_one(records)

    wanted = {path: DIFFERENT_ON_PURPOSE.get((name, path), (value,))[0] for path, value in in_our_words(golden).items()}
    assert {path: look_up(document, path) for path in wanted} == wanted
    assert category_of(type_number(golden["record_type"])) == golden["category"]


def test_listed_differences_are_explained():
    page = (Path(__file__).parents[3] / "docs" / "differences-from-auditbeat.md").read_text()

    assert [row for _, row in DIFFERENT_ON_PURPOSE.values() if f"| {row} |" not in page] == []
