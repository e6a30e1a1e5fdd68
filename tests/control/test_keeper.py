"""What happens where the kernel permits no change."""

import errno
from pathlib import Path

import pytest

from auditline.workers.common.errors import KernelError
from auditline.workers.common.settings import Settings, StateSettings
from auditline.workers.control.keeper import KernelKeeper
from auditline.workers.control.kernel import LOCKED, AuditControl
from auditline.workers.control.messages import AUDIT_ADD_RULE, AUDIT_SET, KernelStatus
from auditline.workers.control.refusals import explain


class LockedControl(AuditControl):
    """Answers as a locked kernel does: a real one could not be unlocked again."""

    def status(self) -> KernelStatus:
        return KernelStatus(
            enabled=LOCKED,
            failure=1,
            pid=0,
            rate_limit=0,
            backlog_limit=64,
            lost=0,
            backlog=0,
            features=127,
            backlog_wait_time=0,
            backlog_wait_time_actual=0,
        )


def test_locked_audit_is_told_and_left_alone(tmp_path: Path) -> None:
    try:
        control = LockedControl()
    except KernelError as error:
        pytest.skip(str(error))

    with control, pytest.raises(KernelError, match="locked until the next boot") as refusal:
        KernelKeeper(control, Settings(state=StateSettings(directory=tmp_path)), 1)

    assert refusal.value.errno == errno.EPERM
    assert list(tmp_path.iterdir()) == []


def test_same_errno_means_different_things_to_different_requests() -> None:
    assert "audit daemon" in explain(AUDIT_SET, errno.EEXIST)
    assert "loaded already" in explain(AUDIT_ADD_RULE, errno.EEXIST)
    assert explain(AUDIT_SET, errno.EIO) == "Input/output error"
