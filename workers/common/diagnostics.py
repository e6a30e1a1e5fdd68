"""Diagnostics: every process's log lines go to stderr, one line each, through the supervisor.

Each worker has a handler and a queue of its own: a queue's lock dies with a process that is killed while it writes,
and a shared one would then silence everybody. What crosses is plain values, so that a worker without privileges
cannot make the supervisor run anything.
"""

import io
import logging
import os
import pickle
import re
import select
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from multiprocessing_logging import MultiProcessingHandler  # type: ignore[import-untyped]

MAX_LINE_CHARACTERS = 4000
"""With UTF-8 at its longest a line may take several writes; they are made under the handler's lock."""
MAX_QUEUED_RECORDS = 1000
"""Records of one worker that wait for the supervisor; more are dropped and counted."""
MAX_MESSAGE_BYTES = 64 * 1024
STDERR_PATIENCE_SECONDS = 1.0
"""A stderr that takes nothing for so long is given up until it takes something again."""

# C0, DEL, C1, and what turns or breaks lines: a diagnostic may quote a file name or an argument of a hostile process.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ATOMIC_PIPE_BYTES = 4096


def make_safe(text: str) -> str:
    """Return *text* on one line and without a character that a terminal acts on; those become \\x1b, \\n, \\u202e."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


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
        except Exception:  # a diagnostic never ends the process that makes it
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


class WorkerLogHandler(MultiProcessingHandler):  # type: ignore[misc]  # the base is untyped
    """The way of one worker's diagnostics to the supervisor: made by the supervisor just before it forks the worker.

    The supervisor's thread blocks until there is a record, and ends when the worker has.
    """

    def __init__(self, process_name: str, sub_handler: logging.Handler) -> None:
        self._process_name = process_name
        self._count_dropped: Callable[[], None] = _count_nothing
        super().__init__(f"log of {process_name}", sub_handler=sub_handler)

    @property
    def worker_descriptors(self) -> tuple[int, ...]:
        """What the worker must not close."""
        return (self.queue._writer.fileno(),)

    def serve_supervisor(self) -> None:
        """After the fork, in the supervisor: close the write end, so that the worker's death is an end of file."""
        self.queue._writer.close()

    def serve_worker(self, count_dropped: Callable[[], None]) -> None:
        """After the fork, in the worker: log through this handler only; *count_dropped* is called per drop."""
        self._count_dropped = count_dropped
        self.queue.cancel_join_thread()
        replace_root_handler(self, self._process_name)

    def wait_until_taken(self, patience_seconds: float) -> None:
        """In the worker, before it ends: give the supervisor so long to take what is queued."""
        deadline = time.monotonic() + patience_seconds
        while self.queue.qsize() and time.monotonic() < deadline:
            time.sleep(0.002)

    def emit(self, record: logging.LogRecord) -> None:
        """In the worker: queue the record's plain values; count it as dropped when too many wait."""
        try:
            if self.queue.qsize() >= MAX_QUEUED_RECORDS:
                self._count_dropped()
            else:
                self.queue.put_nowait(_plain_values(record))
        except Exception:  # a diagnostic never ends the process that makes it
            self._count_dropped()

    def close(self) -> None:
        """Forget the handler; its thread ends by itself with the worker."""
        logging.Handler.close(self)

    def is_finished(self) -> bool:
        """Say whether everything that the dead worker said has been written."""
        return not self._receive_thread.is_alive()

    def _receive(self) -> None:
        """In the supervisor's thread: write what comes until the worker has ended."""
        while True:
            try:
                message = self.queue._reader.recv_bytes(MAX_MESSAGE_BYTES)
                self.queue._sem.release()
                record = _record_of(_load_plain(message), self._process_name)
            except (EOFError, OSError, ValueError, TypeError, pickle.UnpicklingError):
                # The worker has ended (a kill may leave half a message), or sends what we never send.
                break
            self.sub_handler.handle(record)
        self.queue._reader.close()


def wait_for_logs(handlers: Iterable[WorkerLogHandler], patience_seconds: float) -> None:
    """Wait until what dead workers said is written, all together at most *patience_seconds*."""
    deadline = time.monotonic() + patience_seconds
    for handler in handlers:
        handler._receive_thread.join(max(0.0, deadline - time.monotonic()))


def filter_fork_warning() -> None:
    """Silence Python 3.12's warning about a fork beside threads: ours only wait for a worker's records."""
    warnings.filterwarnings("ignore", message=r".*multi-threaded, use of fork\(\)", category=DeprecationWarning)


def _plain_values(record: logging.LogRecord) -> tuple[float, int, str, str | None]:
    """Return what crosses to the supervisor: time, level, message, traceback."""
    trace = record.exc_text
    if record.exc_info and not trace:
        trace = logging.Formatter().formatException(record.exc_info)
    # Both together stay below MAX_MESSAGE_BYTES.
    message = record.getMessage()[: MAX_LINE_CHARACTERS + 1]
    return record.created, record.levelno, message, trace and trace[-2 * MAX_LINE_CHARACTERS :]


def _record_of(values: object, process_name: str) -> logging.LogRecord:
    """Build the record again; a TypeError or ValueError if *values* are not a worker's."""
    if not isinstance(values, tuple):
        raise TypeError("not a tuple")
    created, level, message, trace = values
    if not (isinstance(created, float) and isinstance(level, int) and isinstance(message, str)):
        raise TypeError("not a record's values")
    attributes = {
        "created": created,
        "msecs": created % 1 * 1000,
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "msg": message,
        "exc_text": trace if isinstance(trace, str) else None,
        "processName": process_name,
    }
    return logging.makeLogRecord(attributes)


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, texts and tuples, and refuses whatever would import something."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Refuse it."""
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no plain value")


def _load_plain(message: bytes) -> object:
    return _PlainUnpickler(io.BytesIO(message)).load()


def _count_nothing() -> None:
    """Count nowhere: until the worker has its counters."""


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
            self._logger.log(self._level, text + " (%d times now)", *args, count)

    def end(self) -> int:
        """The series is over: the next failure is a first one again. Returns how many there were."""
        with self._lock:
            count, self.count = self.count, 0
        return count
