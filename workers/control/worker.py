"""The control process: changes the kernel's audit state as configured, watches it, and puts it back."""

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.drift_entry import Drift
from auditline.workers.common.errors import AuditlineError, KernelError
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import Settings
from auditline.workers.common.status_slots import DRIFTING
from auditline.workers.control import drift, watch
from auditline.workers.control.keeper import KernelKeeper
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.note import restore_leftovers
from auditline.workers.control.poll import RuleListing, StatusPoller

if TYPE_CHECKING:
    from auditline.workers.control.reports import Reports

CHECK_SECONDS = 3.0
"""Between two looks at the kernel's status and rules, and at what skipped rules wait for."""
RULES_LOADED = "control_rules_loaded"
RULES_REFUSED = "control_rules_refused"
RULES_SKIPPED = "control_rules_skipped"
COUNTERS = (*watch.COUNTERS, *drift.COUNTERS, RULES_LOADED, RULES_REFUSED, RULES_SKIPPED, DRIFTING)

_log = logging.getLogger(__name__)


def run(life: Life, settings: Settings, supervisor_pid: int, is_multicast: bool, go_fd: int) -> None:
    """Be the control process of the supervisor *supervisor_pid* until a SIGTERM, or until that process is gone.

    Ready means that our own processes are kept out of the audit, so that the others can start. The configured rules
    are loaded when a byte can be read from *go_fd*: the reader is up. Then it is closed, which says that they are
    loaded. With *is_multicast* another daemon owns the kernel's audit, and nothing is changed.

    Raises:
        KernelError: this kernel has no audit.
    """
    life.counters.extend(COUNTERS)
    poller = StatusPoller(CHECK_SECONDS)
    status_watch = watch.StatusWatch(life.counters, supervisor_pid, is_multicast=is_multicast)
    with AuditControl() as control:
        charge = _Charge(life.counters)
        if is_multicast:
            charge.attempt(lambda: _undo_leftovers(settings.state.directory))
        else:
            charge.attempt(lambda: _begin(charge, KernelKeeper(control, settings, supervisor_pid), status_watch))
        life.ready()
        # Now, since it needs zmq, and everybody has waited for us until now.
        from auditline.workers.control.reports import Reports

        reports = Reports(settings, life.counters)
        _work(life, charge, reports, poller, status_watch, go_fd, supervisor_pid)
        poller.stop()
        is_supervised = os.getppid() == supervisor_pid
        charge.give_back(supervisor_pid if is_supervised else None, status_watch)
        reports.close()


class _Charge:
    """What is to be changed in the kernel, step by step; a step that fails is tried again at the next check."""

    def __init__(self, counters: CounterPage) -> None:
        self._counters = counters
        self._keeper: KernelKeeper | None = None
        self._steps: list[Callable[[], None]] = []
        self._has_go = False
        self._told: set[str] = set()

    def take(self, keeper: KernelKeeper) -> None:
        """Change the kernel through *keeper* from now on, first of all so that our own processes are not audited."""
        self._keeper = keeper
        self._steps = [keeper.exclude_own_processes, keeper.set_fields]
        keeper.exclude_own_processes()

    def allow_rules(self) -> None:
        """Load the configured rules: what they report will be read."""
        if self._keeper is not None and not self._has_go:
            self._steps.append(self._keeper.load_rules)
        self._has_go = True
        self.advance()

    def reload(self) -> None:
        """Read the configuration and the rules again, and tell again what is wrong with them."""
        self._told.clear()
        keeper = self._keeper
        if keeper is not None:
            keeper.tell_again()
            self.attempt(keeper.read_settings)
            if self._has_go:
                self._steps = [*(step for step in self._steps if step != keeper.load_rules), keeper.load_rules]
        self.advance()

    def check(self) -> None:
        """Do what failed before, and load what could not be loaded before."""
        self.advance()
        if self._keeper is not None and self._has_go and not self._steps:
            self.attempt(self._keeper.load_what_appeared)

    def compare(self, listing: RuleListing) -> list[Drift]:
        """Return what somebody else has changed."""
        drifts: list[Drift] = []
        keeper = self._keeper
        if keeper is not None and not self._steps:
            self.attempt(lambda: keeper.compare(listing, drifts.append))
            self._counters.set(DRIFTING, keeper.is_drifting)
        return drifts

    def advance(self) -> None:
        """Take the steps that are left."""
        while self._steps and self.attempt(self._steps[0]):
            self._steps.pop(0)
        if self._keeper is not None:
            self._counters.set(RULES_LOADED, self._keeper.loaded_count)
            self._counters.set(RULES_REFUSED, self._keeper.refused_count)
            self._counters.set(RULES_SKIPPED, self._keeper.skipped_count)

    def give_back(self, living_supervisor_pid: int | None, status_watch: watch.StatusWatch) -> None:
        """Put the kernel back as it was found, and count what it lost until then."""
        keeper = self._keeper
        if keeper is not None:
            self.attempt(lambda: keeper.undo(living_supervisor_pid=living_supervisor_pid, see=status_watch.count))

    def attempt(self, step: Callable[[], None]) -> bool:
        """Return whether *step* was done; its failure is told once, and is the last one if nothing is permitted."""
        try:
            step()
        except AuditlineError as error:
            for problem in str(error).splitlines():
                self._tell(problem)
            if isinstance(error, KernelError) and error.errno == errno.EPERM:
                self._steps.clear()
            return False
        return True

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            _log.error("%s", problem)


def _begin(charge: _Charge, keeper: KernelKeeper, status_watch: watch.StatusWatch) -> None:
    # From here on, or the loss of a burst before the first poll would not be seen as one.
    status_watch.count(keeper.found_status)
    charge.take(keeper)


def _work(
    life: Life,
    charge: _Charge,
    reports: "Reports",
    poller: StatusPoller,
    status_watch: watch.StatusWatch,
    go_fd: int,
    supervisor_pid: int,
) -> None:
    """Change what is left to change, then wait for signals, the go-ahead and the kernel's status."""
    awaited = {life.wakeup_fd, poller.fd, go_fd}
    charge.advance()
    # Not earlier: it would take our own changes for somebody else's.
    poller.start()
    check_at = time.monotonic() + CHECK_SECONDS
    while not life.stopping and os.getppid() == supervisor_pid:
        ready = reports.wait(awaited, check_at)
        life.drain_wakeup()
        if go_fd in ready:
            awaited.discard(go_fd)
            if os.read(go_fd, 1):
                charge.allow_rules()
            os.close(go_fd)
        if life.take_reload():
            charge.reload()
        for answer in poller.take():
            if isinstance(answer, RuleListing):
                status_watch.count_rules(answer.rules)
                for found in charge.compare(answer):
                    reports.add(found)
            else:
                status_watch.take(answer)
        if time.monotonic() >= check_at:
            check_at = time.monotonic() + CHECK_SECONDS
            charge.check()


def _undo_leftovers(state_directory: Path) -> None:
    for problem in restore_leftovers(state_directory):
        _log.warning("%s", problem)
