"""What the router is told about processes: JSON lines over a pipe of its own."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable

from auditline.workers.supervisor.processes import WorkerReport


class RouterFeed:
    """The supervisor's end of the pipe to the router of the moment; writing to it never waits.

    A new router, and one that has been slow, is told the present state of each process, which is all that matters.
    """

    def __init__(self, list_reports: Callable[[], Iterable[WorkerReport]]) -> None:
        self._list_reports = list_reports
        self._write_fd: int | None = None
        self._untold: dict[str, WorkerReport] = {}

    @property
    def is_behind(self) -> bool:
        """Whether there is something to tell that did not fit in; `catch_up` tries again."""
        return bool(self._untold)

    def renew(self) -> int:
        """Make the pipe of a router that is about to be forked and return its read end, which the caller closes."""
        self.close()
        read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write_fd, False)
        self._untold = {report.name: report for report in self._list_reports()}
        self.catch_up()
        return read_fd

    def tell(self, report: WorkerReport) -> None:
        """Tell the router about one process, or later when it does not read."""
        if self._write_fd is not None:
            self._untold[report.name] = report
            self.catch_up()

    def catch_up(self) -> None:
        """Tell the router what it has missed."""
        for name, report in list(self._untold.items()):
            if not self._write(report):
                return
            del self._untold[name]

    def close(self) -> None:
        """Forget the router."""
        if self._write_fd is not None:
            os.close(self._write_fd)
            self._write_fd = None
        self._untold.clear()

    def _write(self, report: WorkerReport) -> bool:
        line = {"name": report.name, "pid": report.pid, "state": report.state, "restarts": report.restarts}
        # Up to 4,096 bytes are written whole or not at all: pipe(7).
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            return self._write_fd is not None and os.write(self._write_fd, f"{json.dumps(line)}\n".encode()) > 0
        return False
