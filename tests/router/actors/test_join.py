"""Events of rules that are for the join alone: looked at, counted, and not written."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from auditline.workers.common.actor_messages import Question, decode_answers, encode_questions
from auditline.workers.common.batch import Batch, BatchKind
from auditline.workers.common.bus import Hello
from auditline.workers.router.actors import Actors
from auditline.workers.router.audit_stream import AuditStream
from auditline.workers.router.event import Event
from auditline.workers.router.names import NoNames
from auditline.workers.router.process_table import ProcessTable
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.stream import Lines

Make = Callable[..., Event]
HOST = "0123456789abcdef"


class Router:
    """One stream of the kernel's records, its lines, and who answers."""

    def __init__(self, proc: Path) -> None:
        self.lines = Lines()
        self.actors = Actors(ProcessTable("boot", proc))
        hello = Hello(b"", 1, "audit", "0" * 16, 0, 0, b"")
        renderers = [FragmentRenderer(NoNames())]
        self.stream = AuditStream(hello, self.lines, renderers, (HOST, "web1"), set(), None, self.actors)
        self._batches = 0

    def take(self, event: Event) -> None:
        """Hand over the records of an event, with its end."""
        self._batches += 1
        kinds = [*event.types, 1320]
        bodies = [f"{event.header}): {body}" for body in [*event.bodies, ""]]
        payload = "\0".join(bodies).encode("utf-8", "surrogateescape")
        batch = Batch(self._batches, BatchKind.RECORDS, struct.pack(f"={len(kinds)}H", *kinds), payload)
        self.stream.take(batch)

    @property
    def written(self) -> int:
        return len(self.lines.take()["audit"])

    @property
    def filtered(self) -> int:
        return sum(state.tally.filtered for state in self.stream.inflow.advance(self.lines.sequence))

    def answers(self) -> list[str | None]:
        self.actors.ask(b"peer", encode_questions([Question(b"/watched/f", 4711, 0)]))
        return [answer.event_id for _, payload in self.actors.take_answers() for answer in decode_answers(payload)]


@pytest.fixture
def router(proc: Path) -> Router:
    return Router(proc)


def test_an_event_for_the_join_alone_is_known_and_not_written(router: Router, make_write: Make) -> None:
    event = make_write(key='"auditline-fim"', serial=7)
    router.take(event)

    assert router.written == 0
    assert router.filtered == len(event.types) + 1
    assert router.answers() == [f"{HOST}-{event.seconds}.{event.milliseconds}-7"]


def test_an_event_that_somebody_wants_is_known_and_written(router: Router, make_write: Make) -> None:
    event = make_write(key='"mine"', serial=7)
    router.take(event)

    assert router.written == 1
    assert router.filtered == 0
    assert router.answers() == [f"{HOST}-{event.seconds}.{event.milliseconds}-7"]


@pytest.mark.parametrize("key", ["617564697469", "(null)", '"auditline-fim-2"'])
def test_other_keys_are_other_rules(router: Router, make_write: Make, key: str) -> None:
    router.take(make_write(key=key))

    assert router.written == 1


def test_several_keys_are_of_several_rules(router: Router, make_write: Make) -> None:
    router.take(make_write(key=b"mine\1auditline-fim".hex().upper()))

    assert router.written == 1


def test_what_the_kernel_reports_by_itself_is_written(router: Router, make_call: Make) -> None:
    router.take(make_call("openat", "AVC avc:  denied  { open }", key='"auditline-fim"'))

    assert router.written == 1


def test_events_of_other_hosts_say_nothing_of_this_one(router: Router, make_write: Make) -> None:
    event = make_write(serial=7)
    event.header = f"node=elsewhere {event.header}"
    router.take(event)

    assert router.written == 1
    assert router.answers() == []


def test_nothing_is_kept_while_nobody_is_there_to_ask(router: Router, make_write: Make) -> None:
    router.actors.is_asked = False
    router.take(make_write())
    router.actors.is_asked = True

    assert router.answers() == []
