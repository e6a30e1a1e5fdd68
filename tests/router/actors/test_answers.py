"""Whose process changed a file: the right one, or nobody."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.actor_messages import Answer, Question, decode_answers, encode_questions, file_key
from auditline.workers.router import actors as actors_module
from auditline.workers.router.actors import Actors, is_for_actors_only
from auditline.workers.router.event import Event
from auditline.workers.router.process_table import ProcessTable

Make = Callable[..., Event]
PEER = b"peer"
PATH = b"/watched/f"


@pytest.fixture
def actors(proc: Path, clock: Any) -> Actors:
    return Actors(ProcessTable("boot", proc), clock)


def ask(actors: Actors, pid: int = 0, path: bytes = PATH, since_ns: int = 0, peer: bytes = PEER) -> None:
    actors.ask(peer, encode_questions([Question(path, pid, since_ns)]))


def told(actors: Actors) -> list[Answer]:
    return [answer for _, payload in actors.take_answers() for answer in decode_answers(payload)]


def shown(answers: list[Answer]) -> list[tuple[str, int, str | None]]:
    return [(answer.match, answer.pid, answer.executable) for answer in answers]


def test_a_write_of_the_process_that_the_kernel_named_is_exact(actors: Actors, make_write: Make) -> None:
    actors.note(make_write(pid=4711, exe="/usr/bin/touch", auid=1000, uid=65534), "host-1")
    ask(actors, pid=4711)

    (answer,) = told(actors)

    assert (answer.path, answer.asked_pid, answer.match, answer.event_id) == (PATH, 4711, "exact", "host-1")
    assert (answer.pid, answer.executable, answer.name) == (4711, "/usr/bin/touch", "touch")
    assert (answer.uid, answer.login_uid, answer.session, answer.parent_pid) == (65534, 1000, 3, 4000)


MADE = Question(PATH, 0, 0, file=file_key(os.makedev(0xFE, 0), 786_440))
BY_DESCRIPTOR = ("5", "7ffe", "241", "1b6")


def test_what_was_made_by_a_name_relative_to_a_descriptor_is_known_by_its_inode(
    actors: Actors, make_write: Make
) -> None:
    actors.note(make_write('"f"', pid=4711, given=BY_DESCRIPTOR), "host-1")

    actors.ask(PEER, encode_questions([MADE]))

    assert shown(told(actors)) == [("exact", 4711, "/usr/bin/touch")]


def test_a_question_about_an_inode_waits_for_its_event(actors: Actors, make_write: Make) -> None:
    actors.ask(PEER, encode_questions([MADE]))

    actors.note(make_write('"f"', pid=4711, given=BY_DESCRIPTOR), "host-1")

    assert shown(told(actors)) == [("exact", 4711, "/usr/bin/touch")]


@pytest.mark.parametrize(("path", "inode"), [(b"/watched/g", 786_440), (PATH, 786_441)])
def test_another_name_or_another_inode_is_another_file(
    actors: Actors, make_write: Make, path: bytes, inode: int
) -> None:
    actors.note(make_write('"f"', pid=4711, given=BY_DESCRIPTOR), "host-1")

    actors.ask(PEER, encode_questions([Question(path, 0, 0, file=file_key(os.makedev(0xFE, 0), inode))]))

    assert told(actors) == []


def test_a_question_waits_for_its_event(actors: Actors, make_write: Make) -> None:
    ask(actors, pid=4711)
    before = told(actors)
    actors.note(make_write(pid=4711), "host-1")

    assert before == []
    assert shown(told(actors)) == [("exact", 4711, "/usr/bin/touch")]


def test_where_nobody_was_named_the_only_one_is_exact(actors: Actors, make_write: Make) -> None:
    actors.note(make_write(pid=4711), "host-1")
    ask(actors)

    assert shown(told(actors)) == [("exact", 4711, "/usr/bin/touch")]


def test_of_several_the_last_one_is_probable(actors: Actors, make_write: Make) -> None:
    actors.note(make_write(pid=4711), "host-1")
    actors.note(make_write(pid=4712, exe="/usr/bin/cp"), "host-2")
    ask(actors)

    *_, answer = told(actors)

    assert (answer.match, answer.pid, answer.executable, answer.others) == ("probable", 4712, "/usr/bin/cp", 1)


def test_a_later_one_makes_a_better_answer(actors: Actors, make_write: Make) -> None:
    ask(actors)
    actors.note(make_write(pid=4711), "host-1")
    first = told(actors)
    actors.note(make_write(pid=4712), "host-2")

    assert shown(first) == [("exact", 4711, "/usr/bin/touch")]
    assert shown(told(actors)) == [("probable", 4712, "/usr/bin/touch")]


def test_more_events_of_the_same_process_say_nothing_new(actors: Actors, make_write: Make) -> None:
    ask(actors, pid=4711)
    actors.note(make_write(pid=4711), "host-1")
    told(actors)
    actors.note(make_write(pid=4711), "host-2")

    assert told(actors) == []


def test_another_process_is_never_told_for_the_one_that_was_named(actors: Actors, make_write: Make) -> None:
    actors.note(make_write(pid=4711), "host-1")
    ask(actors, pid=4712)

    assert told(actors) == []


def test_what_was_before_the_hint_is_about_another_change(actors: Actors, make_write: Make) -> None:
    actors.note(make_write(pid=4711, time_ns=time.time_ns() - 1_000_000_000), "host-1")
    ask(actors, since_ns=time.time_ns() - 500_000_000)

    assert told(actors) == []


def test_a_path_by_another_way_is_found_by_pid_and_name(actors: Actors, make_write: Make) -> None:
    actors.note(make_write(pid=4711, cwd="/in/the/container"), "host-1")
    ask(actors, pid=4711)

    assert shown(told(actors)) == [("exact", 4711, "/usr/bin/touch")]


def test_without_a_pid_a_path_by_another_way_is_not_taken_for_this_one(actors: Actors, make_write: Make) -> None:
    actors.note(make_write(pid=4711, cwd="/in/the/container"), "host-1")
    ask(actors)

    assert told(actors) == []


def test_a_process_that_only_executed_something_is_probable(actors: Actors, make_call: Make) -> None:
    actors.note(make_call("execve", 'EXECVE argc=1 a0="cp"', pid=4711, exe="/usr/bin/cp", returned=0), "host-1")
    ask(actors, pid=4711)

    (answer,) = told(actors)

    assert (answer.match, answer.executable, answer.arguments) == ("probable", "/usr/bin/cp", ("cp",))
    assert answer.event_id is None


def test_a_question_waits_for_an_execution_that_was_before_it(actors: Actors, make_call: Make) -> None:
    execution = make_call("execve", 'EXECVE argc=1 a0="rm"', pid=4711, exe="/usr/bin/rm", returned=0)
    ask(actors, pid=4711)
    before = told(actors)
    actors.note(execution, "host-1")

    assert before == []
    assert shown(told(actors)) == [("probable", 4711, "/usr/bin/rm")]


@pytest.mark.parametrize(("pid", "later_seconds"), [(4712, 0), (4711, 1)])
def test_an_execution_by_another_or_after_the_question_is_no_answer(
    actors: Actors, make_call: Make, pid: int, later_seconds: int
) -> None:
    time_ns = time.time_ns() + later_seconds * 10**9
    ask(actors, pid=4711)
    actors.note(make_call("execve", 'EXECVE argc=1 a0="rm"', pid=pid, returned=0, time_ns=time_ns), "host-1")

    assert told(actors) == []


def test_after_a_deed_an_execution_says_nothing_new(actors: Actors, make_call: Make, make_write: Make) -> None:
    execution = make_call("execve", 'EXECVE argc=1 a0="rm"', pid=4711, exe="/usr/bin/rm", returned=0)
    ask(actors, pid=4711)
    actors.note(make_write(pid=4711), "host-1")
    actors.note(execution, "host-2")

    assert shown(told(actors)) == [("exact", 4711, "/usr/bin/touch")]


def test_arguments_are_those_of_the_execution(actors: Actors, make_call: Make, make_write: Make) -> None:
    record = 'EXECVE argc=2 a0="touch" a1="f"'
    actors.note(make_call("execve", record, pid=4711, returned=0), "host-1")
    actors.note(make_write(pid=4711), "host-2")
    ask(actors, pid=4711)

    (answer,) = told(actors)

    assert (answer.match, answer.arguments) == ("exact", ("touch", "f"))


def test_arguments_of_another_program_are_not_told(actors: Actors, make_call: Make, make_write: Make) -> None:
    actors.note(make_write(pid=4711, exe="/usr/bin/sh"), "host-1")
    actors.note(make_call("execve", 'EXECVE argc=1 a0="cp"', pid=4711, exe="/usr/bin/cp", returned=0), "host-2")
    ask(actors, pid=4711)

    (answer,) = told(actors)

    assert (answer.executable, answer.arguments) == ("/usr/bin/sh", ())


def test_the_parent_is_told_by_what_it_executed(actors: Actors, make_call: Make, make_write: Make) -> None:
    actors.note(make_call("execve", pid=4000, exe="/usr/bin/bash", returned=0), "host-1")
    actors.note(make_write(pid=4711, ppid=4000), "host-2")
    ask(actors, pid=4711)

    (answer,) = told(actors)

    assert (answer.parent_pid, answer.parent_executable) == (4000, "/usr/bin/bash")


def test_each_watcher_gets_its_own_answers(actors: Actors, make_write: Make) -> None:
    ask(actors, peer=b"one")
    ask(actors, peer=b"two", path=b"/other")
    actors.note(make_write('"f"'), "host-1")
    actors.note(make_write('"/other"'), "host-2")

    answered = {peer: [answer.path for answer in decode_answers(payload)] for peer, payload in actors.take_answers()}

    assert answered == {b"one": [PATH], b"two": [b"/other"]}


def test_a_question_is_forgotten_after_two_seconds(actors: Actors, make_write: Make, clock: Any) -> None:
    ask(actors)
    clock.now += 2.1
    told(actors)
    actors.note(make_write(), "host-1")

    assert told(actors) == []


def test_what_nobody_asks_about_is_not_looked_at(actors: Actors, make_write: Make) -> None:
    event = make_write()
    event.bodies.clear()
    actors.note(event, "host-1")

    assert told(actors) == []


def test_where_nobody_may_ask_nothing_is_kept_until_somebody_does(proc: Path, make_write: Make) -> None:
    actors = Actors(ProcessTable("boot", proc))
    actors.is_asked = False
    actors.note(make_write(pid=4711), "host-1")
    ask(actors, pid=4711)
    before = told(actors)
    actors.note(make_write(pid=4711), "host-2")

    assert before == []
    assert [answer.event_id for answer in told(actors)] == ["host-2"]


def test_names_that_are_no_text_are_found(actors: Actors, make_write: Make) -> None:
    actors.note(make_write("61FF62"), "host-1")
    ask(actors, path=b"/watched/a\xffb")

    (answer,) = told(actors)

    assert answer.path == b"/watched/a\xffb"


def test_all_is_bounded(actors: Actors, make_write: Make, monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
    monkeypatch.setattr(actors_module, "MOST_DEEDS", 2)
    monkeypatch.setattr(actors_module, "MOST_QUESTIONS", 2)
    for name in ("a", "b", "c"):
        ask(actors, path=f"/watched/{name}".encode())
    for name in ("a", "b", "c"):
        actors.note(make_write(f'"{name}"'), name)
    first = told(actors)
    for name in ("a", "b", "c"):
        ask(actors, path=f"/watched/{name}".encode())

    assert [answer.event_id for answer in first] == ["b", "c"]
    assert [answer.event_id for answer in told(actors)] == ["b", "c"]


def test_nothing_is_left_of_what_has_gone_by(actors: Actors, make_write: Make, clock: Any) -> None:
    ask(actors, pid=4711)
    actors.note(make_write(pid=4711), "host-1")
    clock.now += 11
    told(actors)

    assert not any((actors._by_place, actors._waiting, actors._deeds, actors._queue))


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b"[[1,2]]", b'[["/x",null,0]]', b"\xff"])
def test_questions_that_are_damaged_harm_nobody(actors: Actors, payload: bytes) -> None:
    actors.ask(PEER, payload)

    assert told(actors) == []


def test_an_event_of_our_rules_is_for_this_only(make_write: Make) -> None:
    assert is_for_actors_only(make_write(key='"auditline-fim"'))


def test_an_event_that_another_record_has_made_is_for_all(make_call: Make) -> None:
    event = make_call("openat", "AVC avc:  denied  { open }", key='"auditline-fim"')

    assert not is_for_actors_only(event)
