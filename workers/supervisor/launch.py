"""What happens in a new worker's process between the fork and its own function, and after that."""

import gc
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

from auditline.workers.common.counters import PAGE_SUFFIX, CounterPage
from auditline.workers.common.errors import AuditlineError, Exit, StorageError
from auditline.workers.common.lifecycle import (
    DIAGNOSTICS_DROPPED,
    Life,
    close_other_descriptors,
    ignore_signal,
)
from auditline.workers.common.privileges import Account, Capability, lower_privileges
from auditline.workers.supervisor.worker_log import WorkerLogHandler

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Blocked around the fork: one that came between it and the worker's own handlers would be the supervisor's."""

_LAST_WORDS_SECONDS = 0.5
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What one start of a worker needs; made anew for each, in the supervisor."""

    run: Callable[[Life], None]
    """Called in the worker; its return ends the process with 0, SystemExit with its code."""
    descriptors: frozenset[int] = frozenset()
    """What the worker keeps open; without 1 its stdout is /dev/null."""
    closed_after_fork: tuple[int, ...] = ()
    """What the supervisor closes once the worker has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKind:
    """A row of the supervisor's table: what one process does and may."""

    name: str
    """In diagnostics, in health events, and of its counters' page; no two processes have the same."""
    title: str
    """What `ps` shows."""
    prepare: Callable[[], Launch]
    group: str = ""
    """Of several that do the same: what they are called together."""
    capabilities: frozenset[Capability] = frozenset()
    """What it keeps; the user that it is switched to has them too."""
    death_signal: signal.Signals = signal.SIGKILL
    """What it gets when the supervisor is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is the same for all workers of one run."""

    counters_directory: Path
    account: Account | None
    """Whom the workers become; None: they keep the uid."""
    supervisor_pid: int
    capabilities: frozenset[Capability] = frozenset()
    """What all keep, beside what their kind needs."""


def run_worker(
    kind: WorkerKind, launch: Launch, surroundings: Surroundings, log_handler: WorkerLogHandler, ready_fd: int
) -> NoReturn:
    """Be the worker, from just after the fork until the process ends."""
    code: int = Exit.FAILURE
    gc.enable()
    try:
        setproctitle(kind.title)
        close_other_descriptors({*launch.descriptors, *log_handler.worker_descriptors, ready_fd})
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log_handler.serve_worker()
        lower_privileges(
            kind.capabilities | surroundings.capabilities,
            account=surroundings.account,
            death_signal=kind.death_signal,
            parent_pid=surroundings.supervisor_pid,
        )
        counters = _open_counters(surroundings.counters_directory / f"{kind.name}{PAGE_SUFFIX}")
        log_handler.count_dropped = lambda: counters.add(DIAGNOSTICS_DROPPED)
        life = Life(kind.name, counters, ready_fd=ready_fd, at_second=ignore_signal)
        life.take_signals(ignores_interrupt=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        code = _run(launch, life)
    except AuditlineError as error:
        logger.error("%s", error)  # noqa: TRY400  # it says all that the user needs
    except BaseException:  # the last line of a process: whatever it is, it is told
        logger.exception("ended by a mistake of its own")
    finally:
        log_handler.wait_until_taken(_LAST_WORDS_SECONDS)
        # Nothing of the supervisor's that waits to be finalized is ours to finalize.
        os._exit(code)


def _run(launch: Launch, life: Life) -> int:
    try:
        launch.run(life)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else Exit.FAILURE
    return Exit.OK


def _open_counters(path: Path) -> CounterPage:
    names = (DIAGNOSTICS_DROPPED,)
    try:
        return CounterPage.open(path, names)
    except StorageError as error:
        logger.warning("%s; the counters of this process are in no health event", error)
        return CounterPage.unshared(names)
