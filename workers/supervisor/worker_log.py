"""The workers' diagnostics: each has a handler and a queue of its own to the supervisor's stderr.

A queue's lock dies with a process that is killed while it writes, and a shared one would then silence everybody. What
crosses is plain values, so that a worker without privileges cannot make the supervisor run anything.
"""

import io
import logging
import pickle
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from multiprocessing_logging import MultiProcessingHandler  # type: ignore[import-untyped]

from auditline.workers.common.diagnostics import MAX_LINE_CHARACTERS, replace_root_handler

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

MAX_QUEUED_RECORDS = 1000
"""Records of one worker that wait for the supervisor; more are dropped and counted."""
MAX_MESSAGE_BYTES = 64 * 1024


class WorkerLogHandler(MultiProcessingHandler):  # type: ignore[misc]  # the base is untyped
    """The way of one worker's diagnostics to the supervisor: made by the supervisor just before it forks the worker.

    The supervisor's thread blocks until there is a record, and ends when the worker has.
    """

    def __init__(self, process_name: str, sub_handler: logging.Handler) -> None:
        self._process_name = process_name
        self.count_dropped: Callable[[], None] = _count_nothing
        """Called in the worker for each record that finds no room."""
        super().__init__(f"log of {process_name}", sub_handler=sub_handler)
        # A queue has no public name for its ends, but to close one of them is what tells a worker's death.
        self._writer: Connection = self.queue._writer  # noqa: SLF001

    @property
    def worker_descriptors(self) -> tuple[int, ...]:
        """What the worker must not close."""
        return (self._writer.fileno(),)

    def serve_supervisor(self) -> None:
        """After the fork, in the supervisor: close the write end, so that the worker's death is an end of file."""
        self._writer.close()

    def serve_worker(self) -> None:
        """After the fork, in the worker: log through this handler only."""
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
                self.count_dropped()
            else:
                self.queue.put_nowait(_plain_values(record))
        except Exception:  # noqa: BLE001  # a diagnostic never ends the process that makes it
            self.count_dropped()

    def close(self) -> None:
        """Forget the handler; its thread ends by itself with the worker."""
        logging.Handler.close(self)

    def is_finished(self) -> bool:
        """Say whether everything that the dead worker said has been written."""
        return not self._receive_thread.is_alive()

    def wait_until_finished(self, patience_seconds: float) -> None:
        """Wait until everything that the dead worker said has been written."""
        self._receive_thread.join(patience_seconds)

    def _receive(self) -> None:
        """In the supervisor's thread: write what comes until the worker has ended."""
        reader: Connection = self.queue._reader  # noqa: SLF001
        taken = self.queue._sem  # noqa: SLF001
        try:
            while True:
                message = reader.recv_bytes(MAX_MESSAGE_BYTES)
                taken.release()
                self.sub_handler.handle(_record_of(_load_plain(message), self._process_name))
        except Exception:  # noqa: BLE001  # its death (a kill may leave half a message), or what we never send
            reader.close()


def wait_for_logs(handlers: Iterable[WorkerLogHandler], patience_seconds: float) -> None:
    """Wait until what dead workers said is written, all together at most *patience_seconds*."""
    deadline = time.monotonic() + patience_seconds
    for handler in handlers:
        handler.wait_until_finished(max(0.0, deadline - time.monotonic()))


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
