"""The workers as the supervisor sees them: started, watched, started again, given up, stopped."""

import contextlib
import logging
import multiprocessing
import multiprocessing.process
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from auditline.workers.common.lifecycle import EXIT_INPUT_ENDED, EXIT_OUTPUT_GONE
from auditline.workers.supervisor.launch import HANDLED_SIGNALS, Surroundings, WorkerKind, run_worker
from auditline.workers.supervisor.restarts import Restarts
from auditline.workers.supervisor.worker_log import WorkerLogHandler, wait_for_logs

RETIRE_SECONDS = 5.0
"""A process that is not needed any more, or is to make room for its successor, may take so long to end."""

logger = logging.getLogger(__name__)


class WorkerState(StrEnum):
    """What the router is told about a process."""

    STARTED = "started"
    DIED = "died"
    GIVEN_UP = "given_up"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker's state, as health events give it."""

    name: str
    pid: int
    state: WorkerState
    restarts: int


class Worker:
    """One kind's process of the moment, and what is known of its predecessors."""

    def __init__(self, kind: WorkerKind) -> None:
        self.kind = kind
        self.state = WorkerState.STOPPED
        self.pid = 0
        self.is_ready = False
        self.is_stopping = False
        """It was asked to end: its end is no death."""
        self.exit_code: int | None = None
        """Of its last process, negative: the signal that killed it."""
        self.due_at: float | None = None
        """When it starts again, by the monotonic clock."""
        self.is_retired = False
        """Once it has ended, its successor takes its place, or it is forgotten."""
        self.successor: WorkerKind | None = None
        self.kill_at: float | None = None
        """Until when a retired one may take to end, by the monotonic clock."""
        self.ready_fd: int | None = None
        self.restarts = Restarts()
        self.log_handler: WorkerLogHandler | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._started_at = 0.0

    @property
    def name(self) -> str:
        """The kind's name."""
        return self.kind.name

    @property
    def is_alive(self) -> bool:
        """Whether there is a process that has not been reaped."""
        return self._process is not None

    def report(self) -> WorkerReport:
        """Return the state for health events."""
        return WorkerReport(self.name, self.pid, self.state, self.restarts.total)

    def start(self, surroundings: Surroundings, log_sink: logging.Handler) -> None:
        """Fork the process. A fork that fails counts as a death."""
        self.due_at, self.is_ready, self.exit_code = None, False, None
        self._started_at = time.monotonic()
        try:
            self._fork(surroundings, log_sink)
        except OSError as error:
            logger.error("%s cannot be started: %s", self.name, error.strerror)  # noqa: TRY400
            self._end(0)
            return
        self.state = WorkerState.STARTED

    def take_ready(self) -> bool:
        """Take what the worker said about being ready; return whether it is news."""
        if self.ready_fd is not None:
            self.is_ready = os.read(self.ready_fd, 1) == b"r"
            self._close_ready_fd()
        return self.is_ready

    def reap(self) -> bool:
        """Return whether the process has ended since the last call; then say so and decide what comes next."""
        if self._process is None or self._process.exitcode is None:
            return False
        self.exit_code = self._process.exitcode
        # Without it the descriptors would stay until the garbage is collected.
        self._process.close()
        self._process = None
        self._close_ready_fd()
        if self.is_stopping or self.exit_code in (EXIT_OUTPUT_GONE, EXIT_INPUT_ENDED):
            self.state = WorkerState.STOPPED
        else:
            logger.warning("%s (pid %d) %s", self.name, self.pid, _describe_end(self.exit_code))
            self._end(time.monotonic() - self._started_at)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def retire(self, successor: WorkerKind | None) -> None:
        """Ask the process to end for good."""
        self.is_retired, self.successor = True, successor
        if not self.is_stopping:
            self.is_stopping, self.kill_at = True, time.monotonic() + RETIRE_SECONDS
            self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End a process that does not end when it is asked to."""
        logger.warning("%s (pid %d) does not end and is killed", self.name, self.pid)
        self.signal(signal.SIGKILL)

    def _end(self, lived_seconds: float) -> None:
        self.state, self.is_ready = WorkerState.DIED, False
        was_killed = self.exit_code == -signal.SIGKILL
        pause_seconds = self.restarts.pause_after_death(lived_seconds=lived_seconds, was_killed=was_killed)
        if pause_seconds is None:
            self.state = WorkerState.GIVEN_UP
            logger.error(
                "%s is given up: it died %d times in a row; the others go on", self.name, self.restarts.deaths_in_a_row
            )
            return
        self.restarts.total += 1
        self.due_at = time.monotonic() + pause_seconds

    def _fork(self, surroundings: Surroundings, log_sink: logging.Handler) -> None:
        launch = self.kind.prepare()
        self.ready_fd, ready_write_fd = os.pipe2(os.O_CLOEXEC)
        self.log_handler = log_handler = WorkerLogHandler(self.name, log_sink)
        process = multiprocessing.get_context("fork").Process(
            target=run_worker,
            args=(self.kind, launch, surroundings, log_handler, ready_write_fd),
            name=self.name,
            # Should the supervisor end by a mistake of its own, Python then ends the workers before it waits for them.
            daemon=True,
        )
        try:
            with _blocked_signals():
                process.start()
        except OSError:
            self._close_ready_fd()
            raise
        finally:
            log_handler.serve_supervisor()
            _close_all([ready_write_fd, *launch.closed_after_fork])
        self._process, self.pid = process, process.pid or 0

    def _close_ready_fd(self) -> None:
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


class Workers:
    """All workers of a run, in the order in which they were added."""

    def __init__(
        self, surroundings: Surroundings, log_sink: logging.Handler, tell: Callable[[WorkerReport], None]
    ) -> None:
        self._surroundings = surroundings
        self._log_sink = log_sink
        self._tell = tell
        self._workers: dict[str, Worker] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    @property
    def ready_fds(self) -> list[int]:
        """What becomes readable when a worker is ready."""
        return [worker.ready_fd for worker in self if worker.ready_fd is not None]

    def start(self, kind: WorkerKind) -> Worker:
        """Add a worker of that kind, in place of one that has no process any more, and start it."""
        predecessor = self._workers.get(kind.name)
        worker = self._workers[kind.name] = Worker(kind)
        if predecessor is not None:
            worker.restarts.total = predecessor.restarts.total
        self._start(worker)
        return worker

    def replace(self, kind: WorkerKind) -> None:
        """Start a worker of that kind; where one of its name lives, as soon as that has ended."""
        living = self._workers.get(kind.name)
        if living is None or not living.is_alive:
            self.start(kind)
        else:
            living.retire(kind)

    def remove(self, name: str) -> None:
        """Ask the worker to end, and forget it then."""
        worker = self._workers[name]
        worker.retire(None)
        if not worker.is_alive:
            worker.state = WorkerState.STOPPED
            self._tell(worker.report())
            self.settle(worker)

    def settle(self, worker: Worker) -> None:
        """Give the place of a worker that has ended to its successor, if it is retired."""
        if worker.successor is not None:
            self.start(worker.successor)
        elif worker.is_retired:
            del self._workers[worker.name]

    def seconds_until_due(self) -> float | None:
        """Return when `do_due` has something to do; None: never, unless one dies."""
        due = [moment for worker in self for moment in (worker.due_at, worker.kill_at) if moment is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def do_due(self) -> None:
        """Start again those whose pause is over, and kill retired ones that do not end."""
        now = time.monotonic()
        for worker in self:
            if worker.kill_at is not None and worker.kill_at <= now:
                worker.kill_at = None
                worker.kill()
            if worker.due_at is not None and worker.due_at <= now and not worker.is_stopping:
                self._start(worker)

    def names_of(self, group: str) -> list[str]:
        """Return the names of all workers of a group."""
        return [worker.name for worker in self if worker.kind.group == group]

    def are_given_up(self, names: Collection[str]) -> bool:
        """Say whether each of *names* was started and is given up."""
        given_up = {worker.name for worker in self if worker.state is WorkerState.GIVEN_UP}
        return given_up.issuperset(names)

    def take_ready(self, ready_fds: Collection[int]) -> list[Worker]:
        """Return those that became ready, of the readable *ready_fds*."""
        return [worker for worker in self if worker.ready_fd in ready_fds and worker.take_ready()]

    def reap(self) -> list[Worker]:
        """Return those that have ended since the last call."""
        ended = [worker for worker in self if worker.reap()]
        for worker in ended:
            self._tell(worker.report())
        return ended

    def stop(self, names: Collection[str], number: signal.Signals | None) -> None:
        """Ask those of *names* to end, by a signal if there is one to send; they are not started again."""
        for worker in self:
            if worker.name in names:
                worker.is_stopping, worker.due_at = True, None
                if number is not None:
                    worker.signal(number)

    def wait_for_logs(self, patience_seconds: float) -> None:
        """Wait until the last words of all that have ended are written."""
        ended = [worker.log_handler for worker in self if worker.log_handler is not None and not worker.is_alive]
        wait_for_logs(ended, patience_seconds)

    def _start(self, worker: Worker) -> None:
        worker.start(self._surroundings, self._log_sink)
        self._tell(worker.report())


def _describe_end(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended by itself with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
