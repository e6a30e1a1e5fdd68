"""Tries whether a segments output could write, beside a running service or without one."""

import os
import shutil
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

from auditline.plugins.outputs.elasticsearch import spool_directory
from auditline.workers.common.progress import show_bytes
from auditline.workers.common.settings import ElasticsearchSettings, SegmentsSettings

LEAST_FREE_BYTES = 64 * 1024**2
"""With less the next burst fills the file system."""
_PROBE = ".auditline-test-output"
"""No segment's name: nobody who follows segments reads it."""


def probe_segments(output: SegmentsSettings) -> str:
    """Write a file in the directory and take it away; return what there is to say.

    Raises:
        OSError: it cannot be written; the error's file name says where.
    """
    free_bytes = _probe_directory(output.directory)
    return f"{output.directory} takes files, {show_bytes(free_bytes)} are free"


def probe_spool(output: ElasticsearchSettings, state_directory: Path) -> None:
    """Do the same where the events of a destination with a network wait.

    Raises:
        OSError: it cannot be written.
    """
    _probe_directory(spool_directory(state_directory, output.name, "audit"))


def _probe_directory(directory: Path) -> int:
    """Return how much is free; directories that are missing are made by the service, so that a parent will do."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    path = directory / f"{_PROBE}-{os.getpid()}"
    # Never through a link: the directory may belong to a user with fewer rights than ours.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, b"probe\n") != len(b"probe\n"):
            raise OSError(ENOSPC, os.strerror(ENOSPC), os.fspath(path))
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()
    return shutil.disk_usage(directory).free
