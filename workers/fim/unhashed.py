"""States of what no hasher reads: directories, links, devices, files whose content is not wanted or cannot be had."""

import errno
import os
import stat
import time
from typing import Protocol

from auditline.workers.common.attributes import complete
from auditline.workers.common.beneath import Root
from auditline.workers.common.file_state import NOT_HASHED, TOO_LARGE, UNREADABLE, FileState, state_of
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.look import VANISHED

_CHANGED = (*VANISHED, errno.EINVAL, errno.ESTALE)


class Place(Protocol):
    """Where to look, and what is wanted to be known."""

    @property
    def root(self) -> Root | None:
        """None: nothing is there now."""

    @property
    def settings(self) -> FimSettings:
        """Whether contents are hashed."""


class Unhashed:
    """Looks at them itself."""

    def __init__(self, watch: Place) -> None:
        self._watch = watch

    def state(self, path: bytes, status: os.stat_result, problem: str | None = None) -> FileState | None:
        """Return what is at *path*, of which `lstat` gives *status*; None: it is something else by now.

        *problem* is why a file has no hash, if not for its kind or its size.
        """
        checked_ns = time.time_ns()
        root = self._watch.root
        if root is None:
            return None
        target, hash_state = None, NOT_HASHED if problem is None else problem
        try:
            parent_fd, name = root.open_parent(path)
        except OSError:
            return None
        try:
            if stat.S_ISLNK(status.st_mode):
                target, hash_state = _read_link(name, parent_fd)
            elif problem is None and stat.S_ISREG(status.st_mode) and self._watch.settings.hashes:
                hash_state = TOO_LARGE
            return complete(
                state_of(status, checked_ns=checked_ns, target=target, hash_state=hash_state), parent_fd, name
            )
        except OSError as error:
            if error.errno in _CHANGED:
                return None
            raise
        finally:
            os.close(parent_fd)


def _read_link(name: bytes, parent_fd: int) -> tuple[bytes | None, str]:
    try:
        return os.readlink(name, dir_fd=parent_fd), NOT_HASHED
    except OSError as error:
        if error.errno in _CHANGED:
            raise
        return None, UNREADABLE
