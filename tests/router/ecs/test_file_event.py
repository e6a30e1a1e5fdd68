"""A change of a file in schema `ecs`, beside what Auditbeat 9 wrote of such a change."""

import json
import stat
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.attributes import Xattr, XattrKind, pack_xattrs
from auditline.workers.common.file_entry import Action, FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.common.hashes import pack_digests, start_digests
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_event import FileRenderer

AUDITBEAT = Path(__file__).parents[2] / "data" / "auditbeat-live"
SECOND = 10**9
HASH = pack_digests(("sha256",), start_digests(("sha256",)))
FILE = FileState(
    mode=0o100644, uid=0, gid=0, size=6, inode=10420272, device=0xFE00, links=1, mtime_ns=1_800_000_000 * SECOND,
    ctime_ns=1_800_000_000 * SECOND, atime_ns=1_800_000_000 * SECOND, rdev=0, target=None, hashes=HASH,
    hash_state="stable", checked_ns=1_800_000_001 * SECOND,
)  # fmt: skip
DIRECTORY = FILE._replace(mode=0o40755, hashes=b"", hash_state="")
LINK = FILE._replace(mode=0o120777, hashes=b"", hash_state="", target=b"/opt/x")
CHMODDED = FILE._replace(mode=0o100600, ctime_ns=FILE.ctime_ns + SECOND)
WRITTEN = FILE._replace(size=11, hashes=HASH[:-1] + b"\0", mtime_ns=FILE.mtime_ns + SECOND)


@pytest.fixture
def renderer(names: IdNames) -> FileRenderer:
    return FileRenderer(names)


def change_of(action: Action, before: FileState | None, after: FileState | None) -> FileChange:
    return FileChange(
        action=action, path=b"/srv/file", before=before, after=after, detected_by="event", time_ns=FILE.checked_ns
    )


def render(renderer: FileRenderer, change: FileChange) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(renderer.render(change, "0" * 16, "web1", "e:1", "ecs")[1])
    return document


def leaves(document: Any, path: str = "") -> set[str]:
    if not isinstance(document, dict):
        return {path}
    return {leaf for key, value in document.items() for leaf in leaves(value, f"{path}.{key}")}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("created", change_of("created", None, FILE)),
        ("dir-created", change_of("created", None, DIRECTORY)),
        ("symlink-created", change_of("created", None, LINK)),
        ("attributes_modified", change_of("attributes_modified", FILE, CHMODDED)),
        ("updated", change_of("updated", FILE, WRITTEN)),
        ("initial_scan", change_of("initial_scan", None, DIRECTORY)),
    ],
)
def test_it_has_the_fields_of_auditbeat_and_says_the_same_of_the_event(
    renderer: FileRenderer, name: str, change: FileChange
):
    theirs = json.loads((AUDITBEAT / f"fim-{name}.json").read_text())

    ours = render(renderer, change)

    assert ours["event"] == {"id": ours["event"]["id"], **theirs["event"]}
    assert leaves(ours["file"]) == leaves(theirs["file"])
    assert (ours["ecs"], ours["service"]) == (theirs["ecs"], theirs["service"])
    assert {type(value) for value in ours["file"].values()} == {type(value) for value in theirs["file"].values()}


def test_ids_are_texts_and_names_stand_beside_them(renderer: FileRenderer):
    file = render(renderer, change_of("created", None, FILE._replace(uid=700, gid=700)))["file"]

    assert {key: file[key] for key in ("uid", "gid", "owner", "group")} == {
        "uid": "700", "gid": "700", "owner": "admin", "group": "sysadmins",
    }  # fmt: skip


def test_setuid_and_setgid_stand_out(renderer: FileRenderer):
    mode = FILE.mode | stat.S_ISUID | stat.S_ISGID

    file = render(renderer, change_of("attributes_modified", FILE, FILE._replace(mode=mode)))["file"]

    assert (file["setuid"], file["setgid"], file["mode"]) == (True, True, "6644")


@pytest.mark.parametrize(
    ("path", "extension"),
    [
        (b"/etc/app.d/file.conf", "conf"), (b"/srv/a.tar.gz", "gz"), (b"/root/.profile", "profile"),
        (b"/etc.d/passwd", None), (b"/srv/ends.", None),
    ],
)  # fmt: skip
def test_extension_is_what_stands_behind_the_last_dot(renderer: FileRenderer, path: bytes, extension: str | None):
    file = render(renderer, replace(change_of("created", None, FILE), path=path))["file"]

    assert file.get("extension") == extension


def test_only_a_regular_file_has_an_extension(renderer: FileRenderer):
    assert "extension" not in render(renderer, replace(change_of("created", None, DIRECTORY), path=b"/etc/a.d"))["file"]


def test_access_control_list_is_a_list_of_texts(renderer: FileRenderer):
    value = struct.pack("<IHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 4, 700)
    xattrs = pack_xattrs([Xattr(XattrKind.WHOLE, b"system.posix_acl_access", value, len(value))])

    document = render(renderer, change_of("attributes_modified", FILE, FILE._replace(xattrs=xattrs)))

    assert document["file"]["posix_acl_access"] == ["user::rw-", "user:admin:r--"]
    assert document["event"]["action"] == ["attributes_modified"]


ACTOR = {
    "pid": 4711, "start": "2023-11-14T22:14:20.010Z", "entity_id": "N2HGVVeqY2RXa6I0", "executable": "/usr/bin/cp",
    "name": "cp", "arguments": ["cp", "a b", "/srv/file"], "parent": {"pid": 4000, "executable": "/usr/bin/bash"},
    "user": {"id": "0"}, "login_user": {"id": "700"}, "session": "3", "container_id": "4f1c8e5d2a3b",
    "confidence": "exact", "source": "audit", "match": "exact", "event_id": "0-1.001-1",
}  # fmt: skip


def test_who_did_it_is_a_process_of_a_user(renderer: FileRenderer):
    document = render(renderer, replace(change_of("created", None, FILE), actor=ACTOR))

    assert document["process"] == {
        "pid": 4711, "start": "2023-11-14T22:14:20.010Z", "entity_id": "N2HGVVeqY2RXa6I0",
        "executable": "/usr/bin/cp", "name": "cp", "args": ["cp", "a b", "/srv/file"],
        "command_line": "cp 'a b' /srv/file", "parent": {"pid": 4000, "executable": "/usr/bin/bash"},
        "user": {"id": "0", "name": "root"},
    }  # fmt: skip
    assert document["user"] == {"id": "0", "name": "root", "audit": {"id": "700", "name": "admin"}}
    assert document["related"] == {"user": ["admin", "root"]}
    assert document["container"] == {"id": "4f1c8e5d2a3b"}


def test_of_a_process_of_which_only_the_number_is_known_there_is_that(renderer: FileRenderer):
    actor = {"pid": 7, "confidence": "pid_only", "source": "fanotify"}

    document = render(renderer, replace(change_of("created", None, FILE), actor=actor))

    assert document["process"] == {"pid": 7}
    assert not {"user", "related", "container"} & document.keys()


def test_of_nobody_nothing_is_said(renderer: FileRenderer):
    document = render(renderer, change_of("created", None, FILE))

    assert not {"process", "user", "related", "container"} & document.keys()
    assert "actor" not in document["auditline"]


def test_every_hash_has_a_key_and_none_is_repeated_beside_them(renderer: FileRenderer):
    names = ("sha256", "blake2b_256")
    hashes = pack_digests(names, start_digests(names))

    document = render(renderer, change_of("created", None, FILE._replace(hashes=hashes)))

    assert set(document["file"]["hash"]) == set(names)
    assert "hashes" not in document["auditline"]


def test_both_schemas_give_an_event_the_same_id_and_the_same_difference(renderer: FileRenderer):
    change = replace(change_of("updated", FILE, WRITTEN), actor=ACTOR)

    audit, ecs = (json.loads(renderer.render(change, "0" * 16, "web1", "e:1", name)[1]) for name in ("audit", "ecs"))

    assert audit["event"]["id"] == ecs["event"]["id"]
    assert audit["auditline"] == ecs["auditline"]
