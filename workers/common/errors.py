"""The product's exceptions and exit codes; imports nothing."""

from collections.abc import Sequence
from enum import IntEnum


class Exit(IntEnum):
    """What the `auditline` command's exit codes mean."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    DIFFERENCES = 3
    """Of `scan`."""
    NOT_RUNNING = 3
    """Of `status`."""
    DEGRADED = 4
    TEMPORARY = 75
    """Try again later: another instance runs, or a lock is held (EX_TEMPFAIL of sysexits.h)."""


class AuditlineError(Exception):
    """Root of all errors that are told to the user without a traceback."""

    exit = Exit.FAILURE


class InputError(AuditlineError):
    """A file or argument that the user gave cannot be used; holds every problem found, one line each."""

    exit = Exit.USAGE

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class SettingsError(InputError):
    """The configuration is wrong."""


class RuleError(InputError):
    """An audit rule is wrong."""


class BusyError(AuditlineError):
    """Somebody else holds what we need."""

    exit = Exit.TEMPORARY


class KernelError(AuditlineError):
    """The kernel refused an audit request; *errno* says how."""

    def __init__(self, request: str, errno: int, text: str) -> None:
        super().__init__(f"{request}: {text}")
        self.errno = errno


class StorageError(AuditlineError):
    """A journal, state or output file cannot be read or written."""
