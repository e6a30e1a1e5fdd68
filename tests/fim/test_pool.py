"""The watcher's side of the pool, with hashers whose every step the test takes: who gets what, and who dies with it."""

import errno
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditline.workers.common.counters import CounterPage
from auditline.workers.common.file_state import STABLE, state_of
from auditline.workers.common.jobs import (
    LARGE_BYTES,
    LEASE_BYTES,
    LEASE_FILES,
    JobClient,
    JobServer,
    Lane,
    Lease,
    NoWork,
    Outcome,
    Result,
    Work,
    process_start_ticks,
)
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim import hashers as hashers_module
from auditline.workers.fim import pool as pool_module
from auditline.workers.fim.pool import POOL_COUNTERS, Hashed, Job, Pool

WaitUntil = Callable[..., None]
STATE = state_of(os.stat("/"), checked_ns=1, hashes=b"\4" + b"h" * 32, hash_state=STABLE)
DONE = Result(Outcome.LOOKED_AT, STATE)


class Watcher:
    """A pool and all the results that it has given so far."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.endpoint = f"ipc://{folder / 'jobs.sock'}"
        self.root = root
        self.counters = CounterPage.unshared(POOL_COUNTERS)
        self.pool = Pool(JobServer(self.endpoint), FimSettings(watch=()), self.counters)
        self.results: list[Hashed] = []

    def set_root(self) -> None:
        status = self.root.stat()
        self.pool.set_root(os.fsencode(self.root), (status.st_dev, status.st_ino))

    def turn(self) -> None:
        self.results += self.pool.take_results()

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

    def __init__(self, watcher: Watcher, wait_until: WaitUntil) -> None:
        self._watcher = watcher
        self._wait_until = wait_until
        self.process = subprocess.Popen(["sleep", "1000"])
        self.messages: list[object] = []
        self.connect()

    def connect(self, start_ticks: int | None = None) -> None:
        start = process_start_ticks(self.process.pid) if start_ticks is None else start_ticks
        self.client = JobClient(self._watcher.endpoint, self.process.pid, start or 0)

    def turn(self) -> None:
        while (message := self.client.receive()) is not None:
            self.messages.append(message)
        self._watcher.turn()

    def wait_for(self, is_meant: Callable[[object], bool]) -> object:
        """Return the next message that is meant; those before it are dropped."""
        found: list[object] = []

        def has_come() -> bool:
            self.turn()
            while self.messages and not found:
                message = self.messages.pop(0)
                found.extend([message] if is_meant(message) else [])
            return bool(found)

        self._wait_until(has_come)
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
        self.client.answer(lease.number, results or [DONE] * len(lease.paths))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    (tmp_path / "root").mkdir()
    made = Watcher(tmp_path, tmp_path / "root")
    made.set_root()
    yield made
    made.pool.close()


@pytest.fixture
def make_hasher(watcher: Watcher, wait_until: WaitUntil) -> Iterator[Callable[[], Hasher]]:
    made: list[Hasher] = []

    def make() -> Hasher:
        before = watcher.pool.hashers
        hasher = Hasher(watcher, wait_until)
        made.append(hasher)
        wait_until(lambda: hasher.turn() or watcher.pool.hashers == before + 1)
        return hasher

    yield make
    for hasher in made:
        hasher.kill()
        hasher.client.close()


@pytest.fixture
def hasher(make_hasher: Callable[[], Hasher]) -> Hasher:
    return make_hasher()


@pytest.fixture
def after_death(watcher: Watcher, wait_until: WaitUntil) -> Callable[[Hasher], None]:
    """Kill a hasher and let the pool notice."""

    def after_death(hasher: Hasher) -> None:
        before = watcher.counters.get("hashers_lost_total")
        hasher.kill()
        wait_until(lambda: watcher.turn() or watcher.counters.get("hashers_lost_total") > before)

    return after_death


def names(count: int, prefix: str = "f") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def in_short(lease: Lease) -> list[str]:
    return [path.decode() for path in lease.paths]


def test_a_hasher_gets_what_it_asks_for_and_its_answer_is_the_result(watcher: Watcher, hasher: Hasher, wait_until):
    watcher.submit("a", "b/c")

    lease = hasher.take()
    hasher.finish(lease)
    wait_until(lambda: watcher.turn() or len(watcher.results) == 2)

    status = watcher.root.stat()
    expected = (os.fsencode(watcher.root), (status.st_dev, status.st_ino), ("sha256",), 100 << 20, (b"a", b"b/c"))
    assert (lease.root, lease.identity, lease.hashes, lease.max_file_bytes, lease.paths) == expected
    assert watcher.results == [Hashed(b"a", STATE, "", ""), Hashed(b"b/c", STATE, "", "")]
    assert watcher.counted() == {"hash_jobs_submitted": 2, "hash_jobs_done": 2}


def test_jobs_wait_until_there_is_a_root(tmp_path: Path, wait_until):
    watcher = Watcher(tmp_path, tmp_path)
    hasher = Hasher(watcher, wait_until)
    watcher.submit("a")
    wait_until(lambda: hasher.turn() or watcher.pool.hashers == 1)

    is_early = hasher.gets_nothing()
    watcher.set_root()
    announced = hasher.wait_for(lambda message: isinstance(message, Work))
    lease = hasher.take()

    hasher.kill()
    hasher.client.close()
    watcher.pool.close()
    assert (is_early, announced) == (True, Work(1, 0))
    assert in_short(lease) == ["a"]


def test_a_hasher_is_told_of_work_once_until_it_has_found_none(watcher: Watcher, hasher: Hasher):
    watcher.submit("a")
    first = hasher.wait_for(lambda message: isinstance(message, Work))
    watcher.submit("b")
    hasher.take()
    watcher.submit("c")
    lease = hasher.take()
    is_empty = hasher.gets_nothing()
    quiet = list(hasher.messages)

    watcher.submit("d")
    second = hasher.wait_for(lambda message: isinstance(message, Work))

    assert (first, second) == (Work(1, 0), Work(1, 0))
    assert (in_short(lease), is_empty, quiet) == (["c"], True, [])


def test_nothing_is_said_to_a_hasher_while_there_is_nothing_to_do(watcher: Watcher, hasher: Hasher):
    for _ in range(20):
        hasher.turn()

    assert hasher.messages == []


def test_a_hasher_that_comes_later_is_told_of_what_waits(watcher: Watcher, make_hasher):
    watcher.submit(*names(3))
    watcher.submit("large", size=LARGE_BYTES + 1)

    assert make_hasher().wait_for(lambda message: isinstance(message, Work)) == Work(3, 1)


def test_a_lease_has_so_many_small_files(watcher: Watcher, hasher: Hasher):
    watcher.submit(*names(LEASE_FILES + 1))

    first, second = hasher.take(), hasher.take()

    assert in_short(first) + in_short(second) == names(LEASE_FILES + 1)
    assert len(first.paths) == LEASE_FILES
    assert (watcher.pool.in_hand, watcher.pool.waiting) == (LEASE_FILES + 1, 0)


def test_a_lease_has_so_many_bytes(watcher: Watcher, hasher: Hasher):
    watcher.submit(*names(10), size=LARGE_BYTES)

    lease = hasher.take()

    assert len(lease.paths) == LEASE_BYTES // LARGE_BYTES
    assert watcher.pool.waiting == 10 - len(lease.paths)


def test_large_files_are_given_out_alone_and_not_as_small_ones(watcher: Watcher, hasher: Hasher):
    watcher.submit("one", "two", size=LARGE_BYTES + 1)

    has_no_small = hasher.gets_nothing(Lane.SMALL)
    lease = hasher.take(Lane.LARGE)

    assert has_no_small
    assert (in_short(lease), lease.lane) == (["one"], Lane.LARGE)


def test_a_small_file_that_turns_out_large_is_given_out_as_a_large_one(watcher: Watcher, hasher: Hasher, wait_until):
    watcher.submit("grown", "small")
    hasher.finish(hasher.take(), Result(Outcome.LARGER), DONE)

    lease = hasher.take(Lane.LARGE)
    hasher.finish(lease)
    wait_until(lambda: watcher.turn() or len(watcher.results) == 2)

    assert in_short(lease) == ["grown"]
    assert watcher.told == [("small", ""), ("grown", "")]
    assert watcher.counted() == {"hash_jobs_submitted": 2, "hash_jobs_done": 2}


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [(Outcome.GONE, "gone"), (Outcome.NOT_REGULAR, "not_regular"), (Outcome.UNREADABLE, "unreadable")],
)
def test_a_file_without_a_state_says_why(watcher: Watcher, hasher: Hasher, wait_until, outcome, problem):
    watcher.submit("a")

    hasher.finish(hasher.take(), Result(outcome, None, "because"))
    wait_until(lambda: watcher.turn() or watcher.results)

    assert watcher.results == [Hashed(b"a", None, problem, "because")]


def test_what_a_dead_hasher_had_in_its_hands_is_given_out_again_file_by_file(
    watcher: Watcher, make_hasher, after_death, wait_until
):
    victim = make_hasher()
    watcher.submit("a", "b", "c")
    victim.take()
    watcher.submit("d", "e")
    after_death(victim)

    heir = make_hasher()
    leases = [heir.take() for _ in range(4)]
    for lease in leases:
        heir.finish(lease)
    wait_until(lambda: watcher.turn() or len(watcher.results) == 5)

    assert [in_short(lease) for lease in leases] == [["a"], ["b"], ["c"], ["d", "e"]]
    assert watcher.counted() == {
        "hash_jobs_submitted": 5,
        "hash_jobs_done": 5,
        "hash_jobs_repeated": 3,
        "hashers_lost": 1,
    }


def test_a_living_hasher_is_told_of_what_a_dead_one_left(watcher: Watcher, make_hasher, after_death):
    victim, heir = make_hasher(), make_hasher()
    watcher.submit("a")
    victim.take()
    heir.gets_nothing()

    after_death(victim)

    assert heir.wait_for(lambda message: isinstance(message, Work)) == Work(1, 0)
    assert in_short(heir.take()) == ["a"]


def test_a_large_file_of_a_dead_hasher_stays_a_large_one(watcher: Watcher, make_hasher, after_death):
    victim = make_hasher()
    watcher.submit("large", size=LARGE_BYTES + 1)
    victim.take(Lane.LARGE)

    after_death(victim)

    assert in_short(make_hasher().take(Lane.LARGE)) == ["large"]


def test_a_file_that_three_hashers_died_with_is_quarantined_and_told_once(watcher: Watcher, make_hasher, after_death):
    watcher.submit("poison")
    pids = []
    for _ in range(3):
        victim = make_hasher()
        pids.append(victim.process.pid)
        victim.take()
        after_death(victim)
    heir = make_hasher()
    watcher.submit("poison", "beside")
    lease = heir.take()

    assert in_short(lease) == ["beside"]
    assert heir.gets_nothing()
    text = f"3 hashers died with it in their hands, the last one was process {pids[-1]}"
    assert watcher.results == [
        Hashed(b"poison", None, "quarantined", text),
        Hashed(b"poison", None, "quarantined", ""),
    ]
    assert watcher.counted()["files_quarantined"] == 1


def quarantine(watcher: Watcher, make_hasher, after_death) -> None:
    for _ in range(3):
        victim = make_hasher()
        victim.take()
        after_death(victim)


def test_after_the_quarantine_one_more_hasher_may_try(watcher: Watcher, make_hasher, after_death, monkeypatch):
    monkeypatch.setattr(pool_module, "QUARANTINE_SECONDS", 0.0)
    watcher.submit("poison")
    quarantine(watcher, make_hasher, after_death)

    watcher.submit("poison")
    victim = make_hasher()
    lease = victim.take()
    after_death(victim)

    assert in_short(lease) == ["poison"]
    assert watcher.told == [("poison", "quarantined"), ("poison", "quarantined")]
    assert watcher.counted()["files_quarantined"] == 2


def test_a_file_that_is_no_poison_after_the_quarantine_is_forgiven(
    watcher: Watcher, make_hasher, after_death, monkeypatch, wait_until
):
    monkeypatch.setattr(pool_module, "QUARANTINE_SECONDS", 0.0)
    watcher.submit("poison")
    quarantine(watcher, make_hasher, after_death)
    hasher = make_hasher()
    watcher.submit("poison")
    hasher.finish(hasher.take())
    wait_until(lambda: watcher.turn() or len(watcher.results) == 2)

    watcher.submit("poison")
    hasher.take()
    after_death(hasher)

    assert watcher.told == [("poison", "quarantined"), ("poison", "")]
    assert watcher.pool.waiting == 1


def test_an_answer_makes_up_for_deaths_before_it(watcher: Watcher, make_hasher, after_death, wait_until):
    for round_number in range(2):
        watcher.submit("a")
        for _ in range(2):
            victim = make_hasher()
            victim.take()
            after_death(victim)
        heir = make_hasher()
        heir.finish(heir.take())
        wait_until(lambda wanted=round_number + 1: watcher.turn() or len(watcher.results) == wanted)

    assert watcher.told == [("a", ""), ("a", "")]
    assert watcher.counted()["hash_jobs_repeated"] == 4


def test_a_hasher_that_says_bye_is_not_to_blame(watcher: Watcher, make_hasher, wait_until):
    leaving = make_hasher()
    watcher.submit("a", "b")
    leaving.take()
    leaving.client.close()
    leaving.kill()
    wait_until(lambda: watcher.turn() or watcher.pool.hashers == 0)

    lease = make_hasher().take()

    assert in_short(lease) == ["a", "b"]
    assert watcher.counted() == {"hash_jobs_submitted": 2}
    leaving.connect()  # for the fixture to close


def test_what_is_given_back_is_given_out_again_and_no_attempt_counts(watcher: Watcher, make_hasher):
    leaving, heir = make_hasher(), make_hasher()
    watcher.submit("large", size=LARGE_BYTES + 1)
    lease = leaving.take(Lane.LARGE)

    leaving.client.give_back(lease.number)

    assert heir.wait_for(lambda message: message == Work(0, 1)) == Work(0, 1)
    assert in_short(heir.take(Lane.LARGE)) == ["large"]
    assert watcher.counted() == {"hash_jobs_submitted": 1}


def test_what_a_hasher_answered_before_it_died_counts(watcher: Watcher, hasher: Hasher, after_death):
    watcher.submit("a")
    lease = hasher.take()

    hasher.finish(lease)
    after_death(hasher)

    assert watcher.told == [("a", "")]
    assert watcher.counted() == {"hash_jobs_submitted": 1, "hash_jobs_done": 1, "hashers_lost": 1}


def test_answers_to_what_a_hasher_does_not_have_are_ignored(watcher: Watcher, make_hasher, wait_until):
    owner, other = make_hasher(), make_hasher()
    watcher.submit("a")
    lease = owner.take()

    other.client.answer(lease.number, [Result(Outcome.GONE)])
    other.client.answer(lease.number + 1, [Result(Outcome.GONE)])
    other.client.give_back(lease.number)
    other.gets_nothing()
    owner.finish(lease)
    wait_until(lambda: watcher.turn() or watcher.results)
    owner.finish(lease)
    owner.gets_nothing()

    assert watcher.told == [("a", "")]


def test_too_few_results_are_none(watcher: Watcher, hasher: Hasher):
    watcher.submit("a", "b")
    hasher.finish(hasher.take(), DONE)

    leases = [hasher.take(), hasher.take()]

    assert [in_short(lease) for lease in leases] == [["a"], ["b"]]
    assert watcher.results == []
    assert watcher.counted()["hash_jobs_repeated"] == 2


def test_a_hasher_that_says_hello_again_has_nothing_in_its_hands(watcher: Watcher, hasher: Hasher):
    watcher.submit("a", "b")
    hasher.take()
    first = hasher.client
    hasher.connect()

    announced = hasher.wait_for(lambda message: isinstance(message, Work))
    lease = hasher.take()

    assert (announced, in_short(lease)) == (Work(2, 0), ["a", "b"])
    assert watcher.pool.hashers == 1
    assert watcher.counted() == {"hash_jobs_submitted": 2}
    first.close()


def test_a_process_that_is_gone_or_another_is_no_hasher(watcher: Watcher, make_hasher, wait_until):
    real = make_hasher()
    impostor = Hasher(watcher, wait_until)
    impostor.client.close()
    impostor.connect(start_ticks=1)
    watcher.submit("a")
    impostor.client.receive()
    impostor.client.ask(Lane.SMALL)

    lease = real.take()
    impostor.kill()
    impostor.client.close()

    assert in_short(lease) == ["a"]
    assert watcher.pool.hashers == 1


def test_a_death_makes_a_descriptor_readable(watcher: Watcher, hasher: Hasher):
    (fd,) = watcher.pool.fds
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    before = poll.poll(0)

    hasher.kill()

    assert before == []
    assert [ready for ready, _ in poll.poll(5000)] == [fd]


def test_without_pidfds_a_death_is_noticed_too(watcher: Watcher, make_hasher, after_death, monkeypatch):
    def refuse(_pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(hashers_module, "_LOOK_SECONDS", 0.01)
    victim = make_hasher()
    watcher.submit("a")
    victim.take()

    after_death(victim)

    assert watcher.pool.fds == []
    assert watcher.counted()["hash_jobs_repeated"] == 1


def test_results_from_beneath_a_root_that_is_another_now_are_asked_for_again(
    watcher: Watcher, hasher: Hasher, wait_until
):
    watcher.submit("a")
    old = hasher.take()
    watcher.root.rename(watcher.root.parent / "old")
    watcher.root.mkdir()
    watcher.set_root()

    hasher.finish(old)
    new = hasher.take()
    hasher.finish(new, Result(Outcome.GONE))
    wait_until(lambda: watcher.turn() or watcher.results)

    assert old.identity != new.identity
    assert watcher.told == [("a", "gone")]


def test_the_same_file_twice_has_two_results(watcher: Watcher, hasher: Hasher, wait_until):
    watcher.submit("a", "a")

    hasher.finish(hasher.take())
    wait_until(lambda: watcher.turn() or len(watcher.results) == 2)

    assert watcher.told == [("a", ""), ("a", "")]


def test_closing_lets_go_of_every_hasher(tmp_path: Path, wait_until):
    before = len(os.listdir("/proc/self/fd"))
    watcher = Watcher(tmp_path, tmp_path)
    hasher = Hasher(watcher, wait_until)
    wait_until(lambda: hasher.turn() or watcher.pool.hashers == 1)

    hasher.kill()
    hasher.client.close()
    watcher.pool.close()

    assert len(os.listdir("/proc/self/fd")) == before
