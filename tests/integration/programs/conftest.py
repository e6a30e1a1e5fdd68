"""Real programs of uid 65534, and what both schemas say of what they did."""

import base64
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from auditline.workers.control.kernel import AuditControl

ACTOR = Path(__file__).parent / "actor.py"
NOBODY = 65534
KEY = "programs"
CALLS = (
    "execve,execveat,connect,bind,rename,renameat,renameat2,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,"
    "chown,lchown,fchown,fchownat,setxattr,lsetxattr,fsetxattr,mount,unshare,ptrace,kill,tkill,tgkill,bpf,memfd_create,"
    "unlink,unlinkat"
)
RULES = f"-a always,exit -F arch=b64 -S {CALLS} -F uid={NOBODY} -k {KEY}\n"
KEYS = {KEY, "open"}
"""And that of the rule for denied opens, which every run has."""
OUTCOMES = {"success": "success", "fail": "failure"}


class Deed(NamedTuple):
    """What both schemas say of one event."""

    document: dict[str, Any]
    ecs: dict[str, Any]

    @property
    def kernel(self) -> dict[str, Any]:
        """`audit.kernel`."""
        return dict(self.document["audit"]["kernel"])

    @property
    def ours(self) -> dict[str, Any]:
        """`auditline`."""
        return dict(self.document["auditline"])

    @property
    def decoded(self) -> dict[str, Any]:
        """What is decoded of it."""
        return dict(self.ours.get("decoded", {}))

    @property
    def result(self) -> tuple[str, str]:
        """How it ended, and the error or what the call returned."""
        return self.kernel["result"], self.kernel["data"]["exit"]

    @property
    def classes(self) -> tuple[list[str], list[str]]:
        """What kind of event it is, in the words of the Elastic Common Schema."""
        return self.ecs["event"]["category"], self.ecs["event"]["type"]

    def exact(self, field: str) -> bytes:
        """Return the bytes of a text that does not give them back."""
        (found,) = [each["base64"] for each in self.ours["undecodable"] if each["field"] == field]
        return base64.b64decode(found)

    def suspicions(self, field: str) -> list[str]:
        """Return why that text may be meant to deceive."""
        return [why for each in self.ours.get("suspicious", []) if each["field"] == field for why in each["reasons"]]

    def is_about(self, path: str) -> bool:
        """Return whether that is what it was done to."""
        return bool(self.kernel.get("thing", {}).get("primary") == path)

    def check(self) -> None:
        """Check what is the same of everything that nobody did: it is whole, by whom it was, and that both agree."""
        kernel, ecs = self.kernel, self.ecs
        name = pwd.getpwuid(NOBODY).pw_name
        # Schema `audit` has no names of processes that could be inferred.
        assert self.ours == {key: value for key, value in ecs["auditline"].items() if key != "inferred"}
        assert self.ours["complete"]
        assert (self.document["@timestamp"], self.document["host"]) == (ecs["@timestamp"], ecs["host"])
        assert kernel["key"] in KEYS
        assert ecs["tags"] == [kernel["key"]]
        assert kernel["actor"]["secondary"] == kernel["actor"]["attrs"]["uid"] == name
        assert (ecs["user"]["id"], ecs["user"]["name"], ecs["user"]["group"]["id"]) == (str(NOBODY), name, str(NOBODY))
        assert (ecs["process"]["pid"], ecs["process"]["parent"]["pid"]) == (
            int(kernel["data"]["pid"]),
            int(kernel["data"]["ppid"]),
        )
        assert ecs["process"]["executable"] == kernel["data"]["exe"]
        assert ecs["process"]["title"] == kernel["data"]["proctitle"]
        assert (ecs["event"]["action"], ecs["event"]["kind"]) == (kernel["action"], "event")
        assert ecs["event"]["outcome"] == OUTCOMES[kernel["result"]]
        assert ecs["auditd"]["sequence"] == kernel["sequence"]


class Deeds(NamedTuple):
    """What one program and its children did, in order of the events."""

    told: list[int | str]
    """What came of the system calls, and of the programs run, by the program's own account."""
    all: list[Deed]

    def of(self, action: str) -> list[Deed]:
        """Return those with that action."""
        return [deed for deed in self.all if deed.kernel["action"] == action]

    def the(self, action: str) -> Deed:
        """Return the only one with that action."""
        (deed,) = self.of(action)
        return deed


class Stage:
    """A running service with one output in each schema, and a place for the programs."""

    def __init__(self, place: Path, run: Any, wait_until: Callable[..., None]) -> None:
        self.folder = place / "folder"
        """Where the programs act; its owner is nobody."""
        self.folder.mkdir()
        os.chown(self.folder, NOBODY, NOBODY)
        self.closed = place / "closed"
        """Root's alone."""
        self.closed.mkdir(mode=0o700)
        self._segments = place / "segments"
        self._run = run
        self._wait_until = wait_until
        self._acts = 0
        self._taken = {"audit": 0, "ecs": 0}

    def act(self, code: str, *arguments: str | bytes | Path) -> Deeds:
        """Let nobody do what *code* says; return what came of it, once all of it has come."""
        self._acts += 1
        marker = f"{self.closed}/marker-{self._acts}"
        command = [sys.executable, "-S", str(ACTOR), str(self.folder), marker, code, *arguments]
        with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as actor:
            told, _ = actor.communicate(timeout=20)
        assert actor.returncode == 0
        # Events leave in the order of their ends, so that of the marker is the last.
        self._wait_until(lambda: f'"{marker}"'.encode() in self._new("audit"))
        self._wait_until(lambda: f'"{marker}"'.encode() in self._new("ecs"))
        documents, in_ecs = self._take("audit"), {each["event"]["id"]: each for each in self._take("ecs")}
        deeds = [Deed(each, in_ecs[each["event"]["id"]]) for each in documents if "kernel" in each["audit"]]
        found = [deed for deed in _of_family(deeds, actor.pid) if not deed.is_about(marker)]
        for deed in found:
            deed.check()
        return Deeds(json.loads(told), found)

    def _new(self, schema: str) -> bytes:
        """Return what has come since the last act."""
        return self._all(schema)[self._taken[schema] :]

    def _all(self, schema: str) -> bytes:
        if schema == "audit":
            return bytes(self._run.stdout)
        return b"".join(path.read_bytes() for path in sorted(self._segments.glob("*.jsonl")))

    def _take(self, schema: str) -> list[dict[str, Any]]:
        new = self._new(schema)
        whole = new.rfind(b"\n") + 1
        self._taken[schema] += whole
        return [json.loads(line) for line in new[:whole].splitlines()]


def _of_family(deeds: Sequence[Deed], pid: int) -> Iterator[Deed]:
    """Yield those of a process and its descendants: others may be nobody, too."""
    family = {str(pid)}
    for deed in deeds:
        data = deed.kernel["data"]
        if family & {data.get("pid"), data.get("ppid")}:
            family.add(data["pid"])
            yield deed


@pytest.fixture(scope="module")
def stage(
    kernel_audit_of_module: AuditControl, start_run_of_module: Callable[..., Any], wait_until: Callable[..., None]
) -> Iterator[Stage]:
    """The service, once for all tests of a module: its start takes longer than any of them."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        rules = place / "programs.rules"
        rules.write_text(RULES)
        rules.chmod(0o644)
        run = start_run_of_module(
            audit=f'rules_files = ["{rules}"]\n',
            tables=f'[outputs.segments]\nenabled = true\nschema = "ecs"\ndirectory = "{place}/segments"\n',
        )
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
        yield Stage(place, run, wait_until)
