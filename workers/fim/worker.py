"""A watcher's process: hints become dirty paths, dirty paths are examined, differences go to the router.

The way of one change: a backend (see `choosing.py`) reads a hint, `dirty.py` waits until the path is quiet,
`examine.py` compares it with `baseline.py` (a file that may have other content goes to a hasher first, by `pool.py`),
and the entry in the outbox is sent to the router. `walk.py` watches and lists directories.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from functools import partial

from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.errors import BusyError, StorageError
from auditline.workers.common.jobs import JobServer, leases_in_work
from auditline.workers.common.leave import take_leave
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.memory import relax_collector
from auditline.workers.common.own_files import OwnFiles
from auditline.workers.common.privileges import Capability, give_up
from auditline.workers.common.recorded_count import RecordedCount
from auditline.workers.common.settings import Settings
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.fim.actors import Actors
from auditline.workers.fim.approving import Approving
from auditline.workers.fim.baseline import BASELINES, Baseline
from auditline.workers.fim.choosing import open_backend
from auditline.workers.fim.coverage import now_ns
from auditline.workers.fim.database import BaselineDamaged
from auditline.workers.fim.dirty import Dirty
from auditline.workers.fim.examine import EXAMINER_COUNTERS
from auditline.workers.fim.follow import Follower
from auditline.workers.fim.gaps import GAP_COUNTERS, Gaps
from auditline.workers.fim.gathering import Gathering
from auditline.workers.fim.mount_changes import MountsChanged
from auditline.workers.fim.own_processes import OwnProcesses
from auditline.workers.fim.place import Place, make_scope
from auditline.workers.fim.pool import POOL_COUNTERS, Hashed, Pool
from auditline.workers.fim.standing import STANDING_SLOTS, Standing
from auditline.workers.fim.walk import MOST_IN_HAND, WALK_COUNTERS, Walker
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
    *GAP_COUNTERS,
    *STANDING_SLOTS,
)

LONGEST_PAUSE_SECONDS = 0.02
SHORTEST_PAUSE_SECONDS = 0.005
"""For at most so long, a quarter of the debounce time, hints gather: who writes all the time would wake us with each
write."""
GATHER_SECONDS = 0.001
"""In between it is looked so often who it is that writes, while that is still there."""
MOST_PER_TURN = 512
"""Paths examined before hashers and the router have their turn."""
ALIVE_SECONDS = 1.0
IDLE_ALIVE_SECONDS = 60.0
"""So often it is stored until when everything was seen, in a busy and in an idle time."""
STORAGE_RETRY_SECONDS = 1.0
FINISH_SECONDS = 1.5
"""While leaving: how long dirty paths are seen through to the outbox."""
_LULL_SECONDS = 0.05


def run(life: Life, settings: Settings, plan: WatchPlan, own: OwnFiles) -> None:
    """Watch what *plan* says until told to stop.

    Raises:
        BaselineDamaged: the baseline turned out to be damaged; the next start makes it anew.
    """
    life.counters.extend(WATCHER_COUNTERS)
    baseline = _open_baseline(life, settings, plan)
    if baseline is None:
        return
    producer = Producer(endpoint(settings.run.directory), baseline)
    run_directory = settings.run.directory
    server, in_work = JobServer(jobs_endpoint(run_directory, plan)), partial(leases_in_work, run_directory / "counters")
    pool = Pool(server, settings.fim, life.counters, in_work)
    dirty = Dirty(settings.fim.debounce_seconds, settings.fim.max_delay_seconds)
    gaps = Gaps(baseline, life.counters)
    actors = Actors(settings, producer.ask)
    own_processes = OwnProcesses(os.getppid())
    is_start = True
    relax_collector()
    try:
        while not life.stopping:
            backend = open_backend(settings.fim, plan.backend, see=actors.see, own_pids=own_processes.pids)
            watch = Watch(
                scope=make_scope(plan, own, baseline),
                settings=settings.fim,
                counters=life.counters,
                backend=backend,
                baseline=baseline,
                pool=pool,
                dirty=dirty,
                gaps=gaps,
                actors=actors,
            )
            if not backend.may_be_fanotify:
                give_up((Capability.SYS_ADMIN, Capability.SYS_PTRACE))
            with contextlib.closing(watch.backend), contextlib.closing(watch.mounts):
                Watcher(life, watch, plan, producer).run(is_start=is_start)
            is_start = False
    finally:
        pool.close()
        producer.close()
        baseline.close()


def _open_baseline(life: Life, settings: Settings, plan: WatchPlan) -> Baseline | None:
    """Return the baseline, however long it cannot be used; None: told to stop meanwhile."""
    warning = RepeatedWarning(logger, every=60)
    while not life.stopping:
        try:
            return Baseline.open(settings.state.directory / BASELINES, plan.name, plan.path)
        except (StorageError, BusyError) as error:
            warning.tell("%s; nothing is watched until it can be", error)
        life.wait(STORAGE_RETRY_SECONDS)
    return None


class Watcher:
    """The watcher's loop and what it knows between two turns."""

    def __init__(self, life: Life, watch: Watch, plan: WatchPlan, producer: Producer) -> None:
        self._life = life
        self._watch = watch
        self._producer = producer
        self._rescan_seconds = plan.rescan_seconds
        self._recorded = RecordedCount(life.counters, watch.baseline)
        self._standing = Standing(watch)
        self._told_backend = ""
        self._walker = Walker(watch, plan, self._take_hints)
        self._examiner = self._walker.examiner
        self._place = Place(watch, self._walker, self._store)
        self._follower = Follower(watch, self._walker, self._place)
        self._approving = Approving(watch.baseline, life.counters)
        self._results: list[Hashed] = []
        self._hints_read_ns = now_ns()
        pause_seconds = watch.settings.debounce_seconds / 4
        self._gathering = Gathering(min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, pause_seconds)))
        self._results_may_wait = False
        """Somebody goes on writing: what hashers have found gathers as hints do, if nothing else is to be done."""
        self._alive_due = 0.0
        self._storage_warning = RepeatedWarning(logger, every=60, level=logging.ERROR)
        self._storage_retry_at = 0.0
        self._must_scan = ""
        """Why what was found out, and not stored, is to be found out again: the reason of a gap."""

    def run(self, *, is_start: bool) -> None:
        """Watch until the life is stopping, then see what is dirty through to the router.

        Returns early when the watched path has become a directory, or ceased to be one: begin again, with a new scope.
        """
        self._place.check(is_start=is_start)
        self._life.ready()
        while not self._life.stopping:
            self._turn(self._turn_seconds())
            if self._place.is_outdated:
                return
        self._finish()
        take_leave(self._producer)
        self._measure()

    def _turn(self, most_seconds: float) -> None:
        self._wait(most_seconds)
        self._life.drain_wakeup()
        self._place.look()
        is_pause = self._gathering.seconds_left > 0
        self._results_may_wait = is_pause and self._gathering.is_sustained
        if not is_pause:
            self._take_hints()
            # Now: while the paths wait the answers come.
            self._watch.actors.ask()
        if self._rescan_due <= time.monotonic():
            self._examiner.link_search.must_compare = False
            self._walker.scans.repeat()
        self._examiner.in_hand.release()
        self._work(at_once=False)
        self._approving.go_on()
        # What listings have found waits as well.
        self._watch.actors.ask()
        self._producer.pump()
        self._watch.actors.take(self._producer.take_answers())
        self._measure()
        if self._examiner.in_hand:
            # Hashers may die with what they have in hand, which only turns find out.
            self._place.stir()
        if self._watch.root is not None:
            self._watch.root.release()

    def _wait(self, most_seconds: float) -> None:
        backend, pool = self._watch.backend, self._watch.pool
        fds = [self._life.wakeup_fd]
        mounts = [] if self._watch.mounts.fd is None else [self._watch.mounts.fd]
        pause_seconds = self._gathering.seconds_left
        if pause_seconds > 0:
            most_seconds = min(most_seconds, pause_seconds)
        elif backend.fd is not None:
            fds.append(backend.fd)
        if not self._may_store:
            # What hashers say can wait as well, and would wake us all the time.
            self._producer.wait(fds, most_seconds, urgent=mounts)
            return
        if pause_seconds > 0:
            most_seconds -= self._gather(most_seconds)
        self._producer.wait([*fds, *pool.fds], most_seconds, also=[pool.socket], urgent=mounts)

    def _gather(self, most_seconds: float) -> float:
        """Have it looked who does what while hints gather, for at most so long; return how long that took."""
        backend, pool, began = self._watch.backend, self._watch.pool, time.monotonic()
        elapsed = 0.0
        while (early_fd := backend.early_fd) is not None and elapsed < most_seconds:
            fds = [self._life.wakeup_fd, early_fd, *pool.fds]
            if self._producer.wait(fds, most_seconds - elapsed, also=[pool.socket]) != {early_fd}:
                break
            backend.gather()
            # Who goes on is looked at seldom enough, who ends at once most often still in time.
            time.sleep(GATHER_SECONDS)
            elapsed = time.monotonic() - began
        return elapsed

    @property
    def _rescan_due(self) -> float:
        if self._watch.root is None or self._watch.scan is not None:
            return math.inf
        if self._examiner.link_search.must_compare:
            return 0.0
        return self._walker.scans.compared_at + self._rescan_seconds if self._rescan_seconds else math.inf

    @property
    def _may_store(self) -> bool:
        return not self._watch.baseline.is_full and time.monotonic() >= self._storage_retry_at

    def _turn_seconds(self) -> float:
        now, watch = time.monotonic(), self._watch
        waits = [self._place.check_due - now]
        if self._approving.is_busy:
            return 0.0
        if watch.backend.seconds_until_due is not None:
            waits.append(watch.backend.seconds_until_due)
        if now < self._storage_retry_at:
            waits.append(self._storage_retry_at - now)
        elif not watch.baseline.is_full:
            if self._walker.can_go_on:
                return 0.0
            waits += [self._rescan_due - now, self._examiner.link_search.seconds_until_due]
            if self._results:
                # Nothing else may come that would end the wait when hints gather no longer.
                waits.append(self._gathering.seconds_left)
            seconds_until_release = self._examiner.in_hand.seconds_until_release
            if seconds_until_release is not None:
                waits.append(seconds_until_release)
            seconds_until_dirty = watch.dirty.seconds_until_due()
            if seconds_until_dirty is not None and len(self._examiner.in_hand) < 2 * MOST_IN_HAND:
                waits.append(seconds_until_dirty)
        return max(0.0, min(waits))

    def _take_hints(self) -> None:
        watch = self._watch
        began_ns = now_ns()
        hints = watch.backend.read()
        # Of what is told it is known only that it was after the last reading began.
        read_before_ns, self._hints_read_ns = self._hints_read_ns, began_ns
        if not hints:
            return
        if watch.root is not None:
            watch.root.release_parents()
        self._gathering.note()
        self._place.stir()
        watch.counters.add("hints_received_total", len(hints))
        self._follower.follow(hints, read_before_ns)

    def _work(self, *, at_once: bool) -> None:
        """Take what hashers have found, examine what is due, list what waits: all in one transaction."""
        if not self._may_store:
            return
        watch = self._watch
        self._results += watch.pool.take_results()
        # A walk leaves room for what happens now.
        room = max(0, min(MOST_PER_TURN, 2 * MOST_IN_HAND - len(self._examiner.in_hand)))
        due = watch.dirty.take_due(room, at_once=at_once)
        is_alive_due = time.monotonic() >= self._alive_due
        has_results = len(self._results) > (MOST_PER_TURN if self._results_may_wait else 0)
        is_busy = bool(has_results or due or self._walker.moves or self._must_scan or self._walker.can_go_on)
        is_busy = is_busy or self._examiner.link_search.seconds_until_due <= 0
        if not is_busy and time.monotonic() < self._alive_due + IDLE_ALIVE_SECONDS:
            return

        def work() -> None:
            self._walker.moves.record()
            # First: that a name was made must be known when it is settled what stands there.
            self._examiner.examine_all(due)
            for hashed in self._results:
                self._examiner.take(hashed)
            self._walker.go_on()
            self._examiner.link_search.go_on()
            # Before the transaction is committed: hashers begin meanwhile.
            watch.pool.give_out()
            if is_alive_due:
                self._alive_due = time.monotonic() + ALIVE_SECONDS
                self._place.note_alive()

        if not self._store(work):
            for dirty in due:
                watch.dirty.put_back(dirty)
        self._results.clear()

    def _store(self, work: Callable[[], None]) -> bool:
        """Do *work* in a transaction; return False if it could not be stored: then all is compared, later."""
        watch = self._watch
        if self._must_scan and watch.root is not None:
            reason, self._must_scan = self._must_scan, ""
            self._walker.scans.start(reason, self._hints_read_ns)
        try:
            with watch.baseline.transaction():
                work()
                watch.gaps.store()
                if not self._place.mounts.are_seen():
                    raise MountsChanged
        except BaselineDamaged:
            raise
        except MountsChanged:
            self._begin_again("mount")
            return False
        except (StorageError, BusyError) as error:
            self._storage_warning.tell("%s: changes wait until they can be stored: %s", self._path, error)
            self._storage_retry_at = time.monotonic() + STORAGE_RETRY_SECONDS
            self._begin_again("storage")
            return False
        watch.gaps.is_stored()
        self._walker.moves.is_stored()
        self._examiner.is_stored()
        return True

    def _begin_again(self, reason: str) -> None:
        """Find out again what was found out in a transaction that was rolled back."""
        self._watch.gaps.is_rolled_back()
        self._walker.moves.is_rolled_back()
        self._watch.gaps.expect(reason, now_ns())
        self._examiner.begin_again()
        self._walker.begin_again()
        self._must_scan = reason

    def _finish(self) -> None:
        """See what is dirty through to the outbox in a short time; the next start finds the rest."""
        watch = self._watch
        deadline = time.monotonic() + FINISH_SECONDS
        is_walked, self._results_may_wait = watch.baseline.is_walked, False
        while is_walked and time.monotonic() < deadline:
            self._take_hints()
            self._work(at_once=True)
            self._producer.pump()
            if not watch.dirty and not self._examiner.in_hand and self._walker.is_idle:
                break
            self._producer.wait(watch.pool.fds, _LULL_SECONDS, also=[watch.pool.socket])
        self._store(self._place.note_alive)

    def _measure(self) -> None:
        watch, counters = self._watch, self._life.counters
        self._recorded.update()
        self._standing.note(may_store=time.monotonic() >= self._storage_retry_at)
        counters.set("dirty_paths", len(watch.dirty))
        counters.set("outbox_entries", watch.baseline.last_entry - watch.baseline.done_entry)
        counters.set("watched_directories", watch.backend.watched)
        counters.set("polled_directories", watch.backend.polled)
        if watch.backend.name != self._told_backend:
            self._told_backend = watch.backend.name
            # Health events go without it if it cannot be written.
            with contextlib.suppress(StorageError):
                counters.tell(backend=watch.backend.name, backend_reason=watch.backend.reason)

    @property
    def _path(self) -> str:
        return os.fsdecode(self._watch.path)
