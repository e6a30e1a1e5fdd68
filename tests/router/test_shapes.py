"""No record makes a document that Elasticsearch must refuse because of the shape of another one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.lines import Keep
from auditline.workers.router.render.schemas import open_renderer

RENDERERS = {schema: open_renderer(schema, NoNames(), Keep(raw=True, warnings=True)) for schema in ("audit", "ecs")}
KINDS = [
    types.SYSCALL, types.PATH, types.SOCKADDR, types.EXECVE, types.AVC, types.LOGIN, types.OBJ_PID, types.SECCOMP,
    types.CONFIG_CHANGE, types.MAC_TASK_CONTEXTS, 1100, 1105, 1112, 1117, 1132, 2500, 2999, -7,
]  # fmt: skip
NAMES = [
    "socket", "name", "id", "text", "uid", "gid", "euid", "auid", "xuid", "uuid", "user", "group", "selinux",
    "effective", "target", "paths", "data", "obj", "subj", "obj_user", "domain", "ip", "path", "args", "cmdline",
    "comm", "exe", "cwd", "proctitle", "pid", "ppid", "ses", "res", "success", "key", "acct", "grp", "addr",
    "hostname", "saddr", "syscall", "arch", "mode", "nametype", "inode", "code", "family", "op", "a0", "argc",
    "name.uid", "op.x", ".", "..", "a.", ".b", "user.name",
]  # fmt: skip
VALUES = [
    "7", "0", "-1", "4294967295", '"x"', "C3A9", "u:r:t:s0", "/usr/sbin/x (enforce)", "1.2.3.4", "yes", "",
    "host.example", "0200005001020304", "01002F7800", "0A00", "c000003e", "59", "42", "0100644", "NORMAL",
    "x.y=z", "a b",
]  # fmt: skip
PAIRS = st.tuples(st.sampled_from(NAMES) | st.text("aZ09_-.[]=", min_size=1, max_size=6), st.sampled_from(VALUES))
BODIES = st.tuples(st.booleans(), st.lists(PAIRS, max_size=6)).map(
    lambda drawn: ("pid=1 uid=0 msg='{}'" if drawn[0] else "{}").format(
        " ".join(f"{key}={value}" for key, value in drawn[1])
    )
)
RECORDS = st.lists(st.tuples(st.sampled_from(KINDS), BODIES), min_size=1, max_size=4)

SYSTEM_CALL = (
    "arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=4 a2=5 a3=6 items=1 ppid=1 pid=2 auid=1 uid=2 gid=3 euid=4"
    ' suid=5 fsuid=6 egid=7 sgid=8 fsgid=9 tty=pts0 ses=1 comm="x" exe="/x" subj=u:r:t:s0:c0 key=6101'
)
EVERYTHING = [
    (types.SYSCALL, SYSTEM_CALL),
    (types.SOCKADDR, "saddr=0200005001020304"),
    (types.EXECVE, 'argc=2 a0="x" a1=C3FF'),
    (types.PATH, 'item=0 name="/x" inode=5 dev=fe:00 mode=0100644 ouid=0 ogid=0 obj=u:r:t:s0 nametype=NORMAL'),
    (types.PROCTITLE, "proctitle=782079007A"),
]


def documents_of(records: list[tuple[int, str]]) -> Iterator[tuple[str, Any]]:
    """Yield each schema and the document in it."""
    event = Event("audit(1700000000.100:7", None, "1700000000", "100", 7)
    event.types.extend(kind for kind, _ in records)
    event.bodies.extend(body for _, body in records)
    for schema, renderer in RENDERERS.items():
        yield schema, json.loads(renderer.render(event, "0" * 16, "web1")[1])


def shapes_of(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and shape of everything in a document: a list is, for Elasticsearch, what it has in it."""
    if isinstance(value, list):
        for inner in value:
            yield from shapes_of(inner, path)
        return
    yield path, "object" if isinstance(value, dict) else "number" if type(value) is int else type(value).__name__
    if isinstance(value, dict):
        for key, inner in value.items():
            assert key.strip(), f"a member of {path} has no name"
            assert "." not in key, f"{path} has a member called {key}"
            yield from shapes_of(inner, f"{path}.{key}")


@pytest.fixture(scope="module")
def known_shapes() -> dict[str, str]:
    """What each path of a document has been before, in whichever document; begins with one that has a lot."""
    return {path: shape for schema, document in documents_of(EVERYTHING) for path, shape in shapes_of(document, schema)}


@given(records=RECORDS)
@example(records=[(1112, "pid=1 uid=0 msg='op=x socket=7 socket=8'")])
@example(records=[(types.AVC, "socket=7"), (types.SOCKADDR, "saddr=0200005001020304")])
@example(records=[(1112, "pid=1 uid=0 msg='op=x op.y=1 name.uid=5 .a=1 b.=2 c..d=3'")])
@example(records=[(2500, "pid=1 uid=0 msg='uuid=7 user.name=x'")])
def test_every_place_has_one_shape(known_shapes: dict[str, str], records: list[tuple[int, str]]):
    for schema, document in documents_of(records):
        for path, shape in shapes_of(document, schema):
            assert known_shapes.setdefault(path, shape) == shape, f"{path} is both"
