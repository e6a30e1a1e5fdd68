"""When a service is degraded, and why, in one line each. docs/status.md says the same."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

RESTARTS_TOO_MANY = 3
"""So many deaths of one process within ten minutes are too many."""
RECENT_LOSS_SECONDS = 600
BEHIND_SECONDS = 60
"""An output may be so far behind, beyond the time that it gathers events for."""
READER_IDLE_SECONDS = 900
"""So long a cursor may stand still although there are new events."""
KERNEL_SILENT_SECONDS = 30
"""The kernel is asked every three."""

_LOCKED = 2

Json = Mapping[str, Any]


def judge(status: Json, about: Json) -> list[str]:
    """Return why the service is degraded; nothing: it is not."""
    rules: tuple[Callable[[Json, Json], Iterator[str]], ...] = (
        _judge_processes,
        _judge_kernel,
        _judge_outputs,
        _judge_watches,
        _judge_cursors,
        _judge_losses,
    )
    return [reason for rule in rules for reason in rule(status, about)]


def _judge_processes(status: Json, about: Json) -> Iterator[str]:
    for process in status["processes"]:
        name, deaths = process["name"], about["deaths"].get(process["name"], 0)
        if process["state"] == "given_up":
            yield f"{name} died again and again and is not started any more"
        elif process["state"] == "died":
            yield f"{name} is down, and about to be started again"
        elif name in about["stopped"]:
            yield f"{name} (pid {process['pid']}) is stopped by a signal: kill -CONT {process['pid']} lets it go on"
        if deaths >= RESTARTS_TOO_MANY and process["state"] != "given_up":
            yield f"{name} died {deaths} times within ten minutes"


def _judge_kernel(status: Json, about: Json) -> Iterator[str]:
    kernel, audit = status["kernel"], about["audit"]
    if kernel["mode"] == "none":
        yield "the kernel's audit is not read, though audit.enabled is true: the log of the start says why"
    if kernel["mode"] in ("none", "off"):
        return
    if not audit["has_reader"]:
        yield "the kernel's audit is not read: its reader is not running"
    if kernel["mode"] == "stdin":
        return
    if kernel["mode"] == "unicast":
        yield from _judge_ownership(status["pid"], kernel, about)
    elif audit["socket"] == "auto" and audit["has_rules"]:
        owner = f"pid {kernel['pid']} is the audit daemon" if kernel["pid"] else "the kernel's audit is not ours"
        yield f"{owner}, so the configured rules are not loaded; only what others have audited is read"
    if kernel["enabled"] == 0:
        yield "audit is switched off in the kernel (enabled=0): nothing is recorded; auditctl -e 1 switches it on"
    if audit["refused_rules"]:
        yield f"the kernel has refused {audit['refused_rules']} of the configured rules"
    if audit["is_drifting"]:
        yield "somebody has changed rules or status of the kernel's audit: events with audit.drift say what"


def _judge_ownership(pid: int, kernel: Json, about: Json) -> Iterator[str]:
    silent_seconds = about["now"] - about["audit"]["told_at"]
    if not about["audit"]["told_at"]:
        yield "the kernel has not yet told its audit status"
    elif silent_seconds > KERNEL_SILENT_SECONDS:
        yield f"the kernel has not told its audit status for {silent_seconds:.0f} s"
    elif kernel["pid"] != pid:
        who = f"pid {kernel['pid']}" if kernel["pid"] else "nobody"
        yield f"we are not the kernel's audit daemon any more, {who} is: no records arrive"
    if kernel["enabled"] == _LOCKED and not kernel["rules"] and about["audit"]["has_rules"]:
        yield "the kernel's audit is locked until the next boot, and none of the configured rules is loaded"


def _judge_outputs(status: Json, about: Json) -> Iterator[str]:
    for name, output in status["outputs"].items():
        why = f": {output['last_error']}" if output["last_error"] else ""
        allowed_seconds = BEHIND_SECONDS + about["outputs"].get(name, {}).get("flush_seconds", 0)
        if output["state"] == "detached":
            yield f"outputs.{name} is detached, and its events are missed{why}"
        elif output["state"] == "gone":
            yield f"outputs.{name} is gone for good: nobody reads it any more"
        elif output["lag_seconds"] > allowed_seconds:
            yield f"outputs.{name} is {output['lag_seconds']:.0f} s behind, {output['pending']} events wait{why}"
        elif output["last_error"]:
            yield f"outputs.{name} cannot deliver now{why}"


def _judge_watches(status: Json, about: Json) -> Iterator[str]:
    for path, watch in status["watches"].items():
        wanted, found = about["backends"].get(path), watch["backend"]
        if watch["state"] == "missing":
            yield f"{path} is not there; it is watched as soon as it is"
        elif watch["state"] == "cannot store":
            yield f"{path}: changes wait, because they cannot be stored: the log of the service says why"
        elif watch["state"] == "down":
            yield f"{path} is not watched now: its process is down"
        elif found is not None and not _is_as_wanted(found, wanted):
            yield f"{path} is watched by {found} instead of {wanted}: {watch['reason']}"


def _is_as_wanted(found: str, wanted: str | None) -> bool:
    """Whether a backend is what the settings ask for; with very many directories fanotify goes by file systems."""
    return wanted in (None, "auto") or found.startswith(str(wanted))


def _judge_cursors(status: Json, _about: Json) -> Iterator[str]:
    for path, cursor in status["cursors"].items():
        if cursor["problem"]:
            yield f"the cursor {path} holds nothing back: {cursor['problem']}"
        is_idle = cursor["age_seconds"] is not None and cursor["age_seconds"] > READER_IDLE_SECONDS
        if cursor["lag_bytes"] and is_idle:
            minutes = cursor["age_seconds"] / 60
            yield f"the cursor {path} has stood still for {minutes:.0f} minutes, though there is more to read"


def _judge_losses(status: Json, about: Json) -> Iterator[str]:
    ago_seconds = about["now"] - about["loss_told_at"]
    if about["loss_told_at"] and ago_seconds <= RECENT_LOSS_SECONDS:
        lost = ", ".join(f"{kind} {count}" for kind, count in status["loss"].items() if count)
        yield f"something was lost {ago_seconds / 60:.0f} minutes ago; in all: {lost or 'made good since'}"
