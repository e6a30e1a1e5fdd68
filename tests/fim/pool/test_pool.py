"""The watcher's side of the pool: who is given what, and what becomes of the answers."""

import os

import pytest

from auditline.workers.common.jobs import LARGE_BYTES, LEASE_BYTES, LEASE_FILES, Lane, Outcome, Result, Work
from auditline.workers.fim.pool import Hashed


def names(count: int, prefix: str = "f") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_a_hasher_gets_what_it_asks_for_and_its_answer_is_the_result(watcher, hasher, state):
    watcher.submit("a", "b/c")

    lease = hasher.take()
    hasher.finish(lease)
    watcher.until(lambda: len(watcher.results) == 2)

    status = watcher.root.stat()
    expected = (os.fsencode(watcher.root), (status.st_dev, status.st_ino), ("sha256",), 100 << 20, (b"a", b"b/c"))
    assert (lease.root, lease.identity, lease.hashes, lease.max_file_bytes, lease.paths) == expected
    assert watcher.results == [Hashed(b"a", state, "", ""), Hashed(b"b/c", state, "", "")]
    assert watcher.counted() == {"hash_jobs_submitted": 2, "hash_jobs_done": 2}


class TestBeforeThereIsARoot:
    @pytest.fixture
    def watcher(self, make_watcher):
        return make_watcher()

    def test_jobs_wait(self, watcher, hasher, in_short):
        watcher.submit("a")
        is_early = hasher.gets_nothing()
        watcher.set_root()

        announced = hasher.wait_for(lambda message: isinstance(message, Work))

        assert (is_early, announced) == (True, Work(1, 0))
        assert in_short(hasher.take()) == ["a"]


def test_a_hasher_is_told_of_work_once_until_it_has_found_none(watcher, hasher, in_short):
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


def test_nothing_is_said_to_a_hasher_while_there_is_nothing_to_do(watcher, hasher):
    for _ in range(20):
        hasher.turn()

    assert hasher.messages == []


def test_a_hasher_that_comes_later_is_told_of_what_waits(watcher, make_hasher):
    watcher.submit(*names(3))
    watcher.submit("large", size=LARGE_BYTES + 1)

    assert make_hasher().wait_for(lambda message: isinstance(message, Work)) == Work(3, 1)


def test_a_lease_has_so_many_small_files(watcher, hasher, in_short):
    watcher.submit(*names(LEASE_FILES + 1))

    first, second = hasher.take(), hasher.take()

    assert in_short(first) + in_short(second) == names(LEASE_FILES + 1)
    assert len(first.paths) == LEASE_FILES
    assert hasher.gets_nothing()


def test_a_lease_has_so_many_bytes(watcher, hasher):
    watcher.submit(*names(10), size=LARGE_BYTES)

    leases = [hasher.take() for _ in range(3)]

    most = LEASE_BYTES // LARGE_BYTES
    assert [len(lease.paths) for lease in leases] == [most, most, 10 - 2 * most]


def test_large_files_are_given_out_alone_and_not_as_small_ones(watcher, hasher, in_short):
    watcher.submit("one", "two", size=LARGE_BYTES + 1)

    has_no_small = hasher.gets_nothing(Lane.SMALL)
    lease = hasher.take(Lane.LARGE)

    assert has_no_small
    assert (in_short(lease), lease.lane) == (["one"], Lane.LARGE)


def test_a_small_file_that_turns_out_large_is_given_out_as_a_large_one(watcher, hasher, in_short, state):
    watcher.submit("grown", "small")
    hasher.finish(hasher.take(), Result(Outcome.LARGER), Result(Outcome.LOOKED_AT, state))

    lease = hasher.take(Lane.LARGE)
    hasher.finish(lease)
    watcher.until(lambda: len(watcher.results) == 2)

    assert in_short(lease) == ["grown"]
    assert watcher.told == [("small", ""), ("grown", "")]
    assert watcher.counted() == {"hash_jobs_submitted": 2, "hash_jobs_done": 2}


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (Outcome.GONE, "gone"),
        (Outcome.NOT_REGULAR, "not_regular"),
        (Outcome.UNREADABLE, "unreadable"),
        (Outcome.FORBIDDEN, "forbidden"),
    ],
)
def test_a_file_without_a_state_says_why(watcher, hasher, outcome, problem):
    watcher.submit("a")

    hasher.finish(hasher.take(), Result(outcome, None, "because"))
    watcher.until(lambda: watcher.results)

    assert watcher.results == [Hashed(b"a", None, problem, "because")]


def test_answers_to_what_a_hasher_does_not_have_are_ignored(watcher, make_hasher):
    owner, other = make_hasher(), make_hasher()
    watcher.submit("a")
    lease = owner.take()

    other.client.answer(lease.number, [Result(Outcome.GONE)])
    other.client.answer(lease.number + 1, [Result(Outcome.GONE)])
    other.client.give_back(lease.number)
    other.gets_nothing()
    owner.finish(lease)
    watcher.until(lambda: watcher.results)
    owner.finish(lease)
    owner.gets_nothing()

    assert watcher.told == [("a", "")]


def test_too_few_results_are_none(watcher, hasher, in_short, state):
    watcher.submit("a", "b")
    hasher.finish(hasher.take(), Result(Outcome.LOOKED_AT, state))

    leases = [hasher.take(), hasher.take()]

    assert [in_short(lease) for lease in leases] == [["a"], ["b"]]
    assert watcher.results == []
    assert watcher.counted()["hash_jobs_repeated"] == 2


def test_a_hasher_that_says_hello_again_has_nothing_in_its_hands(watcher, hasher, in_short):
    watcher.submit("a", "b")
    hasher.take()
    first = hasher.client
    hasher.connect()

    announced = hasher.wait_for(lambda message: isinstance(message, Work))
    lease = hasher.take()

    assert (announced, in_short(lease)) == (Work(2, 0), ["a", "b"])
    assert len(watcher.pool.fds) == 1
    assert watcher.counted() == {"hash_jobs_submitted": 2}
    first.close()


def test_a_process_that_has_another_s_pid_is_no_hasher(watcher, make_hasher, in_short):
    impostor, real = make_hasher(is_impostor=True), make_hasher()
    watcher.submit("a")
    impostor.client.ask(Lane.SMALL)

    lease = real.take()
    is_over = real.gets_nothing()

    assert (in_short(lease), is_over, impostor.messages) == (["a"], True, [])
    assert len(watcher.pool.fds) == 1


def test_results_from_beneath_a_root_that_is_another_now_are_asked_for_again(watcher, hasher):
    watcher.submit("a")
    old = hasher.take()
    watcher.root.rename(watcher.root.parent / "old")
    watcher.root.mkdir()
    watcher.set_root()

    hasher.finish(old)
    new = hasher.take()
    hasher.finish(new, Result(Outcome.GONE))
    watcher.until(lambda: watcher.results)

    assert old.identity != new.identity
    assert watcher.told == [("a", "gone")]


def test_the_same_file_twice_has_two_results(watcher, hasher):
    watcher.submit("a", "a")

    hasher.finish(hasher.take())
    watcher.until(lambda: len(watcher.results) == 2)

    assert watcher.told == [("a", ""), ("a", "")]


def test_closing_lets_go_of_every_hasher(watcher, make_hasher):
    make_hasher()
    make_hasher()
    pidfds = watcher.pool.fds

    watcher.pool._members.close()

    assert len(pidfds) == 2
    assert not any(os.path.exists(f"/proc/self/fd/{fd}") for fd in pidfds)
