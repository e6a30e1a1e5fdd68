"""The pipe to the router: whole JSON lines, the present state for a new router, never a wait."""

import json
import os

import pytest

from auditline.workers.supervisor.processes import WorkerReport, WorkerState
from auditline.workers.supervisor.router_feed import RouterFeed

AUDIT = WorkerReport("audit", 12, WorkerState.STARTED, 0)
ROUTER = WorkerReport("router", 13, WorkerState.STARTED, 2)


@pytest.fixture
def present():
    return [AUDIT, ROUTER]


@pytest.fixture
def feed(present):
    made = RouterFeed(lambda: present)
    yield made
    made.close()


def lines(read_fd):
    os.set_blocking(read_fd, False)
    try:
        return [json.loads(line) for line in os.read(read_fd, 1 << 20).splitlines()]
    except BlockingIOError:
        return []


def test_a_new_router_is_told_the_present_state_of_all_first(feed):
    read_fd = feed.renew()

    feed.tell(WorkerReport("audit", 12, WorkerState.DIED, 1))

    assert lines(read_fd) == [
        {"name": "audit", "pid": 12, "state": "started", "restarts": 0},
        {"name": "router", "pid": 13, "state": "started", "restarts": 2},
        {"name": "audit", "pid": 12, "state": "died", "restarts": 1},
    ]
    os.close(read_fd)


def test_a_router_that_does_not_read_is_told_the_present_state_later(feed, present):
    read_fd = feed.renew()
    for restarts in range(5000):
        present[0] = WorkerReport("audit", 12, WorkerState.STARTED, restarts)
        feed.tell(present[0])
    assert feed.is_behind
    lines(read_fd)

    feed.catch_up()

    assert lines(read_fd)[0] == {"name": "audit", "pid": 12, "state": "started", "restarts": 4999}
    assert not feed.is_behind
    os.close(read_fd)


def test_a_dead_routers_pipe_ends_nobody(feed):
    os.close(feed.renew())

    feed.tell(AUDIT)
    read_fd = feed.renew()

    assert [line["name"] for line in lines(read_fd)] == ["audit", "router"]
    os.close(read_fd)


def test_without_a_router_nothing_is_kept(feed):
    feed.tell(AUDIT)

    assert not feed.is_behind
