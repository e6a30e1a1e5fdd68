"""The workers' diagnostics reach stderr through the supervisor; killed or hostile workers harm nobody."""

import logging
import multiprocessing
import multiprocessing.process
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable

import pytest

from auditline.workers.common.diagnostics import LineFormatter
from auditline.workers.common.lifecycle import close_other_descriptors
from auditline.workers.supervisor.worker_log import MAX_QUEUED_RECORDS, WorkerLogHandler, wait_for_logs

FORK = multiprocessing.get_context("fork")


class Worker:
    """A real process that logs through a handler of its own."""

    def __init__(self, name: str, sub_handler: logging.Handler, function: Callable[[], None]) -> None:
        self.handler = WorkerLogHandler(name, sub_handler)
        self.dropped = FORK.Value("i", 0)
        self.process: multiprocessing.process.BaseProcess = FORK.Process(target=self._run, args=(function,))
        self.process.start()
        self.handler.serve_supervisor()

    def end(self, deadline_seconds: float = 10.0) -> None:
        deadline = time.monotonic() + deadline_seconds
        while self.process.exitcode is None and time.monotonic() < deadline:
            time.sleep(0.001)
        assert self.process.exitcode is not None, "the worker hangs"
        wait_for_logs([self.handler], 5)
        self.handler.close()
        self.process.close()

    def _run(self, function: Callable[[], None]) -> None:
        close_other_descriptors(self.handler.worker_descriptors)
        self.handler.count_dropped = self._count_dropped
        self.handler.serve_worker()
        function()
        self.handler.wait_until_taken(2.0)
        os._exit(0)

    def _count_dropped(self) -> None:
        self.dropped.value += 1


class Kept(logging.Handler):
    """Keeps the lines that reach the supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(LineFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Heard(logging.Handler):
    """Tells that the first record came."""

    def __init__(self) -> None:
        super().__init__()
        self.first = threading.Event()

    def emit(self, _record: logging.LogRecord) -> None:
        self.first.set()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_workers_lines_reach_the_supervisor_under_its_name() -> None:
    kept = Kept()

    def log() -> None:
        logging.getLogger("any").warning("lost %d", 3)
        try:
            raise ValueError("bad")
        except ValueError:
            logging.getLogger("any").exception("failed with %s", "%s")

    Worker("audit", kept, log).end()

    assert kept.lines[0].endswith("Z WARNING audit: lost 3")
    assert "Z ERROR audit: failed with %s\n    Traceback" in kept.lines[1]
    assert kept.lines[1].endswith("\n    ValueError: bad")


def test_a_worker_that_says_more_than_is_taken_drops_and_counts() -> None:
    gate = threading.Event()

    class Stuck(Kept):
        def emit(self, record: logging.LogRecord) -> None:
            gate.wait(10)
            super().emit(record)

    stuck = Stuck()

    def log_much() -> None:
        for number in range(3 * MAX_QUEUED_RECORDS):
            logging.getLogger().warning("line %d", number)

    worker = Worker("audit", stuck, log_much)
    deadline = time.monotonic() + 10
    while worker.dropped.value < 2 * MAX_QUEUED_RECORDS - 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    gate.set()
    dropped = worker.dropped.value
    worker.end()

    assert dropped >= 2 * MAX_QUEUED_RECORDS - 1
    assert len(stuck.lines) + dropped == 3 * MAX_QUEUED_RECORDS


class Hostile:
    """What a taken-over worker would send to run something in the supervisor."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("/tmp/auditline-must-not-exist",))


@pytest.mark.parametrize("message", [pickle.dumps(Hostile()), b"", b"\x80", pickle.dumps((1, 2)), pickle.dumps("text")])
def test_a_worker_cannot_make_the_supervisor_run_anything(message: bytes) -> None:
    kept = Kept()
    handler = WorkerLogHandler("router", kept)

    handler.queue._writer.send_bytes(message)
    wait_for_logs([handler], 5)

    assert handler.is_finished()
    assert kept.lines == []
    assert not os.path.exists("/tmp/auditline-must-not-exist")
    handler.serve_supervisor()
    handler.close()


def log_without_end() -> None:
    logger = logging.getLogger("load")
    while True:
        logger.warning("some text of %s", "a usual length " * 8)


@pytest.mark.timeout(600)  # forks are what a busy host has least time for
def test_five_hundred_killed_logging_workers_hang_nobody_and_leak_nothing() -> None:
    kept = Kept()

    def log_until_told() -> None:
        while True:
            logging.getLogger().warning("steady")
            time.sleep(0.01)

    steady = Worker("audit", kept, log_until_told)
    descriptors, threads = open_descriptors(), threading.active_count()

    for _ in range(500):
        heard = Heard()
        noisy = Worker("router", heard, log_without_end)
        assert heard.first.wait(10)
        noisy.process.kill()
        noisy.end()

    told_so_far = len(kept.lines)
    deadline = time.monotonic() + 10
    while len(kept.lines) <= told_so_far and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(kept.lines) > told_so_far
    assert (open_descriptors(), threading.active_count()) == (descriptors, threads)
    assert steady.process.pid is not None
    os.kill(steady.process.pid, signal.SIGKILL)
    steady.end()
