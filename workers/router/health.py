"""`audit.health` events: the processes, the counters, the losses and the balance, on the same way as all events."""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal

import psutil

from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.router.render.envelope import own_document
from auditline.workers.router.render.lines import to_json
from auditline.workers.router.stream import Lines

logger = logging.getLogger(__name__)

LOSS_SECONDS = 1.0
"""A loss that goes on is told at most so often."""

ENDED_SECONDS = 10.0
"""Records of a process may come so long after its end."""

_ECS_EVENT = {
    "kind": "metric",
    "dataset": "auditline.health",
    "category": ["host"],
    "type": ["info"],
    "action": "health",
}

Reason = Literal["period", "loss", "state"]


class ProcessFeed:
    """What the supervisor says about processes: JSON lines over a pipe."""

    def __init__(self, pipe_fd: int, facts_of: Callable[[str], dict[str, str]] = lambda _: {}) -> None:
        """*facts_of* gives what the process of a name tells of itself."""
        self.fd: int | None = pipe_fd
        self._facts_of = facts_of
        self.processes: dict[str, dict[str, Any]] = {}
        self.pids: set[int] = set()
        """Processes of ours: those that live, and for some seconds those that have ended."""
        self._ended: dict[int, float] = {}
        self._rest = b""
        os.set_blocking(pipe_fd, False)

    def read(self) -> bool:
        """Take what has come; return True if a process died, was given up or was started again."""
        self.forget_ended()
        changed = False
        while self.fd is not None:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                break
            if not data:
                self.fd = None
                break
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                changed = self._take_line(line) or changed
        return changed

    def forget_ended(self) -> None:
        """Let go of pids whose last records must have come: the kernel gives them to others."""
        now = time.monotonic()
        for pid in [pid for pid, ended in self._ended.items() if now - ended > ENDED_SECONDS]:
            del self._ended[pid]
            self.pids.discard(pid)

    @property
    def given_up(self) -> set[str]:
        """The names of processes that died too often to be started again."""
        return {name for name, process in self.processes.items() if process["state"] == "given_up"}

    @property
    def gone(self) -> set[str]:
        """The same, and those that were stopped: a watch that was taken out."""
        return self.given_up | {name for name, process in self.processes.items() if process["state"] == "stopped"}

    def describe(self) -> list[dict[str, Any]]:
        """Return `audit.health.processes`."""
        return [process | usage_of(process["pid"]) | self._facts_of(name) for name, process in self.processes.items()]

    def _take_line(self, line: bytes) -> bool:
        try:
            report = json.loads(line)
            return self._take({key: report[key] for key in ("name", "pid", "state", "restarts")})
        except (ValueError, KeyError, TypeError) as error:
            # What did not fit into the pipe is said once more, as a whole.
            logger.debug("a report of the supervisor cannot be read: %r", error)
            return False

    def _take(self, report: dict[str, Any]) -> bool:
        known = self.processes.get(report["name"])
        self.processes[report["name"]] = report
        if known is not None and (known["pid"] != report["pid"] or report["state"] != "started"):
            self._ended[known["pid"]] = time.monotonic()
        if report["state"] == "started":
            self.pids.add(report["pid"])
            self._ended.pop(report["pid"], None)
        has_ended = report["state"] in ("died", "given_up")
        return has_ended or (known is not None and known["restarts"] != report["restarts"])


class Health:
    """Decides when a health event is due and makes it."""

    def __init__(
        self,
        lines: Lines,
        host: tuple[str, str],
        period_seconds: float,
        feed: ProcessFeed,
        measure: Callable[[], dict[str, Any]],
        count_losses: Callable[[], dict[str, int]],
        note_loss: Callable[[], None] = lambda: None,
    ) -> None:
        """*measure* returns counters, loss and balance, and detail for `auditline`, *count_losses* the loss alone.

        *note_loss* is called for each loss that is told.
        """
        self._lines = lines
        self._host, self._host_name = host
        self._period_seconds = period_seconds
        self._feed = feed
        self._measure = measure
        self._count_losses = count_losses
        self._note_loss = note_loss
        self._run_id = secrets.token_hex(4)
        self._count = 0
        now = time.monotonic()
        self._period_due = now + period_seconds
        self._loss_due = now + LOSS_SECONDS
        self._told_loss: dict[str, int] | None = None
        self._told_to = 0
        """How many outputs the last health event went to."""

    @property
    def seconds_until_due(self) -> float:
        """How long nothing is due; losses are looked for whenever `tick` is called, once in LOSS_SECONDS."""
        return max(0.0, self._period_due - time.monotonic())

    def tick(self, *, state_changed: bool) -> None:
        """Make the events that are due."""
        now = time.monotonic()
        if state_changed:
            self.tell("state")
        if now >= self._loss_due:
            self._loss_due = now + LOSS_SECONDS
            self._tell_new_loss()
        if now >= self._period_due:
            self._period_due = now + self._period_seconds
            self.tell("period")

    def tell(self, reason: Reason) -> None:
        """Put a health event in line."""
        self._count += 1
        measured = self._measure()
        detail = measured.pop("detail", None)
        self._told_loss, self._told_to = measured["loss"], len(measured["balance"]["outputs"])
        identity = f"{self._host}-health-{self._run_id}-{self._count}"
        timestamp = timestamp_of_ns(time.time_ns())
        members = {
            "audit": {"health": {"reason": reason, "processes": self._feed.describe(), **measured}},
            "auditline": {"complete": True} | ({"detail": detail} if detail else {}),
        }

        def render(schema: str) -> tuple[str, str]:
            document = own_document(schema, timestamp, identity, self._host_name, _ECS_EVENT)
            return identity, to_json(document | members)

        self._lines.add_rendered(render)

    def _tell_new_loss(self) -> None:
        loss = self._count_losses()
        if self._told_loss is None:
            # What a predecessor counted was told by it, or it died before: then it counts as new.
            self._told_loss = dict.fromkeys(loss, 0)
        # A count can fall: what a killed router had not yet committed is counted when it comes again.
        self._told_loss = {kind: min(told, loss[kind]) for kind, told in self._told_loss.items()}
        # That outputs missed the last health event itself is no news, or it would bring forth the next one for ever.
        told = self._told_loss | {"rejected": self._told_loss["rejected"] + self._told_to}
        if any(loss[kind] > told[kind] for kind in loss):
            logger.error("loss: %s", ", ".join(f"{kind} {count}" for kind, count in loss.items() if count))
            self._note_loss()
            self.tell("loss")


def usage_of(pid: int) -> dict[str, Any]:
    """Return what a process has used of the host; of one that is gone: nothing."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return {"cpu_seconds": round(times.user + times.system, 2), "rss_bytes": process.memory_info().rss}
    except (psutil.Error, ValueError):
        return {"cpu_seconds": 0.0, "rss_bytes": 0}
