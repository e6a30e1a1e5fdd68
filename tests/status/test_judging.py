"""What makes a service degraded, and what does not; docs/status.md has the same list."""

import pytest

from auditline.workers.status.judging import judge

NOW = 1_800_000_000.0


def test_a_service_that_is_well_has_no_reasons(spoil):
    assert judge(*spoil({})) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status.processes.2.state": "died"}, "router is down, and about to be started again"),
        ({"status.processes.2.state": "given_up"}, "router died again and again and is not started any more"),
        ({"about.stopped": ["router"]}, "router (pid 102) is stopped by a signal: kill -CONT 102 lets it go on"),
        ({"about.deaths": {"router": 3}}, "router died 3 times within ten minutes"),
        (
            {"status.kernel.mode": "none"},
            "the kernel's audit is not read, though audit.enabled is true: the log of the start says why",
        ),
        ({"about.audit.has_reader": False}, "the kernel's audit is not read: its reader is not running"),
        (
            {"status.kernel.mode": "multicast", "status.kernel.pid": 7},
            (
                "pid 7 is the audit daemon, so the configured"
                " rules are not loaded; only what others have audited is read"
            ),
        ),
        (
            {"status.kernel.mode": "multicast", "status.kernel.pid": None},
            (
                "the kernel's audit is not ours, so the"
                " configured rules are not loaded; only what others have audited is read"
            ),
        ),
        ({"status.kernel.pid": 7}, "we are not the kernel's audit daemon any more, pid 7 is: no records arrive"),
        ({"status.kernel.pid": 0}, "we are not the kernel's audit daemon any more, nobody is: no records arrive"),
        (
            {"status.kernel.enabled": 0},
            "audit is switched off in the kernel (enabled=0): nothing is recorded; auditctl -e 1 switches it on",
        ),
        (
            {"status.kernel.enabled": 2, "status.kernel.rules": 0},
            "the kernel's audit is locked until the next boot, and none of the configured rules is loaded",
        ),
        ({"about.audit.refused_rules": 2}, "the kernel has refused 2 of the configured rules"),
        (
            {"about.audit.is_drifting": True},
            "somebody has changed rules or status of the kernel's audit: events with audit.drift say what",
        ),
        ({"about.audit.told_at": NOW - 99}, "the kernel has not told its audit status for 99 s"),
        ({"about.audit.told_at": 0}, "the kernel has not yet told its audit status"),
        ({"status.outputs.stdout.state": "detached"}, "outputs.stdout is detached, and its events are missed"),
        ({"status.outputs.stdout.state": "gone"}, "outputs.stdout is gone for good: nobody reads it any more"),
        (
            {"status.outputs.stdout.last_error": "No space left on device"},
            "outputs.stdout cannot deliver now: No space left on device",
        ),
        (
            {"status.outputs.stdout.lag_seconds": 61.0, "status.outputs.stdout.pending": 5},
            "outputs.stdout is 61 s behind, 5 events wait",
        ),
        ({"status.watches./etc.state": "missing"}, "/etc is not there; it is watched as soon as it is"),
        (
            {"status.watches./etc.state": "cannot store"},
            "/etc: changes wait, because they cannot be stored: the log of the service says why",
        ),
        ({"status.watches./etc.state": "down"}, "/etc is not watched now: its process is down"),
        (
            {"about.backends": {"/etc": "fanotify"}, "status.watches./etc.backend": "inotify"},
            "/etc is watched by inotify instead of fanotify: the best",
        ),
        (
            {"status.cursors": {"/c": {"lag_bytes": 9, "age_seconds": 960.0, "problem": None}}},
            "the cursor /c has stood still for 16 minutes, though there is more to read",
        ),
        (
            {"status.cursors": {"/c": {"lag_bytes": None, "age_seconds": 9.0, "problem": "it is empty"}}},
            "the cursor /c holds nothing back: it is empty",
        ),
        (
            {"about.loss_told_at": NOW - 120, "status.loss.serial_gaps": 4},
            "something was lost 2 minutes ago; in all: serial_gaps 4",
        ),
    ],
)
def test_what_is_wrong_is_said(spoil, changes, reason):
    assert judge(*spoil(changes)) == [reason]


@pytest.mark.parametrize(
    "changes",
    [
        {"status.kernel.mode": "off", "about.audit.has_reader": False, "status.kernel.enabled": None},
        {"status.kernel.mode": "stdin", "status.kernel.pid": None},
        {"status.kernel.mode": "multicast", "status.kernel.pid": 7, "about.audit.socket": "multicast"},
        {"status.kernel.mode": "multicast", "status.kernel.pid": 7, "about.audit.has_rules": False},
        {"status.kernel.enabled": 2},
        {"status.watches./etc.backend": "inotify"},
        {"status.watches./etc.state": "first walk"},
        {"status.watches./etc.state": "starting", "status.watches./etc.backend": None},
        {"about.backends": {"/etc": "fanotify"}, "status.watches./etc.backend": "fanotify-filesystem"},
        {"about.backends": {"/etc": "poll"}, "status.watches./etc.backend": "polling"},
        {"status.outputs.stdout.lag_seconds": 3000.0, "about.outputs": {"stdout": {"flush_seconds": 3600}}},
        {"status.outputs.stdout.state": "blocked"},
        {"status.cursors": {"/c": {"lag_bytes": 9, "age_seconds": None, "problem": None}}},
        {"about.loss_told_at": NOW - 601, "status.loss.serial_gaps": 4},
    ],
)
def test_what_is_wanted_or_passes_is_no_reason(spoil, changes):
    assert judge(*spoil(changes)) == []
