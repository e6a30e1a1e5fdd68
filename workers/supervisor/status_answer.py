"""What the supervisor answers to `auditline status`: what it knows itself, and what the counter pages say.

Nothing here asks another process or touches a disk, so that the answer is the same while workers hang. `status` has the
form that the command prints, but for what is read from segments and cursors; `about` is what a judgement of it takes.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from auditline.workers.common.counters import read_facts, read_pages
from auditline.workers.common.output_slots import count_refusals, output_count, sum_output_counts
from auditline.workers.common.process_stat import read_stat
from auditline.workers.common.settings import ElasticsearchSettings, OutputSettings, SegmentsSettings, Settings
from auditline.workers.common.status_slots import (
    DRIFTING,
    FILES_KNOWN,
    KERNEL_ENABLED,
    KERNEL_TOLD_AT,
    LOSS_TOLD_AT,
    OUTPUT_STATES,
    WATCH_STATE,
    WATCH_STATES,
    output_error,
    output_state,
    output_waits_since,
)
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.router.health import usage_of
from auditline.workers.router.inflow import Tally
from auditline.workers.router.ledger import list_counters, sum_losses
from auditline.workers.supervisor.audit_source import AuditSource
from auditline.workers.supervisor.directories import COUNTERS_DIRECTORY
from auditline.workers.supervisor.kinds import AUDIT, CONTROL, ROUTER, Wiring
from auditline.workers.supervisor.processes import Worker, WorkerReport, WorkerState
from auditline.workers.supervisor.stdin_source import StdinSource

Page = Mapping[str, int]

_OUTCOMES = ("written", "missed", "rejected")


class StatusAnswer:
    """Makes the answer of one moment."""

    def __init__(
        self, wiring: Wiring, workers: Sequence[Worker], reports: Iterable[WorkerReport], since_ns: int
    ) -> None:
        self._wiring = wiring
        self._workers = workers
        self._reports = reports
        self._since_ns = since_ns

    def make(self) -> bytes:
        """Return the answer, one JSON object."""
        settings, workers, now = self._wiring.settings, self._workers, time.time()
        pages = read_pages(settings.run.directory / COUNTERS_DIRECTORY)
        facts = {worker.name: self._facts_of(worker.name) for worker in workers}
        router = pages.get(ROUTER, {})
        outputs = {each.name: _describe_output(each, router, facts, now) for each in settings.enabled_outputs}
        status = {
            "version": _version(),
            "pid": os.getpid(),
            "since": timestamp_of_ns(self._since_ns),
            "processes": [_describe_process(report) | facts.get(report.name, {}) for report in self._reports],
            "counters": list_counters(pages),
            "loss": _sum_losses(pages),
            "outputs": outputs,
            "watches": dict(self._describe_watches({worker.name: worker for worker in workers}, pages, facts)),
            "kernel": self._describe_kernel(pages.get(CONTROL, {})),
        }
        return json.dumps({"status": status, "about": self._say_about(settings, workers, pages, now)}).encode()

    def _facts_of(self, name: str) -> dict[str, str]:
        return read_facts(self._wiring.settings.run.directory / COUNTERS_DIRECTORY, name)

    def _describe_watches(
        self, workers: Mapping[str, Worker], pages: Mapping[str, Page], facts: Mapping[str, Mapping[str, str]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for plan in self._wiring.plans:
            page, own = pages.get(plan.name, {}), facts.get(plan.name, {})
            worker = workers.get(plan.name)
            is_up = worker is not None and worker.state is WorkerState.STARTED
            yield (
                _show(plan),
                {
                    "backend": own.get("backend"),
                    "reason": own.get("backend_reason"),
                    "state": WATCH_STATES[page.get(WATCH_STATE, 0)] if is_up else "down",
                    "files": page.get(FILES_KNOWN),
                },
            )

    def _describe_kernel(self, control: Page) -> dict[str, Any]:
        is_known = bool(control.get(KERNEL_TOLD_AT))
        return {
            "mode": self._mode,
            "enabled": control.get(KERNEL_ENABLED) if is_known else None,
            "pid": control.get("kernel_pid") if is_known else None,
            "backlog": control.get("kernel_backlog") if is_known else None,
            "lost": control.get("kernel_lost") if is_known else None,
            "rules": control.get("control_rules_loaded") if is_known else None,
        }

    @property
    def _mode(self) -> str:
        source = self._wiring.source
        if isinstance(source, AuditSource):
            return "multicast" if source.is_multicast else "unicast"
        if isinstance(source, StdinSource):
            return "stdin"
        return "none" if self._wiring.settings.audit.enabled else "off"

    def _say_about(
        self, settings: Settings, workers: Iterable[Worker], pages: Mapping[str, Page], now: float
    ) -> dict[str, Any]:
        control, audit = pages.get(CONTROL, {}), settings.audit
        return {
            "now": now,
            "state_directory": str(settings.state.directory),
            "stopped": [worker.name for worker in workers if _is_stopped(worker)],
            "deaths": {worker.name: worker.restarts.recent_deaths for worker in workers},
            "loss_told_at": pages.get(ROUTER, {}).get(LOSS_TOLD_AT, 0),
            "audit": {
                "socket": audit.socket,
                "has_rules": bool(audit.rules or audit.rules_files),
                "refused_rules": control.get("control_rules_refused", 0),
                "is_drifting": bool(control.get(DRIFTING, 0)),
                "told_at": control.get(KERNEL_TOLD_AT, 0),
                "has_reader": any(worker.name == AUDIT for worker in workers),
            },
            "backends": {_show(plan): plan.backend for plan in self._wiring.plans},
            "outputs": {output.name: _say_about_output(output) for output in settings.enabled_outputs},
        }


@cache
def _version() -> str:
    return version("auditline")


def _describe_process(report: WorkerReport) -> dict[str, Any]:
    own = {"name": report.name, "pid": report.pid, "state": report.state, "restarts": report.restarts}
    return own | usage_of(report.pid)


def _is_stopped(worker: Worker) -> bool:
    stat = read_stat(worker.pid) if worker.is_alive else None
    return stat is not None and stat.is_stopped


def _sum_losses(pages: Mapping[str, Page]) -> dict[str, int]:
    router = pages.get(ROUTER, {})
    control, refused = pages.get(CONTROL, {}), count_refusals(router)
    return sum_losses(pages.get(AUDIT, {}), control, router, open_tally=Tally(), rejected=refused)


def _describe_output(
    output: OutputSettings, router: Page, facts: Mapping[str, Mapping[str, str]], now: float
) -> dict[str, Any]:
    """Return what is known of an output without looking at its segments."""
    name = output.name
    events = sum_output_counts(router, name, "events")
    if output_count(name, "events") in router:
        # Where there are several series they do not get what is filtered.
        events -= sum_output_counts(router, name, "events_filtered")
    waits_since = router.get(output_waits_since(name), 0)
    error_number = router.get(output_error(name), 0)
    sender_error = facts.get(f"sender-{name}", {}).get("last_error")
    state = OUTPUT_STATES[router.get(output_state(name), 0)]
    return {
        "type": output.type,
        "state": "waiting" if sender_error and state == "attached" else state,
        "events": events,
        "pending": max(0, events - sum(sum_output_counts(router, name, f"events_{outcome}") for outcome in _OUTCOMES)),
        "lag_seconds": round(max(0.0, now - waits_since), 1) if waits_since else 0.0,
        "last_error": os.strerror(error_number) if error_number else sender_error or None,
        "cursor": None,
    }


def _say_about_output(output: OutputSettings) -> dict[str, Any]:
    if isinstance(output, SegmentsSettings):
        return {"directory": str(output.directory), "cursors": list(map(str, output.cursors))}
    if isinstance(output, ElasticsearchSettings):
        return {"flush_seconds": output.flush_seconds}
    return {}


def _show(plan: WatchPlan) -> str:
    return os.fsdecode(plan.path)
