"""What a locked kernel means for who reads its events."""

import errno

import pytest

from auditline.workers.common.settings import AuditSettings
from auditline.workers.supervisor.audit_source import refuse_locked


@pytest.mark.parametrize(
    "settings",
    [
        AuditSettings(immutable=True),
        AuditSettings(immutable=True, rules=("-w /etc/passwd",)),
        AuditSettings(rules_files=(), rules=()),
    ],
)
def test_a_locked_kernel_is_read_where_no_rule_has_to_be_loaded(settings: AuditSettings) -> None:
    assert refuse_locked(settings) is None


@pytest.mark.parametrize(
    "settings",
    [AuditSettings(), AuditSettings(rules_files=(), rules=("-w /etc/passwd",)), AuditSettings(socket="unicast")],
)
def test_a_locked_kernel_is_not_ours_while_rules_are_asked_for(settings: AuditSettings) -> None:
    refusal = refuse_locked(settings)

    assert refusal is not None
    assert refusal.errno == errno.EPERM
    assert "locked until the next boot" in str(refusal)
    assert "set audit.immutable" in str(refusal)
