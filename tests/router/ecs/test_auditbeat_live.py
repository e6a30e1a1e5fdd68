"""What Auditbeat 9.0 said live, and what we say of the same records.

tests/data/auditbeat-live/records.log has the records of each, as the kernel writes them, made from the documents.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.router.names import IdNames

DATA = Path(__file__).parents[2] / "data" / "auditbeat-live"
OURS_ALONE = ("agent.", "auditline.", "event.dataset", "event.id")

TYPE_BY_MODE, DEVICE, PATH, RENAME = (
    "`auditd.summary.object.type`",
    "`file.device`",
    "`file.path`",
    "`file` of a rename",
)
TWICE = "`auditd.data.auid`, `uid`, `gid`, `ses`, `result`, `items`"
NETLINK = "`auditd.data.socket` of netlink and vsock; `family` of others"
DIFFERENT_ON_PURPOSE: dict[str, dict[str, tuple[Any, str]]] = {
    "changed-audit-configuration": {
        "auditd.data.auid": (None, TWICE),
        "auditd.data.ses": (None, TWICE),
        "auditd.data.result": (None, TWICE),
        "auditd.data.socket.saddr": (None, NETLINK),
        "auditd.data.socket.port": ("0", NETLINK),
        "auditd.data.socket.groups": ("0", NETLINK),
    },
    "changed-file-permissions-of": {
        "file.path": ("/srv/shm/peers/nob/n2", PATH),
        "file.device": ("00:1b", DEVICE),
    },
    "deleted": {"file.path": ("/srv/shm/peers/nob/n2", PATH), "file.device": ("00:1b", DEVICE)},
    "execve": {"file.device": ("fe:00", DEVICE)},
    "execve-odd-args": {"file.device": ("fe:00", DEVICE)},
    "open-create-failed": {
        "auditd.summary.object.type": ("directory", TYPE_BY_MODE),
        "file.device": ("fe:00", DEVICE),
    },
    "open-failed-eacces": {"file.device": ("fe:00", DEVICE)},
    "open-ok": {"file.device": ("fe:00", DEVICE)},
    "renamed": {"file.path": ("/srv/shm/peers/nob/n2", RENAME), "file.device": ("00:1b", DEVICE)},
    "watch-write": {"file.device": ("fe:00", DEVICE)},
}
"""By document: leaf, what we say (None: nothing), and the row of docs/differences-from-auditbeat.md that says why."""

Document = dict[str, Any]
RenderAll = Callable[..., list[Document]]
Leaves = Callable[[Any], dict[str, Any]]


def kernel_events() -> dict[str, Document]:
    documents = {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("*.json"))}
    return {name: document for name, document in documents.items() if "auditd" in document}


@pytest.fixture(scope="module")
def ours(render_all: RenderAll) -> dict[int, Document]:
    """What we make of the records, by sequence."""
    names = IdNames(DATA / "passwd", DATA / "group")
    documents = render_all((DATA / "records.log").read_text(), names, host_name="vm")
    return {document["auditd"]["sequence"]: document for document in documents}


@pytest.mark.parametrize(("name", "document"), kernel_events().items(), ids=kernel_events())
def test_document_is_that_of_auditbeat_but_for_listed_differences(
    name: str, document: Document, ours: dict[int, Document], leaves: Leaves
):
    found = leaves(ours[document["auditd"]["sequence"]])

    wanted = leaves(document) | {path: value for path, (value, _) in DIFFERENT_ON_PURPOSE.get(name, {}).items()}
    assert {path: value for path, value in found.items() if not path.startswith(OURS_ALONE)} == {
        path: value for path, value in wanted.items() if value is not None
    }


def test_listed_differences_are_explained():
    page = (Path(__file__).parents[3] / "docs" / "differences-from-auditbeat.md").read_text()

    rows = {row for document in DIFFERENT_ON_PURPOSE.values() for _, row in document.values()}
    assert [row for row in rows if f"| {row} |" not in page] == []
