"""A watcher's pool, and hashers whose every step the test takes."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_state import STABLE, FileState, state_of
from auditline.workers.common.jobs import (
    JobClient,
    JobServer,
    Lane,
    Lease,
    NoWork,
    Outcome,
    Result,
    is_process_stopped,
    process_start_ticks,
)
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.pool import POOL_COUNTERS, Hashed, Job, Pool
from auditline.workers.fim.pool_members import PoolMember

WaitUntil = Callable[..., None]
STATE = state_of(os.stat("/"), checked_ns=1, hashes=b"\4" + b"h" * 32, hash_state=STABLE)


class Watcher:
    """A pool and all the results that it has given so far."""

    def __init__(self, folder: Path, root: Path, wait_until: WaitUntil) -> None:
        self._wait_until = wait_until
        self.endpoint = f"ipc://{folder / 'jobs.sock'}"
        self.root = root
        self.counters = CounterPage.unshared(POOL_COUNTERS)
        self.in_work: list[int] = []
        server = JobServer(self.endpoint)
        self.pool = Pool(server, FimSettings(watch=()), self.counters, lambda: self.in_work)
        self.results: list[Hashed] = []

    def set_root(self) -> None:
        status = self.root.stat()
        self.pool.set_root(os.fsencode(self.root), (status.st_dev, status.st_ino))

    def turn(self) -> None:
        self.results += self.pool.take_results()

    def until(self, condition: Callable[[], object]) -> None:
        """Take turns until a condition holds."""

        def holds() -> bool:
            self.turn()
            return bool(condition())

        self._wait_until(holds)

    def submit(self, *names: str, size: int = 1000) -> None:
        for name in names:
            self.pool.submit(Job(name.encode(), size))

    @property
    def told(self) -> list[tuple[str, str]]:
        """Path and problem of each result."""
        return [(result.path.decode(), result.problem) for result in self.results]

    def counted(self) -> dict[str, int]:
        """Return the counters that are not 0, in short."""
        counts = self.counters.as_dict().items()
        return {name.removesuffix("_total"): count for name, count in counts if count}


class Hasher:
    """A process that does nothing, and the end of the bus that a hasher in it would have."""

    def __init__(self, watcher: Watcher, wait_until: WaitUntil, start_ticks: int | None = None) -> None:
        self._watcher = watcher
        self._wait_until = wait_until
        self.process = subprocess.Popen(["sleep", "1000"])
        self.messages: list[object] = []
        self._has_left = False
        self.connect(start_ticks)

    def connect(self, start_ticks: int | None = None) -> None:
        start = process_start_ticks(self.process.pid) if start_ticks is None else start_ticks
        self.client = JobClient(self._watcher.endpoint, self.process.pid, start or 0)

    def turn(self) -> None:
        while (message := self.client.receive()) is not None:
            self.messages.append(message)
        self._watcher.turn()

    def until(self, condition: Callable[[], object]) -> None:
        """Take turns, and let the pool take its own, until a condition holds."""

        def holds() -> bool:
            self.turn()
            return bool(condition())

        self._wait_until(holds)

    def wait_for(self, is_meant: Callable[[object], bool]) -> object:
        """Return the next message that is meant; those before it are dropped."""
        found: list[object] = []

        def has_come() -> bool:
            while self.messages and not found:
                message = self.messages.pop(0)
                found.extend([message] if is_meant(message) else [])
            return bool(found)

        self.until(has_come)
        return found[0]

    def take(self, lane: Lane = Lane.SMALL) -> Lease:
        """Ask until a lease comes."""
        self.client.ask(lane)
        lease = self.wait_for(lambda message: isinstance(message, Lease))
        assert isinstance(lease, Lease)
        return lease

    def gets_nothing(self, lane: Lane = Lane.SMALL) -> bool:
        self.client.ask(lane)
        return self.wait_for(lambda message: isinstance(message, Lease | NoWork)) == NoWork(lane)

    def finish(self, lease: Lease, *results: Result) -> None:
        self.client.answer(lease.number, results or [Result(Outcome.LOOKED_AT, STATE)] * len(lease.paths))

    def begin(self, lease: Lease | None) -> None:
        """Say that it works on this lease now, None: on one of another watcher; return when the pool knows."""
        number = lease.number if lease else 0
        record, before = self.record, self.record.heard_at
        self.client.tell_busy(number)
        self.until(lambda: record.works_on == number and record.heard_at > before)

    @property
    def record(self) -> PoolMember:
        """What the pool knows of it."""
        (record,) = [member for member in self._watcher.pool._members if member.pid == self.process.pid]
        return record

    def stop(self) -> None:
        """Have it stopped by a signal."""
        self.process.send_signal(signal.SIGSTOP)
        self._wait_until(lambda: is_process_stopped(self.process.pid))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        """Say bye and end."""
        self.client.close()
        self.kill()
        self._has_left = True

    def close(self) -> None:
        if not self._has_left:
            self.leave()


@pytest.fixture
def state() -> FileState:
    """The state that the answers of these hashers hold."""
    return STATE


@pytest.fixture
def make_watcher(tmp_path: Path, wait_until: WaitUntil) -> Iterator[Callable[[], Watcher]]:
    """Make a watcher whose root is not set yet."""
    made: list[Watcher] = []

    def make() -> Watcher:
        (tmp_path / "root").mkdir()
        made.append(Watcher(tmp_path, tmp_path / "root", wait_until))
        return made[-1]

    yield make
    for watcher in made:
        watcher.pool.close()


@pytest.fixture
def watcher(make_watcher: Callable[[], Watcher]) -> Watcher:
    made = make_watcher()
    made.set_root()
    return made


@pytest.fixture
def make_hasher(watcher: Watcher, wait_until: WaitUntil) -> Iterator[Callable[..., Hasher]]:
    """Make a hasher that has said hello, unless it need not, or is an impostor that names a dead process."""
    made: list[Hasher] = []

    def make(*, is_impostor: bool = False, is_awaited: bool = True) -> Hasher:
        before = len(watcher.pool.fds)
        hasher = Hasher(watcher, wait_until, start_ticks=1 if is_impostor else None)
        made.append(hasher)
        if is_awaited and not is_impostor:
            hasher.until(lambda: len(watcher.pool.fds) == before + 1)
        return hasher

    yield make
    for hasher in made:
        hasher.close()


@pytest.fixture
def hasher(make_hasher: Callable[..., Hasher]) -> Hasher:
    return make_hasher()


@pytest.fixture
def bury(watcher: Watcher) -> Callable[[Hasher], None]:
    """Kill a hasher and let the pool notice."""

    def bury(hasher: Hasher) -> None:
        before = watcher.counters.get("hashers_lost_total")
        hasher.kill()
        watcher.until(lambda: watcher.counters.get("hashers_lost_total") > before)

    return bury


@pytest.fixture
def in_short() -> Callable[[Lease], list[str]]:
    """Return the names of a lease's files."""
    return lambda lease: [path.decode() for path in lease.paths]
