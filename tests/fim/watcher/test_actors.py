"""Who is told to have made a change, by what the router answers: whoever made this one, or nobody."""

import os
from typing import Any

import pytest

from auditline.workers.common.actor_messages import Answer, Question, decode_questions, encode_answers, file_key
from auditline.workers.common.process_info import Process
from auditline.workers.common.settings import Settings
from auditline.workers.fim.actors import Actors


class Router:
    """Answers each question at once: the first one with pid 1, and so on."""

    def __init__(self) -> None:
        self.actors = Actors(Settings(), self.send)
        self.questions: list[Question] = []
        self.is_answering = True

    def send(self, payload: bytes) -> bool:
        for question in decode_questions(payload):
            self.questions.append(question)
            if self.is_answering:
                pid, number = len(self.questions), question.number
                told = Answer(question.path, question.pid, "exact", pid, "host-1", number=number)
                self.actors.take([encode_answers([told])])
        return True

    @property
    def asked(self) -> list[str]:
        """The last parts of the paths that were asked about."""
        return [os.path.basename(os.fsdecode(question.path)) for question in self.questions]


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def running(start, watched, router):
    (watched / "d").mkdir()
    (watched / "f").write_text("f")
    running = start(debounce_seconds=0.2, max_delay_seconds=1)
    running.watch.actors = router.actors
    return running


def actors(running) -> list[tuple[str, Any]]:
    """Return for each change the path's last part and the pid of whom is told."""
    return [
        (os.path.basename(os.fsdecode(change.path)), None if change.actor is None else change.actor["pid"])
        for change in running.changes
    ]


def test_who_made_a_change_is_told(running, watched):
    (watched / "f").write_text("another")
    running.settle()

    assert actors(running) == [("f", 1)]


@pytest.mark.parametrize("name", ["new", "new/in"])
def test_of_what_was_made_it_is_asked_by_its_inode_as_well(running, watched, router, name):
    (watched / "new").mkdir()
    (watched / "new" / "in").write_text("text")
    running.settle()

    status = (watched / name).stat()
    asked = {question.file for question in router.questions if question.path == os.fsencode(watched / name)}
    assert file_key(status.st_dev, status.st_ino) in asked


def test_who_wrote_the_same_is_not_told_to_have_made_a_later_change(running, watched, router):
    (watched / "f").open("r+").close()
    running.settle()
    router.is_answering = False

    (watched / "f").write_text("another")
    running.settle()

    assert actors(running) == [("f", None)]
    assert router.asked == ["f", "f"]


def test_who_changed_nothing_of_a_directory_is_not_told_to_have_made_a_later_change(running, watched, router):
    mode = (watched / "d").stat().st_mode
    (watched / "d").chmod(mode)
    running.settle()
    router.is_answering = False

    (watched / "d").chmod(0o700)
    running.settle()

    assert actors(running) == [("d", None)]
    assert router.asked == ["d", "d"]


def test_who_made_something_that_is_gone_again_is_not_told_of_what_is_made_later(running, watched, router):
    (watched / "new").touch()
    (watched / "new").unlink()
    running.settle()
    router.is_answering = False

    (watched / "new").touch()
    running.settle()

    assert actors(running) == [("new", None)]


def test_a_change_that_waits_while_another_is_recorded_has_an_actor_of_its_own(running, watched):
    with running.answers_held():
        (watched / "f").write_text("another")
        running.turn_until(lambda: running.answers)
        (watched / "f").write_text("a third one")
        running.turn_until(lambda: running.in_hand and not running.watch.dirty)
        (watched / "f").write_text("a fourth one")
        running.turn_until(lambda: running.watch.dirty)
    running.settle()

    told = [pid for _, pid in actors(running)]
    assert told[0] == 1
    assert 1 not in told[1:]


def test_of_all_in_a_directory_just_made_it_is_told_who_made_them(running, watched, router):
    (watched / "x" / "y").mkdir(parents=True)
    (watched / "x" / "y" / "f").touch()
    (watched / "x" / "g").touch()
    running.settle()

    assert sorted(router.asked) == ["f", "g", "x", "y"]
    assert sorted(name for name, pid in actors(running) if pid) == ["f", "g", "x", "y"]
    assert min(question.since_ns for question in router.questions) > 0
    assert {change.action for change in running.changes} == {"created"}
    assert {change.detected_by for change in running.changes} == {"event"}


def test_of_what_a_directory_brings_along_nobody_is_told_but_who_is_answered(running, watched, router):
    router.is_answering = False
    (watched / "x").mkdir()
    (watched / "x" / "f").touch()
    running.watch.dirty.add(b"x", is_new=True, process=Process(7))
    running.settle()

    assert sorted(actors(running)) == [("f", None), ("x", 7)]


def test_who_removed_a_directory_has_probably_removed_what_was_in_it(start, watched, router):
    (watched / "d").mkdir()
    (watched / "d" / "f").touch()
    running = start()
    running.watch.actors = router.actors
    (watched / "d").rename(watched.parent / "away")
    running.watch.dirty.add(b"d", process=Process(7, start_ticks=5, executable=b"/usr/bin/mv", is_certain=True))
    running.settle()

    told = {os.path.basename(change.path): (change.actor or {}).get("confidence") for change in running.changes}
    assert told == {b"d": "exact", b"f": "probable"}
