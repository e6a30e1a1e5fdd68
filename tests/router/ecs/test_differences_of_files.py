"""Changes of files in schema `ecs` that differ from Auditbeat on purpose: docs/differences-from-auditbeat.md."""

import json
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.attributes import Xattr, XattrKind, pack_xattrs
from auditline.workers.common.file_entry import Action, FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_event import FileRenderer

AUDITBEAT = Path(__file__).parents[2] / "data" / "auditbeat-live"
SECOND = 10**9
FILE = FileState(
    mode=0o100644, uid=0, gid=0, size=6, inode=10420272, device=0xFE00, links=1, mtime_ns=1_800_000_000 * SECOND,
    ctime_ns=1_800_000_000 * SECOND, atime_ns=1_800_000_000 * SECOND, rdev=0, target=None, hashes=b"",
    hash_state="", checked_ns=1_800_000_001 * SECOND,
)  # fmt: skip


def render(names: IdNames, action: Action, after: FileState | None, moved_from: bytes | None = None) -> dict[str, Any]:
    change = FileChange(
        action=action, path=b"/srv/new", before=FILE, after=after, detected_by="event", time_ns=FILE.checked_ns,
        moved_from=moved_from,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(FileRenderer(names).render(change, "0" * 16, "web1", "e:1", "ecs")[1])
    return document


@pytest.fixture
def theirs(request: pytest.FixtureRequest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((AUDITBEAT / f"fim-{request.param}.json").read_text())
    return document


@pytest.mark.parametrize("theirs", ["deleted"], indirect=True)
def test_deleted_file_has_what_was_known_last(names: IdNames, theirs: dict[str, Any]):
    document = render(names, "deleted", None)

    assert document["event"] == {"id": document["event"]["id"], **theirs["event"]}
    assert set(theirs["file"]) == {"path"}
    assert (document["file"]["inode"], document["file"]["owner"]) == ("10420272", "root")


@pytest.mark.parametrize("theirs", ["moved"], indirect=True)
def test_moved_file_has_its_new_name_and_the_old_one_beside_it(names: IdNames, theirs: dict[str, Any]):
    document = render(names, "moved", FILE, moved_from=b"/srv/old")

    assert document["event"] == {"id": document["event"]["id"], **theirs["event"]}
    assert (document["file"]["path"], document["file"]["inode"]) == ("/srv/new", "10420272")
    assert document["auditline"]["change"]["before"]["path"] == "/srv/old"


def test_label_of_a_file_is_an_object(names: IdNames):
    label = b"system_u:object_r:etc_t:s0:c1"
    xattrs = pack_xattrs([Xattr(XattrKind.WHOLE, b"security.selinux", label, len(label))])

    document = render(names, "attributes_modified", FILE._replace(xattrs=xattrs))

    assert document["file"]["selinux"] == {
        "user": "system_u", "role": "object_r", "domain": "etc_t", "level": "s0", "category": "c1",
    }  # fmt: skip
    assert document["auditline"]["file"]["selinux"] == label.decode()


def test_target_of_a_link_is_what_the_link_holds(names: IdNames):
    document = render(names, "updated", FILE._replace(mode=0o120777, target=b"../lib/../lib/x"))

    assert document["file"]["target_path"] == "../lib/../lib/x"


def test_name_that_ends_in_a_dot_has_no_extension(names: IdNames):
    change = FileChange(
        action="created", path=b"/srv/ends.", before=None, after=FILE, detected_by="event", time_ns=FILE.checked_ns
    )

    document = json.loads(FileRenderer(names).render(change, "0" * 16, "web1", "e:1", "ecs")[1])

    assert "extension" not in document["file"]


def test_type_of_the_content_is_not_guessed(names: IdNames):
    assert "mime_type" not in render(names, "updated", FILE)["file"]


def test_missing_hash_has_a_reason_in_one_word(names: IdNames):
    document = render(names, "updated", FILE._replace(hash_state="forbidden"))

    assert "error" not in document
    assert (document["auditline"]["hash_state"], document["auditline"]["hash_reason"]) == ("partial", "forbidden")


def test_user_is_known_by_login_too_and_named_in_related(names: IdNames):
    actor = {"pid": 7, "user": {"id": "0"}, "login_user": {"id": "700"}}
    change = FileChange(
        action="deleted", path=b"/srv/x", before=FILE, after=None, detected_by="event", time_ns=FILE.checked_ns,
        actor=actor,
    )  # fmt: skip

    document = json.loads(FileRenderer(names).render(change, "0" * 16, "web1", "e:1", "ecs")[1])

    assert document["user"] == {"id": "0", "name": "root", "audit": {"id": "700", "name": "admin"}}
    assert document["process"] == {"pid": 7, "user": {"id": "0", "name": "root"}}


def test_change_of_a_file_has_what_was_before(names: IdNames):
    document = render(names, "attributes_modified", FILE._replace(mode=0o100600))

    assert document["auditline"]["change"]["before"] == {"mode": "0644"}
    assert document["auditline"]["change"]["after"] == {"mode": "0600"}
