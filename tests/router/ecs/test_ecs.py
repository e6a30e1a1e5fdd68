"""The form of a document of schema `ecs`: its beginning, what is kept, names, and whatever records there may be."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.ecs import EcsRenderer
from auditline.workers.router.render.lines import Keep

DATA = Path(__file__).parents[2] / "data" / "auditbeat"
Document = dict[str, Any]
RenderOne = Callable[..., Document]
SystemCall = Callable[..., str]

LOGIN = (
    "type=USER_LOGIN msg=audit(1700000000.100:7): pid=9 uid=0 auid=1000 ses=3"
    ' msg=\'op=login acct="alice" exe="/usr/sbin/sshd" hostname=? addr=1.2.3.4 terminal=ssh res=success\'\n'
)

KINDS = [*sorted(types.OF_SYSTEM_CALLS - {types.EOE}), types.LOGIN, types.AVC, 1100, 1112, 1305, 2999]
KEYS = ["pid", "uid", "auid", "ses", "acct", "addr", "id", "saddr", "name", "mode", "nametype", "argc", "a0", "syscall"]
VALUES = ["-1", "0", "02000050", "7" * 40, "unset", '"x"', "C3"]
PAIRS = st.tuples(st.sampled_from(KEYS), st.text(max_size=12) | st.sampled_from(VALUES))
CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")


@pytest.fixture(scope="module")
def names() -> IdNames:
    return IdNames(DATA / "passwd", DATA / "group")


def event_of(*records: tuple[int, str]) -> Event:
    event = Event("audit(1700000000.100:7", None, "1700000000", "100", 7)
    event.types.extend(kind for kind, _ in records)
    event.bodies.extend(body for _, body in records)
    return event


def test_line_begins_with_time_and_id(names: IdNames):
    identity, line, is_complete = EcsRenderer(names).render(event_of((types.USER_FIRST, "pid=1")), "f" * 16, "web1")

    assert identity == "ffffffffffffffff-1700000000.100-7"
    assert line.startswith(f'{{"@timestamp":"2023-11-14T22:13:20.100Z","event":{{"id":"{identity}",')
    assert is_complete


def test_document_says_what_dashboards_ask_for(render_one: RenderOne):
    document = render_one(LOGIN, host_name="web1")

    assert document["host"] == {"name": "web1"}
    assert document["agent"] == {"type": "auditline", "name": "web1"}
    assert document["ecs"]["version"]
    assert (document["event"]["module"], document["service"]["type"]) == ("auditd", "auditd")
    assert document["event"]["dataset"] == "auditd"


def test_host_that_is_not_known_is_not_named(render_one: RenderOne):
    document = render_one(LOGIN)

    assert "host" not in document
    assert document["agent"] == {"type": "auditline"}


def test_raw_records_are_kept_where_asked_for(render_one: RenderOne):
    without = render_one(LOGIN, keep=Keep(warnings=True))
    kept = render_one(LOGIN, keep=Keep(raw=True))

    assert "original" not in without["event"]
    assert kept["event"]["original"] == [LOGIN.rstrip("\n")]


def test_names_have_ids_and_ids_have_names(render_one: RenderOne, names: IdNames):
    document = render_one(LOGIN, names)

    assert document["user"] == {
        "id": "1000",
        "name": "vagrant",
        "audit": {"id": "1000", "name": "vagrant"},
        "effective": {"id": "1001", "name": "alice"},
    }
    assert document["related"] == {"user": ["alice", "vagrant"]}


def test_without_names_there_are_numbers_and_nobody_is_related(render_one: RenderOne):
    document = render_one(LOGIN)

    assert document["user"] == {"id": "1000", "audit": {"id": "1000"}, "effective": {"name": "alice"}}
    assert "related" not in document


def test_nobody_who_has_logged_in_is_no_user(render_one: RenderOne, names: IdNames):
    document = render_one(LOGIN.replace("auid=1000 ses=3", "auid=4294967295 ses=4294967295"), names)

    assert document["user"] == {"effective": {"id": "1001", "name": "alice"}}
    assert document["auditd"]["summary"]["actor"]["primary"] == "unset"
    assert "session" not in document["auditd"]


@pytest.mark.parametrize(
    ("number", "end", "direction"),
    [
        (42, "destination", "egress"),
        (44, "destination", "egress"),
        (43, "source", "ingress"),
        (45, "source", "ingress"),
    ],
)
def test_address_is_at_the_end_that_the_call_speaks_to(
    render_one: RenderOne, system_call: SystemCall, number: int, end: str, direction: str
):
    document = render_one(system_call(number, ("SOCKADDR", "saddr=02000050A9FEA9FE0000000000000000")))

    assert document[end] == {"ip": "169.254.169.254", "port": "80"}
    assert document["network"] == {"direction": direction}


def test_path_of_a_socket_is_an_address(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(42, ("SOCKADDR", "saddr=01002F72756E2F7800")))

    assert document["destination"] == {"path": "/run/x"}


def test_bind_has_no_other_end(render_one: RenderOne, system_call: SystemCall):
    document = render_one(system_call(49, ("SOCKADDR", "saddr=02000050A9FEA9FE0000000000000000")))

    assert document.keys().isdisjoint({"source", "destination", "network"})


@pytest.mark.parametrize("number", ["", "x", "-1", "99999999999", "٣"])
def test_process_number_that_is_none_is_left_out(render_one: RenderOne, system_call: SystemCall, number: str):
    document = render_one(system_call(257, pid=number))

    assert "pid" not in document["process"]


def test_amendment_says_what_it_amends(names: IdNames):
    event = event_of((types.PATH, 'item=0 name="/x" nametype=NORMAL'))
    event.amends = True

    identity, line, _ = EcsRenderer(names).render(event, "0" * 16, None)

    assert identity.startswith("0000000000000000-1700000000.100-7-p")
    assert json.loads(line)["auditline"]["amends"] == "0000000000000000-1700000000.100-7"


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.lists(PAIRS, max_size=6)), min_size=1, max_size=4))
def test_whatever_the_records_say_there_is_one_line(records: list[tuple[int, list[tuple[str, str]]]]):
    event = event_of(*((kind, " ".join(f"{key}={value}" for key, value in pairs)) for kind, pairs in records))

    identity, line, is_complete = EcsRenderer(IdNames(DATA / "passwd", DATA / "group")).render(event, "0" * 16, None)

    document = json.loads(line)
    assert document["event"]["id"] == identity
    assert document["auditline"]["complete"] is is_complete
    assert "undecodable" not in document["auditline"].get("incomplete_reasons", ())
    assert CONTROL.search(line) is None
