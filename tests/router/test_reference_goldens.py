"""Events that go-libaudit coalesced, and ours for the same records, in the words of schema `audit`."""

import json
from typing import Any

from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.audit import AuditRenderer

DIFFERENT_ON_PURPOSE = {
    # The reference takes a raw Unix mode for a Go mode, and so every thing for a file.
    ("mount syscall", "thing.what"): "directory",
    ("make-device", "thing.what"): "named-pipe",
    # RHEL 7 marks parents by objtype, which the reference does not know: it names the directory.
    ("make-device", "thing.primary"): "/run/systemd/sessions/23.ref",
    # A connect that has begun is no failure.
    ("connect syscall", "result"): "success",
}


def render(text: str) -> dict[str, Any]:
    documents: list[Any] = []
    renderer = AuditRenderer(NoNames())
    grouper = Grouper(lambda event: documents.append(renderer.render(event, "0" * 16, None)[1]), lambda *_: None)
    grouper.feed(*frame(text.splitlines()), 0)
    grouper.idle(0)
    assert len(documents) == 1
    document: dict[str, Any] = json.loads(documents[0])
    return document


def in_old_words(event: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a golden under the names that schema `audit` has for them."""
    summary = event["summary"]
    words: dict[str, Any] = {
        "sequence": event["sequence"],
        "category": event["category"],
        "record_type": event["record_type"],
        "result": event["result"],
        "session": event.get("session"),
        "action": summary["action"],
        "how": summary.get("how"),
        "key": (event.get("tags") or [None])[0],
        "actor.primary": summary["actor"].get("primary"),
        "actor.secondary": summary["actor"].get("secondary"),
        "thing.what": summary["object"].get("type"),
        "thing.primary": summary["object"].get("primary"),
    }
    words.update({f"actor.attrs.{key}": value for key, value in event["user"]["ids"].items()})
    words.update({f"actor.selinux.{key}": value for key, value in event["user"].get("selinux", {}).items()})
    process = event["process"]
    for new, old in {
        "pid": "pid",
        "ppid": "ppid",
        "title": "proctitle",
        "name": "comm",
        "exe": "exe",
        "cwd": "cwd",
    }.items():
        if new in process:
            words[f"data.{old}"] = process[new]
    for key, value in event["data"].items():
        # The reference keeps a second copy of the subject's ids here, and items of events of one record.
        if key.startswith("socket_"):
            words[f"socket.{key[7:]}"] = value
        elif key not in ("auid", "uid", "gid", "ses", "items"):
            words[f"data.{key}"] = value
    return words


def look_up(kernel: dict[str, Any], path: str) -> Any:
    value: Any = kernel
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def test_event_says_what_the_reference_says_or_differs_on_purpose(
    name: str, records: str, golden: dict[str, Any]
) -> None:
    document = render(records)

    kernel = document["audit"]["kernel"]
    expected = {path: DIFFERENT_ON_PURPOSE.get((name, path), value) for path, value in in_old_words(golden).items()}
    assert {path: look_up(kernel, path) for path in expected} == expected
    assert kernel.get("paths", []) == golden.get("paths", [])
