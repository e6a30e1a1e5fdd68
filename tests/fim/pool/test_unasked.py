"""Few small files are given out without a question, and go to somebody else where no answer comes."""

import pytest

from auditline.workers.common.jobs import LARGE_BYTES, Lane, Lease, Work
from auditline.workers.fim.pool import UNASKED_BYTES, UNASKED_FILES, Hashed
from auditline.workers.fim.pool_members import SILENCE_SECONDS, UNASKED_SECONDS


def is_lease(message: object) -> bool:
    return isinstance(message, Lease)


def is_work(message: object) -> bool:
    return isinstance(message, Work)


@pytest.fixture
def give(watcher):
    """Submit files and give them out."""

    def give(*names: str, size: int = 1000) -> None:
        watcher.submit(*names, size=size)
        watcher.pool.give_out()

    return give


@pytest.fixture
def let_pass(watcher):
    """Let time go by in which a hasher does not answer what was given to it unasked."""

    def let_pass(hasher) -> None:
        for handed in hasher.record.leases.values():
            handed.given_at -= UNASKED_SECONDS
        watcher.turn()

    return let_pass


def test_few_small_files_come_unasked_and_nothing_else_is_said(watcher, hasher, give, in_short, state):
    give("a", "b/c")

    lease = hasher.wait_for(is_lease)
    hasher.finish(lease)
    watcher.until(lambda: len(watcher.results) == 2)

    assert (in_short(lease), lease.lane, lease.is_unasked) == (["a", "b/c"], Lane.SMALL, True)
    assert watcher.results == [Hashed(b"a", state, "", ""), Hashed(b"b/c", state, "", "")]
    assert hasher.messages == []


def test_one_hasher_is_woken_and_it_is_the_one_that_was_heard_of_last(watcher, make_hasher, give):
    others = [make_hasher(), make_hasher()]
    last = make_hasher()
    give("a")
    last.finish(last.wait_for(is_lease))
    watcher.until(lambda: watcher.results)

    give("b")
    lease = last.wait_for(is_lease)
    for other in others:
        other.turn()

    assert lease.is_unasked
    assert [other.messages for other in others] == [[], []]


def test_what_comes_meanwhile_goes_to_another_hasher_and_what_is_left_then_is_announced(
    watcher, make_hasher, give, in_short
):
    hashers = [make_hasher(), make_hasher()]
    give("proof")
    hashers[1].finish(hashers[1].wait_for(is_lease))
    watcher.until(lambda: watcher.results)

    give("a")
    give("b")
    give("c")
    leases = [in_short(hasher.wait_for(is_lease)) for hasher in hashers]
    announced = [hasher.wait_for(is_work) for hasher in hashers]

    assert sorted(leases) == [["a"], ["b"]]
    assert announced == [Work(1, 0), Work(1, 0)]


@pytest.mark.parametrize(
    ("count", "size"),
    [(UNASKED_FILES + 1, 10), (2, UNASKED_BYTES // 2 + 1), (1, LARGE_BYTES + 1)],
    ids=["many files", "many bytes", "a large file"],
)
def test_more_than_little_is_announced_and_asked_for(hasher, give, count, size):
    give(*(f"f{number}" for number in range(count)), size=size)

    small = 0 if size > LARGE_BYTES else count
    assert hasher.wait_for(lambda _: True) == Work(small, count - small)


def test_without_a_hasher_and_without_a_root_files_wait(make_watcher, wait_until):
    watcher = make_watcher()
    watcher.submit("a")

    watcher.pool.give_out()
    watcher.turn()

    assert watcher.told == []
    assert watcher.counted() == {"hash_jobs_submitted": 1}


def test_what_a_hasher_does_not_come_to_is_for_whoever_asks_and_the_first_answer_counts(
    watcher, make_hasher, give, let_pass, in_short
):
    first, second = make_hasher(), make_hasher()
    give("a")
    late = second.wait_for(is_lease)
    let_pass(second)

    lease = first.take()
    first.finish(lease)
    watcher.until(lambda: watcher.results)
    second.finish(late)
    is_over = second.gets_nothing()

    assert (in_short(lease), lease.is_unasked, is_over) == (["a"], False, True)
    assert watcher.told == [("a", "")]
    assert watcher.counted() == {"hash_jobs_submitted": 1, "hash_jobs_done": 1}


def test_a_late_answer_counts_where_there_is_no_other(watcher, hasher, give, let_pass):
    give("a")
    late = hasher.wait_for(is_lease)
    let_pass(hasher)

    hasher.finish(late)
    watcher.until(lambda: watcher.results)
    is_over = hasher.gets_nothing()

    assert is_over
    assert watcher.told == [("a", "")]


def test_an_answer_in_time_leaves_nothing_to_be_given_out(watcher, hasher, give, let_pass):
    give("a")
    hasher.finish(hasher.wait_for(is_lease))
    watcher.until(lambda: watcher.results)

    let_pass(hasher)

    assert hasher.gets_nothing()


def test_what_a_dead_hasher_was_given_unasked_is_given_out_alone_and_asked_for(
    watcher, make_hasher, give, bury, in_short
):
    victim = make_hasher()
    give("a", "b")
    victim.wait_for(is_lease)
    bury(victim)
    heir = make_hasher()
    give("c")

    leases = [heir.take() for _ in range(3)]

    assert [(in_short(lease), lease.is_unasked) for lease in leases] == [
        (["a"], False),
        (["b"], False),
        (["c"], False),
    ]
    assert watcher.counted()["hash_jobs_repeated"] == 2


def test_what_a_hasher_works_on_stays_in_its_hands_and_is_to_blame(watcher, make_hasher, give, let_pass, bury):
    heir, victim = make_hasher(), make_hasher()
    give("poison")
    watcher.in_work = [victim.wait_for(is_lease).number]
    let_pass(victim)

    is_spared = heir.gets_nothing()
    bury(victim)
    lease = heir.take()

    assert is_spared
    assert (lease.paths, lease.is_unasked) == ((b"poison",), False)
    assert watcher.counted()["hash_jobs_repeated"] == 1


def test_who_got_stuck_with_what_it_was_given_unasked_is_known(watcher, make_hasher, give, let_pass):
    stuck = make_hasher()
    give("poison")
    watcher.in_work = [stuck.wait_for(is_lease).number]
    let_pass(stuck)

    stuck.record.heard_at -= SILENCE_SECONDS
    watcher.turn()

    assert watcher.counted() == {"hash_jobs_submitted": 1, "hash_jobs_repeated": 1, "hash_leases_expired": 1}


def test_no_file_is_to_blame_for_the_death_of_a_hasher_that_did_not_come_to_it(
    watcher, make_hasher, give, let_pass, bury
):
    heir, victim = make_hasher(), make_hasher()
    give("a")
    victim.wait_for(is_lease)
    let_pass(victim)

    bury(victim)
    heir.finish(heir.take())
    watcher.until(lambda: watcher.results)

    assert watcher.counted() == {"hash_jobs_submitted": 1, "hash_jobs_done": 1, "hashers_lost": 1}


def test_the_last_hasher_is_left_to_others_until_a_file_was_read(watcher, make_hasher, give):
    last, reader = make_hasher(), make_hasher()
    give("a")
    reader.wait_for(is_lease)

    give("b")
    last.turn()

    assert last.messages == []
