"""Names from the name service, over a real helper process: one that answers, one that hangs, one that is dead."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from auditline.workers.router.name_service import ANSWER_SECONDS, PAUSE_SECONDS, NameServiceClient, _answer

WaitUntil = Callable[..., None]


HELPER = """
import sys
from auditline.workers.common.counters import CounterPage
from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import Settings
from auditline.workers.router.name_service import run

life = Life("names", CounterPage.unshared([]), ready_fd=1)
life.take_signals()
run(life, Settings(), int(sys.argv[1]))
"""


class Helper:
    """A helper's process, and the socket between the router and it, both ends of which stay open here."""

    def __init__(self) -> None:
        self.router_end, self.helper_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.client = NameServiceClient(os.dup(self.router_end.fileno()))
        self.start()

    def start(self) -> None:
        descriptor = self.helper_end.fileno()
        command = [sys.executable, "-c", HELPER, str(descriptor)]
        self.process = subprocess.Popen(command, pass_fds=[descriptor], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.read(1) == b"r"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        self.send(signal.SIGCONT)
        self.send(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        self.client._channel.close()
        self.router_end.close()
        self.helper_end.close()


@pytest.fixture
def helper() -> Iterator[Helper]:
    helper = Helper()
    yield helper
    helper.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the client's clock."""
    moved = [0.0]

    def move(seconds: float) -> None:
        moved[0] += seconds

    real = time.monotonic
    monkeypatch.setattr("auditline.workers.router.name_service.time.monotonic", lambda: real() + moved[0])
    return move


def test_a_helper_knows_what_the_host_knows(helper: Helper):
    first = pwd.getpwall()[0]

    assert helper.client.ask("uid", str(first.pw_uid)) == first.pw_name
    assert helper.client.ask("gid", "0") == "root"


@pytest.mark.parametrize("number", ["4000000000", "99999999999999999999", "-7", "x", "", "²", "9" * 400])
def test_what_nobody_knows_has_no_name_and_the_helper_lives(helper: Helper, number: str):
    assert helper.client.ask("uid", number) is None
    assert helper.client.ask("uid", "0") == "root"


def test_a_helper_that_hangs_costs_one_second_once(helper: Helper, later: Callable[[float], None]):
    helper.send(signal.SIGSTOP)

    start = time.monotonic()
    answers = [helper.client.ask("uid", str(number)) for number in range(50)]
    spent = time.monotonic() - start

    assert answers == [None] * 50
    assert ANSWER_SECONDS <= spent < ANSWER_SECONDS * 5
    helper.send(signal.SIGCONT)
    assert helper.client.ask("uid", "0") is None
    later(PAUSE_SECONDS)
    assert helper.client.ask("uid", "0") == "root"


def test_answers_to_questions_of_a_router_before_are_not_taken_for_ours(helper: Helper):
    helper.router_end.send(b"1.1 uid 1")
    helper.router_end.send(b"1.2 gid 0")

    assert helper.client.ask("uid", "0") == "root"


def test_a_helper_that_is_dead_costs_a_second_and_its_successor_answers(helper: Helper, later: Callable[[float], None]):
    helper.end(signal.SIGKILL)

    without = helper.client.ask("uid", "0")
    helper.start()
    later(PAUSE_SECONDS)

    assert without is None
    assert helper.client.ask("gid", "0") == "root"


def test_a_socket_that_is_closed_costs_nothing(helper: Helper):
    helper.end(signal.SIGKILL)
    helper.helper_end.close()

    start = time.monotonic()
    answer = helper.client.ask("uid", "0")

    assert answer is None
    assert time.monotonic() - start < ANSWER_SECONDS / 2


def test_a_full_socket_does_not_block_the_router(helper: Helper):
    helper.send(signal.SIGSTOP)
    with suppress(BlockingIOError):
        while True:
            helper.router_end.send(b"0.0 uid 0" + b" " * 400, socket.MSG_DONTWAIT)

    start = time.monotonic()
    answer = helper.client.ask("uid", "0")

    assert answer is None
    assert time.monotonic() - start < ANSWER_SECONDS / 2


def test_a_helper_ends_on_sigterm(helper: Helper):
    assert helper.end(signal.SIGTERM) == 0


def test_a_helper_ends_when_nobody_is_left_to_ask(helper: Helper):
    helper.helper_end.close()
    helper.client._channel.close()
    helper.router_end.close()

    assert helper.process.wait(10) == 0
    assert helper.process.stdout is not None
    helper.process.stdout.close()


@pytest.mark.parametrize(
    "question", [b"", b" ", b"a", b"a b", b"a b c", b"a uid", b"\xff\xfe", b"a uid 1 2 3", b"a gid \xff"]
)
def test_a_question_that_makes_no_sense_has_an_answer_without_a_name(question: bytes):
    assert _answer(question).endswith((b" ", b"daemon", b"root"))


def test_a_warning_is_told_once_for_many_ids(helper: Helper, caplog: pytest.LogCaptureFixture):
    helper.send(signal.SIGSTOP)

    for number in range(20):
        helper.client.ask("uid", str(number))

    assert len(caplog.records) == 1
