"""Diagnostics in the system's log, for a service whose stderr is /dev/null."""

import logging
import os
import socket
from pathlib import Path

from auditline.workers.common.diagnostics import LineFormatter, log_to_stderr, replace_root_handler

SOCKET_PATH = "/dev/log"

_FACILITY_DAEMON = 3 << 3
_WARNING, _ERROR, _INFO = 4, 3, 6
"""Severities. Source: RFC 3164, 4.1.1."""
_STDERR = 2


class SystemLogHandler(logging.Handler):
    """Sends a datagram per record, and rather drops it than waits for a log that takes nothing."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self._path = path
        self._untold_lines = 0
        self._tag = f"auditline[{os.getpid()}]"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record's line."""
        severity = _ERROR if record.levelno >= logging.ERROR else _WARNING
        if record.levelno < logging.WARNING:
            severity = _INFO
        head = f"<{_FACILITY_DAEMON | severity}>{self._tag}: "
        try:
            if self._untold_lines:
                told = f"{self._untold_lines} diagnostics were dropped, because the system's log took nothing"
                self._socket.sendto(f"{head}{told}".encode(), self._path)
                self._untold_lines = 0
            self._socket.sendto((head + self.format(record)).encode(errors="backslashreplace"), self._path)
        except Exception:  # noqa: BLE001  # a diagnostic never ends the process that makes it
            self._untold_lines += 1


def log_where_it_is_read(process_name: str, path: str = SOCKET_PATH) -> logging.Handler:
    """Let the root logger write to stderr; where that is /dev/null, to the system's log, if there is one."""
    handler = log_to_stderr(process_name)
    if os.fstat(_STDERR).st_rdev != os.stat(os.devnull).st_rdev or not Path(path).exists():
        return handler
    system_handler = SystemLogHandler(path)
    replace_root_handler(system_handler, process_name)
    return system_handler
