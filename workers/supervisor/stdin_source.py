"""Standard input as the source of kernel events: auditd starts us as a plugin and writes its log's lines there."""

import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from auditline.workers.audit.line_buffer import LineBuffer
from auditline.workers.common.errors import InputError
from auditline.workers.common.settings import AuditSettings, Settings, StdoutSettings

_STDIN, _STDOUT = 0, 1
_FIRST_OTHER_FD = 3
_DEFAULTS = AuditSettings()
_OF_THE_KERNEL = (
    "rules_files", "rules", "ignore_rule_errors", "immutable", "repair_rules", "backlog_limit", "backlog_wait_seconds",
    "failure_mode", "rate_limit",
)  # fmt: skip
"""Settings of `[audit]` that change something in the kernel, or say how."""


@dataclass(frozen=True, slots=True)
class StdinSource:
    """What was standard input, which the supervisor keeps open and never reads."""

    fd: int
    buffer: LineBuffer = field(default_factory=LineBuffer)
    """Shared by all readers of the run, one after another."""

    def close(self) -> None:
        """Let go of it: whoever writes there sees a broken pipe."""
        os.close(self.fd)


def open_stdin_source() -> StdinSource:
    """Take standard input for the reader; what is descriptor 0 afterwards is /dev/null.

    Raises:
        InputError: it is no pipe, socket or file.
    """
    mode = os.fstat(_STDIN).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)):
        problem = (
            'audit.socket is "stdin", but standard input is a terminal or /dev/null: wanted a pipe or a socket with'
            " lines of an audit log, as auditd gives its plugins"
        )
        raise InputError([problem])
    source = StdinSource(fcntl.fcntl(_STDIN, fcntl.F_DUPFD_CLOEXEC, _FIRST_OTHER_FD))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, _STDIN)
    os.close(null)
    return source


def find_idle_settings(audit: AuditSettings) -> Iterator[str]:
    """Name the settings that somebody made although the source is standard input, where none of them counts."""
    if audit.socket != "stdin":
        return
    for name in _OF_THE_KERNEL:
        if getattr(audit, name) != getattr(_DEFAULTS, name):
            yield f"audit.{name} has no effect with audit.socket = \"stdin\": the kernel's audit is auditd's"


def find_stdin_notices(settings: Settings) -> Iterator[str]:
    """Give what is to be said about being a plugin with this configuration."""
    yield from find_idle_settings(settings.audit)
    writes_to_stdout = any(isinstance(output, StdoutSettings) for output in settings.enabled_outputs)
    if writes_to_stdout and os.fstat(_STDOUT).st_rdev == os.stat(os.devnull).st_rdev:
        yield (
            "stdout is /dev/null, as an auditd in the background gives it to its plugins: what the output of type"
            " stdout writes is gone; set enabled = false for it and true for [outputs.segments]"
        )
