"""A change of a file as a document: the seed's shape, what was different before, and an id of its own."""

import hashlib
import json
import os
import re
import stat
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.attributes import FLAGS, Xattr, XattrKind, pack_xattrs
from auditline.workers.common.file_entry import Action, FileChange
from auditline.workers.common.file_state import FileState, state_of
from auditline.workers.common.hashes import ALGORITHMS, pack_digests, start_digests
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.file_event import FileRenderer

HOST = "0" * 16
SEED_FOLDER = Path(__file__).parents[1] / "data" / "seed"
SEED = json.loads((SEED_FOLDER / "file-created.json").read_text())
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
BEGINNING = re.compile(r'\{"@timestamp":"' + TIME + r'","event":\{"id":"[0-9a-f]{16}-f-[0-9a-f]{32}"\}')
STATE = FileState(
    mode=0o100644, uid=0, gid=0, size=42, inode=77, device=0xFE00, links=1, mtime_ns=10**18, ctime_ns=10**18 + 1,
    atime_ns=10**18 + 2, rdev=0, target=None, hashes=b"", hash_state="stable", checked_ns=10**18 + 3,
)  # fmt: skip


def hashes_of(content: bytes, *names: str) -> bytes:
    digests = start_digests(names)
    for digest in digests:
        digest.update(content)
    return pack_digests(names, digests)


def packed(values: dict[bytes, bytes]) -> bytes:
    return pack_xattrs(Xattr(XattrKind.WHOLE, name, values[name], len(values[name])) for name in sorted(values))


def change_of(before: FileState | None, after: FileState | None, action: Action, **more: Any) -> FileChange:
    values: dict[str, Any] = {"path": b"/srv/file", "detected_by": "event", "time_ns": 10**18}
    return FileChange(action=action, before=before, after=after, **values | more)


def render(change: FileChange, names: IdNames | None = None, position: str = "e:1") -> dict[str, Any]:
    _, line = FileRenderer(names or NoNames()).render(change, HOST, "web1", position)
    document: dict[str, Any] = json.loads(line)
    return document


def time_of(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 10**6:03d}Z"


def test_a_created_file_has_the_seed_s_keys_and_the_values_that_stat_and_the_hashes_say(tmp_path: Path, names: IdNames):
    path, content = tmp_path / "superusers", b"%admins ALL=(ALL) ALL\n"
    path.write_bytes(content)
    path.chmod(0o440)
    status = path.stat()
    hashes = hashes_of(content, "md5", "sha1", "sha256")
    state = state_of(status, checked_ns=status.st_ctime_ns + 2, hashes=hashes, hash_state="stable")

    document = render(change_of(None, state, "created", path=os.fsencode(path), time_ns=state.checked_ns), names)

    file = document["audit"]["file"]
    assert list(file) == list(SEED["audit"]["file"])
    assert {key: type(value) for key, value in file.items()} == {
        key: type(value) for key, value in SEED["audit"]["file"].items()
    }
    assert document["@timestamp"] == time_of(state.checked_ns)
    assert file == {
        "action": "created", "type": "file", "path": str(path), "gid": os.getgid(), "uid": os.getuid(),
        "owner": names.name("uid", str(os.getuid())), "group": names.name("gid", str(os.getgid())),
        "inode": str(status.st_ino), "size": len(content), "mode": "0440",
        "mtime": time_of(status.st_mtime_ns), "ctime": time_of(status.st_ctime_ns),
        "atime": time_of(status.st_atime_ns),
        "hashed": True, "md5": hashlib.md5(content).hexdigest(), "sha1": hashlib.sha1(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    assert document["auditline"] == {
        "complete": True, "change": {"detected_by": "event"}, "file": {"device": device, "links": 1},
        "hash_state": "stable",
    }  # fmt: skip
    assert document["host"] == {"name": "web1"}


def test_the_seed_s_document_comes_out_of_what_it_was_made_of():
    seconds = int(datetime(2017, 8, 1, 15, 24, 7, tzinfo=UTC).timestamp())
    mtime, atime, seen = (seconds * 10**9 + millis * 10**6 for millis in (215, 214, 217))
    wanted = SEED["audit"]["file"]
    algorithms = ("md5", "sha1", "sha256")
    packed = b"".join(bytes([ALGORITHMS[name].number]) + bytes.fromhex(wanted[name]) for name in algorithms)
    state = FileState(0o100440, 0, 0, 42, 196640, 1, 1, mtime, mtime, atime, 0, None, packed, "stable", seen)
    created = change_of(None, state, "created", path=b"/etc/sudoers.d/superusers", time_ns=seen)

    document = render(created, IdNames(SEED_FOLDER / "passwd", SEED_FOLDER / "group"))

    assert {"@timestamp": document["@timestamp"], "audit": document["audit"]} == SEED


@pytest.mark.parametrize(
    ("changed", "before", "after"),
    [
        ({"mode": 0o104755, "ctime_ns": 5 * 10**9},
         {"mode": "0644", "ctime": "2001-09-09T01:46:40.000Z"},
         {"mode": "4755", "ctime": "1970-01-01T00:00:05.000Z", "setuid": True}),
        ({"uid": 700, "gid": 701}, {"gid": 0, "uid": 0, "owner": "root", "group": "root"},
         {"gid": 701, "uid": 700, "owner": "admin", "group": "701"}),
        ({"size": 43, "hashes": hashes_of(b"b", "sha256", "blake2b_256")},
         {"size": 42, "sha256": hashlib.sha256(b"a").hexdigest(),
          "blake2b_256": hashlib.blake2b(b"a", digest_size=32).hexdigest()},
         {"size": 43, "sha256": hashlib.sha256(b"b").hexdigest(),
          "blake2b_256": hashlib.blake2b(b"b", digest_size=32).hexdigest()}),
        ({"inode": 78, "device": 0x10301, "links": 2},
         {"inode": "77", "device": "fe:00", "links": 1}, {"inode": "78", "device": "103:01", "links": 2}),
        ({"hashes": b"", "hash_state": "unstable"},
         {"sha256": hashlib.sha256(b"a").hexdigest(), "blake2b_256": hashlib.blake2b(b"a", digest_size=32).hexdigest()},
         None),
        ({"mode": stat.S_IFIFO | 0o644}, {"type": "file", "size": 42}, {"type": "fifo"}),
        ({"mtime_ns": 10**18 + 5}, {"mtime": "2001-09-09T01:46:40.000Z"}, {"mtime": "2001-09-09T01:46:40.000Z"}),
        ({"atime_ns": 5, "checked_ns": 10**18 + 9}, None, None),
    ],
)  # fmt: skip
def test_what_differs_is_told_with_its_values_before_and_after_and_nothing_else(
    names: IdNames, changed: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None
):
    known = STATE._replace(hashes=hashes_of(b"a", "sha256", "blake2b_256"))

    told = render(change_of(known, known._replace(**changed), "updated"), names)["auditline"]["change"]

    assert told.pop("detected_by") == "event"
    assert (told.get("before"), told.get("after")) == (before, after)


def test_of_what_is_gone_the_last_that_was_known_is_told(names: IdNames):
    known = STATE._replace(hashes=hashes_of(b"a", "sha256"), mode=0o120777, target=b"../x")

    document = render(change_of(known, None, "deleted", detected_by="scan"), names)

    change = document["auditline"]["change"]
    last = {key: value for key, value in document["audit"]["file"].items() if key not in ("action", "path", "hashed")}
    assert document["audit"]["file"]["action"] == "deleted"
    assert last["target_path"] == "../x"
    assert change == {"detected_by": "scan", "before": last | {"device": "fe:00", "links": 1}}


def test_of_a_path_that_nothing_is_known_of_there_is_its_name():
    document = render(change_of(None, None, "deleted"))

    assert document["audit"]["file"] == {"action": "deleted", "path": "/srv/file"}
    assert document["auditline"]["change"] == {"detected_by": "event"}


def test_a_move_has_the_new_name_and_the_old_one_before():
    document = render(change_of(STATE, STATE, "moved", moved_from=b"/srv/old\xff"))

    assert document["audit"]["file"]["path"] == "/srv/file"
    assert document["auditline"]["change"] == {
        "detected_by": "event", "before": {"path": "/srv/old\\xff"}, "after": {"path": "/srv/file"},
    }  # fmt: skip
    assert document["auditline"]["undecodable"] == [{"field": "change.before.path", "base64": "L3Nydi9vbGT/"}]


def test_what_another_file_has_replaced_says_from_where_it_came():
    change = render(change_of(STATE, STATE._replace(inode=78), "updated", moved_from=b"/srv/new.tmp"))["auditline"][
        "change"
    ]

    assert change["moved_from"] == "/srv/new.tmp"
    assert (change["before"], change["after"]) == ({"inode": "77"}, {"inode": "78"})


def test_what_the_schema_has_no_key_for_is_beside_it():
    special = STATE._replace(mode=0o106755, flags=FLAGS["immutable"] | FLAGS["append"], links=2)

    ours = render(change_of(None, special, "created"))["auditline"]

    assert ours["file"] == {
        "device": "fe:00", "links": 2, "setuid": True, "setgid": True, "flags": ["append", "immutable"],
    }  # fmt: skip


def test_of_extended_attributes_only_those_that_differ_are_told():
    known = STATE._replace(xattrs=packed({b"user.a": b"1", b"user.same": b"2", b"security.selinux": b"u:r:t:s0"}))
    found = STATE._replace(xattrs=packed({b"user.b": b"1", b"user.same": b"2", b"security.selinux": b"u:r:t:s1"}))

    change = render(change_of(known, found, "attributes_modified"))["auditline"]["change"]

    assert change["before"] == {"selinux": "u:r:t:s0", "xattrs": [{"name": "user.a", "value": "1"}]}
    assert change["after"] == {"selinux": "u:r:t:s1", "xattrs": [{"name": "user.b", "value": "1"}]}


def test_an_extended_attribute_that_is_taken_away_is_told_before_only():
    change = render(change_of(STATE._replace(xattrs=packed({b"user.a": b"1"})), STATE, "attributes_modified"))[
        "auditline"
    ]["change"]

    assert change == {"detected_by": "event", "before": {"xattrs": [{"name": "user.a", "value": "1"}]}}


def test_hashes_of_an_older_content_are_not_told_of_what_could_not_be_read():
    known = STATE._replace(hashes=hashes_of(b"a", "sha256"))

    document = render(change_of(known, known._replace(hash_state="forbidden", mode=0o100000), "attributes_modified"))

    assert "hashed" not in document["audit"]["file"]
    assert document["auditline"]["change"]["before"]["sha256"] == hashlib.sha256(b"a").hexdigest()
    assert "sha256" not in document["auditline"]["change"]["after"]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (stat.S_IFREG, "file"), (stat.S_IFDIR, "dir"), (stat.S_IFLNK, "symlink"), (stat.S_IFCHR, "char_device"),
        (stat.S_IFBLK, "block_device"), (stat.S_IFIFO, "fifo"), (stat.S_IFSOCK, "socket"), (0, "unknown"),
    ],
)  # fmt: skip
def test_each_kind_of_file_has_its_word_and_only_a_regular_one_a_size(kind: int, word: str):
    file = render(change_of(None, STATE._replace(mode=kind | 0o600), "created"))["audit"]["file"]

    assert (file["type"], "size" in file, file["mode"]) == (word, word == "file", "0600")


def test_which_device_a_node_stands_for_is_told_when_it_changes():
    node = STATE._replace(mode=stat.S_IFCHR | 0o666, rdev=0x103)

    told = render(change_of(node, node._replace(rdev=0x105), "attributes_modified"))["auditline"]["change"]

    assert (told["before"], told["after"]) == ({"rdev": "01:03"}, {"rdev": "01:05"})


def test_digests_that_the_schema_lacks_are_beside_it():
    document = render(change_of(None, STATE._replace(hashes=hashes_of(b"a", *ALGORITHMS)), "created"))

    lacking = set(document["auditline"]["hashes"])
    assert lacking == {"blake2b_256", "blake2b_384", "blake2b_512", "xxh64"}
    assert document["audit"]["file"]["hashed"] is True
    assert ALGORITHMS.keys() - document["audit"]["file"].keys() == lacking


@pytest.mark.parametrize(
    ("word", "state", "reason"),
    [
        ("stable", "stable", None),
        ("growing", "growing", None),
        ("unstable", "unstable", None),
        ("too_large", "partial", "too_large"),
        ("time_limit", "partial", "time_limit"),
        ("unreadable", "partial", "read_error"),
        ("forbidden", "partial", "forbidden"),
        ("quarantined", "partial", "quarantined"),
        ("", None, None),
    ],
)
def test_how_sure_a_hash_is_and_why_there_is_none_is_said(word: str, state: str | None, reason: str | None):
    ours = render(change_of(None, STATE._replace(hash_state=word), "created"))["auditline"]

    assert (ours.get("hash_state"), ours.get("hash_reason")) == (state, reason)


def test_texts_of_an_actor_that_are_not_utf_8_are_readable_and_kept_exactly():
    actor = {"pid": 7, "executable": os.fsdecode(b"/tmp/\xff"), "arguments": ["a", os.fsdecode(b"\xfe")]}

    ours = render(change_of(None, STATE, "created", actor=actor))["auditline"]

    assert ours["actor"] == {"pid": 7, "executable": "/tmp/\\xff", "arguments": ["a", "\\xfe"]}
    kept = {each["field"]: b64decode(each["base64"]) for each in ours["undecodable"]}
    assert kept == {"actor.executable": b"/tmp/\xff", "actor.arguments.1": b"\xfe"}


def test_names_of_people_stand_beside_their_ids(names: IdNames):
    actor = {"pid": 7, "user": {"id": "0"}, "login_user": {"id": "700"}}

    ours = render(change_of(None, STATE, "created", actor=actor), names)["auditline"]

    assert ours["actor"] == {
        "pid": 7, "user": {"id": "0", "name": "root"}, "login_user": {"id": "700", "name": "admin"},
    }  # fmt: skip


def test_names_that_are_not_utf_8_are_readable_and_kept_exactly():
    path, target = b"/srv/\xff\x1b[31m\n", "/é\xff".encode("latin-1")
    link = STATE._replace(mode=0o120777, target=target)

    document = render(change_of(link._replace(target=b"a"), link, "updated", path=path))

    assert document["audit"]["file"]["path"] == "/srv/\\xff\x1b[31m\n"
    kept = {each["field"]: b64decode(each["base64"]) for each in document["auditline"]["undecodable"]}
    assert kept == {"path": path, "target_path": target, "change.after.target_path": target}


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (999_999, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-11_644_473_600_000_000_000, "1601-01-01T00:00:00.000Z"),
        (-62_135_596_800 * 10**9, "0001-01-01T00:00:00.000Z"),
        (-62_135_596_800 * 10**9 - 1, "0001-01-01T00:00:00.000Z"),
        (-(10**40), "0001-01-01T00:00:00.000Z"),
        (-40_000_000_000 * 10**9, "0702-06-15T00:53:20.000Z"),
        (253_402_300_799_999_999_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000_000_000, "9999-12-31T23:59:59.999Z"),
        ((2**63 - 1) * 10**9, "9999-12-31T23:59:59.999Z"),
        (10**40, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_written_in_utc_or_as_the_nearest_that_can_be(nanoseconds: int, text: str):
    assert timestamp_of_ns(nanoseconds) == text


def test_owners_have_names_or_stay_numbers(names: IdNames):
    file = render(change_of(None, STATE._replace(uid=700, gid=4294967295), "created"), names)["audit"]["file"]

    assert (file["owner"], file["uid"], file["group"], file["gid"]) == ("admin", 700, "4294967295", 4294967295)


@pytest.mark.parametrize(
    "wrong", [{"action": "exploded"}, {"detected_by": "magic"}, {"time_ns": "now"}, {"path": "text"}, {"time_ns": None}]
)
def test_what_no_watcher_says_is_an_error(wrong: dict[str, Any]):
    change = change_of(None, STATE, "created")

    with pytest.raises((ValueError, TypeError)):
        render(replace(change, **wrong))
