"""Puts the kernel's audit back when the control process could not, in a process that may hang without harm."""

import logging
from pathlib import Path

from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.note import NOTE_FILE, restore

logger = logging.getLogger(__name__)


def restore_kernel(state_directory: Path, supervisor_pid: int) -> None:
    """Undo what the note in *state_directory* says; what cannot be undone is told and left to the next start.

    Raises:
        KernelError: the kernel did not answer.
        StorageError: the note cannot be read or removed.
    """
    with AuditControl() as control:
        for problem in restore(state_directory / NOTE_FILE, control, living_supervisor_pid=supervisor_pid):
            logger.error("%s", problem)
