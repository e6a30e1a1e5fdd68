"""Hashers that get stuck: their files are for others, one hasher is left to other watches, and no answer is lost."""

import pytest

from auditline.workers.common.jobs import LARGE_BYTES, Lane, Outcome, Result, Work
from auditline.workers.fim.pool import PROOF_SECONDS, Hashed
from auditline.workers.fim.pool_members import SILENCE_SECONDS


@pytest.fixture
def let_pass(watcher):
    """Let a hasher say nothing for so long that it counts as stuck."""

    def let_pass(hasher) -> None:
        hasher.record.heard_at -= SILENCE_SECONDS
        watcher.turn()

    return let_pass


@pytest.fixture
def get_stuck(let_pass):
    """Let a hasher take a lease, begin with it, and get stuck."""

    def get_stuck(hasher, lane: Lane = Lane.SMALL):
        lease = hasher.take(lane)
        hasher.begin(lease)
        let_pass(hasher)
        return lease

    return get_stuck


@pytest.fixture
def prove(watcher):
    """Let a hasher show that files of this watch can be read."""

    def prove(hasher) -> None:
        watcher.submit("sound")
        hasher.finish(hasher.take())
        watcher.until(lambda: ("sound", "") in watcher.told)

    return prove


def test_what_a_hasher_is_stuck_with_is_given_to_another_file_by_file_and_said_once(
    watcher, make_hasher, prove, get_stuck, in_short, caplog
):
    stuck, heir = make_hasher(), make_hasher()
    prove(heir)
    watcher.submit("a", "b")
    get_stuck(stuck)
    watcher.turn()

    leases = [heir.take(), heir.take()]
    for lease in leases:
        heir.finish(lease)
    watcher.until(lambda: len(watcher.told) == 3)

    assert [in_short(lease) for lease in leases] == [["a"], ["b"]]
    assert watcher.counted() == {
        "hash_jobs_submitted": 3,
        "hash_jobs_done": 3,
        "hash_jobs_repeated": 2,
        "hash_leases_expired": 1,
    }
    (text,) = [record.getMessage() for record in caplog.records]
    assert text == (
        f"hasher {stuck.process.pid} is stuck: has said nothing for 30 seconds, "
        f"others are given its 2 files of {watcher.root}"
    )


def test_a_word_in_time_keeps_a_lease(watcher, hasher, let_pass):
    watcher.submit("a")
    lease = hasher.take()
    hasher.begin(lease)
    hasher.record.heard_at -= SILENCE_SECONDS - 5

    watcher.turn()
    hasher.begin(None)
    hasher.record.heard_at -= SILENCE_SECONDS - 5
    watcher.turn()

    assert watcher.counted() == {"hash_jobs_submitted": 1}


def test_a_word_that_has_come_but_was_not_taken_keeps_a_lease(watcher, hasher, let_pass):
    watcher.submit("a")
    lease = hasher.take()

    hasher.client.tell_busy(lease.number)
    let_pass(hasher)

    assert watcher.counted() == {"hash_jobs_submitted": 1}


def test_a_hasher_with_nothing_in_its_hands_may_say_nothing(watcher, hasher, prove, let_pass):
    prove(hasher)

    let_pass(hasher)

    assert watcher.counted() == {"hash_jobs_submitted": 1, "hash_jobs_done": 1}


def test_what_a_stuck_hasher_had_not_begun_is_given_out_as_before(
    watcher, make_hasher, prove, get_stuck, let_pass, in_short
):
    stuck, heir = make_hasher(), make_hasher()
    prove(heir)
    watcher.submit("begun")
    lease = stuck.take()
    watcher.submit("a", "b")
    stuck.take()
    stuck.begin(lease)
    let_pass(stuck)

    leases = [heir.take(), heir.take()]

    assert [in_short(lease) for lease in leases] == [["begun"], ["a", "b"]]
    assert watcher.counted()["hash_jobs_repeated"] == 1
    assert watcher.counted()["hash_leases_expired"] == 2


def test_no_file_is_to_blame_for_a_hasher_that_is_stuck_in_another_watch(
    watcher, make_hasher, prove, let_pass, in_short
):
    stuck, heir = make_hasher(), make_hasher()
    prove(heir)
    watcher.submit("large", size=LARGE_BYTES + 1)
    stuck.begin(stuck.take(Lane.LARGE))
    stuck.begin(None)
    let_pass(stuck)

    assert in_short(heir.take(Lane.LARGE)) == ["large"]
    assert "hash_jobs_repeated" not in watcher.counted()


def test_no_file_is_to_blame_for_a_hasher_that_a_signal_has_stopped(watcher, make_hasher, let_pass, in_short, caplog):
    hashers = [make_hasher() for _ in range(4)]
    watcher.submit("a")
    for hasher in hashers[:3]:
        hasher.begin(hasher.take())
        hasher.stop()
        let_pass(hasher)

    lease = hashers[3].take()

    assert in_short(lease) == ["a"]
    assert watcher.counted() == {"hash_jobs_submitted": 1, "hash_leases_expired": 3}
    assert "is stopped: has said nothing" in caplog.text


def test_the_first_answer_counts_be_it_that_of_the_hasher_that_was_stuck(watcher, make_hasher, prove, get_stuck, state):
    slow, heir = make_hasher(), make_hasher()
    prove(heir)
    watcher.submit("a", "b")
    late = get_stuck(slow)
    first = heir.take()
    slow.finish(late)
    watcher.until(lambda: len(watcher.told) == 3)

    heir.finish(first, Result(Outcome.GONE))
    is_over = heir.gets_nothing()

    assert is_over
    assert watcher.results[1:] == [Hashed(b"a", state, "", ""), Hashed(b"b", state, "", "")]


def test_an_answer_that_comes_too_late_is_ignored(watcher, make_hasher, prove, get_stuck):
    slow, heir = make_hasher(), make_hasher()
    prove(heir)
    watcher.submit("a")
    late = get_stuck(slow)
    heir.finish(heir.take(), Result(Outcome.GONE))
    watcher.until(lambda: len(watcher.told) == 2)

    slow.finish(late)
    is_over = slow.gets_nothing()

    assert is_over
    assert watcher.told[1:] == [("a", "gone")]


@pytest.mark.parametrize("end", ["leave", "kill"])
def test_the_end_of_a_stuck_hasher_gives_nothing_out_a_second_time(
    watcher, make_hasher, prove, get_stuck, in_short, end
):
    stuck, heir = make_hasher(), make_hasher()
    prove(heir)
    watcher.submit("a")
    get_stuck(stuck)
    lease = heir.take()

    getattr(stuck, end)()
    watcher.until(lambda: len(watcher.pool.fds) == 1)

    assert in_short(lease) == ["a"]
    assert heir.gets_nothing()
    assert watcher.counted()["hash_jobs_repeated"] == 1


def test_a_file_that_three_hashers_got_stuck_with_is_quarantined_and_told_once(watcher, make_hasher, get_stuck):
    hashers = [make_hasher() for _ in range(4)]
    watcher.submit("poison")
    for hasher in hashers[:3]:
        get_stuck(hasher)
    watcher.submit("poison")
    watcher.turn()

    text = f"3 hashers got stuck with it in their hands, the last one is process {hashers[2].process.pid}"
    assert watcher.results == [
        Hashed(b"poison", None, "quarantined", text),
        Hashed(b"poison", None, "quarantined", ""),
    ]
    assert watcher.counted()["files_quarantined"] == 1
    assert watcher.counted()["hash_jobs_repeated"] == 2


def test_one_hasher_that_gets_stuck_again_and_again_quarantines_no_file(watcher, hasher, get_stuck):
    watcher.submit("a")

    for _ in range(4):
        get_stuck(hasher)

    assert watcher.results == []
    assert watcher.counted()["hash_leases_expired"] == 4


def test_the_last_hasher_is_left_to_others_until_a_file_was_read(watcher, make_hasher, in_short):
    reader, last = make_hasher(), make_hasher()
    watcher.submit("a")
    lease = reader.take()
    watcher.submit("b")

    gets_nothing = last.gets_nothing()
    reader.finish(lease)
    announced = last.wait_for(lambda message: isinstance(message, Work))

    assert (gets_nothing, announced) == (True, Work(1, 0))
    assert in_short(last.take()) == ["b"]


def test_the_last_hasher_is_not_told_of_what_it_would_not_be_given(watcher, make_hasher):
    reader, last = make_hasher(), make_hasher()
    watcher.submit("a")
    reader.take()
    watcher.submit("b")
    last.gets_nothing()

    for _ in range(20):
        last.turn()

    assert last.messages == []


def test_the_next_slice_of_a_large_file_shows_that_files_can_be_read(watcher, make_hasher, in_short):
    reader, last = make_hasher(), make_hasher()
    watcher.submit("large", size=LARGE_BYTES + 1)
    lease = reader.take(Lane.LARGE)
    reader.begin(lease)
    watcher.submit("a")
    gets_nothing = last.gets_nothing()

    reader.begin(lease)
    last.wait_for(lambda message: isinstance(message, Work))

    assert gets_nothing
    assert in_short(last.take()) == ["a"]


def test_what_was_read_long_ago_shows_nothing(watcher, make_hasher, prove):
    reader, last = make_hasher(), make_hasher()
    prove(reader)
    watcher.pool._proven_at -= PROOF_SECONDS
    watcher.submit("a")
    reader.take()
    watcher.submit("b")

    assert last.gets_nothing()


def test_where_the_others_are_stopped_the_last_hasher_does_their_work(watcher, make_hasher, in_short):
    stopped, last = make_hasher(), make_hasher()
    watcher.submit("a")
    stopped.take()
    stopped.stop()
    watcher.submit("b")

    assert in_short(last.take()) == ["b"]


def test_a_single_hasher_is_given_everything(watcher, hasher, in_short):
    watcher.submit("a")
    hasher.take()
    watcher.submit("b")

    assert in_short(hasher.take()) == ["b"]
