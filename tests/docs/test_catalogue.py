"""docs/catalogue/ has every key that renderers produce and every reason that they give; docs/events.md has it all."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.attributes import Xattr, XattrKind, pack_xattrs
from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.file_state import STABLE, FileState
from auditline.workers.router.decode import suspicious
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_event import FileRenderer

PLACES = {
    "audit": {"line": "", "kernel": "audit.kernel.", "auditline": "auditline."},
    "ecs": {"ecs": "", "auditline": "auditline."},
}
"""The places of keys.tsv that are in lines of a schema, and what their keys are below."""
OPEN_OBJECTS = re.compile(
    r"audit\.kernel\.(data|actor\.attrs|actor\.selinux|thing\.selinux|paths\[\]|socket)\.|auditd\.(data|paths\[\])\."
    r"|file\.hash\.|auditline\.(decoded\.arguments|decoded\.fields|undecodable\[\]|suspicious\[\])\."
)
"""Below them are the records' own keys, or what their row says."""
NOT_IN_LOGS = {
    "audit": {"audit.kernel", "audit.file", "audit.coverage", "audit.drift", "audit.health", "auditline.inferred"},
    "ecs": {"audit.coverage", "audit.drift", "audit.health", "auditline.inferred", "process.parent.entity_id"},
}
"""What is about us, and what only a live host tells: tests/router/actors/test_kin.py."""
SUBJECT = "ppid=1 pid=2 auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=1"
RARITIES = f"""\
type=SYSCALL msg=audit(1.001:1): arch=c000003e syscall=43 success=yes exit=4 a0=3 a1=0 a2=0 a3=0 items=0 {SUBJECT} comm="x" exe="/x" key=(null)
type=SOCKADDR msg=audit(1.001:1): saddr=020001BBC0000207
type=SYSCALL msg=audit(1.002:2): arch=c000003e syscall=43 success=yes exit=4 a0=3 a1=0 a2=0 a3=0 items=0 {SUBJECT} comm="x" exe="/x" key=(null)
type=SOCKADDR msg=audit(1.002:2): saddr=01002F7372762F7800
type=SYSCALL msg=audit(1.003:3): arch=c000003e syscall=2 success=yes exit=3 a0=1 a1=0 a2=0 a3=0 items=1 {SUBJECT} comm="x" exe="/x" key=(null)
type=PATH msg=audit(1.003:3): item=0 name="/x" inode=1 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 obj=u:r:t:s0:c1 nametype=NORMAL
type=SYSCALL msg=audit(1.003:5): arch=c000003e syscall=165 success=yes exit=0 a0=1 a1=0 a2=0 a3=1000 items=2 {SUBJECT} comm="x" exe="/x" key=(null)
type=CWD msg=audit(1.003:5): cwd="/srv"
type=PATH msg=audit(1.003:5): item=0 name="x" inode=1 dev=fe:00 mode=040755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL
type=PATH msg=audit(1.003:5): item=1 name="y" inode=2 dev=fe:00 mode=040755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL
type=USER_LOGIN msg=audit(1.004:4): pid=1 uid=0 auid=0 ses=1 msg='op=login acct="x" exe="/x" hostname=? addr=client.example terminal=ssh res=success'
""".encode()  # noqa: E501
"""Records with what is in none of the logs."""
NO_RECORD = b"\xff\n"
SECOND = 10**9
FILE = FileState(
    mode=0o106755, uid=0, gid=0, size=6, inode=7, device=0xFE00, links=1, mtime_ns=SECOND, ctime_ns=SECOND,
    atime_ns=SECOND, rdev=0, target=None, hashes=b"\x04" + bytes(32), hash_state=STABLE, checked_ns=SECOND,
)  # fmt: skip
XATTRS = {
    b"security.selinux": b"system_u:object_r:etc_t:s0:c1",
    b"system.posix_acl_access": b"\2\0\0\0\1\0\6\0\xff\xff\xff\xff",
}
ACTOR = {
    "pid": 1, "start": "2023-11-14T22:14:20.010Z", "entity_id": "N2HGVVeqY2RXa6I0", "executable": "/usr/bin/cp",
    "name": "cp", "arguments": ["cp"], "parent": {"pid": 2, "executable": "/usr/bin/sh"}, "user": {"id": "0"},
    "login_user": {"id": "700"}, "container_id": "4f1c8e5d2a3b",
}  # fmt: skip
LINK = FILE._replace(mode=0o120777, hashes=b"", target=b"/srv")


@pytest.fixture
def replay_all(tree: Path, shell_environment: dict[str, str]) -> Callable[[str], list[dict[str, Any]]]:
    """Replay every log of the tests' data in a schema, with all that can be kept."""
    data = tree / "tests" / "data"
    logs = [
        *data.glob("audit/*.log*"),
        *data.glob("*/auparse/*.log"),
        *data.glob("auditbeat/*.log"),
        data / "small.log",
    ]
    names = ["--passwd", f"{data}/seed/passwd", "--group", f"{data}/seed/group"]

    def replay(schema: str) -> list[dict[str, Any]]:
        command = ["auditline", "replay", "--schema", schema, "--raw", "--warnings", "--node", "web1", *names]
        command += [*map(str, logs), "-"]
        ran = subprocess.run(
            command, input=RARITIES + NO_RECORD, env=shell_environment, capture_output=True, check=True
        )
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return replay


def file_events(tree: Path) -> list[dict[str, Any]]:
    """Return events of files in schema ecs, which between them have every key."""
    xattrs = pack_xattrs(Xattr(XattrKind.WHOLE, name, value, len(value)) for name, value in XATTRS.items())
    renderer = FileRenderer(IdNames(tree / "tests/data/seed/passwd", tree / "tests/data/seed/group"))
    changes = [
        FileChange(
            action="created", path=b"/a.b", before=None, after=state, detected_by="event", time_ns=SECOND, actor=ACTOR
        )
        for state in (FILE._replace(xattrs=xattrs), LINK)
    ]
    documents = [json.loads(renderer.render(change, "0" * 16, "web1", "e:1", "ecs")[1]) for change in changes]
    return [{key: value for key, value in document.items() if key != "auditline"} for document in documents]


def catalogue(tree: Path, name: str) -> list[list[str]]:
    """Return the rows of a file in docs/catalogue/."""
    lines = (tree / "docs" / "catalogue" / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def catalogued_keys(tree: Path, schema: str) -> set[str]:
    """Return every key that a line of that schema may have."""
    places = PLACES[schema]
    rows = [(places[place], key) for place, key, *_ in catalogue(tree, "keys") if place in places]
    return {f"{prefix}{each}" for prefix, key in rows for each in expand(key)}


def expand(key: str) -> Iterator[str]:
    """Yield every key that one with alternatives stands for: `a.{b,c}` is a.b and a.c."""
    parts = [part.split(",") for part in re.split(r"[{}]", key)]
    yield from map("".join, itertools.product(*parts))


def leaf_paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every value that is no object; what is in a list of objects counts as `[]`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaf_paths(inner, f"{path}.{key}" if path else key)
    else:
        yield path
        if isinstance(value, list):
            yield from (below for inner in value if isinstance(inner, dict) for below in leaf_paths(inner, f"{path}[]"))


def produced_keys(documents: list[dict[str, Any]]) -> set[str]:
    """Return the keys of documents, down to the objects whose keys are not ours."""
    paths = {path for document in documents for path in leaf_paths(document)}
    return {found[0].rstrip(".").removesuffix("[]") if (found := OPEN_OBJECTS.match(path)) else path for path in paths}


def test_generated_parts_are_what_the_tables_give(tree: Path):
    checked = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=tree, capture_output=True, check=False
    )

    assert checked.returncode == 0, checked.stderr.decode()


def test_keys_of_schema_audit_are_those_of_the_catalogue(tree: Path, replay_all: Callable[..., Any]):
    produced = produced_keys(replay_all("audit"))

    assert produced == catalogued_keys(tree, "audit") - NOT_IN_LOGS["audit"] - {"auditline"}


def test_keys_of_schema_ecs_are_those_of_the_catalogue(tree: Path, replay_all: Callable[..., Any]):
    produced = produced_keys(replay_all("ecs")) | produced_keys(file_events(tree))

    assert produced == catalogued_keys(tree, "ecs") - NOT_IN_LOGS["ecs"] - {"auditline"}


def test_reasons_to_suspect_a_text_are_those_in_the_code(tree: Path):
    listed = {reason for its_list, reason, _ in catalogue(tree, "reasons") if its_list == "suspicious"}

    constants = {value for name, value in vars(suspicious).items() if name.isupper() and isinstance(value, str)}
    assert listed == {value for value in constants if value.isidentifier()}
