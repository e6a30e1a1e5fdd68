"""Which names the router's renderers use."""

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.file_state import state_of
from auditline.workers.common.settings import AuditSettings, Settings
from auditline.workers.router.decode.calls import calls_of
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.renderers import NAMES_SECONDS, Renderers


@pytest.fixture
def names_socket() -> Iterator[socket.socket]:
    """The router's end, with nobody at the other one."""
    router, helper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with router, helper:
        yield router


def owner_of(renderers: Renderers, uid: int) -> str:
    state = state_of(os.stat("/"), checked_ns=0)._replace(uid=uid)
    change = FileChange(action="created", path=b"/", before=None, after=state, detected_by="event", time_ns=0)
    owner: str = json.loads(renderers.files.render(change, "0" * 16, "web1", "e:1")[1])["audit"]["file"]["owner"]
    return owner


NUMBERS_IN_EVENTS = replace(Settings(), audit=AuditSettings(resolve_ids=False))


def test_owners_of_files_have_names_also_where_those_of_events_stay_numbers(names_socket: socket.socket):
    renderers = Renderers.open(NUMBERS_IN_EVENTS, names_socket.fileno(), has_watches=False)

    assert owner_of(renderers, 0) == "root"
    assert renderers.names.name("uid", "0") == "0"


def answer_once(helper: socket.socket, name: str) -> str:
    """Answer one question with *name*, and return what was asked."""
    number, _, question = helper.recv(512).decode().partition(" ")
    helper.send(f"{number} {name}".encode())
    return question


def test_the_name_service_is_asked_for_owners_where_files_are_watched():
    router, helper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The renderers take the router's end over.
    renderers = Renderers.open(NUMBERS_IN_EVENTS, os.dup(router.fileno()), has_watches=True)

    with router, helper, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(answer_once, helper, "alice")
        owner = owner_of(renderers, 3_999_999_999)

    assert (owner, asked.result(5)) == ("alice", "uid 3999999999")
    renderers._owners._ask.__self__._channel.close()  # type: ignore[union-attr]


def test_nobody_is_asked_for_names_where_there_is_nobody_to_ask(names_socket: socket.socket):
    renderers = Renderers.open(NUMBERS_IN_EVENTS, names_socket.fileno(), has_watches=False)

    start = time.monotonic()
    owner = owner_of(renderers, 3_999_999_999)

    assert owner == "3999999999"
    assert time.monotonic() - start < 0.5


def test_a_name_that_changes_is_seen_in_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text("alice:x:700:700::/:/bin/sh\n")
    group.write_text("")
    now = [100.0]
    monkeypatch.setattr("auditline.workers.router.renderers.time.monotonic", lambda: now[0])
    renderers = Renderers(NoNames(), IdNames(passwd, group))
    renderers.refresh_names()
    passwd.write_text("robert:x:700:700::/:/bin/sh\n")

    renderers.refresh_names()
    early = owner_of(renderers, 700)
    now[0] += NAMES_SECONDS
    renderers.refresh_names()

    assert (early, owner_of(renderers, 700)) == ("alice", "robert")


def test_what_the_first_event_needs_is_read_before_it_comes(names_socket: socket.socket):
    calls_of.cache_clear()

    Renderers.open(NUMBERS_IN_EVENTS, names_socket.fileno(), has_watches=False)

    assert calls_of.cache_info().currsize == 1
