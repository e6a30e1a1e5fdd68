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
from auditline.workers.common.recorded_count import RecordedCount
from auditline.workers.common.settings import Settings
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.fim.backend import Hint, HintKind
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.coverage import CoverageNotes, now_ns
from auditline.workers.fim.dirty import MOST_PATHS, Dirty, DirtyPath
from auditline.workers.fim.examine import EXAMINER_COUNTERS
from auditline.workers.fim.inotify import open_backend
from auditline.workers.fim.pool import POOL_COUNTERS, Pool
from auditline.workers.fim.scope import Scope
from auditline.workers.fim.walk import WALK_COUNTERS, Walker, Why
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

LONGEST_PAUSE_SECONDS = 0.02
SHORTEST_PAUSE_SECONDS = 0.002
"""After hints no more are read for a while: who writes all the time would wake us with each write."""
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
    dirty = Dirty(settings.fim.debounce_seconds, settings.fim.max_delay_seconds)
    missing_since_ns: int | None = None
    is_start = True
    try:
        while not life.stopping:
            watch = Watch(
                scope=Scope(plan, own),
                settings=settings.fim,
                counters=life.counters,
                backend=open_backend(settings.fim),
                baseline=baseline,
                pool=pool,
                dirty=dirty,
                notes=CoverageNotes(),
            )
            with contextlib.closing(watch.backend):
                watcher = Watcher(life, watch, producer, missing_since_ns)
                watcher.run(is_start=is_start)
            is_start, missing_since_ns = False, watcher.missing_since_ns
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

    def __init__(self, life: Life, watch: Watch, producer: Producer, missing_since_ns: int | None) -> None:
        self._life = life
        self._counters = life.counters
        self._watch = watch
        self._scope = watch.scope
        self._backend = watch.backend
        self._baseline = watch.baseline
        self._pool = watch.pool
        self._dirty = watch.dirty
        self._producer = producer
        self._recorded = RecordedCount(life.counters, watch.baseline)
        self._walker = Walker(watch, self._take_hints)
        self._examiner = self._walker.examiner
        self._root_check_due = 0.0
        self._is_root_lost = False
        """The kernel said so; a directory made anew may have the same inode number."""
        self._is_outdated = False
        self._hints_due = 0.0
        self._hints_read_ns = now_ns()
        self._hints_pause_seconds = min(
            LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, watch.settings.debounce_seconds / 4)
        )
        self.missing_since_ns = missing_since_ns
        """Since when there is nothing at the watched path; None: there is."""
        self._alive_due = 0.0
        self._storage_warning = RepeatedWarning(logger, every=60, level=logging.ERROR)
        self._storage_retry_at = 0.0
        self._storage_failed_since_ns: int | None = None

    def run(self, *, is_start: bool) -> None:
        """Watch until the life is stopping, then see what is dirty through to the router.

        Returns early when the watched path has become a directory, or ceased to be one: begin again, with a new scope.
        """
        self._check_root(start_reason="restart" if is_start else None)
        self._life.ready()
        while not self._life.stopping:
            self._turn(self._turn_seconds())
            if self._is_outdated:
                return
        self._finish()
        self._take_leave()

    def _turn(self, most_seconds: float) -> None:
        fds = [self._life.wakeup_fd, *self._pool.fds]
        pause_seconds = self._hints_due - time.monotonic()
        if pause_seconds > 0:
            most_seconds = min(most_seconds, pause_seconds)
        elif self._backend.fd is not None:
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
        if self._watch.root is not None:
            self._watch.root.release()

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
        # Of an overflow it is known only that it was after the last read.
        read_before_ns, self._hints_read_ns = self._hints_read_ns, now_ns()
        if not hints:
            return
        self._hints_due = time.monotonic() + self._hints_pause_seconds
        self._counters.add("hints_received_total", len(hints))
        for hint in hints:
            if hint.kind is HintKind.POLL:
                self._walker.list_later(hint.path, Why.TURN)
            elif hint.kind is HintKind.ROOT_GONE:
                self._root_check_due, self._is_root_lost = 0.0, True
            elif hint.kind is HintKind.OVERFLOW:
                self._counters.add("hint_overflows_total")
                logger.warning("%s: the kernel could not keep all events: everything is compared", self._path)
                self._walker.start_scan("overflow", read_before_ns)
            else:
                self._take_path(hint)
        if len(self._dirty) > MOST_PATHS:
            self._dirty.clear()
            self._walker.start_scan("overflow", read_before_ns)

    def _take_path(self, hint: Hint) -> None:
        path, kind, scope = hint.path, hint.kind, self._scope
        if hint.is_directory:
            if path == scope.single:
                self._root_check_due = 0.0
            elif kind is HintKind.GONE:
                self._walker.leave(path)
            elif kind is not HintKind.ATTRIBUTES and scope.enters(path):
                self._walker.list_later(path, Why.HINT)
        if hint.is_directory or scope.reports(path):
            self._dirty.add(path, is_new=kind is HintKind.CREATED, is_content=hint.is_content)

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
            # Before the router is told of them, or more would seem to be written than was recorded.
            self._recorded.update()

    def _tell_storage(self, since_ns: int) -> None:
        """Tell of the time in which nothing could be stored, and compare all: results of hashers are lost with it."""
        self._watch.note("storage", self._watch.path, "compared everything", since_ns, now_ns())
        self._walker.start_scan("storage", since_ns)

    def _check_root(self, start_reason: str | None = None) -> None:
        """See whether the watched path still names what is watched; *start_reason*: an earlier process watched it."""
        self._root_check_due = time.monotonic() + TURN_SECONDS
        watch, old = self._watch, self._watch.root
        if self._scope.is_outdated():
            self._leave_scope()
        elif old is None or self._is_root_lost or not old.is_current():
            self._is_root_lost = False
            if old is not None:
                self._walker.leave(b"")
                old.close()
            try:
                watch.root = Root.open(self._scope.root)
            except OSError as error:
                self._root_check_due = time.monotonic() + MISSING_TURN_SECONDS
                self._lose_root(error)
            else:
                self._take_root(watch.root, "missing" if old is None else "replaced", start_reason)

    def _take_root(self, root: Root, reason: str, start_reason: str | None) -> None:
        """Watch *root* from now on, and compare everything in it with what is known."""
        self._pool.set_root(self._scope.root, root.identity)
        start_ns = self.missing_since_ns
        if start_reason is not None:
            reason, start_ns = start_reason, self._walker.watched_until_ns()
            if self._baseline.was_rebuilt:
                reason = "baseline_rebuilt"
            elif self._baseline.is_behind:
                reason = "baseline_behind"
        self.missing_since_ns = None
        if self._scope.single is not None and not _exists(root, self._scope.single):
            self._note_missing("no such file or directory")
        self._walker.start_scan(reason, start_ns)

    def _lose_root(self, error: OSError) -> None:
        self._watch.root = None
        self._walker.cancel()
        if self.missing_since_ns is None:
            self._note_missing(error.strerror or "unknown error")

    def _note_missing(self, why: str) -> None:
        """Record that nothing is there; what comes later is new, also if nothing has ever been there."""
        self.missing_since_ns = since_ns = now_ns()
        logger.warning("%s is not there (%s): it is watched from when it appears", self._path, why)
        with self._stored([]):
            self._watch.note("missing", self._watch.path, "waits for it", since_ns)
            self._forget_what_was()

    def _leave_scope(self) -> None:
        """Leave a path that is no directory any more, or has become one."""
        if self._watch.root is not None:
            self._watch.root.close()
            self._watch.root = None
        with self._stored([]):
            self._forget_what_was()
            self._is_outdated = True

    def _forget_what_was(self) -> None:
        """Record that all that was known is gone; what comes is new, also if nothing has ever been there."""
        self._examiner.gone(self._scope.single or b"", "event")
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


def _exists(root: Root, path: bytes) -> bool:
    try:
        root.lstat(path)
    except OSError:
        return False
    return True
