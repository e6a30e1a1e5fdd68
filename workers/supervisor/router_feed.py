"""What the router is told about processes: JSON lines over a pipe of its own."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable

from auditline.workers.supervisor.processes import WorkerReport


class RouterFeed:
    """The supervisor's end of the pipe to the router of the moment; writing to it never waits.

    A new router, and one that has been slow, is told the present state of all, which is all that matters.
    """

    def __init__(self, list_reports: Callable[[], Iterable[WorkerReport]]) -> None:
        self._list_reports = list_reports
        self._write_fd: int | None = None
        self.is_behind = False
        """There is something to tell that did not fit in; `catch_up` tries again."""

    def renew(self) -> int:
        """Make the pipe of a router that is about to be forked and return its read end, which the caller closes."""
        self.close()
        read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write_fd, False)
        self.is_behind = True
        self.catch_up()
        return read_fd

    def tell(self, report: WorkerReport) -> None:
        """Tell the router about one process, or later about all when it does not read."""
        self.catch_up()
        if not self.is_behind:
            self.is_behind = not self._write([report])

    def catch_up(self) -> None:
        """Tell the router about all processes if it has missed anything."""
        if self.is_behind:
            self.is_behind = not self._write(self._list_reports())

    def close(self) -> None:
        """Forget the router."""
        if self._write_fd is not None:
            os.close(self._write_fd)
            self._write_fd = None

    def _write(self, reports: Iterable[WorkerReport]) -> bool:
        lines = "".join(
            json.dumps({"name": each.name, "pid": each.pid, "state": each.state, "restarts": each.restarts}) + "\n"
            for each in reports
        ).encode()
        # Up to 4,096 bytes are written whole or not at all, pipe(7); a dozen processes take a quarter of that.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            return self._write_fd is None or os.write(self._write_fd, lines) == len(lines)
        return False
