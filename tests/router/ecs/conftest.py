"""What tests of schema `ecs` share: records of the kernel's form, documents, and their leaves."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.ecs import EcsRenderer
from auditline.workers.router.render.lines import DEFAULT_KEEP, Keep

Document = dict[str, Any]
RenderAll = Callable[..., list[Document]]
RenderOne = Callable[..., Document]
Leaves = Callable[[Any], dict[str, Any]]
SystemCall = Callable[..., str]

HEADER = "msg=audit(1700000000.100:7):"


@pytest.fixture(scope="session")
def render_all() -> RenderAll:
    """Render all events of a log."""

    def render(
        log: str, names: IdNames | None = None, keep: Keep = DEFAULT_KEEP, host_name: str | None = None
    ) -> list[Document]:
        documents: list[Document] = []
        renderer = EcsRenderer(names or NoNames(), keep)
        grouper = Grouper(
            lambda event: documents.append(json.loads(renderer.render(event, "0" * 16, host_name)[1])), lambda *_: None
        )
        grouper.feed(*frame(log.split("\n")), 0)
        grouper.idle(0)
        return documents

    return render


@pytest.fixture(scope="session")
def render_one(render_all: RenderAll) -> RenderOne:
    """Render the one event of a log."""

    def render(log: str, *options: Any, **further: Any) -> Document:
        (document,) = render_all(log, *options, **further)
        return document

    return render


@pytest.fixture(scope="session")
def system_call() -> SystemCall:
    """Return a SYSCALL record of x86_64; *further* are the records behind it, without type's header."""

    def records(number: int, *further: tuple[str, str], **changes: str) -> str:
        fields = {
            "success": "yes", "exit": "0", "a0": "ffffff9c", "a1": "2", "a2": "3", "a3": "4",
            "items": str(sum(kind == "PATH" for kind, _ in further)), "ppid": "10", "pid": "11",
            "auid": "1000", "uid": "0", "gid": "0", "euid": "0", "suid": "0", "fsuid": "0", "egid": "0", "sgid": "0",
            "fsgid": "0", "tty": "pts0", "ses": "3", "comm": '"x"', "exe": '"/bin/x"', "key": '"k"',
        }  # fmt: skip
        fields.update(changes)
        head = f"arch=c000003e syscall={number} " + " ".join(f"{key}={value}" for key, value in fields.items())
        lines = [("SYSCALL", head), *further, ("EOE", "")]
        return "".join(f"type={kind} {HEADER} {body}\n" for kind, body in lines)

    return records


@pytest.fixture(scope="session")
def leaves() -> Leaves:
    """Return the values of a document by their paths: `user.id`, `event.type.0`."""

    def walk(value: Any, path: str = "") -> dict[str, Any]:
        if isinstance(value, dict):
            members = value.items()
        elif isinstance(value, list):
            members = dict(enumerate(value)).items()
        else:
            return {path: value}
        found: dict[str, Any] = {}
        for key, member in members:
            found.update(walk(member, f"{path}.{key}" if path else str(key)))
        return found

    return walk
