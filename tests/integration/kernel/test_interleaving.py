"""The records of events that two CPUs make at once come mixed: each event has its own all the same."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from auditline.workers.audit.netlink import open_data_socket
from auditline.workers.audit.recvmmsg import make_receiver
from auditline.workers.control.compile import compile_rule
from auditline.workers.control.kernel import claim_pid, release_pid
from auditline.workers.control.language import parse_rules
from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.grouping import Grouper

if TYPE_CHECKING:
    from auditline.workers.router.event import Event

pytestmark = pytest.mark.kernel

RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open"
OPENER = Path(__file__).parents[1] / "load" / "opener.py"
NAMES = 3000


@pytest.fixture
def receiver(kernel_audit):
    """What reads the kernel's records, which come to this process."""
    kernel_socket = open_data_socket(multicast=False).socket
    claim_pid(kernel_socket)
    (rule,) = parse_rules(RULE, "test").rules
    kernel_audit.add_rule(compile_rule(rule))
    kernel_audit.set_status(enabled=1)
    receiver = make_receiver(kernel_socket.fileno(), lambda _name, _amount: None)
    yield receiver
    receiver.close()
    release_pid()
    kernel_socket.close()


@pytest.fixture
def closed(tmp_path):
    """A folder that nobody else may enter."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


def open_names(folder, tag):
    return subprocess.Popen([sys.executable, "-S", str(OPENER), str(folder), tag, "1000000", str(NAMES)])


def read_all(receiver, wait_until, wanted):
    """Return the types and texts of all records until each of the *wanted* texts has come."""
    kinds: list[int] = []
    texts: list[str] = []
    seen: set[str] = set()

    def has_all():
        for received in iter(receiver.receive, None):
            payload = received.payload.decode()
            kinds.extend(memoryview(received.types).cast("H"))
            texts.extend(payload.split("\0"))
            seen.update(text for text in wanted if text in payload)
        return seen == wanted

    wait_until(has_all, 30)
    return kinds, texts


def count_interleaved(kinds, texts):
    """Return how many records stand behind one of another event that has not ended: the fewer, the busier the host."""
    headers = [text.partition("): ")[0] for text in texts]
    return sum(
        before != after and kind != types.EOE for (before, after), kind in zip(pairwise(headers), kinds, strict=False)
    )


def test_events_of_two_loaded_processes_are_complete_though_their_records_are_mixed(receiver, closed, wait_until):
    events: list[Event] = []
    grouper = Grouper(events.append, lambda *_: None)

    with open_names(closed, "one"), open_names(closed, "two"):
        kinds, texts = read_all(receiver, wait_until, {f"{closed}/{tag}-{NAMES - 1}" for tag in ("one", "two")})
    grouper.feed(kinds, texts, 1)
    grouper.idle(1)

    facts = [gather_facts(event) for event in events if types.SYSCALL in event.types]
    names = {path["name"] for each in facts for path in each.paths}
    assert count_interleaved(kinds, texts) > 0
    assert {f"{closed}/{tag}-{number}" for tag in ("one", "two") for number in range(NAMES - 1)} <= names
    assert [each.reasons for each in facts[:-2] if each.reasons] == []
