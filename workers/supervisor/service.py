"""`auditline run`: starts the workers in order, watches them, and stops them in order."""

import gc
import logging
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NoReturn

from auditline.workers.common.errors import Exit, KernelError, SettingsError
from auditline.workers.common.lifecycle import EXIT_INPUT_ENDED, EXIT_OUTPUT_GONE, Life
from auditline.workers.common.own_files import find_own_files
from auditline.workers.common.privileges import find_account
from auditline.workers.common.settings import ElasticsearchSettings, Settings
from auditline.workers.common.settings_loading import reload_settings
from auditline.workers.common.status_question import status_socket
from auditline.workers.common.system_log import log_where_it_is_read
from auditline.workers.control.note import NOTE_FILE
from auditline.workers.control.reload import with_rules_of
from auditline.workers.supervisor.audit_source import open_audit_source
from auditline.workers.supervisor.directories import (
    COUNTERS_DIRECTORY,
    check_room,
    lock_directory,
    make_directories,
    remove_counters,
    remove_sockets,
)
from auditline.workers.supervisor.kinds import (
    AUDIT,
    CONTROL,
    HASHERS,
    NAMES,
    RESTORER,
    ROUTER,
    SENDERS,
    WATCHERS,
    Wiring,
)
from auditline.workers.supervisor.launch import Surroundings
from auditline.workers.supervisor.notices import find_actor_notices, find_notices, find_watch_notices
from auditline.workers.supervisor.output_directories import OutputDirectories
from auditline.workers.supervisor.own_process import prepare_process
from auditline.workers.supervisor.preload import (
    CONTROL_MODULES,
    LINE_READER_MODULES,
    READER_MODULES,
    ROUTER_MODULES,
    SENDER_MODULES,
    WATCH_MODULES,
    preload,
)
from auditline.workers.supervisor.processes import Worker, WorkerReport, Workers, WorkerState
from auditline.workers.supervisor.reach import PACKAGE_FOLDER, capabilities_to_read, refuse_unreachable
from auditline.workers.supervisor.status_server import StatusServer
from auditline.workers.supervisor.stdin_source import find_stdin_notices, open_stdin_source
from auditline.workers.supervisor.watches import Watches

CONTROL_START_SECONDS = 2.0
"""The others do not wait longer for control; it may have to wait for the kernel."""
RULES_START_SECONDS = 1.0
"""Watchers do not wait longer for reader and rules."""
CONTROL_STOP_SECONDS = 1.3
"""Then the others are stopped beside it: some kernels need seconds to take hundreds of rules out (see `hurry.py`)."""
DRAIN_SECONDS = 3.9
"""From the first signal on: then whoever hangs is killed, and what is left of 5 s goes to the kernel's state."""
HASHERS_STOP_SECONDS = 0.3
"""At least so long after the watchers: nobody has work for them any more, but they finish what they have in hand."""
RESTORE_SECONDS = 0.6
SUCCESSOR_SECONDS = 6.0
"""More than a run takes to end."""
KILL_SECONDS = 0.3
LAST_WORDS_SECONDS = 0.2

_FEED_RETRY_SECONDS = 1.0
_NOTHING_LEFT = "only health events are written"
logger = logging.getLogger(__name__)


def run_command(settings: Settings) -> Exit:
    """Run the service until a signal, the end of its only output, or of all that is useful.

    Raises:
        AuditlineError: it cannot start; BusyError: another instance runs.
    """
    log_sink = log_where_it_is_read("supervisor")
    life = prepare_process()
    account = find_account(settings.run.user) if settings.run.user else None
    run_directory = settings.run.directory
    make_directories(settings, account)
    # auditd may start a plugin anew while it tells the one before to stop.
    patience_seconds = SUCCESSOR_SECONDS if settings.audit.socket == "stdin" else 0.0
    lock_fds = [lock_directory(path, patience_seconds) for path in (run_directory, settings.state.directory)]
    check_room(settings.state.directory)
    remove_sockets(run_directory)
    refuse_unreachable((settings.state.directory, run_directory), account)
    kept = capabilities_to_read(account)
    if kept:
        logger.warning(
            "%s is not readable for everybody, so all workers keep CAP_DAC_READ_SEARCH; install it under /opt to have"
            " them without",
            PACKAGE_FOLDER,
        )
    surroundings = Surroundings(
        counters_directory=run_directory / COUNTERS_DIRECTORY,
        account=account,
        supervisor_pid=os.getpid(),
        capabilities=kept,
    )
    service = Service(settings, life, surroundings, lock_fds, log_sink)
    code = service.run()
    remove_sockets(run_directory)
    if life.stopping or service.is_input_over:
        remove_counters(run_directory)
    if multiprocessing.active_children():
        # Killed, but held in the kernel or by a debugger: Python would wait for it, without end, before it ends itself.
        logging.shutdown()
        os._exit(code)
    return code


class Service:
    """One run: the workers, what connects them, and what the signals and their deaths lead to."""

    def __init__(
        self,
        settings: Settings,
        life: Life,
        surroundings: Surroundings,
        lock_fds: Sequence[int],
        log_sink: logging.Handler,
    ) -> None:
        self._settings = settings
        self._life = life
        self._wiring = Wiring(settings, lock_fds, self._reports)
        self._workers = Workers(surroundings, log_sink, self._wiring.feed.tell)
        self._watches = Watches(self._wiring, self._workers)
        self._output_directories = OutputDirectories(settings, surroundings.account)
        socket_path = status_socket(settings.run.directory)
        self._status = StatusServer(socket_path, surroundings.account, self._describe)
        self._since_ns = time.time_ns()
        self._exit = Exit.OK
        self._is_output_gone = False
        self.is_input_over = False
        """Standard input, which the events came from, has ended, and all of it is out."""
        life.at_second = self._leave_at_once

    def run(self) -> Exit:
        """Start, watch, stop; return the command's exit code.

        Raises:
            AuditlineError: it cannot start.
        """
        try:
            self._start()
            gc.enable()
            while not self._must_end():
                self._turn()
        finally:
            self._stop()
        return self._exit

    def _start(self) -> None:
        workers, wiring, settings = self._workers, self._wiring, self._settings
        self._output_directories.do_due()
        self._watches.plan()
        if settings.audit.enabled:
            self._open_source()
        elif not wiring.plans:
            logger.warning("audit.enabled is false and nothing is watched: %s", _NOTHING_LEFT)
        if wiring.plans:
            for notice in (
                *find_watch_notices(settings.fim),
                *find_actor_notices(settings.fim.actor, has_rules=wiring.has_rules),
            ):
                logger.warning("%s", notice)
        wiring.own_files = find_own_files(settings)
        router_modules = iter(ROUTER_MODULES)
        if wiring.has_control:
            self._start_control(router_modules)
        if wiring.source is not None and not self._must_end():
            preload(READER_MODULES if wiring.has_control else LINE_READER_MODULES)
            workers.start(wiring.audit)
        self._preload_until(self._must_end, router_modules)
        if self._must_end():
            return
        workers.start(wiring.router)
        self._start_names()
        self._start_senders()
        if wiring.has_control:
            # Or what watchers need, and their first walks, would hold up the rules.
            self._turn_until(lambda: wiring.has_loaded, RULES_START_SECONDS)
        self._preload_until(self._must_end, iter(WATCH_MODULES if wiring.plans else ()))
        if not self._must_end():
            self._watches.apply()

    def _start_control(self, router_modules: Iterator[str]) -> None:
        """Start the control process and wait until it is ready, but not for ever."""
        preload(CONTROL_MODULES)
        control = self._workers.start(self._wiring.control)
        preload(READER_MODULES)
        self._preload_until(lambda: control.is_ready or not control.is_alive, router_modules)
        self._turn_until(lambda: control.is_ready or not control.is_alive, CONTROL_START_SECONDS)

    def _preload_until(self, is_enough: Callable[[], bool], modules: Iterator[str]) -> None:
        """Import the next of *modules* until *is_enough*; the reader and the rules are not held up by it."""
        while not is_enough() and not self._must_end() and (module := next(modules, None)) is not None:
            preload([module])
            self._turn(0.0)

    def _start_names(self) -> None:
        """Start the helper that knows the names of files' owners and of records' ids, if either is wanted."""
        is_wanted = self._settings.audit.resolve_ids or self._wiring.plans
        if is_wanted and NAMES not in {worker.name for worker in self._workers}:
            self._workers.start(self._wiring.names)

    def _start_senders(self) -> None:
        outputs = [each for each in self._settings.enabled_outputs if isinstance(each, ElasticsearchSettings)]
        preload(SENDER_MODULES if outputs else ())
        for output in outputs:
            self._workers.start(self._wiring.sender(output))

    def _open_source(self) -> None:
        notices = find_notices()
        if self._settings.audit.socket == "stdin":
            self._open_stdin(notices)
            return
        try:
            source = open_audit_source(self._settings.audit)
        except KernelError as error:
            if self._settings.audit.socket != "auto":
                raise
            left = "file changes are reported all the same" if self._wiring.plans else _NOTHING_LEFT
            logger.warning("%s; %s", error, left)
            return
        self._wiring.source = source
        for notice in (*notices, *source.notices):
            logger.warning("%s", notice)

    def _open_stdin(self, notices: Iterable[str]) -> None:
        self._wiring.source = open_stdin_source()
        logger.info("reading events from standard input: rules and status of the kernel's audit are auditd's")
        for notice in (*notices, *find_stdin_notices(self._settings)):
            logger.warning("%s", notice)

    def _turn(self, most_seconds: float | None = None) -> None:
        """Wait for a signal, a death, a worker's readiness or the next start, and react."""
        waits = [most_seconds, self._workers.seconds_until_due(), self._status.seconds_until_due]
        waits.append(self._output_directories.seconds_until_due)
        if self._wiring.feed.is_behind:
            waits.append(_FEED_RETRY_SECONDS)
        readable = self._wait([seconds for seconds in waits if seconds is not None])
        if self._life.stopping:
            # Workers may have been told as well, by a signal to the whole group: they must not be started again.
            return
        for worker in self._workers.take_ready(readable):
            self._on_ready(worker)
        for worker in self._workers.reap():
            self._on_end(worker)
        self._workers.do_due()
        self._output_directories.do_due()
        self._wiring.feed.catch_up()
        if self._life.take_reload():
            self._reload()

    def _turn_until(self, is_reached: Callable[[], bool], most_seconds: float) -> None:
        """Turn until *is_reached*, the run must end, or *most_seconds* are over."""
        deadline = time.monotonic() + most_seconds
        while not is_reached() and not self._must_end() and (left := deadline - time.monotonic()) > 0:
            self._turn(left)

    def _wait(self, waits: Collection[float]) -> set[int]:
        poller = select.poll()
        for descriptor in (self._life.wakeup_fd, *self._workers.ready_fds, *self._wiring.loading_fds):
            poller.register(descriptor, select.POLLIN)
        self._status.register(poller)
        # Rounded up, or the last millisecond would be spent in a busy loop.
        readable = {descriptor for descriptor, _ in poller.poll(int(min(waits) * 1000) + 1 if waits else None)}
        self._life.drain_wakeup()
        self._status.serve(readable)
        self._wiring.take_loaded(readable)
        return readable

    def _on_ready(self, worker: Worker) -> None:
        if worker.name == AUDIT:
            self._wiring.tell_reader_is_up()

    def _on_end(self, worker: Worker) -> None:
        self._workers.settle(worker)
        if worker.exit_code == EXIT_OUTPUT_GONE:
            logger.info("whoever read our stdout is gone and there is no other output: ending")
            self._is_output_gone = True
        elif worker.exit_code == EXIT_INPUT_ENDED:
            logger.info("standard input has ended, and what was taken of it is written: ending")
            self.is_input_over = True
        elif worker.state is WorkerState.GIVEN_UP:
            self._on_given_up(worker)

    def _on_given_up(self, worker: Worker) -> None:
        # What control says is about the others: alone it is of no use.
        sources = [name for name in self._wiring.sources if name != CONTROL]
        if worker.name == ROUTER or (worker.name in sources and self._workers.are_given_up(sources)):
            logger.error("without %s nothing useful is left: ending", worker.name)
            self._exit = Exit.FAILURE
        elif worker.kind.group == HASHERS:
            self._watches.warn_if_nobody_hashes()

    def _must_end(self) -> bool:
        is_over = self._is_output_gone or self.is_input_over
        return self._life.stopping or is_over or self._exit is not Exit.OK

    def _reload(self) -> None:
        try:
            fresh = reload_settings(self._settings)
        except SettingsError as error:
            for problem in error.problems:
                logger.error("%s", problem)  # noqa: TRY400  # it says all that the user needs
            logger.error("the configuration is left as it was")  # noqa: TRY400
            return
        taken = replace(with_rules_of(self._settings, fresh), fim=fresh.fim, hasher=fresh.hasher)
        if fresh != taken:
            logger.warning(
                "changes of the configuration beside rules, [fim] and [hasher] take effect at the next start"
            )
        self._settings = self._wiring.settings = taken
        self._watches.plan()
        if self._wiring.source is None and not self._wiring.plans:
            logger.warning("there are no kernel events, and nothing is watched any more: %s", _NOTHING_LEFT)
        self._start_names()
        self._watches.apply()
        for worker in self._workers:
            worker.signal(signal.SIGHUP)

    def _stop(self) -> None:
        """Stop in the order that loses nothing: rules out, then who reports and the router, at last the kernel's pid.

        Who reports and the router are told together: it ends when all of them have said that this was all.
        """
        began = time.monotonic()
        watchers, hashers, senders = map(self._workers.names_of, (WATCHERS, HASHERS, SENDERS))
        self._workers.stop([worker.name for worker in self._workers], None)
        self._workers.stop([CONTROL], signal.SIGTERM)
        self._wait_for_end([CONTROL], began + CONTROL_STOP_SECONDS)
        self._stop_workers([AUDIT, *watchers, ROUTER, *senders], began + DRAIN_SECONDS)
        self._workers.stop(hashers, signal.SIGTERM)
        self._stop_workers([CONTROL], began + DRAIN_SECONDS, number=None)
        self._stop_workers([NAMES], time.monotonic() + KILL_SECONDS, number=signal.SIGKILL)
        if self._wiring.has_control and (self._settings.state.directory / NOTE_FILE).exists():
            self._workers.start(self._wiring.restorer)
            self._stop_workers([RESTORER], time.monotonic() + RESTORE_SECONDS, number=None)
        self._stop_workers(hashers, max(time.monotonic() + HASHERS_STOP_SECONDS, began + DRAIN_SECONDS), number=None)
        self._status.close()
        self._wiring.close()
        self._workers.wait_for_logs(LAST_WORDS_SECONDS)

    def _stop_workers(
        self, names: Sequence[str], deadline: float, *, number: signal.Signals | None = signal.SIGTERM
    ) -> None:
        """Ask those of *names* to end, by a signal or not at all, and kill who has not ended at the *deadline*."""
        self._workers.stop(names, number)
        for worker in self._wait_for_end(names, deadline):
            worker.kill()
        self._wait_for_end(names, time.monotonic() + KILL_SECONDS)

    def _wait_for_end(self, names: Sequence[str], deadline: float) -> list[Worker]:
        """Return those of *names* that live at the *deadline*."""
        while True:
            self._workers.reap()
            living = [worker for worker in self._workers if worker.name in names and worker.is_alive]
            left = deadline - time.monotonic()
            if not living or left <= 0:
                return living
            self._workers.take_ready(self._wait([left]))

    def _leave_at_once(self, number: int) -> NoReturn:
        """The second signal: kill all but control, which puts the kernel back, and be gone."""
        for worker in list(self._workers):
            worker.signal(signal.SIGTERM if worker.name == CONTROL else signal.SIGKILL)
        os._exit(128 + number)

    def _reports(self) -> Iterable[WorkerReport]:
        own = WorkerReport("supervisor", os.getpid(), WorkerState.STARTED, 0)
        return [own, *(worker.report() for worker in self._workers)]

    def _describe(self) -> bytes:
        # At the start there is no time for what the first question needs.
        from auditline.workers.supervisor.status_answer import StatusAnswer

        return StatusAnswer(self._wiring, list(self._workers), self._reports(), self._since_ns).make()
