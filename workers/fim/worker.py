"""A watcher's process: hints become dirty paths, dirty paths are examined, differences go to the router.

The way of one change: `inotify.py` reads a hint, `dirty.py` waits until the path is quiet, `examine.py` compares it
with `baseline.py` (a file that may have other content goes to a hasher first, by `pool.py`), and the entry in the
outbox is sent to the router. `walk.py` watches and lists directories.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator

from auditline.workers.common.beneath import Root
from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import StorageError
from auditline.workers.common.jobs import JobServer
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.own_files import OwnFiles
from auditline.workers.common.settings import Settings
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.fim.backend import Backend, HintKind
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.coverage import CoverageNotes, now_ns
from auditline.workers.fim.dirty import MOST_PATHS, Dirty, DirtyPath
from auditline.workers.fim.examine import EXAMINER_COUNTERS, Examiner
from auditline.workers.fim.inotify import open_backend
from auditline.workers.fim.pool import POOL_COUNTERS, Pool
from auditline.workers.fim.scope import Scope
from auditline.workers.fim.walk import WALK_COUNTERS, Walker
from auditline.workers.fim.watch import Watch

logger = logging.getLogger(__name__)

WATCHER_COUNTERS = (
    "hints_received_total",
    "hint_overflows_total",
    "dirty_paths",
    "outbox_entries",
    "watched_directories",
    "polled_directories",
    *EXAMINER_COUNTERS,
    *WALK_COUNTERS,
    *POOL_COUNTERS,
)

TURN_SECONDS = 5.0
"""Nothing happens: so often it is looked whether the watched path still names the same directory."""
MISSING_TURN_SECONDS = 1.0
"""The watched path is not there: so often it is looked for."""
MOST_PER_TURN = 512
"""Paths examined before hashers and the router have their turn."""
ALIVE_SECONDS = 1.0
STORAGE_RETRY_SECONDS = 1.0
FINISH_SECONDS = 1.5
"""While leaving: how long dirty paths are seen through to the outbox."""
BYE_SECONDS = 2.0
GREETING_SECONDS = 0.5
"""While leaving: a router that has not greeted in so long will not come, because none is started any more."""
_LULL_SECONDS = 0.05


def run(life: Life, settings: Settings, plan: WatchPlan, own: OwnFiles) -> None:
    """Watch what *plan* says until told to stop.

    Raises:
        BusyError: another process has the baseline open.
        BaselineDamaged: the baseline turned out to be damaged; the next start makes it anew.
    """
    life.counters.extend(WATCHER_COUNTERS)
    baseline = _open_baseline(life, settings, plan)
    if baseline is None:
        return
    producer = Producer(endpoint(settings.run.directory), baseline)
    pool = Pool(JobServer(jobs_endpoint(settings.run.directory, plan)), settings.fim, life.counters)
    try:
        must_begin = True
        while must_begin:
            backend = open_backend(settings.fim)
            with contextlib.closing(backend):
                must_begin = Watcher(life, settings, Scope(plan, own), backend, baseline, producer, pool).run()
    finally:
        pool.close()
        producer.close()
        baseline.close()


def _open_baseline(life: Life, settings: Settings, plan: WatchPlan) -> Baseline | None:
    """Return the baseline, however long its file system is full; None: told to stop meanwhile."""
    warning = RepeatedWarning(logger, every=60)
    while not life.stopping:
        try:
            return Baseline.open(settings.state.directory / "baselines", plan.name, plan.path)
        except StorageError as error:
            warning.tell("%s; nothing is watched until it can be", error)
        life.wait(STORAGE_RETRY_SECONDS)
    return None


class Watcher:
    """The watcher's loop and what it knows between two turns."""

    def __init__(
        self,
        life: Life,
        settings: Settings,
        scope: Scope,
        backend: Backend,
        baseline: Baseline,
        producer: Producer,
        pool: Pool,
    ) -> None:
        self._life = life
        self._counters = life.counters
        self._scope = scope
        self._backend = backend
        self._baseline = baseline
        self._producer = producer
        self._pool = pool
        fim = settings.fim
        self._dirty = Dirty(fim.debounce_seconds, fim.max_delay_seconds)
        self._watch = Watch(
            scope=scope,
            settings=fim,
            counters=life.counters,
            backend=backend,
            baseline=baseline,
            pool=pool,
            dirty=self._dirty,
            notes=CoverageNotes(),
        )
        self._examiner = Examiner(self._watch)
        self._walker = Walker(self._watch, self._examiner, self._take_hints)
        self._root_check_due = 0.0
        self._is_outdated = False
        self._missing_since_ns: int | None = None
        self._alive_due = 0.0
        self._storage_warning = RepeatedWarning(logger, every=60, level=logging.ERROR)
        self._storage_retry_at = 0.0
        self._storage_failed_since_ns: int | None = None

    def run(self) -> bool:
        """Watch until the life is stopping, then see what is dirty through to the router.

        Returns True, early, when the watched path has become a directory, or ceased to be one: begin again.
        """
        self._check_root(is_start=True)
        self._life.ready()
        while not self._life.stopping:
            self._turn(self._turn_seconds())
            if self._is_outdated:
                return True
        self._finish()
        self._take_leave()
        return False

    def _turn(self, most_seconds: float) -> None:
        fds = [self._life.wakeup_fd, *self._pool.fds]
        if self._backend.fd is not None:
            fds.append(self._backend.fd)
        self._producer.wait(fds, most_seconds, also=[self._pool.socket])
        self._life.drain_wakeup()
        self._take_hints()
        if time.monotonic() >= self._root_check_due:
            self._check_root()
        if time.monotonic() >= self._storage_retry_at:
            self._work(at_once=False)
        self._producer.pump()
        self._measure()

    def _turn_seconds(self) -> float:
        now = time.monotonic()
        waits = [max(0.0, self._root_check_due - now)]
        if now < self._storage_retry_at:
            return self._storage_retry_at - now
        if self._walker.can_go_on and not self._baseline.is_full:
            return 0.0
        if not self._baseline.is_full:
            waits += [wait for wait in (self._dirty.seconds_until_due(),) if wait is not None]
        if self._backend.seconds_until_due is not None:
            waits.append(self._backend.seconds_until_due)
        return min(waits)

    def _take_hints(self) -> None:
        hints = self._backend.read()
        if not hints:
            return
        self._counters.add("hints_received_total", len(hints))
        dirty, scope, walker = self._dirty, self._scope, self._walker
        for hint in hints:
            path, kind = hint.path, hint.kind
            if kind is HintKind.OVERFLOW:
                self._counters.add("hint_overflows_total")
                logger.warning("the kernel could not keep all events of %s: all is compared", self._path)
                walker.start_scan("overflow")
            elif kind is HintKind.ROOT_GONE:
                self._root_check_due = 0.0
            elif kind is HintKind.POLL:
                walker.list_later(path, "scan")
            else:
                if hint.is_directory and path == scope.single:
                    self._root_check_due = 0.0
                elif hint.is_directory and kind is HintKind.GONE:
                    walker.leave(path)
                elif hint.is_directory and kind is HintKind.CREATED and scope.enters(path):
                    walker.list_later(path, "event")
                if hint.is_directory or scope.reports(path):
                    dirty.add(path, is_new=kind is HintKind.CREATED)
        if len(dirty) > MOST_PATHS:
            dirty.clear()
            walker.start_scan("overflow")

    def _work(self, *, at_once: bool) -> None:
        """Take what hashers have found, examine what is due, list what waits: all in one transaction."""
        if self._baseline.is_full:
            # Answers to hashers only: what they find waits, and so does all the rest.
            return
        results = self._pool.take_results()
        due = self._dirty.take_due(MOST_PER_TURN, at_once=at_once)
        if not (results or due or self._walker.can_go_on):
            return
        with self._stored(due):
            for hashed in results:
                self._examiner.take(hashed)
            for dirty in due:
                self._examiner.examine(dirty)
            self._walker.go_on()
            if time.monotonic() >= self._alive_due:
                self._alive_due = time.monotonic() + ALIVE_SECONDS
                self._walker.note_alive()

    @contextlib.contextmanager
    def _stored(self, due: list[DirtyPath]) -> Iterator[None]:
        """Store what happens within it, or, where that cannot be stored, do it again later."""
        try:
            with self._baseline.transaction():
                if self._storage_failed_since_ns is not None:
                    self._tell_storage(self._storage_failed_since_ns)
                yield
        except StorageError as error:
            self._storage_warning.tell("%s: changes wait until they can be stored: %s", self._path, error)
            self._storage_failed_since_ns = self._storage_failed_since_ns or now_ns()
            self._storage_retry_at = time.monotonic() + STORAGE_RETRY_SECONDS
            self._examiner.is_first_walk = not self._baseline.is_walked
            for dirty in due:
                self._dirty.put_back(dirty)
        else:
            self._storage_failed_since_ns = None

    def _tell_storage(self, since_ns: int) -> None:
        """Tell of the time in which nothing could be stored, and compare all: results of hashers are lost with it."""
        self._watch.note("storage", self._watch.path, "compared everything", since_ns, now_ns())
        self._walker.start_scan("storage", since_ns)

    def _check_root(self, *, is_start: bool = False) -> None:
        """See whether the watched path still names the directory that is watched."""
        self._root_check_due = time.monotonic() + TURN_SECONDS
        if self._scope.is_outdated():
            self._give_up_scope()
            return
        watch, old = self._watch, self._watch.root
        if old is not None and old.is_current():
            return
        if old is not None:
            self._walker.leave(b"")
            old.close()
        try:
            watch.root = Root.open(self._scope.root)
        except OSError as error:
            watch.root = None
            self._walker.cancel()
            self._root_check_due = time.monotonic() + MISSING_TURN_SECONDS
            if self._missing_since_ns is None:
                self._lose_root(error.strerror or "unknown error")
            return
        self._pool.set_root(self._scope.root, watch.root.identity)
        reason = "restart" if is_start else "missing" if old is None else "replaced"
        start_ns = self._walker.watched_until_ns() if is_start else self._missing_since_ns
        if is_start and self._baseline.was_rebuilt:
            reason = "baseline_rebuilt"
            logger.error("%s: the baseline is made anew: %s", self._path, self._baseline.was_rebuilt)
        self._missing_since_ns = None
        self._walker.start_scan(reason, start_ns)

    def _give_up_scope(self) -> None:
        """Leave a path that is no directory any more, or has become one: what was known of it is gone."""
        with self._stored([]):
            self._examiner.gone(self._scope.single or b"", "event")
            self._watch.baseline.mark_walked()
            self._is_outdated = True

    def _lose_root(self, why: str) -> None:
        """Record that nothing is there; what comes later is new, also if nothing has ever been there."""
        self._missing_since_ns = since_ns = now_ns()
        logger.warning("%s is not there (%s): it is watched from when it appears", self._path, why)
        with self._stored([]):
            self._watch.note("missing", self._watch.path, "waits for it", since_ns)
            self._examiner.gone(b"", "event")
            self._baseline.mark_walked()
            self._examiner.is_first_walk = False

    def _finish(self) -> None:
        """See what is dirty through to the outbox in a short time; the next start finds the rest."""
        deadline = time.monotonic() + FINISH_SECONDS
        is_walked = not self._examiner.is_first_walk
        while is_walked and time.monotonic() < deadline:
            self._take_hints()
            self._work(at_once=True)
            self._producer.pump()
            if not self._dirty and not self._examiner.in_hand and self._walker.is_idle:
                break
            self._producer.wait(self._pool.fds, _LULL_SECONDS, also=[self._pool.socket])
        with self._stored([]):
            self._walker.note_alive()

    def _take_leave(self) -> None:
        """See that the router has all that was recorded; what it has not stays in the outbox for the next start."""
        start = time.monotonic()
        self._producer.say_bye()
        while not self._producer.is_finished:
            patience_seconds = BYE_SECONDS if self._producer.is_greeted else GREETING_SECONDS
            if time.monotonic() - start > patience_seconds:
                break
            self._producer.wait([], _LULL_SECONDS)
            self._producer.pump()
        self._measure()

    def _measure(self) -> None:
        counters = self._counters
        counters.set("dirty_paths", len(self._dirty))
        counters.set("outbox_entries", self._baseline.last_number - self._baseline.done_number)
        counters.set("watched_directories", self._backend.watched)
        counters.set("polled_directories", self._backend.polled)

    @property
    def _path(self) -> str:
        return os.fsdecode(self._watch.path)
