"""A change of a file in schema `ecs`, beside what Auditbeat 9 wrote of such a change."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

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


def test_every_hash_has_a_key_and_none_is_repeated_beside_them(renderer: FileRenderer):
    names = ("sha256", "blake2b_256")
    hashes = pack_digests(names, start_digests(names))

    document = render(renderer, change_of("created", None, FILE._replace(hashes=hashes)))

    assert set(document["file"]["hash"]) == set(names)
    assert "hashes" not in document["auditline"]


def test_both_schemas_give_an_event_the_same_id_and_the_same_difference(renderer: FileRenderer):
    change = change_of("updated", FILE, WRITTEN)

    audit, ecs = (json.loads(renderer.render(change, "0" * 16, "web1", "e:1", name)[1]) for name in ("audit", "ecs"))

    assert audit["event"]["id"] == ecs["event"]["id"]
    assert audit["auditline"] == ecs["auditline"]
