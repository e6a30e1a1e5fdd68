"""Where symbolic links lead, without waiting for a file system that does not answer."""

import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

from auditline.workers.common.lifecycle import close_other_descriptors

RESOLVE_SECONDS = 2.0

_left_behind: list[int] = []
"""Children that were killed but may not have ended: what hangs in the kernel ends when its server is back."""


def resolve_paths(paths: Iterable[bytes]) -> dict[bytes, bytes | None]:
    """Return where absolute paths lead, None for one where that was not found out within two seconds for all.

    Nothing but a process of its own can be left alone with a look-up on a dead NFS server: each path has a child.
    It forks: only for a process's main thread.
    """
    _left_behind[:] = [pid for pid in _left_behind if os.waitpid(pid, os.WNOHANG) == (0, 0)]
    deadline = time.monotonic() + RESOLVE_SECONDS
    attempts = {path: _begin(path) for path in dict.fromkeys(paths)}
    return {path: attempt.finish(deadline) if attempt else None for path, attempt in attempts.items()}


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A child that resolves a path and says the result into a pipe."""

    pid: int
    fd: int

    def finish(self, deadline: float) -> bytes | None:
        """Return what it said until it ended; None: it did not end in time, or failed."""
        said = b""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        try:
            while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                part = os.read(self.fd, 65_536)
                if not part:
                    os.waitpid(self.pid, 0)
                    return said or None
                said += part
        finally:
            os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        _left_behind.append(self.pid)
        return None


def _begin(path: bytes) -> _Attempt | None:
    """Start the child; None: the host allows no more of them."""
    try:
        read_fd, write_fd = os.pipe()
    except OSError:
        return None
    try:
        pid = os.fork()
        if pid == 0:
            _resolve(path, write_fd)
        return _Attempt(pid, read_fd)
    except OSError:
        os.close(read_fd)
        return None
    finally:
        os.close(write_fd)


def _resolve(path: bytes, write_fd: int) -> None:
    """Be the child, which holds nothing of the parent's: it may outlive it."""
    try:
        signal.set_wakeup_fd(-1)
        close_other_descriptors({write_fd})
        os.dup2(1, 2)
        os.write(write_fd, os.path.realpath(path))
    finally:
        os._exit(0)
