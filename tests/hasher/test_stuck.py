"""Hashers that are stopped, or hang in the kernel: no file is lost, and no other watch has to wait."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.jobs import (
    Busy,
    HasherHello,
    JobServer,
    Lane,
    Lease,
    Results,
    is_process_stopped,
    process_start_ticks,
)
from auditline.workers.common.watch_plan import WatchPlan, jobs_endpoint
from auditline.workers.fim import pool_members

WaitUntil = Callable[..., None]


def make_files(root: Path, count: int) -> list[str]:
    for number in range(count):
        (root / f"{number}").write_text(str(number))
    return [f"{number}" for number in range(count)]


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hashers count as stuck soon, though a sound one says something each second."""
    monkeypatch.setattr(pool_members, "SILENCE_SECONDS", 2.0)


@pytest.mark.usefixtures("short_patience")
def test_the_files_of_a_stopped_hasher_are_hashed_by_another_and_each_has_one_result(
    make_watch, start_hasher, wait_until: WaitUntil
):
    watch = make_watch()
    with (watch.root / "large").open("wb") as file:
        file.truncate(1 << 40)
    names = make_files(watch.root, 300)
    hashers = [start_hasher(watch), start_hasher(watch)]
    wait_until(lambda: watch.turn() or len(watch.pool.fds) == 2)
    watch.submit("large")
    wait_until(lambda: watch.turn() or any(hasher.holds(watch.root / "large") for hasher in hashers))
    stopped, other = sorted(hashers, key=lambda hasher: not hasher.holds(watch.root / "large"))

    stopped.send(signal.SIGSTOP)
    wait_until(lambda: is_process_stopped(stopped.pid))
    watch.submit(*names)
    wait_until(lambda: watch.has(*names))
    wait_until(lambda: watch.turn() or other.holds(watch.root / "large"))
    os.truncate(watch.root / "large", 5)
    wait_until(lambda: watch.has("large"))
    stopped.send(signal.SIGCONT)
    wait_until(lambda: watch.turn() or not stopped.holds(watch.root / "large"))

    assert watch.counters.get("hash_jobs_done_total") == 301
    assert watch.counters.get("hash_leases_expired_total") == 1
    assert watch.counters.get("files_quarantined_total") == 0
    assert watch.counters.get("hashers_lost_total") == 0


@pytest.mark.usefixtures("short_patience")
def test_a_file_system_that_does_not_answer_occupies_one_of_two_hashers(
    make_watch, start_hasher, dead_mount: Any, wait_until: WaitUntil
):
    dead, other = make_watch("dead"), make_watch("other")
    names = make_files(other.root, 200)
    dead_mount.put_on(dead.root / "mount")
    start_hasher(dead, other)
    start_hasher(dead, other)
    wait_until(lambda: dead.turn() or other.turn() or len(dead.pool.fds) == len(other.pool.fds) == 2)

    dead.submit_as("mount/a", "mount/b", "mount/c")
    wait_until(lambda: dead.turn() or dead.counters.get("hash_leases_expired_total"))
    other.submit(*names)
    wait_until(lambda: dead.turn() or other.has(*names))
    dead_results = dict(dead.results)
    dead_mount.abort()
    wait_until(lambda: dead.has("mount/a", "mount/b", "mount/c"))

    assert dead_results == {}
    assert {result.problem for result in dead.results.values()} <= {"unreadable", "gone"}
    assert dead.counters.get("files_quarantined_total") == 0


class Employer:
    """A watcher whose every word the test says."""

    def __init__(self, root: Path, run_directory: Path) -> None:
        self._root = root
        self.plan = WatchPlan(path=os.fsencode(root))
        self.server = JobServer(jobs_endpoint(run_directory, self.plan))
        self.heard: list[object] = []
        self.peer = b""

    def listen(self) -> bool:
        while (message := self.server.receive()) is not None:
            self.heard.append(message)
            self.peer = message.peer
        return bool(self.peer)

    def hears(self, message_type: type, lease: int) -> int:
        """Return how often something of this type was heard of a lease."""
        self.listen()
        return sum(isinstance(message, message_type) and message.lease == lease for message in self.heard)  # type: ignore[attr-defined]

    def give(self, number: int, lane: Lane, *names: str) -> None:
        status = self._root.stat()
        identity, paths = (status.st_dev, status.st_ino), tuple(os.fsencode(name) for name in names)
        root = os.fsencode(self._root)
        self.server.give(self.peer, Lease(number, lane, root, identity, ("sha256",), 1 << 42, paths))


@pytest.fixture
def make_employer(tmp_path: Path) -> Iterator[Callable[[str], Employer]]:
    """Make a watcher of a new directory with a file that takes hours and a small one."""
    made: list[Employer] = []

    def make(name: str) -> Employer:
        (tmp_path / "run").mkdir(exist_ok=True)
        root = tmp_path / name
        root.mkdir()
        with (root / "large").open("wb") as file:
            file.truncate(1 << 40)
        (root / "small").write_text("small")
        made.append(Employer(root, tmp_path / "run"))
        return made[-1]

    yield make
    for employer in made:
        employer.server.close()


def test_a_hasher_says_again_and_again_that_it_goes_on(make_employer, start_hasher, wait_until: WaitUntil):
    employer = make_employer("root")
    hasher = start_hasher(employer)
    wait_until(employer.listen)

    employer.give(1, Lane.LARGE, "large")
    wait_until(lambda: employer.hears(Busy, 1) == 3)

    assert employer.heard[0] == HasherHello(employer.peer, hasher.pid, process_start_ticks(hasher.pid) or 0)


def test_each_watcher_knows_on_which_of_its_leases_a_hasher_works(make_employer, start_hasher, wait_until: WaitUntil):
    first, second = make_employer("first"), make_employer("second")
    start_hasher(first, second)
    wait_until(lambda: first.listen() and second.listen())
    first.give(1, Lane.LARGE, "large")
    wait_until(lambda: first.hears(Busy, 1))

    second.give(7, Lane.SMALL, "small")
    wait_until(lambda: second.hears(Results, 7))
    wait_until(lambda: first.hears(Busy, 1) == 2)

    kinds = [message for message in first.heard if isinstance(message, Busy)]
    assert [message.lease for message in kinds][:3] in ([1, 0, 1], [1, 1, 0])
    assert [type(message) for message in second.heard] == [HasherHello, Busy, Results]
