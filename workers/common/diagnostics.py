"""Diagnostics: log lines on stderr, one safe line per record and its traceback indented below.

A worker's lines come here through the supervisor: `workers/supervisor/worker_log.py`.
"""

import logging
import os
import select
import threading
import time
from typing import Any

from auditline.workers.common.text import make_safe

MAX_LINE_CHARACTERS = 4000
"""With UTF-8 at its longest a line may take several writes; they are made under the handler's lock."""
STDERR_PATIENCE_SECONDS = 1.0
"""A stderr that takes nothing for so long is given up until it takes something again."""

_ATOMIC_PIPE_BYTES = 4096


class LineFormatter(logging.Formatter):
    """`2026-11-26T07:40:00.123Z WARNING router: message`; a traceback follows in indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, made safe and cut to a bounded length."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head = f"{stamp}.{int(record.msecs):03d}Z {record.levelname} {record.processName}: "
        text = make_safe(head + record.getMessage())
        if len(text) > MAX_LINE_CHARACTERS:
            text = f"{text[:MAX_LINE_CHARACTERS]}… ({len(text)} characters)"
        return "".join([text, *self._traceback_lines(record)])

    def _traceback_lines(self, record: logging.LogRecord) -> list[str]:
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        lines = (record.exc_text or "").splitlines()
        return [f"\n    {make_safe(line)[:MAX_LINE_CHARACTERS]}" for line in lines]


class StderrHandler(logging.Handler):
    """Writes lines to a descriptor, and rather drops and counts them than wait for a reader that has stopped."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self.dropped_lines = 0
        self._descriptor = descriptor
        self._untold_lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line."""
        try:
            self._write_line(self.format(record))
        except Exception:  # noqa: BLE001  # a diagnostic never ends the process that makes it
            self._drop()

    def _write_line(self, line: str) -> None:
        if not self._is_writable(0 if self._untold_lines else STDERR_PATIENCE_SECONDS):
            self._drop()
            return
        if self._untold_lines:
            line = f"auditline: {self._untold_lines} diagnostics were dropped, because nobody read stderr\n{line}"
            self._untold_lines = 0
        data = line.encode(errors="backslashreplace") + b"\n"
        for start in range(0, len(data), _ATOMIC_PIPE_BYTES):
            if start and not self._is_writable(STDERR_PATIENCE_SECONDS):
                self._drop()
                return
            os.write(self._descriptor, data[start : start + _ATOMIC_PIPE_BYTES])

    def _is_writable(self, patience_seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        return bool(poller.poll(patience_seconds * 1000))

    def _drop(self) -> None:
        self.dropped_lines += 1
        self._untold_lines += 1


def log_to_stderr(process_name: str, level: int = logging.INFO) -> StderrHandler:
    """Make the root logger of this process write lines to stderr that begin with *process_name*."""
    handler = StderrHandler()
    replace_root_handler(handler, process_name)
    logging.getLogger().setLevel(level)
    return handler


def replace_root_handler(handler: logging.Handler, process_name: str) -> None:
    """Make *handler* the only one of the root logger, and *process_name* what lines of this process begin with."""
    make_record = logging.LogRecord

    def make_named_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        record.processName = process_name
        return record

    logging.setLogRecordFactory(make_named_record)
    logging.getLogger().handlers[:] = [handler]


class RepeatedWarning:
    """Tells the first of a series of like failures, then every Nth with the count so far."""

    def __init__(self, logger: logging.Logger, every: int = 1000, level: int = logging.WARNING) -> None:
        self.count = 0
        self._logger = logger
        self._every = every
        self._level = level
        self._lock = threading.Lock()

    def tell(self, text: str, *args: object) -> None:
        """Count one more failure and log it if it is its turn; *text* is ours, foreign text goes into *args*."""
        with self._lock:
            self.count += 1
            count = self.count
        if count == 1:
            self._logger.log(self._level, text, *args)
        elif count % self._every == 0:
            self._logger.log(self._level, f"{text} (%d times now)", *args, count)  # noqa: G004  # text is a format

    def end(self) -> int:
        """The series is over: the next failure is a first one again. Returns how many there were."""
        with self._lock:
            count, self.count = self.count, 0
        return count
