"""Hashers that die, leave or lose their way with files in their hands, and files that they die of."""

import errno
import os
import select

from auditline.workers.common.jobs import LARGE_BYTES, Lane, Work
from auditline.workers.fim import pool_members, suspects
from auditline.workers.fim.pool import Hashed


def test_what_a_dead_hasher_had_in_its_hands_is_given_out_again_file_by_file(watcher, make_hasher, bury, in_short):
    victim = make_hasher()
    watcher.submit("a", "b", "c")
    victim.take()
    watcher.submit("d", "e")
    bury(victim)

    heir = make_hasher()
    leases = [heir.take() for _ in range(4)]
    for lease in leases:
        heir.finish(lease)
    watcher.until(lambda: len(watcher.results) == 5)

    assert [in_short(lease) for lease in leases] == [["a"], ["b"], ["c"], ["d", "e"]]
    assert watcher.counted() == {
        "hash_jobs_submitted": 5,
        "hash_jobs_done": 5,
        "hash_jobs_repeated": 3,
        "hashers_lost": 1,
    }


def test_a_living_hasher_is_told_of_what_a_dead_one_left(watcher, make_hasher, bury, in_short):
    victim, heir = make_hasher(), make_hasher()
    watcher.submit("a")
    victim.take()
    heir.gets_nothing()

    bury(victim)

    assert heir.wait_for(lambda message: isinstance(message, Work)) == Work(1, 0)
    assert in_short(heir.take()) == ["a"]


def test_a_large_file_of_a_dead_hasher_stays_a_large_one(watcher, make_hasher, bury, in_short):
    victim = make_hasher()
    watcher.submit("large", size=LARGE_BYTES + 1)
    victim.take(Lane.LARGE)

    bury(victim)

    assert in_short(make_hasher().take(Lane.LARGE)) == ["large"]


def test_a_file_that_three_hashers_died_with_is_quarantined_and_told_once(watcher, make_hasher, bury, in_short):
    watcher.submit("poison")
    pids = []
    for _ in range(3):
        victim = make_hasher()
        pids.append(victim.process.pid)
        victim.take()
        bury(victim)
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


def quarantine(watcher, make_hasher, bury) -> None:
    for _ in range(3):
        victim = make_hasher()
        victim.take()
        bury(victim)


def test_after_the_quarantine_one_more_hasher_may_try(watcher, make_hasher, bury, monkeypatch, in_short):
    monkeypatch.setattr(suspects, "QUARANTINE_SECONDS", 0.0)
    watcher.submit("poison")
    quarantine(watcher, make_hasher, bury)

    watcher.submit("poison")
    victim = make_hasher()
    lease = victim.take()
    bury(victim)

    assert in_short(lease) == ["poison"]
    assert watcher.told == [("poison", "quarantined"), ("poison", "quarantined")]
    assert watcher.counted()["files_quarantined"] == 2


def test_a_file_that_is_no_poison_after_the_quarantine_is_forgiven(watcher, make_hasher, bury, monkeypatch, in_short):
    monkeypatch.setattr(suspects, "QUARANTINE_SECONDS", 0.0)
    watcher.submit("poison")
    quarantine(watcher, make_hasher, bury)
    hasher = make_hasher()
    watcher.submit("poison")
    hasher.finish(hasher.take())
    watcher.until(lambda: len(watcher.results) == 2)

    watcher.submit("poison")
    hasher.take()
    bury(hasher)

    assert watcher.told == [("poison", "quarantined"), ("poison", "")]
    assert in_short(make_hasher().take()) == ["poison"]


def test_an_answer_makes_up_for_deaths_before_it(watcher, make_hasher, bury):
    for round_number in range(2):
        watcher.submit("a")
        for _ in range(2):
            victim = make_hasher()
            victim.take()
            bury(victim)
        heir = make_hasher()
        heir.finish(heir.take())
        watcher.until(lambda wanted=round_number + 1: len(watcher.results) == wanted)

    assert watcher.told == [("a", ""), ("a", "")]
    assert watcher.counted()["hash_jobs_repeated"] == 4


def test_a_hasher_that_says_bye_is_not_to_blame(watcher, make_hasher, in_short):
    leaving = make_hasher()
    watcher.submit("a", "b")
    leaving.take()
    leaving.leave()
    watcher.until(lambda: not watcher.pool.fds)

    lease = make_hasher().take()

    assert in_short(lease) == ["a", "b"]
    assert watcher.counted() == {"hash_jobs_submitted": 2}


def test_what_is_given_back_is_given_out_again_and_no_attempt_counts(watcher, make_hasher, in_short):
    leaving, heir = make_hasher(), make_hasher()
    watcher.submit("large", size=LARGE_BYTES + 1)
    lease = leaving.take(Lane.LARGE)

    leaving.client.give_back(lease.number)

    assert heir.wait_for(lambda message: message == Work(0, 1)) == Work(0, 1)
    assert in_short(heir.take(Lane.LARGE)) == ["large"]
    assert watcher.counted() == {"hash_jobs_submitted": 1}


def test_what_a_hasher_answered_before_it_died_counts(watcher, hasher, bury):
    watcher.submit("a")
    lease = hasher.take()

    hasher.finish(lease)
    bury(hasher)

    assert watcher.told == [("a", "")]
    assert watcher.counted() == {"hash_jobs_submitted": 1, "hash_jobs_done": 1, "hashers_lost": 1}


def test_a_death_makes_a_descriptor_readable(watcher, hasher):
    (fd,) = watcher.pool.fds
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    before = poll.poll(0)

    hasher.kill()

    assert before == []
    assert [ready for ready, _ in poll.poll(5000)] == [fd]


def test_without_pidfds_a_death_is_noticed_too(watcher, make_hasher, bury, monkeypatch):
    def refuse(_pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(pool_members, "_LOOK_SECONDS", 0.01)
    victim = make_hasher(is_awaited=False)
    watcher.submit("a")
    victim.wait_for(lambda message: isinstance(message, Work))
    victim.take()

    bury(victim)

    assert watcher.pool.fds == []
    assert watcher.counted()["hash_jobs_repeated"] == 1
