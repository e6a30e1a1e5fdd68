"""`auditline run` with stand-ins for what the workers do, run as a script by the tests: everything else is real.

Arguments: the state directory, the run directory, and JSON: {"user": "", "resolve_ids": true, "source": true,
"fast": false (short pauses, little patience), "file": "" (the configuration that a SIGHUP reads), "watch": []
(paths), "hashers": 2, "router": "steady", "names": …, "control": …, "audit": …, "fim": …, "hasher": …}; a watcher's
behaviour may also be given by its name.
"""

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from auditline.workers.audit.netlink import DataSocket
from auditline.workers.common.errors import AuditlineError
from auditline.workers.common.lifecycle import EXIT_OUTPUT_GONE, Life
from auditline.workers.common.settings import (
    AuditSettings,
    FimSettings,
    HasherSettings,
    RunSettings,
    Settings,
    StateSettings,
    WatchSettings,
)
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.supervisor import processes, restarts, service
from auditline.workers.supervisor.audit_source import AuditSource

logger = logging.getLogger(__name__)


def steady(life: Life) -> None:
    life.ready()
    while not life.stopping:
        life.wait(60)


def crashing(_life: Life) -> None:
    raise AuditlineError("nothing works here: %s")


def mistaken(life: Life) -> None:
    life.ready()
    raise ZeroDivisionError("a\nmistake")


def hanging(life: Life) -> None:
    life.ready()
    while True:
        life.wait(60)


def hanging_before_ready(life: Life) -> None:
    while not life.stopping:
        life.wait(60)


def talking(life: Life) -> None:
    life.ready()
    while not life.stopping:
        logger.warning("I am %s", life.name)
        life.wait(0.001)


def losing_its_output(life: Life) -> None:
    life.ready()
    life.wait(0.2)
    raise SystemExit(EXIT_OUTPUT_GONE)


def slow_to_stop(life: Life) -> None:
    steady(life)
    time.sleep(0.5)


def noting_its_end(life: Life) -> None:
    """Leave a file with the time of the end in the state directory."""
    steady(life)
    (Path(sys.argv[1]) / f"{life.name}.ended").write_text(str(time.monotonic()))


def noting_its_late_end(life: Life) -> None:
    slow_to_stop(life)
    noting_its_end(life)


def counting(life: Life) -> None:
    """Count one start in the page."""
    life.counters.extend(("starts_total",))
    life.counters.add("starts_total")
    steady(life)


def reloading(life: Life) -> None:
    life.ready()
    while not life.stopping:
        life.wait(60)
        if life.take_reload():
            logger.info("%s reloads", life.name)


def forward(life: Life, feed_fd: int) -> None:
    """Write what comes over the feed to stdout."""
    life.ready()
    os.set_blocking(feed_fd, False)
    while not life.stopping:
        try:
            os.write(1, os.read(feed_fd, 65536))
        except BlockingIOError:
            life.wait(0.02)


def waiting_for_go(life: Life, go_fd: int) -> None:
    life.ready()
    logger.info("control goes on %s", os.read(go_fd, 1))
    while not life.stopping:
        life.wait(60)


BEHAVIOURS: dict[str, Callable[[Life], None]] = {
    function.__name__: function
    for function in (
        steady,
        crashing,
        mistaken,
        hanging,
        hanging_before_ready,
        talking,
        losing_its_output,
        slow_to_stop,
        noting_its_end,
        noting_its_late_end,
        counting,
        reloading,
    )
}


def run_router(behaviour: str, life: Life, feed_fd: int) -> None:
    if behaviour == "forward":
        forward(life, feed_fd)
    else:
        BEHAVIOURS[behaviour](life)


def run_control(behaviour: str, life: Life, go_fd: int) -> None:
    if behaviour == "waiting_for_go":
        waiting_for_go(life, go_fd)
    else:
        # As if the rules were loaded.
        os.close(go_fd)
        BEHAVIOURS[behaviour](life)


def run_watcher(behaviour: str, life: Life, plan: WatchPlan) -> None:
    logger.info("%s watches %s", life.name, describe(plan))
    BEHAVIOURS[behaviour](life)


def run_hasher(behaviour: str, life: Life, plans: Sequence[WatchPlan]) -> None:
    logger.info("%s serves %s", life.name, ", ".join(map(describe, plans)))
    BEHAVIOURS[behaviour](life)


def describe(plan: WatchPlan) -> str:
    return f"{os.fsdecode(plan.path)}{list(plan.exclude)}"


def put_in_place(name: str, run: Callable[..., None]) -> None:
    module = ModuleType(name)
    module.run = run  # type: ignore[attr-defined]
    sys.modules[name] = module


def main() -> int:
    state, run, choices = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    chosen = {name: choices.get(name, "steady") for name in ("router", "names", "control", "audit", "fim", "hasher")}
    put_in_place(
        "auditline.workers.router.worker",
        lambda life, _settings, _out, feed_fd, _names, *_sources: run_router(chosen["router"], life, feed_fd),
    )
    put_in_place(
        "auditline.workers.router.name_service", lambda life, _settings, _fd: BEHAVIOURS[chosen["names"]](life)
    )
    put_in_place(
        "auditline.workers.control.worker",
        lambda life, _settings, _pid, _multicast, go_fd: run_control(chosen["control"], life, go_fd),
    )
    put_in_place(
        "auditline.workers.audit.worker", lambda life, _settings, _fd, _multicast: BEHAVIOURS[chosen["audit"]](life)
    )
    put_in_place(
        "auditline.workers.fim.worker",
        lambda life, _settings, plan, _own: run_watcher(choices.get(life.name, chosen["fim"]), life, plan),
    )
    put_in_place(
        "auditline.workers.hasher.worker", lambda life, _settings, plans: run_hasher(chosen["hasher"], life, plans)
    )
    if choices.get("fast"):
        restarts.FIRST_PAUSE_SECONDS = 0.001
        processes.RETIRE_SECONDS = 0.1
    data, _other = socket.socketpair()
    source = AuditSource(DataSocket(data, 1 << 26, is_multicast=True), ())
    service.open_audit_source = lambda settings: source  # type: ignore[attr-defined] # noqa: ARG005
    settings = Settings(
        state=StateSettings(directory=state),
        run=RunSettings(directory=run, user=choices.get("user", "")),
        audit=AuditSettings(enabled=choices.get("source", True), resolve_ids=choices.get("resolve_ids", True)),
        fim=FimSettings(watch=tuple(WatchSettings(path=Path(path)) for path in choices.get("watch", ()))),
        hasher=HasherSettings(processes=choices.get("hashers", 2)),
        source=Path(choices["file"]) if "file" in choices else None,
    )
    try:
        return service.run_command(settings)
    except AuditlineError as error:
        os.write(2, f"auditline: {error}\n".encode())
        return error.exit


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
