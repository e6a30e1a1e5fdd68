"""Whole logs, and the documents that Auditbeat makes of them, compared leaf by leaf."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.router.names import IdNames
from auditline.workers.router.render.lines import Keep

DATA = Path(__file__).parents[2] / "data" / "auditbeat"
LOGS = sorted(DATA.glob("*.log"))
OURS_ALONE = ("@timestamp", "agent.", "auditline.", "ecs.", "event.dataset", "event.id", "event.module", "host.")

WHOLE_TEXT = "`auditd.data.op` and other texts with blanks"
DIFFERENT_ON_PURPOSE = {
    ("passwd.log", 805, "auditd.data.op"): ("changing comment", WHOLE_TEXT),
    ("passwd.log", 810, "auditd.data.op"): ("changing name", WHOLE_TEXT),
    ("passwd.log", 815, "auditd.data.op"): ("changing /etc/group; group bob/1003, new name: bobby", WHOLE_TEXT),
}
"""Log, sequence and leaf; what we say, and the row of docs/differences-from-auditbeat.md that says why."""

Document = dict[str, Any]
RenderAll = Callable[..., list[Document]]
Leaves = Callable[[Any], dict[str, Any]]


def without_ours(leaves: dict[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in leaves.items() if not path.startswith(OURS_ALONE)}


@pytest.fixture(scope="module")
def ours(render_all: RenderAll) -> dict[str, list[Document]]:
    """What we make of each log, in the order of the expected documents."""
    names = IdNames(DATA / "passwd", DATA / "group")
    found = {}
    for log in LOGS:
        documents = render_all(log.read_text(), names, Keep(raw=True, warnings=True))
        found[log.name] = sorted(documents, key=lambda document: document["auditd"]["sequence"])
    return found


def expected(log: Path) -> list[Document]:
    documents: list[Document] = json.loads(log.with_name(f"{log.name}-expected.json").read_text())
    return sorted(documents, key=lambda document: document["auditd"]["sequence"])


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_documents_have_auditbeat_s_leaves_but_for_listed_differences(
    log: Path, ours: dict[str, list[Document]], leaves: Leaves
):
    wanted, found = {}, {}
    for theirs, document in zip(expected(log), ours[log.name], strict=True):
        sequence = theirs["auditd"]["sequence"]
        wanted.update({(log.name, sequence, path): value for path, value in leaves(theirs).items()})
        found.update({(log.name, sequence, path): value for path, value in without_ours(leaves(document)).items()})

    wanted.update({key: value for key, (value, _) in DIFFERENT_ON_PURPOSE.items() if key[0] == log.name})

    assert found == wanted


def test_listed_differences_are_few(leaves: Leaves):
    count = sum(len(leaves(document)) for log in LOGS for document in expected(log))

    assert len(DIFFERENT_ON_PURPOSE) < 0.03 * count


def test_listed_differences_are_explained():
    page = (Path(__file__).parents[3] / "docs" / "differences-from-auditbeat.md").read_text()

    assert [row for _, row in DIFFERENT_ON_PURPOSE.values() if f"| {row} |" not in page] == []
