"""Who did it, as an event tells it: the better source wins, and what is not known is left out."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from auditline.workers.common.actor_messages import Answer, decode_questions, encode_answers
from auditline.workers.common.process_info import Process, entity_id, started_ns
from auditline.workers.common.settings import AuditSettings, FimSettings, Settings
from auditline.workers.fim import actors as actors_module
from auditline.workers.fim.actors import Actors

PATH = b"/watched/f"
READ = Process(
    pid=4711,
    start_ticks=500,
    executable=b"/usr/bin/cp",
    arguments=(b"cp", b"a", b"\xff"),
    name=b"cp",
    parent_pid=4000,
    parent_executable=b"/usr/bin/bash",
    uid=1001,
    gid=1001,
    login_uid=1000,
    session=3,
    container_id="c0ffee",
    is_certain=True,
)
EXACT = Answer(
    path=PATH,
    asked_pid=4711,
    match="exact",
    pid=4711,
    event_id="host-1.000-7",
    executable="/usr/bin/cp",
    name="cp",
    arguments=("cp", "x"),
    parent_pid=4000,
    uid=0,
    login_uid=1000,
    session=4,
    start_ticks=500,
)


class Router:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.is_there = True
        self.asked: list[bytes] = []

    def send(self, payload: bytes) -> bool:
        if self.is_there:
            self.asked.append(payload)
        return self.is_there


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def make_actors(router: Router, clock: Any) -> Callable[..., Actors]:
    def make(actor: Any = "auto", *, has_audit: bool = True) -> Actors:
        settings = Settings(fim=FimSettings(actor=actor), audit=AuditSettings(enabled=has_audit))
        return Actors(settings, router.send, clock)

    return make


@pytest.fixture
def actors(make_actors: Callable[..., Actors]) -> Actors:
    return make_actors()


def numbered(actors: Actors, answer: Answer) -> Answer:
    """Return it as one to the last question about its path and pid."""
    numbers = [asked.number for asked in actors._asked.get(answer.path) or [] if asked.who[0] == answer.asked_pid]
    return answer._replace(number=max(numbers, default=0))


def answer(actors: Actors, *answers: Answer) -> None:
    actors.take([encode_answers(numbered(actors, each) for each in answers)])


def matches(actors: Actors, process: Process) -> tuple[str, str]:
    """Return whether an audit event is told of *process*, and which program."""
    actor = actors.actor_of(PATH, [process]) or {}
    return actor.get("match", ""), actor.get("executable", "")


def test_what_proc_told_is_told_in_full(actors: Actors) -> None:
    actor = actors.actor_of(PATH, [READ])

    assert actor is not None
    assert actor.pop("start").endswith("Z")  # type: ignore[attr-defined]
    assert actor == {
        "pid": 4711,
        "entity_id": entity_id(actors._boot_id, 4711, 500),
        "executable": "/usr/bin/cp",
        "name": "cp",
        "arguments": ["cp", "a", "\udcff"],
        "user": {"id": "1001"},
        "login_user": {"id": "1000"},
        "session": "3",
        "parent": {"pid": 4000, "executable": "/usr/bin/bash"},
        "container_id": "c0ffee",
        "confidence": "exact",
        "source": "proc",
        "match": "none",
    }


def test_what_is_not_certain_is_probable(actors: Actors) -> None:
    actor = actors.actor_of(PATH, [READ._replace(is_certain=False)])

    assert actor is not None
    assert (actor["confidence"], actor["source"]) == ("probable", "proc")


def test_of_a_process_that_is_gone_there_is_the_pid(actors: Actors) -> None:
    actor = actors.actor_of(PATH, [Process(4711)])

    assert actor == {"pid": 4711, "confidence": "pid_only", "source": "fanotify", "match": "none"}


@pytest.mark.parametrize("processes", [[], [Process(0)]])
def test_of_nobody_there_is_nothing(actors: Actors, processes: list[Process]) -> None:
    assert actors.actor_of(PATH, processes) is None


def test_an_audit_event_of_the_change_tells_more_than_proc(actors: Actors) -> None:
    actors.note(PATH, READ, 0)
    answer(actors, EXACT)

    actor = actors.actor_of(PATH, [READ])

    assert actor is not None
    assert (actor["confidence"], actor["source"], actor["match"]) == ("exact", "audit", "exact")
    assert actor["event_id"] == "host-1.000-7"
    assert (actor["user"], actor["session"]) == ({"id": "0"}, "4")
    assert (actor["container_id"], actor["parent"]) == ("c0ffee", {"pid": 4000, "executable": "/usr/bin/bash"})
    assert actor["entity_id"] == entity_id(actors._boot_id, 4711, 500)


def test_a_program_that_was_executed_afterwards_is_not_mixed_with_the_one_that_did_it(actors: Actors) -> None:
    actors.note(PATH, READ, 0)
    answer(actors, EXACT._replace(executable="/usr/bin/sh", name="sh", arguments=()))

    actor = actors.actor_of(PATH, [READ])

    assert actor is not None
    assert (actor["executable"], actor["name"], actor["confidence"]) == ("/usr/bin/sh", "sh", "probable")
    assert "arguments" not in actor


def test_what_is_gone_from_proc_is_told_by_the_audit_event(actors: Actors) -> None:
    actors.note(PATH, Process(4711), 0)
    answer(actors, EXACT)

    actor = actors.actor_of(PATH, [Process(4711)])

    assert actor is not None
    assert (actor["executable"], actor["arguments"], actor["confidence"]) == ("/usr/bin/cp", ["cp", "x"], "exact")


def test_a_probable_answer_is_worth_less_than_proc(actors: Actors) -> None:
    actors.note(PATH, READ, 0)
    answer(actors, EXACT._replace(match="probable", executable="/usr/bin/sh", event_id=None))

    actor = actors.actor_of(PATH, [READ])

    assert actor is not None
    assert (actor["executable"], actor["confidence"], actor["source"]) == ("/usr/bin/cp", "exact", "proc")
    assert actor["match"] == "probable"


def test_of_a_process_that_had_ended_a_probable_answer_tells_the_program(actors: Actors) -> None:
    ended = READ._replace(executable=None, arguments=())
    actors.note(PATH, ended, 0)
    answer(actors, EXACT._replace(match="probable", event_id=None, start_ticks=0))

    actor = actors.actor_of(PATH, [ended])

    assert actor is not None
    assert (actor["executable"], actor["arguments"]) == ("/usr/bin/cp", ["cp", "x"])
    assert (actor["confidence"], actor["source"], actor["match"]) == ("probable", "audit", "probable")
    assert actor["parent"] == {"pid": 4000, "executable": "/usr/bin/bash"}


@pytest.mark.parametrize("other", [{"name": "sh", "executable": "/usr/bin/sh"}, {"start_ticks": 499}])
def test_of_a_process_that_had_ended_the_program_of_another_is_not_told(actors: Actors, other: dict[str, Any]) -> None:
    ended = READ._replace(executable=None, arguments=())
    actors.note(PATH, ended, 0)
    answer(actors, EXACT._replace(match="probable", event_id=None, **other))

    actor = actors.actor_of(PATH, [ended])

    assert actor is not None
    assert (actor["name"], actor["confidence"], actor["source"]) == ("cp", "exact", "proc")
    assert "executable" not in actor


def test_a_probable_answer_is_worth_more_than_a_pid(actors: Actors) -> None:
    actors.note(PATH, Process(4711), 0)
    answer(actors, EXACT._replace(match="probable", event_id=None))

    actor = actors.actor_of(PATH, [Process(4711)])

    assert actor is not None
    assert (actor["executable"], actor["confidence"], actor["source"]) == ("/usr/bin/cp", "probable", "audit")


def test_where_the_kernel_named_nobody_the_audit_event_does(actors: Actors) -> None:
    actors.note(PATH, None, 0)
    answer(actors, EXACT._replace(asked_pid=0, match="probable", others=2))

    actor = actors.actor_of(PATH)

    assert actor is not None
    assert (actor["pid"], actor["match"], actor["others"]) == (4711, "probable", 2)


def test_the_last_process_is_told_and_the_others_are_counted(actors: Actors) -> None:
    others = [READ._replace(pid=1), READ._replace(pid=2), READ._replace(pid=2, is_certain=False)]

    actor = actors.actor_of(PATH, [*others, READ])

    assert actor is not None
    assert (actor["pid"], actor["others"]) == (4711, 2)


def test_an_answer_about_another_process_is_not_taken(actors: Actors) -> None:
    actors.note(PATH, Process(4712), 0)
    actors.note(PATH, Process(4711), 0)
    answer(actors, EXACT._replace(asked_pid=4712, pid=4712))

    actor = actors.actor_of(PATH, [Process(4712), Process(4711)])

    assert actor is not None
    assert (actor["pid"], actor["confidence"], actor["match"]) == (4711, "pid_only", "none")


def test_each_process_is_asked_about_once_and_all_in_one_message(actors: Actors, router: Router) -> None:
    for process in (READ, READ, Process(4712), None):
        actors.note(PATH, process, 7)
    actors.note(b"/watched/g", READ, 8)

    actors.ask()
    actors.ask()

    (payload,) = router.asked
    asked = [question[:2] for question in decode_questions(payload)]
    assert asked == [(PATH, 4711), (PATH, 4712), (PATH, 0), (b"/watched/g", 4711)]


def test_a_question_goes_back_as_far_as_the_pid_was_surely_the_same_process_s(actors: Actors, router: Router) -> None:
    now_ns = time.time_ns()
    for process in (None, READ, Process(4711)):
        actors.forget(PATH)
        actors.note(PATH, process, now_ns)
    actors.ask()

    nobody, read, gone = [question.since_ns for question in decode_questions(router.asked[0])]

    assert nobody == now_ns
    assert read == started_ns(READ.start_ticks, actors._boot_ns)
    assert now_ns - 100 * 10**9 < gone <= now_ns


def test_questions_wait_for_a_router(actors: Actors, router: Router) -> None:
    router.is_there = False
    actors.note(PATH, READ, 7)
    actors.ask()
    router.is_there = True

    actors.ask()

    assert len(router.asked) == 1


def test_the_next_change_has_questions_and_answers_of_its_own(actors: Actors, router: Router) -> None:
    actors.note(PATH, Process(4711), 7)
    answer(actors, EXACT)
    actors.forget(PATH)
    actors.note(PATH, Process(4711), 8)
    actors.ask()

    actor = actors.actor_of(PATH, [Process(4711)])

    assert actor is not None
    assert actor["match"] == "none"
    assert [question.pid for question in decode_questions(router.asked[-1])] == [4711, 4711]


@pytest.mark.parametrize("other", [READ._replace(start_ticks=501), READ._replace(executable=b"/usr/bin/vi")])
def test_another_process_or_program_of_the_same_pid_has_a_question_and_an_answer_of_its_own(
    actors: Actors, router: Router, other: Process
) -> None:
    actors.note(PATH, READ, 7)
    answer(actors, EXACT)
    actors.note(PATH, other, 8)
    actors.ask()

    questions = decode_questions(router.asked[0])

    assert matches(actors, other) == ("none", os.fsdecode(other.executable or b""))
    assert matches(actors, READ) == ("exact", "/usr/bin/cp")
    assert [(question.pid, question.since_ns) for question in questions][1:] == [(4711, 8)]


def test_an_answer_about_another_start_of_the_pid_is_none(actors: Actors) -> None:
    actors.note(PATH, READ, 7)
    answer(actors, EXACT._replace(start_ticks=499, executable="/usr/bin/old"))

    assert matches(actors, READ) == ("none", "/usr/bin/cp")


def test_an_answer_to_a_question_that_was_forgotten_says_nothing_about_the_next_one(actors: Actors) -> None:
    actors.note(PATH, None, 7)
    late = numbered(actors, EXACT._replace(asked_pid=0))
    actors.forget(PATH)
    actors.note(PATH, None, 8)
    actors.take([encode_answers([late])])

    actor = actors.actor_of(PATH)

    assert actor is None


def test_whom_the_kernel_did_not_name_is_asked_for_anew_when_time_has_passed(
    actors: Actors, router: Router, clock: Any
) -> None:
    actors.note(PATH, None, 7)
    answer(actors, EXACT._replace(asked_pid=0))
    clock.now += actors_module.ASKED_SECONDS
    actors.note(PATH, None, 8)
    actors.ask()

    actor = actors.actor_of(PATH)

    assert actor is None
    assert [question.since_ns for question in decode_questions(router.asked[0])] == [7, 8]


def test_what_was_answered_of_a_process_that_goes_on_is_kept(actors: Actors, clock: Any) -> None:
    actors.note(PATH, READ, 7)
    answer(actors, EXACT)
    clock.now += actors_module.ASKED_SECONDS
    actors.note(PATH, READ, 8)

    assert matches(actors, READ) == ("exact", "/usr/bin/cp")


def test_an_old_answer_is_not_taken(actors: Actors, clock: Any) -> None:
    actors.note(PATH, None, 7)
    answer(actors, EXACT._replace(asked_pid=0))
    clock.now += actors_module.KEPT_SECONDS + 1

    actor = actors.actor_of(PATH)

    assert actor is None


def test_what_waits_when_something_is_recorded_has_an_answer_of_its_own(actors: Actors, router: Router) -> None:
    actors.note(PATH, None, 7)
    answer(actors, EXACT._replace(asked_pid=0))
    actors.note(PATH, None, 8)
    actors.renew(PATH)
    actors.ask()

    actor = actors.actor_of(PATH)

    assert actor is None
    assert [question.since_ns for question in decode_questions(router.asked[0])] == [7, 8]


def test_few_of_those_who_touch_a_path_are_remembered(actors: Actors) -> None:
    for pid in range(1, 1000):
        actors.note(PATH, Process(pid), 7)

    asked = actors._asked.get(PATH) or []

    assert [each.who[0] for each in asked] == [996, 997, 998, 999]


def test_an_answer_that_comes_too_late_is_dropped(actors: Actors) -> None:
    answer(actors, EXACT)

    actor = actors.actor_of(PATH, [Process(4711)])

    assert actor is not None
    assert actor["match"] == "none"


def test_without_kernel_events_nobody_is_asked(make_actors: Callable[..., Actors], router: Router) -> None:
    actors = make_actors(has_audit=False)
    actors.note(PATH, READ, 0)
    actors.ask()

    actor = actors.actor_of(PATH, [READ])

    assert router.asked == []
    assert actor is not None
    assert "match" not in actor


def test_switched_off_there_is_nothing(make_actors: Callable[..., Actors], router: Router) -> None:
    actors = make_actors("off")
    actors.note(PATH, READ, 0)
    actors.ask()

    assert actors.see(os.getpid(), None) is None
    assert actors.actor_of(PATH, [READ]) is None
    assert router.asked == []


def test_a_process_that_runs_is_seen(actors: Actors) -> None:
    fd = os.pidfd_open(os.getpid())
    try:
        seen = actors.see(os.getpid(), fd)
    finally:
        os.close(fd)

    assert seen is not None
    assert seen.is_certain


@pytest.mark.parametrize("payload", [b"", b"[", b"[1]", b'[{"path":1}]', b'[{"pid":1}]', b'[{"path":"/x","odd":1}]'])
def test_answers_that_are_damaged_harm_nobody(actors: Actors, payload: bytes) -> None:
    actors.note(PATH, READ, 0)

    actors.take([payload, encode_answers([numbered(actors, EXACT)])])

    actor = actors.actor_of(PATH, [READ])
    assert actor is not None
    assert actor["match"] == "exact"


def test_all_is_bounded(make_actors: Callable[..., Actors], router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors_module, "MOST_PATHS", 2)
    actors = make_actors()
    monkeypatch.setattr(actors_module, "MOST_QUESTIONS", 3)
    for number in range(5):
        actors.note(b"/watched/%d" % number, READ, 0)
    actors.ask()

    assert len(actors._asked) == 2
    assert len(decode_questions(router.asked[0])) == 3
