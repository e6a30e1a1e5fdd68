"""A system call's event is judged by what others of its stream have, unless rules keep records out."""

from collections.abc import Callable

import pytest

from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.event import Event
from auditline.workers.router.expectations import WINDOW_EVENTS
from auditline.workers.router.grouping import Grouper

SYSCALL, PATH, CWD, PROCTITLE, EOE = types.SYSCALL, types.PATH, types.CWD, types.PROCTITLE, types.EOE
BODIES = {
    SYSCALL: "arch=c000003e syscall=257 success=yes exit=3 a0=1 a1=2 a2=3 a3=4 items=1 ppid=1 pid=2 auid=0 uid=0 gid=0"
    ' euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1 comm="cat" exe="/usr/bin/cat" key="k"',
    PATH: 'item=0 name="f" inode=1 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL',
    CWD: 'cwd="/"',
    PROCTITLE: 'proctitle="cat"',
}
WHOLE = (SYSCALL, CWD, PATH, PROCTITLE, EOE)
RULE_CHANGE = "auid=0 ses=1 op={} key=(null) list={} res=1"
T = 1_700_000_000

Feed = Callable[..., Event]


@pytest.fixture
def feed() -> Feed:
    """Feed one event and return the event that came out last; each has a serial of its own."""
    events: list[Event] = []
    grouper = Grouper(events.append, lambda *_: None)

    def give(*kinds: int, bodies: dict[int, str] = BODIES, node: str = "") -> Event:
        header = f"{node and f'node={node} '}audit({T}.123:{grouper.begun + 1}): "
        grouper.feed(kinds, [header + bodies.get(kind, "") for kind in kinds], 1)
        if EOE not in kinds:
            grouper.idle(1)
        return events[-1]

    return give


def make_usual(feed: Feed, *kinds: int, events: int = WINDOW_EVENTS) -> None:
    for _ in range(events):
        feed(*kinds)


def change_rules(feed: Feed, operation: str, rule_list: int = 5) -> None:
    bodies = {types.CONFIG_CHANGE: RULE_CHANGE.format(operation, rule_list)}
    # Several changes at once are one event.
    feed(types.CONFIG_CHANGE, types.CONFIG_CHANGE, EOE, bodies=bodies)


@pytest.mark.parametrize(
    ("kinds", "reasons"),
    [
        (WHOLE, ()),
        ((SYSCALL, PROCTITLE, EOE), ()),
        ((SYSCALL, CWD, PATH, EOE), ("no_proctitle",)),
        ((SYSCALL, PATH, PROCTITLE, EOE), ("no_cwd",)),
        ((SYSCALL, PATH, EOE), ("no_proctitle", "no_cwd")),
        ((SYSCALL, CWD, PATH, PROCTITLE), ("no_eoe",)),
        ((SYSCALL, CWD, PATH), ("no_eoe", "no_proctitle")),
        ((types.USER_TTY,), ()),
        ((types.LOGIN, EOE), ()),
    ],
)
def test_an_event_lacks_what_nearly_all_others_have(feed: Feed, kinds: tuple[int, ...], reasons: tuple[str, ...]):
    make_usual(feed, *WHOLE)

    assert feed(*kinds).reasons == reasons


def test_a_path_without_a_name_needs_no_directory(feed: Feed):
    make_usual(feed, *WHOLE)

    event = feed(SYSCALL, PATH, PROCTITLE, EOE, bodies=BODIES | {PATH: "item=0 name=(null) inode=1 nametype=NORMAL"})

    assert event.reasons == ()


@pytest.mark.parametrize("usual", [(SYSCALL, CWD, PATH, EOE), (SYSCALL, PATH, PROCTITLE, EOE), (types.USER_TTY,)])
def test_a_stream_that_has_it_not_lacks_nothing(feed: Feed, usual: tuple[int, ...]):
    make_usual(feed, *usual)

    assert feed(SYSCALL, PATH, EOE).reasons == ()


def test_a_few_events_make_nothing_usual(feed: Feed):
    make_usual(feed, *WHOLE, events=WINDOW_EVENTS // 2)

    assert feed(SYSCALL, PATH, EOE).reasons == ()


def test_what_came_to_be_left_out_is_no_reason_after_some_hundred_events(feed: Feed):
    make_usual(feed, *WHOLE)
    first = feed(SYSCALL, CWD, PATH, EOE)
    make_usual(feed, SYSCALL, CWD, PATH, EOE, events=2 * WINDOW_EVENTS)

    assert (first.reasons, feed(SYSCALL, CWD, PATH, EOE).reasons) == (("no_proctitle",), ())


def test_another_host_is_not_judged_by_ours(feed: Feed):
    make_usual(feed, *WHOLE)

    assert feed(SYSCALL, PATH, EOE, node="other").reasons == ()


@pytest.mark.parametrize("kinds", [(SYSCALL, CWD, PATH, PROCTITLE), (SYSCALL, CWD, PROCTITLE), (SYSCALL, PATH)])
def test_where_an_exclude_rule_was_loaded_what_it_may_keep_out_is_not_missing(feed: Feed, kinds: tuple[int, ...]):
    make_usual(feed, *WHOLE)

    change_rules(feed, "add_rule")

    assert gather_facts(feed(*kinds)).reasons == []


def test_when_the_rule_is_gone_all_is_expected_again(feed: Feed):
    make_usual(feed, *WHOLE)
    change_rules(feed, "add_rule")
    change_rules(feed, "remove_rule")

    assert gather_facts(feed(SYSCALL, CWD, PROCTITLE, EOE)).reasons == ["missing_path_items"]
    assert feed(SYSCALL, CWD, PATH, PROCTITLE).reasons == ("no_eoe",)


def test_rules_of_other_lists_keep_no_records_out(feed: Feed):
    make_usual(feed, *WHOLE)

    change_rules(feed, "add_rule", rule_list=4)

    assert feed(SYSCALL, CWD, PATH, EOE).reasons == ("no_proctitle",)
