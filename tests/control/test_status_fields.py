"""Which status fields are set."""

import gzip
import re
from dataclasses import replace
from pathlib import Path

import pytest

from auditline.workers.common.settings import AuditSettings
from auditline.workers.control.messages import FEATURE_BACKLOG_WAIT_TIME, KernelStatus
from auditline.workers.control.status_fields import ticks_per_second, wanted_fields

KERNEL_CONFIG = Path("/proc/config.gz")
FOUND = KernelStatus(
    enabled=0,
    failure=1,
    pid=0,
    rate_limit=0,
    backlog_limit=64,
    lost=0,
    backlog=0,
    features=FEATURE_BACKLOG_WAIT_TIME,
    backlog_wait_time=7,
    backlog_wait_time_actual=0,
)


def test_audit_is_switched_on_and_the_backlog_raised_by_default() -> None:
    assert wanted_fields(AuditSettings(), FOUND) == {"enabled": 1, "backlog_limit": 8192}


@pytest.mark.parametrize("limit", [8192, 10000, 0])
def test_backlog_limit_is_never_lowered(limit: int) -> None:
    assert "backlog_limit" not in wanted_fields(AuditSettings(), replace(FOUND, backlog_limit=limit))


def test_what_is_right_already_is_not_set() -> None:
    settings = AuditSettings(failure_mode="log", rate_limit=0, backlog_wait_seconds=7 / ticks_per_second())

    assert wanted_fields(settings, replace(FOUND, enabled=1, backlog_limit=8192)) == {}


def test_given_values_are_set_in_the_kernels_units() -> None:
    settings = AuditSettings(failure_mode="panic", rate_limit=5, backlog_wait_seconds=1.5)

    fields = wanted_fields(settings, FOUND)

    assert (fields["failure"], fields["rate_limit"]) == (2, 5)
    assert fields["backlog_wait_time"] == round(1.5 * ticks_per_second())


def test_wait_time_is_not_set_where_the_kernel_does_not_know_it() -> None:
    settings = AuditSettings(backlog_wait_seconds=1)

    assert "backlog_wait_time" not in wanted_fields(settings, replace(FOUND, features=0, backlog_wait_time=None))


def test_locked_audit_stays_as_it_is() -> None:
    assert "enabled" not in wanted_fields(AuditSettings(), replace(FOUND, enabled=2))


@pytest.mark.skipif(not KERNEL_CONFIG.exists(), reason="this kernel does not show its configuration")
def test_ticks_are_those_the_kernel_was_built_with() -> None:
    configured = re.search(rb"^CONFIG_HZ=(\d+)$", gzip.decompress(KERNEL_CONFIG.read_bytes()), re.MULTILINE)

    assert configured is not None
    assert ticks_per_second() == int(configured[1])
