"""What a rules file has the kernel do beside loading rules: status values and commands, as requests."""

import os
import struct
from collections.abc import Mapping, Sequence

from auditline.workers.control.directives import Command, CommandKind
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.messages import (
    AUDIT_MAKE_EQUIV,
    AUDIT_SET_FEATURE,
    AUDIT_TRIM,
    Request,
    reset_counter,
    set_status,
)
from auditline.workers.control.refusals import explain

_FEATURES = struct.Struct("=4I")
_FEATURE_VERSION = 1
_LOGINUID_IMMUTABLE = 1 << 1
"""Source: include/uapi/linux/audit.h, AUDIT_FEATURE_LOGINUID_IMMUTABLE."""
_SIZES = struct.Struct("=2I")


def status_requests(status: Mapping[str, int]) -> list[Request]:
    """Return a request for each value, so that one that is refused keeps no other from being set; `enabled` last."""
    names = sorted(status, key=lambda name: name == "enabled")
    return [set_status(**{name: status[name]}) for name in names]


def command_requests(commands: Sequence[Command]) -> list[Request]:
    """Return a request for each command."""
    return [_request(command) for command in commands]


def carry_out_all(control: AuditControl, requests: Sequence[Request]) -> list[str]:
    """Send *requests* and return what was refused, a line each.

    Raises:
        KernelError: the kernel did not answer.
    """
    codes = control.change(requests) if requests else []
    refused = [(request, -code) for request, code in zip(requests, codes, strict=True) if code < 0]
    return [f"{request.title}: {explain(request.kind, code)}" for request, code in refused]


def _request(command: Command) -> Request:
    match command.kind:
        case CommandKind.TRIM:
            return Request(AUDIT_TRIM, b"", "trim watched directories")
        case CommandKind.EQUIVALENT:
            paths = [os.fsencode(path) for path in command.paths]
            payload = _SIZES.pack(*map(len, paths)) + b"".join(paths)
            return Request(AUDIT_MAKE_EQUIV, payload, "watch a subtree as its mount point")
        case CommandKind.RESET_LOST:
            return reset_counter("lost")
        case CommandKind.RESET_WAIT:
            return reset_counter("backlog_wait_time_actual")
        case CommandKind.LOGINUID_IMMUTABLE:
            # Locked as auditctl does it: who could unlock it could change his login id first.
            payload = _FEATURES.pack(_FEATURE_VERSION, *(_LOGINUID_IMMUTABLE,) * 3)
            return Request(AUDIT_SET_FEATURE, payload, "make login ids immutable")
