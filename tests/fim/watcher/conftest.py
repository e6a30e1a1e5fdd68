"""A watcher's core with its real parts: inotify, a baseline on disk, and a hasher in a process of its own."""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from auditline.workers.common import privileges
from auditline.workers.common.bus import Producer, endpoint
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.errors import StorageError
from auditline.workers.common.file_entry import Coverage, Entry, FileChange, decode_entries
from auditline.workers.common.jobs import JobServer
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.own_files import OwnFiles
from auditline.workers.common.settings import FimSettings, RunSettings, Settings, StateSettings
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.fim import place, worker
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.choosing import open_backend
from auditline.workers.fim.dirty import Dirty
from auditline.workers.fim.gaps import Gaps
from auditline.workers.fim.pool import Hashed, Pool
from auditline.workers.fim.watch import Watch
from auditline.workers.fim.worker import WATCHER_COUNTERS, Watcher
from auditline.workers.hasher.worker import run as run_hasher


class Running:
    """A watcher whose turns the test takes."""

    def __init__(self, folder: Path, plan: WatchPlan, fim: FimSettings) -> None:
        self.settings = Settings(
            state=StateSettings(directory=folder / "state"), run=RunSettings(directory=folder / "run"), fim=fim
        )
        self.settings.run.directory.mkdir(exist_ok=True)
        self.hasher: int | None = _fork_hasher(self.settings, plan)
        self.path = Path(os.fsdecode(plan.path))
        self.life = Life("fim-test", CounterPage.unshared(WATCHER_COUNTERS))
        baseline = Baseline.open(folder / "state", "fim-test", plan.path)
        self.watch = Watch(
            scope=place.make_scope(plan, OwnFiles(), baseline),
            settings=fim,
            counters=self.life.counters,
            backend=open_backend(fim, plan.backend),
            baseline=baseline,
            pool=Pool(JobServer(jobs_endpoint(self.settings.run.directory, plan)), fim, self.life.counters),
            dirty=Dirty(fim.debounce_seconds, fim.max_delay_seconds),
            gaps=Gaps(baseline, self.life.counters),
        )
        self.producer = Producer(endpoint(self.settings.run.directory), baseline)
        self.watcher = Watcher(self.life, self.watch, plan, self.producer)
        self.answers: list[Hashed] = []
        """What hashers have said and the watcher does not know yet."""
        self.watcher._place.check(is_start=True)

    @property
    def in_hand(self) -> int:
        """How many files are at the hashers."""
        return len(self.watcher._examiner.in_hand)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to be done."""
        waits = self.in_hand or self.watch.dirty or self.watcher._must_scan
        if not self.watcher._examiner.link_search.is_over:
            return False
        return self.watcher._walker.is_idle and not waits

    def turn_until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Take turns until *condition* holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it did not come true in time: {self.entries}"
            self.watcher._turn(0.02)

    def turns_in(self, seconds: float) -> int:
        """Return how many turns the watcher takes in such a time, left to itself."""
        end, turns = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            self.watcher._turn(min(self.watcher._turn_seconds(), end - time.monotonic()))
            turns += 1
        return turns

    def settle(self) -> "Running":
        """Take turns until nothing has been left to be done for a while."""
        deadline = time.monotonic() + 30
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.1:
            assert time.monotonic() < deadline, f"it did not become quiet in time: {self.entries}"
            self.watcher._turn(0.02)
            if not self.is_quiet:
                quiet_since = time.monotonic()
        return self

    @property
    def entries(self) -> list[Entry]:
        """All that is in the outbox."""
        baseline = self.watch.baseline
        numbers = range(baseline.done_number + 1, baseline.last_number + 1)
        payloads = [baseline.read(number).payload for number in numbers]
        return [
            entry for payload in payloads for _, entry in decode_entries(payload) if not isinstance(entry, ValueError)
        ]

    @property
    def changes(self) -> list[FileChange]:
        """The changes in the outbox."""
        return [entry for entry in self.entries if isinstance(entry, FileChange)]

    @property
    def told(self) -> list[tuple[str, str]]:
        """The changes in short: action and the path's last part."""
        return [(change.action, os.fsdecode(os.path.basename(change.path))) for change in self.changes]

    @property
    def coverage(self) -> list[Coverage]:
        """What the outbox holds of gaps and scans."""
        return [entry for entry in self.entries if isinstance(entry, Coverage)]

    @property
    def reasons(self) -> list[str]:
        """The reasons of these."""
        return [entry.reason for entry in self.coverage]

    def ends(self, reason: str) -> list[bool]:
        """Return for each entry of that reason whether it tells of the gap's end."""
        return [entry.end_ns is not None for entry in self.coverage if entry.reason == reason]

    def forget_all(self) -> None:
        """Do as if the router had said that all is done."""
        self.watch.baseline.forget(self.watch.baseline.last_number, b"")

    def hold_hasher(self) -> None:
        """Let the hasher stand still."""
        assert self.hasher is not None
        os.kill(self.hasher, signal.SIGSTOP)
        os.waitpid(self.hasher, os.WUNTRACED)

    def resume_hasher(self) -> None:
        """Let it go on."""
        assert self.hasher is not None
        os.kill(self.hasher, signal.SIGCONT)

    def kill_hasher(self) -> None:
        """Let it end."""
        if self.hasher is not None:
            os.kill(self.hasher, signal.SIGKILL)
            os.waitpid(self.hasher, 0)
        self.hasher = None

    @contextlib.contextmanager
    def answers_held(self) -> Iterator[None]:
        """Keep from the watcher, until the end of the block, what hashers say; see `answers`."""
        take_results = self.watch.pool.take_results

        def hold() -> list[Hashed]:
            self.answers += take_results()
            return []

        with mock.patch.object(self.watch.pool, "take_results", hold):
            yield
        self.watch.pool._results += self.answers

    @contextlib.contextmanager
    def storage_failing(self, *, after_statements: int | None = None) -> Iterator[None]:
        """Let no transaction be committed, or none go on after so many statements."""
        database = self.watch.baseline._database
        refusal = StorageError("no space left on device")
        if after_statements is None:
            with mock.patch.object(database, "commit", side_effect=refusal):
                yield
            return
        outcomes = [mock.DEFAULT] * after_statements + [refusal] * 1000
        with mock.patch.object(database, "change", wraps=database.change, side_effect=outcomes):
            yield

    def lose_transaction(self) -> None:
        """Take turns until what was found out could not be stored."""
        self.turn_until(lambda: self.watcher._must_scan)

    def close(self) -> None:
        """End all as a kill does: nothing is seen through."""
        self.watch.backend.close()
        self.watch.mounts.close()
        self.watch.pool.close()
        self.producer.close()
        self.watch.baseline.close()
        self.kill_hasher()


def _fork_hasher(settings: Settings, plan: WatchPlan) -> int:
    parent_pid, pid = os.getpid(), os.fork()
    if pid:
        return pid
    try:
        privileges.die_with_parent(signal.SIGKILL, parent_pid)
        life = Life("hasher-1", CounterPage.unshared(()))
        run_hasher(life, settings, [plan])
    finally:
        os._exit(1)


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """The directory that `start` watches."""
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, watched: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    """Start a watcher of *watched*, or start it again after a kill; it has seen everything when it is returned."""
    monkeypatch.setattr(worker, "STORAGE_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(place, "MISSING_CHECK_SECONDS", 0.1)
    running: list[Running] = []

    def start(plan: dict[str, Any] | None = None, *, is_settled: bool = True, **fim: Any) -> Running:
        while running:
            running.pop().close()
        settings = FimSettings(watch=(), **{"debounce_seconds": 0.02, "max_delay_seconds": 0.2, **fim})
        made = Running(
            tmp_path, WatchPlan(**{"path": os.fsencode(watched), "backend": "inotify", **(plan or {})}), settings
        )
        running.append(made)
        return made.settle() if is_settled else made

    yield start
    for each in running:
        each.close()


@pytest.fixture
def watching(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[Running]]:
    """Watch a directory of its own each time, until the end of a `with`."""

    @contextlib.contextmanager
    def watch(plan: dict[str, Any] | None = None, **fim: Any) -> Iterator[Running]:
        folder = tmp_path_factory.mktemp("watching")
        watched = folder / "watched"
        watched.mkdir()
        made = Running(
            folder, WatchPlan(**{"path": os.fsencode(watched), **(plan or {})}), FimSettings(watch=(), **fim)
        )
        try:
            yield made.settle()
        finally:
            made.close()
            shutil.rmtree(folder)

    return watch


@pytest.fixture
def bound_by_rights() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Be bound by the rights of files like everybody, also as root, until the end of a `with`."""

    @contextlib.contextmanager
    def bound() -> Iterator[None]:
        before: int = privileges._read_sets()[0].effective
        _set_effective(before & ~0b110)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        try:
            yield
        finally:
            _set_effective(before)

    return bound


def _set_effective(capabilities: int) -> None:
    halves = (privileges._Sets * 2)(*privileges._read_sets())
    halves[0].effective = capabilities
    header = privileges._Header(privileges._CAPABILITY_VERSION_3, 0)
    assert privileges._libc.capset(ctypes.byref(header), halves) == 0


@pytest.fixture(scope="session")
def flood() -> Callable[[Path, Path], None]:
    """Cause more events of two files than the kernel keeps, and change nothing."""
    queue_events = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    def flood(first: Path, second: Path) -> None:
        mode = stat.S_IMODE(first.stat().st_mode)
        for _ in range(queue_events // 2 + 10):
            first.chmod(mode)
            second.chmod(mode)

    return flood


Lease = Callable[[Path], AbstractContextManager[int]]


@pytest.fixture
def lease() -> Lease:
    """Keep others from opening a file for reading, whatever their rights, until the end of a `with`."""

    @contextlib.contextmanager
    def hold(path: Path) -> Iterator[int]:
        # The signal says that somebody wants to open it.
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            yield descriptor
        finally:
            os.close(descriptor)
            signal.signal(signal.SIGIO, before)

    return hold
