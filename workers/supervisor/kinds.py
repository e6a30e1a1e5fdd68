"""The table of worker kinds: who runs what, with which descriptors and capabilities.

What a worker runs is named here as late as in its own process; it has been imported before the fork: `preload.py`.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from auditline.workers.common.lifecycle import Life
from auditline.workers.common.own_files import OwnFiles
from auditline.workers.common.privileges import Capability
from auditline.workers.common.settings import WITHOUT_FANOTIFY, ElasticsearchSettings, Settings
from auditline.workers.common.text import make_safe
from auditline.workers.common.watch_plan import WatchPlan
from auditline.workers.supervisor.audit_source import AuditSource
from auditline.workers.supervisor.launch import Launch, WorkerKind
from auditline.workers.supervisor.processes import WorkerReport
from auditline.workers.supervisor.router_feed import RouterFeed
from auditline.workers.supervisor.stdin_source import StdinSource

CONTROL, ROUTER, NAMES, AUDIT, RESTORER = "control", "router", "names", "audit", "restorer"
WATCHERS, HASHERS, SENDERS = "watchers", "hashers", "senders"
"""Groups of workers, each of which has a name of its own."""

_STDOUT = 1


class Wiring:
    """The descriptors between the workers, and the rows of the table that use them."""

    def __init__(
        self, settings: Settings, lock_fds: Iterable[int], list_reports: Callable[[], Iterable[WorkerReport]]
    ) -> None:
        self.settings = settings
        """What the next worker to be forked gets."""
        self.plans: tuple[WatchPlan, ...] = ()
        """What is watched; hashers and routers that are forked from now on know it."""
        self.own_files = OwnFiles()
        self.source: AuditSource | StdinSource | None = None
        self.feed = RouterFeed(list_reports)
        self._lock_fds = frozenset(lock_fds)
        # Both ends stay open here, so that a new router or a new names helper goes on with the same pair.
        self._router_names, self._names_router = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._go_write_fd: int | None = None
        self._is_reader_up = False
        self.has_loaded = False
        """Control, the one of now or an earlier one, has loaded the rules."""

    @property
    def control(self) -> WorkerKind:
        """The control process; it outlives a killed supervisor by what it takes to put the kernel back."""
        return WorkerKind(
            name=CONTROL,
            title="auditline: control",
            prepare=self._prepare_control,
            # The kernel looks the paths of rules up with our rights: below private directories too.
            capabilities=frozenset({Capability.AUDIT_CONTROL, Capability.NET_ADMIN, Capability.DAC_READ_SEARCH}),
            death_signal=signal.SIGTERM,
        )

    @property
    def router(self) -> WorkerKind:
        """The router, the only one with stdout."""
        return WorkerKind(name=ROUTER, title="auditline: router", prepare=self._prepare_router)

    @property
    def names(self) -> WorkerKind:
        """The helper that asks the name service for the router."""
        return WorkerKind(name=NAMES, title="auditline: names", prepare=self._prepare_names)

    @property
    def audit(self) -> WorkerKind:
        """The kernel reader; the registered socket, or the pipe, that it inherits needs no capability."""
        return WorkerKind(name=AUDIT, title="auditline: audit reader", prepare=self._prepare_audit)

    def watcher(self, plan: WatchPlan) -> WorkerKind:
        """The process that sees what changes in one directory."""
        return WorkerKind(
            name=plan.name,
            title=f"auditline: fim {make_safe(os.fsdecode(plan.path))}",
            prepare=partial(self._prepare_watcher, plan),
            group=WATCHERS,
            capabilities=frozenset({Capability.DAC_READ_SEARCH, *self._for_fanotify(plan)}),
        )

    def _for_fanotify(self, plan: WatchPlan) -> Iterator[Capability]:
        if plan.backend in WITHOUT_FANOTIFY:
            return
        yield Capability.SYS_ADMIN
        if self.settings.fim.actor != "off":
            # /proc/PID/exe of others takes PTRACE: proc(5).
            yield Capability.SYS_PTRACE

    def hasher(self, number: int) -> WorkerKind:
        """One of the processes that read files for all watchers."""
        return WorkerKind(
            name=f"hasher-{number}",
            title=f"auditline: hasher {number}",
            prepare=self._prepare_hasher,
            group=HASHERS,
            # Without being a file's owner, O_NOATIME takes FOWNER: open(2).
            capabilities=frozenset({Capability.DAC_READ_SEARCH, Capability.FOWNER}),
        )

    def sender(self, output: ElasticsearchSettings) -> WorkerKind:
        """What sends the events of one output over a network."""
        return WorkerKind(
            name=f"sender-{output.name}",
            title=f"auditline: sender {output.name}",
            prepare=partial(self._prepare_sender, output),
            group=SENDERS,
        )

    @property
    def restorer(self) -> WorkerKind:
        """What puts the kernel back when control could not."""
        return WorkerKind(
            name=RESTORER,
            title="auditline: restorer",
            prepare=self._prepare_restorer,
            capabilities=frozenset({Capability.AUDIT_CONTROL}),
        )

    def tell_reader_is_up(self) -> None:
        """Let the control process of now, and every later one, load the rules."""
        self._is_reader_up = True
        self._give_go()

    @property
    def sources(self) -> list[str]:
        """The names of all processes that have events for the router."""
        kernel = (AUDIT, CONTROL) if self.has_control else (AUDIT,) if self.source is not None else ()
        return [*kernel, *(plan.name for plan in self.plans)]

    @property
    def has_control(self) -> bool:
        """Whether the kernel's audit is ours to talk to: as auditd's plugin we leave it alone."""
        return isinstance(self.source, AuditSource)

    @property
    def has_rules(self) -> bool:
        """Whether rules of ours can be loaded, as far as that is known."""
        return isinstance(self.source, AuditSource) and not self.source.is_multicast

    @property
    def loading_fds(self) -> list[int]:
        """While control loads the rules: what `poll` reports when it has done that, or has died."""
        return [self._go_write_fd] if self._go_write_fd is not None and self._is_reader_up else []

    def take_loaded(self, reported_fds: Collection[int]) -> None:
        """Note that control has loaded the rules, if that is among what `poll` has reported."""
        if self._go_write_fd in reported_fds:
            self._close_go()
            self.has_loaded = True

    def close(self) -> None:
        """Unregister from the kernel and close all descriptors."""
        self.feed.close()
        self._close_go()
        self._router_names.close()
        self._names_router.close()
        if self.source is not None:
            self.source.close()

    def _prepare_control(self) -> Launch:
        settings, is_multicast, supervisor_pid = self.settings, self._data_socket.is_multicast, os.getpid()
        self._close_go()
        go_fd, self._go_write_fd = os.pipe2(os.O_CLOEXEC)
        if self._is_reader_up:
            self._give_go()

        def run(life: Life) -> None:
            from auditline.workers.control.worker import run as run_control

            run_control(life, settings, supervisor_pid, is_multicast, go_fd)

        # The next instance waits for the locks until the kernel is put back.
        return Launch(run=run, descriptors=self._lock_fds | {go_fd}, closed_after_fork=(go_fd,))

    def _prepare_router(self) -> Launch:
        settings = self.settings
        sources = self.sources
        feed_fd, names_fd = self.feed.renew(), self._router_names.fileno()

        def run(life: Life) -> None:
            from auditline.workers.router.worker import run as run_router

            run_router(life, settings, _STDOUT, feed_fd, names_fd, sources)

        return Launch(run=run, descriptors=frozenset({_STDOUT, feed_fd, names_fd}), closed_after_fork=(feed_fd,))

    def _prepare_names(self) -> Launch:
        settings, socket_fd = self.settings, self._names_router.fileno()

        def run(life: Life) -> None:
            from auditline.workers.router.name_service import run as run_names

            run_names(life, settings, socket_fd)

        return Launch(run=run, descriptors=frozenset({socket_fd}))

    def _prepare_audit(self) -> Launch:
        if isinstance(self.source, StdinSource):
            return self._prepare_lines(self.source)
        settings, source = self.settings, self._data_socket

        def run(life: Life) -> None:
            from auditline.workers.audit.worker import run as run_audit

            run_audit(life, settings, source.fd, source.is_multicast)

        return Launch(run=run, descriptors=frozenset({source.fd}))

    def _prepare_lines(self, source: StdinSource) -> Launch:
        settings = self.settings

        def run(life: Life) -> None:
            from auditline.workers.audit.line_reader import run as run_lines

            run_lines(life, settings, source.fd, source.buffer)

        return Launch(run=run, descriptors=frozenset({source.fd}))

    def _prepare_watcher(self, plan: WatchPlan) -> Launch:
        settings, own_files = self.settings, self.own_files

        def run(life: Life) -> None:
            from auditline.workers.fim.worker import run as run_watcher

            run_watcher(life, settings, plan, own_files)

        return Launch(run=run)

    def _prepare_hasher(self) -> Launch:
        settings, plans = self.settings, self.plans

        def run(life: Life) -> None:
            from auditline.workers.hasher.worker import run as run_hasher

            run_hasher(life, settings, plans)

        return Launch(run=run)

    def _prepare_sender(self, output: ElasticsearchSettings) -> Launch:
        settings = self.settings

        def run(life: Life) -> None:
            from auditline.workers.elasticsearch.worker import run as run_sender

            run_sender(life, settings, output)

        return Launch(run=run)

    def _prepare_restorer(self) -> Launch:
        state_directory, supervisor_pid = self.settings.state.directory, os.getpid()

        def run(_life: Life) -> None:
            from auditline.workers.supervisor.restorer import restore_kernel

            restore_kernel(state_directory, supervisor_pid)

        return Launch(run=run)

    @property
    def _data_socket(self) -> AuditSource:
        if not isinstance(self.source, AuditSource):
            raise TypeError("only a run with the kernel's socket has workers that need it")
        return self.source

    def _give_go(self) -> None:
        # A control process that is gone gets the go with its next start.
        with contextlib.suppress(BrokenPipeError):
            if self._go_write_fd is not None:
                os.write(self._go_write_fd, b"g")

    def _close_go(self) -> None:
        if self._go_write_fd is not None:
            os.close(self._go_write_fd)
            self._go_write_fd = None
