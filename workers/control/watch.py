"""What the kernel's status and rules, asked again and again, say: counters, and that somebody else has changed them."""

import logging
import time
from collections.abc import Collection, Mapping

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import KernelError
from auditline.workers.common.status_slots import KERNEL_ENABLED, KERNEL_TOLD_AT
from auditline.workers.control.compile import rule_list
from auditline.workers.control.kernel import LOCKED
from auditline.workers.control.messages import KernelStatus
from auditline.workers.control.poll import lost_between
from auditline.workers.control.rule import RuleList

KERNEL_LOST = "kernel_lost"
"""Records that the kernel says it lost since the supervisor started."""
KERNEL_BACKLOG = "kernel_backlog"
KERNEL_PID = "kernel_pid"
EXCLUDE_RULES = "exclude_rules"
"""Rules of the list `exclude` that are loaded, whoever loaded them: they make holes in the serials, too."""
POLLS_FAILED = "control_polls_failed_total"
_LOST_SEEN = "kernel_lost_seen"
_LOST_SEEN_FOR = "kernel_lost_seen_for"
"""The kernel's counter at the last poll, and for which supervisor: what is lost while we are dead is counted too."""
COUNTERS = (
    KERNEL_LOST,
    KERNEL_BACKLOG,
    KERNEL_PID,
    EXCLUDE_RULES,
    POLLS_FAILED,
    _LOST_SEEN,
    _LOST_SEEN_FOR,
    KERNEL_TOLD_AT,
    KERNEL_ENABLED,
)

_SHOWN_RULES = 3
_log = logging.getLogger(__name__)


class StatusWatch:
    """Keeps the counters and tells each change of who is registered and of whether audit is on, once."""

    def __init__(self, counters: CounterPage, supervisor_pid: int, *, is_multicast: bool) -> None:
        self._counters = counters
        self._supervisor_pid = supervisor_pid
        self._is_multicast = is_multicast
        self._pid: int | None = None if is_multicast else supervisor_pid
        self._enabled: int | None = None
        self._has_failed = False
        self._told_lost = 0

    def take(self, result: KernelStatus | KernelError) -> None:
        """Count and tell what one poll brought."""
        if isinstance(result, KernelError):
            self._counters.add(POLLS_FAILED)
            if not self._has_failed:
                _log.warning("%s; what the kernel loses is not known until it answers", result)
            self._has_failed = True
            return
        self._has_failed = False
        self.count(result)
        self._tell_pid(result.pid)
        self._tell_enabled(result.enabled)

    def count(self, status: KernelStatus) -> None:
        """Set the counters, and tell nothing of what we may have changed ourselves."""
        counters = self._counters
        if counters.get(_LOST_SEEN_FOR) == self._supervisor_pid:
            counters.add(KERNEL_LOST, lost_between(counters.get(_LOST_SEEN), status.lost))
            self._tell_lost(counters.get(KERNEL_LOST))
        counters.set(_LOST_SEEN, status.lost)
        counters.set(_LOST_SEEN_FOR, self._supervisor_pid)
        counters.set(KERNEL_BACKLOG, status.backlog)
        counters.set(KERNEL_PID, status.pid)
        counters.set(KERNEL_ENABLED, status.enabled)
        counters.set(KERNEL_TOLD_AT, int(time.time()))

    def count_rules(self, rules: Collection[bytes]) -> None:
        """Count which of the loaded *rules* keep records from being made, in the form of `comparable`."""
        self._counters.set(EXCLUDE_RULES, sum(rule_list(rule) == RuleList.EXCLUDE for rule in rules))

    def _tell_lost(self, lost: int) -> None:
        """Tell the first loss, and then each time it has doubled; each is in the health events."""
        if lost >= max(1, 2 * self._told_lost):
            _log.error("the kernel has lost %d audit records since the start", lost)
            self._told_lost = lost

    def _tell_pid(self, pid: int) -> None:
        before, self._pid = self._pid, pid
        if before is None or pid == before:
            return
        who = f"pid {pid}" if pid else "nobody"
        if self._is_multicast:
            _log.warning("the registered audit daemon has changed: it was pid %d, now it is %s", before, who)
        elif pid == self._supervisor_pid:
            _log.warning("we are registered as the audit daemon again")
        else:
            _log.error("we are not the registered audit daemon any more, so no records arrive: %s is", who)

    def _tell_enabled(self, enabled: int) -> None:
        before, self._enabled = self._enabled, enabled
        if before is None or enabled == before:
            return
        if enabled == 0:
            _log.error("somebody switched the kernel's audit off (enabled=0): nothing is recorded")
        elif enabled == LOCKED:
            _log.warning("somebody locked the audit configuration until the next boot (enabled=2)")
        else:
            _log.warning("the kernel's audit was switched on again (enabled=1)")


class RuleWatch:
    """Tells which of our rules somebody has taken out; each once, until it is there again."""

    def __init__(self) -> None:
        self._missing: frozenset[bytes] = frozenset()

    def take(self, present: Collection[bytes], ours: Mapping[bytes, str]) -> None:
        """Compare what is *present* with what is *ours*: compiled rules, and their text to tell them by."""
        missing = frozenset(rule for rule in ours if rule not in present)
        news = [text for rule, text in ours.items() if rule in missing - self._missing]
        self._missing = missing
        if news:
            shown = "; ".join(news[:_SHOWN_RULES]) + ("; …" if len(news) > _SHOWN_RULES else "")
            text = "%d of our %d audit rules are not loaded any more, and nobody told us; SIGHUP loads them again: %s"
            _log.warning(text, len(missing), len(ours), shown)
