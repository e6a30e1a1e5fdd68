"""Which of the kernel's status fields the configuration wants otherwise than they are."""

import time

from auditline.workers.common.settings import AuditSettings
from auditline.workers.control.messages import FEATURE_BACKLOG_WAIT_TIME, KernelStatus

FAILURE_MODES = {"silent": 0, "log": 1, "panic": 2}
"""Source: include/uapi/linux/audit.h, AUDIT_FAIL_*."""

_CLOCK_MONOTONIC_COARSE = 6
"""Source: include/uapi/linux/time.h."""


def wanted_fields(settings: AuditSettings, status: KernelStatus) -> dict[str, int]:
    """Return the fields to set, by their name in `KernelStatus`; none that is right already, since each is recorded."""
    wanted = {"enabled": status.enabled or 1}
    # 0 is no limit at all.
    if status.backlog_limit != 0:
        wanted["backlog_limit"] = max(status.backlog_limit, settings.backlog_limit)
    if settings.failure_mode is not None:
        wanted["failure"] = FAILURE_MODES[settings.failure_mode]
    if settings.rate_limit is not None:
        wanted["rate_limit"] = settings.rate_limit
    if settings.backlog_wait_seconds is not None and status.features & FEATURE_BACKLOG_WAIT_TIME:
        wanted["backlog_wait_time"] = round(settings.backlog_wait_seconds * ticks_per_second())
    return {name: value for name, value in wanted.items() if getattr(status, name) != value}


def ticks_per_second() -> int:
    """Return the kernel's HZ, the unit of backlog_wait_time.

    sysconf(SC_CLK_TCK) is always 100, the unit of user space, and the value found is no hint: Debian's own audit.rules
    set 60000 whatever HZ is. The coarse clocks advance by one tick, and the kernel reports just that as their
    resolution (kernel/time/posix-timers.c, KTIME_LOW_RES), to everybody, with no file to be found or parsed.
    """
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
