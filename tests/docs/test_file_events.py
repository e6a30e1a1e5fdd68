"""docs/events.md has every key of file and coverage events, every reason for a gap, and an example that is true."""

import json
import re
import stat
import struct
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from auditline.workers.common.attributes import (
    FLAGS,
    LARGEST_VALUE,
    MOST_PACKED,
    MOST_READ,
    Xattr,
    XattrKind,
    pack_xattrs,
)
from auditline.workers.common.file_entry import Coverage, DetectedBy, FileChange
from auditline.workers.common.file_state import STABLE, TOO_LARGE, FileState
from auditline.workers.common.hashes import ALGORITHMS
from auditline.workers.fim.coverage import REASONS
from auditline.workers.fim.directory_moves import MOST_TOLD as MOST_TOLD_OF_A_RENAME
from auditline.workers.hasher.content import SLICE_BYTES
from auditline.workers.hasher.snapshot import TIME_LIMIT_SECONDS
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.coverage_event import render_coverage
from auditline.workers.router.render.file_attributes import HASH_LABELS
from auditline.workers.router.render.file_event import FileRenderer
from auditline.workers.router.render.file_xattrs import LONGEST_TOLD, MOST_TOLD

HOST = "659a7fb2af476fae"
TYPES = [0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
SECOND = 10**9
BEFORE_NS, AFTER_NS = 1_700_000_000 * SECOND, 1_700_000_060 * SECOND
STATE = FileState(
    mode=0o100440, uid=0, gid=0, size=21, inode=196640, device=0xFE00, links=1, mtime_ns=BEFORE_NS, ctime_ns=BEFORE_NS,
    atime_ns=BEFORE_NS, rdev=0, target=None, hash_state=STABLE, checked_ns=BEFORE_NS,
    hashes=b"\x04" + bytes.fromhex("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
)  # fmt: skip
ACL = struct.pack("<IHHI", 2, 1, 6, 0xFFFFFFFF)
ALL_XATTRS = pack_xattrs(
    Xattr(XattrKind.WHOLE, name, value, len(value))
    for name, value in (
        (b"security.capability", struct.pack("<3I", 0x01000000, 1, 0)),
        (b"security.ima", b"\1x"),
        (b"security.selinux", b"system_u:object_r:etc_t:s0"),
        (b"system.posix_acl_access", ACL),
        (b"system.posix_acl_default", ACL),
        (b"user.a", b"1"),
    )
)
ALL_HASHES = b"".join(bytes([each.number]) + bytes(each.digest_bytes) for each in ALGORITHMS.values())


@pytest.fixture
def document(read_document: Callable[[str], Any]) -> Any:
    return read_document("docs/events.md")


@pytest.fixture
def renderer(tree: Path) -> FileRenderer:
    return FileRenderer(IdNames(tree / "tests/data/seed/passwd", tree / "tests/data/seed/group"))


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def keys_of(table: list[dict[str, str]]) -> set[str]:
    """Return every key; `a.{b,c}` is two of them."""
    parts = [re.split(r"[{}]", code) for row in table for code in codes(row["key"])]
    return {"".join(each) for part in parts for each in product(*(piece.split(",") for piece in part))}


def states() -> Iterator[FileState]:
    """Yield states that between them have every key."""
    for kind in TYPES:
        target = b"a\xff" if kind == stat.S_IFLNK else None
        yield STATE._replace(mode=kind | 0o7777, target=target, hashes=ALL_HASHES, xattrs=ALL_XATTRS, flags=0x10)


def documents(renderer: FileRenderer) -> list[dict[str, Any]]:
    """Return events of which each key that there is is in one at least."""
    changes = [
        FileChange(
            action="moved", path=b"/b", before=state, after=None, moved_from=b"/a", detected_by="scan", time_ns=AFTER_NS
        )
        for state in states()
    ]
    other = STATE._replace(hash_state=TOO_LARGE, hashes=b"")
    replaced = FileChange(
        action="updated", path=b"/\xff", before=STATE, after=other, detected_by="event", time_ns=AFTER_NS,
        moved_from=b"/c", actor={"pid": 7},
    )  # fmt: skip
    changes.append(replaced)
    return [json.loads(renderer.render(change, HOST, "web1", "e:1")[1]) for change in changes]


def test_keys_of_file_events_are_those_in_the_code(document: Any, renderer: FileRenderer) -> None:
    file_keys, our_keys, change_keys = map(keys_of, document.tables("File events"))

    events = documents(renderer)

    assert file_keys == {key for event in events for key in event["audit"]["file"]}
    ours = {key for event in events for key in event["auditline"]} - {"complete", "undecodable", "change"}
    changes = [event["auditline"]["change"] for event in events]
    assert our_keys == ours | {f"change.{key}" for change in changes for key in change}
    attributes = {key for change in changes for side in ("before", "after") for key in change.get(side, {})}
    assert change_keys == attributes - file_keys | {"path"}
    assert {key for event in events for key in event["auditline"].get("file", {})} < change_keys


def test_flags_are_those_in_the_code(document: Any) -> None:
    _, _, attributes = document.tables("File events")
    (meaning,) = [row["meaning"] for row in attributes if row["key"] == "`flags`"]

    assert codes(meaning)[1:] == sorted(FLAGS)


def test_types_and_ways_are_those_in_the_code(document: Any, renderer: FileRenderer) -> None:
    files, ours, _ = document.tables("File events")
    rows = {row["key"]: codes(row["meaning"]) for row in (*files, *ours)}

    types = {event["audit"]["file"]["type"] for event in documents(renderer)}

    assert set(rows["`type`"]) == types
    assert set(rows["`change.detected_by`"]) == set(get_args(DetectedBy))


@pytest.mark.parametrize(("key", "number"), [("hash_state", 0), ("hash_reason", 1)])
def test_labels_of_hashes_are_those_in_the_code(document: Any, key: str, number: int) -> None:
    listed = {codes(row[f"`{key}`"])[0] for row in document.tables("How sure a hash is")[number]}

    assert listed == {label[key] for label in HASH_LABELS.values() if key in label}


def test_keys_of_coverage_events_are_those_in_the_code(document: Any) -> None:
    entry = Coverage(identity="ab-1", path=b"/etc", reason="limit", action="polled", start_ns=1, end_ns=2)

    coverage = json.loads(render_coverage(entry, HOST, "web1")[1])["audit"]["coverage"]

    assert keys_of(document.table("Coverage")) == set(coverage)


def test_reasons_of_coverage_events_are_those_in_the_code(document: Any) -> None:
    assert {codes(row["reason"])[0] for row in document.table("Reasons")} == REASONS


def test_the_example_is_what_comes_out(document: Any, renderer: FileRenderer) -> None:
    (example,) = [each for each in document.examples if each.language == "json" and '"file": {' in each.text]
    digest = bytes.fromhex("287b8753a398536b063fa54741bcd42c440535a16f7369e9d453fbb166ecfcfd")
    after = STATE._replace(
        mode=0o100444, size=42, mtime_ns=AFTER_NS, ctime_ns=AFTER_NS + SECOND // 100, hashes=b"\x04" + digest
    )
    change = FileChange(
        action="updated", path=b"/etc/sudoers.d/admins", before=STATE, after=after, detected_by="event",
        time_ns=AFTER_NS + SECOND // 4,
    )  # fmt: skip

    event = json.loads(renderer.render(change, HOST, "web1", "e:1")[1])

    assert json.loads(example.text) == event


def test_limit_of_what_a_rename_tells_is_the_code_s(read_document: Callable[[str], Any]) -> None:
    actions = read_document("docs/file-integrity.md").section("Actions")

    assert f"more than {MOST_TOLD_OF_A_RENAME:,} paths" in actions


def test_limits_of_attributes_and_hashes_are_the_code_s(read_document: Callable[[str], Any]) -> None:
    page = read_document("docs/file-integrity.md")

    attributes, hashes = page.section("Attributes"), page.section("Hashes")

    assert f"more than {LARGEST_VALUE:,} bytes" in attributes
    assert f"more than {MOST_PACKED >> 10} KiB" in attributes
    assert f"more than {MOST_READ >> 20} MiB" in attributes
    assert f"more than {TIME_LIMIT_SECONDS:.0f} s to read" in hashes
    assert f"read {SLICE_BYTES >> 20} MiB at a time" in hashes


def test_limits_of_what_is_told_are_the_code_s(document: Any) -> None:
    _, _, attributes = document.tables("File events")
    (meaning,) = [row["meaning"] for row in attributes if row["key"] == "`xattrs`"]

    assert f"more than {LONGEST_TOLD:,} bytes" in meaning
    assert f"At most {MOST_TOLD}" in meaning
