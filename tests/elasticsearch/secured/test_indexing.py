"""Our documents with the types that setup gives them: each is taken, and what it holds is found."""

import json
import os
import secrets
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from auditline.workers.common.attributes import FLAGS, Xattr, XattrKind, pack_xattrs
from auditline.workers.common.drift_entry import Drift
from auditline.workers.common.file_entry import Action, Coverage, FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.common.hashes import ALGORITHMS, pack_digests, start_digests
from auditline.workers.elasticsearch.template_fields import read_fields
from auditline.workers.router.health import Health, ProcessFeed
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.coverage_event import render_coverage
from auditline.workers.router.render.drift_event import render_drift
from auditline.workers.router.render.file_event import FileRenderer
from auditline.workers.router.stream import Lines

# Servers take half a minute each to be fetched and started, on a busy machine minutes.
pytestmark = pytest.mark.soak

DATA = Path(__file__).parents[2] / "data"
HOST = ("0" * 16, "web1")
SECOND = 10**9
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ((1, 6, 2**32 - 1), (2, 4, 1000)))
XATTRS = pack_xattrs(
    [
        Xattr(XattrKind.WHOLE, b"security.ima", b"\x01" + b"h" * 20, 21),
        Xattr(XattrKind.WHOLE, b"security.selinux", b"system_u:object_r:etc_t:s0\0", 27),
        Xattr(XattrKind.WHOLE, b"system.posix_acl_access", ACL, len(ACL)),
        Xattr(XattrKind.WHOLE, b"system.posix_acl_default", ACL, len(ACL)),
        Xattr(XattrKind.WHOLE, b"user.\xff", b"\0", 1),
        Xattr(XattrKind.WHOLE, b"user.text", b"text", 4),
        Xattr(XattrKind.LONG, b"user.x", b"h" * 32, 5000),
        Xattr(XattrKind.UNREADABLE, b"user.y", b"", 0),
    ]
)
FILE = FileState(
    mode=0o106755, uid=0, gid=0, size=6, inode=7, device=0xFE00, links=1, mtime_ns=SECOND, ctime_ns=SECOND,
    atime_ns=SECOND, rdev=0, target=None, hashes=pack_digests([*ALGORITHMS], start_digests([*ALGORITHMS])),
    hash_state="stable", checked_ns=2 * SECOND, xattrs=XATTRS, flags=sum(FLAGS.values()),
)  # fmt: skip
LINK = FILE._replace(mode=0o120777, hashes=b"", hash_state="", target=b"/opt/x", xattrs=b"", flags=0)
OTHER = FILE._replace(
    mode=0o100600, uid=1, gid=1, size=7, inode=8, device=1, links=2, mtime_ns=-SECOND, ctime_ns=0, xattrs=b"", flags=0
)
ACTOR = {
    "pid": 4711, "start": "2023-11-14T22:14:20.010Z", "entity_id": "N2HGVVeqY2RXa6I0", "executable": "/usr/bin/cp",
    "name": "cp", "arguments": ["cp", "a", "b"], "parent": {"pid": 4000, "executable": "/usr/bin/bash"},
    "user": {"id": "0"}, "login_user": {"id": "1000"}, "session": "3", "container_id": "4f1c", "others": 2,
    "confidence": "exact", "source": "audit", "match": "exact", "event_id": "0-1.0-1",
}  # fmt: skip
CHANGES = [
    FileChange(
        action=cast("Action", action),
        path=path,
        before=before,
        after=after,
        detected_by="event",
        time_ns=SECOND,
        **more,
    )
    for action, path, before, after, more in (
        ("created", b"/srv/a.conf", None, FILE, {"actor": ACTOR}),
        ("updated", b"/srv/a.conf", FILE, OTHER, {}),
        ("updated", b"/srv/a.conf", OTHER, FILE, {"moved_from": b"/srv/b"}),
        ("moved", b"/srv/\xff", FILE, FILE, {"moved_from": b"/srv/c"}),
        ("updated", b"/srv/link", LINK, LINK._replace(target=b"/opt/y"), {}),
        ("deleted", b"/srv/link", LINK, None, {}),
        ("deleted", b"/srv/a.conf", FILE, None, {}),
    )
]
COVERAGES = [
    Coverage(identity="e-1", path=b"/etc", reason="overflow", action="compared", start_ns=SECOND),
    Coverage(
        identity="e-2", path=b"/etc", reason="rescan", action="compared", start_ns=SECOND, end_ns=2 * SECOND,
        detail={"files": 7, "seconds": 0.5, "backend": "inotify"},
    ),
]  # fmt: skip
DRIFTS = [
    Drift(what="enabled", wanted=1, found=0, since_ns=0, time_ns=SECOND, repaired=False, traces=()),
    Drift(what="rules", wanted=["-w /a"], found=[], since_ns=0, time_ns=SECOND, repaired=True, traces=()),
]
WHO = {"auid": "root", "uid": "0", "session": "3", "pid": "17", "comm": "x", "exe": "/x", "event": {"id": "0-1.0-1"}}
COUNTS = {"received": 1, "written": 1, "filtered": 0, "dropped": 0, "open": 0}
HEALTH = {
    "counters": {"audit_records_received_total": 7, "fim-/etc_scans_total": 1},
    "loss": {"kernel_lost": 0, "serial_gaps": 3},
    "balance": {"records": COUNTS, "changes": COUNTS, "outputs": {"es": {"events": 1, "pending": 1}}},
    "detail": {"gaps": [{"from": 1, "to": 3, "count": 3, "since": "2023-11-14T22:13:20.000Z"}], "exclude_rules": True},
}
TOO_LONG = {"process.args", "auditline.decoded.args", "audit.kernel.data.cmdline"}
"""Arguments of more than 8,191 characters are kept, and cannot be looked for."""


@pytest.fixture(scope="module")
def documents():
    """Return every document that can be made here, of one schema."""

    @cache
    def render(schema):
        lines = [*kernel_lines(schema), *file_lines(schema), health_line(schema)]
        lines += [render_coverage(entry, *HOST, schema)[1] for entry in COVERAGES]
        lines += [render_drift(drift, WHO, HOST, "r", number, schema)[1] for number, drift in enumerate(DRIFTS)]
        return [json.loads(line) for line in lines]

    return render


def kernel_lines(schema):
    logs = [path for pattern in ("audit/*.log*", "*.log", "auditbeat*/*.log") for path in sorted(DATA.glob(pattern))]
    options = ["--schema", schema, "--node", "web1", "--raw", "--warnings", "--no-resolve"]
    command = [sys.executable, "-m", "auditline.workers.supervisor", "replay", *options]
    for log in logs:
        yield from subprocess.run([*command, str(log)], check=True, capture_output=True).stdout.splitlines()


def file_lines(schema):
    renderer = FileRenderer(NoNames())
    return [renderer.render(change, *HOST, f"e:{number}", schema)[1] for number, change in enumerate(CHANGES)]


def health_line(schema):
    read_fd, write_fd = os.pipe()
    reports = [{"name": "router", "pid": os.getpid(), "state": "started", "restarts": 0}]
    os.write(write_fd, "".join(json.dumps(report) + "\n" for report in reports).encode())
    feed, lines = ProcessFeed(read_fd, lambda _: {"backend": "inotify", "backend_reason": "why"}), Lines((schema,))
    feed.read()
    Health(lines, HOST, 60, feed, lambda: dict(HEALTH), dict).tell("period")
    os.close(read_fd)
    os.close(write_fd)
    return lines.take()[schema][0].data


def minimal(identity):
    return {"@timestamp": "2026-01-01T00:00:00.000Z", "event": {"id": identity}}


@pytest.mark.parametrize("schema", ["audit", "ecs"])
def test_documents_have_no_field_that_the_table_does_not_know(schema, documents):
    fields = {path for document in documents(schema) for path, _ in values_of(document)}

    assert fields - set(known_fields(schema, fields)) == set()


@pytest.mark.parametrize("schema", ["audit", "ecs"])
def test_documents_of_every_kind_are_taken_and_bring_no_field_that_the_table_does_not_know(
    schema, namespace, documents, secured, set_up, index
):
    set_up(schema, namespace)
    stream = f"logs-auditline.audit-{namespace}"

    refused = index(stream, unlike(documents(schema)))

    [mapped] = secured.ask("GET", f"/{stream}/_mapping").values()
    query = {"size": 100, "query": {"exists": {"field": "_ignored"}}, "_source": False, "fields": ["_ignored"]}
    ignored = secured.ask("POST", f"/{stream}/_search", query)["hits"]["hits"]
    fields = set(mapped_fields(mapped["mappings"]))
    assert refused == []
    assert fields - set(known_fields(schema, fields)) == set()
    assert {name for hit in ignored for name in hit["_ignored"]} <= TOO_LONG


def values_of(value, path=""):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from values_of(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for each in value:
            yield from values_of(each, path)
    else:
        yield path, type(value)


def unlike(documents):
    """Return documents each of which has something that none before it has, also what is longer."""
    seen: set[object] = set()
    chosen = []
    for document in documents:
        size = len(json.dumps(document)) // 8192
        has = {*values_of(document), *((path, size) for path, _ in values_of(document))}
        if has - seen:
            chosen.append(document)
            seen |= has
    return chosen


def mapped_fields(mapping, path=""):
    for name, value in mapping.get("properties", {}).items():
        if "properties" in value:
            yield from mapped_fields(value, f"{path}{name}.")
        else:
            yield path + name


def known_fields(schema, fields):
    kinds = dict(read_fields(schema))
    below = tuple(f"{name}." for name, kind in kinds.items() if kind.endswith("_below"))
    return [field for field in fields if field in kinds or field.startswith(below)]


@pytest.mark.parametrize(
    ("schema", "path", "values"),
    [
        ("ecs", "auditd.data.x", ["1", 2, True, 2.5, ["a", "b"]]),
        ("ecs", "source.ip", ["192.0.2.1", "no address"]),
        ("ecs", "source.port", ["443", "unset"]),
        ("audit", "audit.kernel.data.x", ["1", 2, True, 2.5, ["a", "b"]]),
        ("audit", "auditline.detail.seconds", [1, 2.5, "long", True]),
        ("audit", "something.of.the.users", ["a", 1, True]),
    ],
)
def test_a_value_of_another_type_does_not_cost_the_document(schema, path, values, namespace, set_up, index):
    set_up(schema, namespace)

    refused = index(f"logs-auditline.audit-{namespace}", [with_value(path, value) for value in values])

    assert refused == []


def with_value(path, value):
    for name in reversed(path.split(".")):
        value = {name: value}
    return minimal(secrets.token_hex(8)) | value


def test_the_types_are_those_of_the_elastic_common_schema(namespace, secured, set_up, index):
    set_up("ecs", namespace)
    index(f"logs-auditline.audit-{namespace}", [minimal("1")])

    wanted = {
        "@timestamp": "date", "event.action": "keyword", "process.pid": "long", "process.args": "keyword",
        "process.start": "date", "source.ip": "ip", "destination.port": "long", "file.size": "long",
        "file.mtime": "date", "file.inode": "keyword", "file.mode": "keyword", "auditd.sequence": "long",
    }  # fmt: skip
    fields = secured.ask("GET", f"/logs-auditline.audit-{namespace}/_field_caps?fields=*")["fields"]
    assert {name: next(iter(fields[name])) for name in wanted} == wanted


def test_more_fields_than_an_index_may_have_cost_no_document(namespace, set_up, index):
    set_up("ecs", namespace)
    stream = f"logs-auditline.audit-{namespace}"
    many = [with_value("auditd.data", {f"f{part}_{number}": "x" for number in range(2000)}) for part in range(6)]

    refused = [each for document in many for each in index(stream, [document])]

    assert refused == []
