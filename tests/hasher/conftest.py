"""Hashers in processes of their own, and watchers' pools that give them work."""

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.bus import Waiter
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.jobs import JobServer
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import FimSettings, RunSettings, Settings
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.fim.pool import POOL_COUNTERS, Hashed, Job, Pool
from auditline.workers.hasher.worker import run as run_hasher

WaitUntil = Callable[..., None]
_MNT_FORCE, _MNT_DETACH = 1, 2  # linux/mount.h


class Watch:
    """A directory, the pool of its watcher, and what the pool has told."""

    def __init__(self, root: Path, run_directory: Path, settings: FimSettings) -> None:
        self.root = root
        self.plan = WatchPlan(path=os.fsencode(root))
        self._run_directory = run_directory
        self._settings = settings
        self._waiter = Waiter()
        self.counters = CounterPage.unshared(POOL_COUNTERS)
        self.open()

    def open(self) -> None:
        """Begin, as a new watcher does: nothing is known of what was given out before."""
        self.results: dict[str, Hashed] = {}
        self.pool = Pool(JobServer(jobs_endpoint(self._run_directory, self.plan)), self._settings, self.counters)
        status = self.root.stat()
        self.pool.set_root(os.fsencode(self.root), (status.st_dev, status.st_ino))

    def submit(self, *names: str) -> None:
        for name in names:
            self.pool.submit(Job(os.fsencode(name), (self.root / name).lstat().st_size))

    def submit_as(self, *names: str, size: int = 1000) -> None:
        """Submit files of which nobody takes the size."""
        for name in names:
            self.pool.submit(Job(os.fsencode(name), size))

    def turn(self) -> None:
        self._waiter.wait([self.pool.socket], self.pool.fds, 0.02)
        self.results.update({os.fsdecode(result.path): result for result in self.pool.take_results()})

    def has(self, *names: str) -> bool:
        """Take a turn; say whether all of *names* have a result now."""
        self.turn()
        return set(names) <= set(self.results)


class HasherProcess:
    """A hasher that was forked from here."""

    def __init__(self, run_directory: Path, page: Path, plans: list[WatchPlan]) -> None:
        self.page = page
        self.pid = os.fork()
        if self.pid == 0:
            try:
                # Other tests of this process may have left a handler that raises.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                life = Life("hasher-1", CounterPage.open(page, ()))
                life.take_signals()
                run_hasher(life, Settings(run=RunSettings(directory=run_directory)), plans)
                os._exit(0)
            finally:
                os._exit(1)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def holds(self, path: Path) -> bool:
        """Say whether it has a file open."""
        folder = Path(f"/proc/{self.pid}/fd")
        return any(_target(link) == str(path) for link in folder.iterdir())


class DeadMount:
    """A file system whose server never answers: who looks up anything in it hangs in the kernel."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._server = -1
        self._path = b""

    def put_on(self, path: Path) -> None:
        """Mount it."""
        path.mkdir()
        self._server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0"
        if self._libc.mount(b"dead", os.fsencode(path), b"fuse", 0, options.encode()) != 0:
            pytest.skip(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
        self._path = os.fsencode(path)

    def abort(self) -> None:
        """Have all who hang in it fail."""
        if self._path:
            self._libc.umount2(self._path, _MNT_FORCE | _MNT_DETACH)
            self._path = b""
        if self._server >= 0:
            os.close(self._server)
            self._server = -1


@pytest.fixture
def dead_mount() -> Iterator[DeadMount]:
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("mounts a FUSE file system")
    made = DeadMount()
    yield made
    made.abort()


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


@pytest.fixture
def make_watch(tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    """Make a watch of a new directory, by its name, with other settings than the defaults."""
    made: list[Watch] = []

    def make(name: str = "root", **settings: Any) -> Watch:
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / name).mkdir()
        fim = FimSettings(watch=(), **{"max_file_bytes": 1 << 42, **settings})
        made.append(Watch(tmp_path / name, tmp_path / "run", fim))
        return made[-1]

    yield make
    for watch in made:
        watch.pool.close()


@pytest.fixture
def start_hasher(tmp_path: Path) -> Iterator[Callable[..., HasherProcess]]:
    """Start a hasher for watches."""
    started: list[HasherProcess] = []

    def start(*watches: Watch) -> HasherProcess:
        page = tmp_path / f"hasher-{len(started)}.page"
        started.append(HasherProcess(tmp_path / "run", page, [watch.plan for watch in watches]))
        return started[-1]

    yield start
    for hasher in started:
        if hasher.pid:
            hasher.kill()
