"""What rules files have the kernel do once, as requests. Source of the layouts: include/uapi/linux/audit.h."""

import errno
import os
import struct
from pathlib import Path

import pytest

from auditline.workers.control.directives import Command, CommandKind
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.once import carry_out_all, command_requests, status_requests


def test_each_value_of_the_status_is_a_request_of_its_own_and_enabled_the_last() -> None:
    requests = status_requests({"enabled": 1, "backlog_limit": 9, "failure": 0})

    assert [request.title for request in requests] == [
        "set audit status backlog_limit=9", "set audit status failure=0", "set audit status enabled=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "kind", "payload"),
    [
        (Command(CommandKind.TRIM), 1014, b""),
        (Command(CommandKind.EQUIVALENT, ("/mnt", "/srv/x")), 1015, struct.pack("=2I", 4, 6) + b"/mnt/srv/x"),
        (Command(CommandKind.RESET_LOST), 1001, struct.pack("=11I", 0x40, *[0] * 10)),
        (Command(CommandKind.RESET_WAIT), 1001, struct.pack("=11I", 0x80, *[0] * 10)),
        (Command(CommandKind.LOGINUID_IMMUTABLE), 1018, struct.pack("=4I", 1, 2, 2, 2)),
    ],
)
def test_a_command_is_a_request_of_its_kind(command: Command, kind: int, payload: bytes) -> None:
    (request,) = command_requests([command])

    assert (request.kind, request.payload) == (kind, payload)


@pytest.mark.kernel
def test_the_kernel_does_what_can_be_done_again(kernel_audit: AuditControl) -> None:
    commands = [Command(CommandKind.TRIM), Command(CommandKind.RESET_LOST), Command(CommandKind.RESET_WAIT)]

    problems = carry_out_all(
        kernel_audit, command_requests([*commands, Command(CommandKind.EQUIVALENT, ("/", "/usr"))])
    )

    assert problems == []
    assert kernel_audit.status().lost == 0


@pytest.mark.kernel
def test_what_the_kernel_refuses_is_told_and_the_rest_is_done(kernel_audit: AuditControl, tmp_path: Path) -> None:
    nowhere = Command(CommandKind.EQUIVALENT, ("/", f"{tmp_path}/nowhere"))

    problems = carry_out_all(kernel_audit, [*command_requests([nowhere]), *status_requests({"backlog_limit": 77})])

    (problem,) = problems
    assert problem == f"watch a subtree as its mount point: {os.strerror(errno.ENOENT)}"
    assert kernel_audit.status().backlog_limit == 77
