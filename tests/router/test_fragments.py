"""The fast way of rendering gives the bytes of the plain way, for whatever records; so does it where it is compiled."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.router.decode import types
from auditline.workers.router.event import Event
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.audit import AuditRenderer
from auditline.workers.router.render.ecs import EcsRenderer
from auditline.workers.router.render.ecs_fragments import EcsFragmentRenderer
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.render.lines import Keep
from auditline.workers.router.render.memo import MEMO_ENTRIES

HOST = "0123456789abcdef"
SAMPLE_LINES = 12_000
LONG_EVENT = 4000
"""Characters; longer ones make examples slow."""
RENDERED_FAST = {"shell.log.xz": 0.99, "distinct.log.xz": 0.99, "build.log.xz": 0.99, "interleaved.log": 0.99}
"""Logs of which nearly all events are of the common shape: it would be no fast way if they did not take it."""

PLAIN_EVENT = (
    "type=SYSCALL msg=audit(1700000000.001:7): arch=c000003e syscall=39 success=yes exit=2 a0=1 a1=2 a2=3 a3=4 items=0"
    " ppid=1 pid=2 auid=1000 uid=1000 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=1"
    ' comm="ls" exe="/usr/bin/ls" key=(null)'
)
END = "type=EOE msg=audit(1700000000.001:7): "

Fast = FragmentRenderer | EcsFragmentRenderer
Renderers = tuple[Fast, Fast, AuditRenderer | EcsRenderer]
GroupLines = Callable[[Iterable[str]], list[Event]]

TOKENS = [
    'name="?"', "name=(null)", 'name=""', 'name="a b"', "name=FFFE", "name=C3A9", "name=C2", 'name="\\"', 'name="é"',
    "name=00", "name=3F", "name=22", "name=41", "name=4", 'name="a"b"', "name='x'", "name", 'name="x',
    'comm=""', 'comm="?"', "comm=FF", "comm=C3A9", "comm=(null)", "comm=bash", 'comm="a\\b"', 'comm="(null)"',
    'exe="/usr/bin/python3"', 'exe="/bin/sh"', "exe=(null)", 'exe=""', "exe=2F62696E", 'exe="/a b"',
    "key=(null)", 'key="a"', 'key="key=a"', "key=6101620163", "key=01", "key=0101", "key=FF01", 'key=""', "key=",
    "subj=unconfined", "subj=u:r:t", "subj=u:r:t:s0:c1,c2:x", "subj=:::", "subj=u", "subj==unconfined", "subj=?",
    "tty=(null)", "tty=?", "tty=a=b", "tty='", 'tty="x"', "tty=", "tty=pts\\0", "ses=-1", "ses=4294967295", "ses=x",
    "ses=", "obj=u:r:t:s0", "obj=x", "obj=", "nametype=PARENT", "nametype=UNKNOWN", "nametype=DELETE", "objtype=PARENT",
    "mode=0100644", "mode=x", "mode=040777", "mode=", "ouid=0", "ouid=x", "ouid=4294967295", "ogid=-1",
    "item=x", "item=", "item=00", "item=²", "inode=x", "inode=-1", "inode=", "inode=²", "dev=(null)", "rdev=", "rdev=?",
    "items=0", "items=1", "items=2", "items=00", "items=", "exit=-13", "exit=-", "exit=--1", "exit=-9999", "exit=x",
    "success=no", "success=", "success=maybe", "arch=c000003e", "arch=40000003", "arch=80000016", "arch=xyz", "arch=",
    "arch=4294967295",
    "syscall=59", "syscall=42", "syscall=62", "syscall=9999", "syscall=1073742344", "syscall=x", "syscall=240",
    "a0=", "a0=xyz", "a1=-1", "pid=x", "ppid=", "auid=4294967295", "auid=x", "uid=", "uid=-1", "gid=07", "per=8",
    "a2=11111111111111111",
    "saddr=", "saddr=0", "saddr=01", "saddr=0100", "saddr=010000", "saddr=0100FF00", "saddr=02000050C0000201",
    "saddr=0A", "saddr=xyz", "saddr=(null)", "saddr=FFFF", "saddr=010000616263", "saddr=0200005",
    'cwd="/"', "cwd=(null)", 'cwd=""', "cwd=FF", 'cwd="?"', "cwd=2F", "proctitle=(null)", "proctitle=00",
    'proctitle=""', "proctitle=FF", 'proctitle="a"', "proctitle=610062", "proctitle=61006", 'proctitle="?"',
    "proctitle=3F", "argc=0", "argc=1", "argc=2", "argc=99", "argc=", "argc=x", 'a0="ls"', 'a1="?"', 'a1=""',
    "a1=(null)", "a1=FF", "a1[0]=61", 'a1[0]="x"', "a1[1]=62", "a1_len=2", "a4294967295=41", 'a2="a b"', "a01=41",
    "unknown=1", "\x1d", "fsgid=6\x1d5534", 'suid=0\x1dUID="x"',
    '\x1dUID="root"', '\x1dAUID="x" UID="y\\"', "\x1dOUID=root", '\x1dOUID="é" OGID="\udcff"',
    "word", "=", "",
]  # fmt: skip
KINDS = [1300, 1302, 1306, 1307, 1309, 1320, 1327, 1334, 1400]
CHARACTERS = st.sampled_from(
    [*" \"'\\=:;/?[](){},\t\r\n\x00\x01\x1b\x1d\x7f\x85\x9bé\u2028\u202e", "\udcff", "\udcc3", "\U0001f600"]
)


class Events(list[Event]):
    """Says little of itself when an example fails."""

    def __repr__(self) -> str:
        return f"<{len(self)} events>"


@pytest.fixture(scope="session")
def events(corpus: list[str], group_lines: GroupLines) -> Events:
    """Events that begin with a SYSCALL, the shape that the fast way is for."""
    short = (event for event in group_lines(corpus) if sum(map(len, event.bodies)) < LONG_EVENT)
    return Events(event for event in short if event.types[0] == types.SYSCALL)


@pytest.fixture(scope="session", params=["audit", "ecs"])
def renderers(names: IdNames, request: pytest.FixtureRequest) -> Renderers:
    """A fast one, which remembers what it met in all tests, the same without what is compiled, and a plain one."""
    if request.param == "ecs":
        return EcsFragmentRenderer(names), EcsFragmentRenderer(names, compiled=None), EcsRenderer(names)
    return FragmentRenderer(names), FragmentRenderer(names, compiled=None), AuditRenderer(names)


def copy_event(event: Event, kinds: Sequence[int], bodies: Sequence[str]) -> Event:
    copy = Event(event.header, event.node, event.seconds, event.milliseconds, event.serial)
    copy.types, copy.bodies = list(kinds), list(bodies)
    copy.has_eoe = True
    return copy


def change_token(draw: st.DrawFn, words: list[str]) -> None:
    token = draw(st.sampled_from(TOKENS))
    same = [position for position, word in enumerate(words) if word.partition("=")[0] == token.partition("=")[0]]
    if draw(st.booleans()) and same:
        words[same[0]] = token
    else:
        words.insert(draw(st.integers(0, len(words))), token)


def drop_word(draw: st.DrawFn, words: list[str]) -> None:
    del words[draw(st.integers(0, len(words) - 1))]


def double_word(draw: st.DrawFn, words: list[str]) -> None:
    words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(words)))


def swap_words(draw: st.DrawFn, words: list[str]) -> None:
    one, other = draw(st.integers(0, len(words) - 1)), draw(st.integers(0, len(words) - 1))
    words[one], words[other] = words[other], words[one]


def put_character(draw: st.DrawFn, words: list[str]) -> None:
    text = " ".join(words)
    at = draw(st.integers(0, len(text)))
    words[:] = (text[:at] + draw(CHARACTERS) + text[at + draw(st.integers(0, 1)) :]).split(" ")


def cut(draw: st.DrawFn, words: list[str]) -> None:
    text = " ".join(words)
    words[:] = text[: draw(st.integers(0, len(text)))].split(" ")


def change_records(draw: st.DrawFn, records: list[tuple[int, str]]) -> None:
    """Drop, double or move a record, or give it another type."""
    one, other = draw(st.integers(0, len(records) - 1)), draw(st.integers(0, len(records) - 1))
    how = draw(st.sampled_from(["drop", "double", "swap", "kind"]))
    if how == "drop" and len(records) > 1:
        del records[one]
    elif how == "double":
        records.insert(other, records[one])
    elif how == "kind":
        records[one] = (draw(st.sampled_from(KINDS)), records[one][1])
    else:
        records[one], records[other] = records[other], records[one]


@st.composite
def damaged_records(draw: st.DrawFn, event: Event) -> list[tuple[int, str]]:
    """Records of an event with fields changed, dropped, doubled, moved, and characters of all kinds put in."""
    records = list(zip(event.types, event.bodies, strict=True))
    change = st.sampled_from([change_token, change_token, drop_word, double_word, swap_words, put_character, cut])
    for changed in draw(st.lists(change, max_size=4)):
        if draw(st.integers(0, 5)) == 0:
            change_records(draw, records)
        else:
            at = draw(st.integers(0, len(records) - 1))
            words = records[at][1].split(" ")
            changed(draw, words)
            records[at] = (records[at][0], " ".join(words))
    return records


def assert_same(event: Event, renderers: Renderers, host_name: str | None) -> None:
    compiled, fast, plain = (renderer.render(event, HOST, host_name) for renderer in renderers)
    assert compiled == fast == plain, list(zip(event.types, event.bodies, strict=True))


def test_every_event_of_a_log_is_rendered_alike_both_ways(
    any_log: Path,
    all_lines: Callable[[Path], Iterator[str]],
    group_lines: GroupLines,
    renderers: Renderers,
):
    fast = renderers[0]
    lines = list(islice(all_lines(any_log), SAMPLE_LINES))

    rendered_fast = 0
    grouped = group_lines(lines)
    for event in grouped:
        assert_same(event, renderers, None)
        if event.types[0] == types.SYSCALL and not (event.amends or event.reasons):
            rendered_fast += fast._cutter.cut(event) is not None

    assert rendered_fast >= len(grouped) * RENDERED_FAST.get(any_log.name, 0)


@pytest.mark.parametrize(
    ("make_fast", "make_plain"), [(FragmentRenderer, AuditRenderer), (EcsFragmentRenderer, EcsRenderer)]
)
def test_records_as_they_came_and_what_is_odd_about_them_are_kept_alike_both_ways(
    events: Events, names: IdNames, make_fast: type[Fast], make_plain: type[AuditRenderer | EcsRenderer]
):
    keep = Keep(raw=True, warnings=True)
    renderers = make_fast(names, keep), make_fast(names, keep, None), make_plain(names, keep)
    changed = [event for token in TOKENS for event in list(places_of(token, events))[::400]]

    for event in [*events[:500], *changed]:
        assert_same(event, renderers, "web1")


@settings(max_examples=400)
@given(data=st.data(), host_name=st.sampled_from([None, "web1", 'we"b\\']))
def test_damaged_and_odd_records_are_rendered_alike_both_ways(
    events: Events, renderers: Renderers, data: st.DataObject, host_name: str | None
):
    event = data.draw(st.sampled_from(events))
    records = data.draw(damaged_records(event))

    assert_same(copy_event(event, *zip(*records, strict=True)), renderers, host_name)


def test_each_odd_field_in_its_place_is_rendered_alike_both_ways(events: Events, renderers: Renderers):
    changed = [event for token in TOKENS for event in list(places_of(token, events))[::40]]

    for event in changed:
        assert_same(event, renderers, None)

    assert len(changed) > len(TOKENS) * 4


def places_of(token: str, events: Iterable[Event]) -> Iterator[Event]:
    """Yield events in which *token* stands for a field of its key, or after the first where none has the key."""
    key = token.partition("=")[0]
    for event in events:
        for at, body in enumerate(event.bodies):
            words = body.split(" ")
            for position, word in enumerate(words):
                if word.partition("=")[0] == key:
                    changed = " ".join([*words[:position], token, *words[position + 1 :]])
                    yield copy_event(event, event.types, [*event.bodies[:at], changed, *event.bodies[at + 1 :]])
                    break
            else:
                if at == 0:
                    yield copy_event(event, event.types, [f"{body} {token}", *event.bodies[1:]])


@settings(max_examples=100)
@given(data=st.data())
def test_names_that_auditd_added_are_rendered_alike_both_ways(
    events: Events, renderers: Renderers, data: st.DataObject
):
    event = data.draw(st.sampled_from(events))
    added = st.sampled_from(
        [
            "",
            '\x1dUID="alice"',
            '\x1dOUID="bob" OGID="tty"',
            '\x1dARCH=x86_64 SYSCALL=open AUID="unset" UID="a\'b"',
            "\x1dx",
        ]
    )
    bodies = [body + data.draw(added) for body in event.bodies]

    assert_same(copy_event(event, event.types, bodies), renderers, None)


def test_names_of_ids_that_changed_are_seen_once_the_old_ones_are_forgotten(tmp_path: Path, group_lines: GroupLines):
    (tmp_path / "passwd").write_text("before:x:1000:1::/:\n")
    names = IdNames(tmp_path / "passwd", None)
    fast = FragmentRenderer(names)
    (event,) = group_lines([PLAIN_EVENT, END])
    before = fast.render(event, HOST, None)[1]

    (tmp_path / "passwd").write_text("afterwards:x:1000:1::/:\n")
    assert names.refresh()
    fast.forget_names()

    assert '"uid":"before"' in before
    assert '"uid":"afterwards"' in fast.render(event, HOST, None)[1]


def test_what_is_remembered_stays_within_bounds(group_lines: GroupLines):
    fast = FragmentRenderer(NoNames())
    (event,) = group_lines([PLAIN_EVENT, END])

    for number in range(6000):
        body = event.bodies[0].replace('comm="', f'comm="{number}').replace("ses=1", f"ses={number}")
        fast.render(copy_event(event, [types.SYSCALL], [body]), HOST, None)

    remembered = [len(value) for value in vars(fast._cutter).values() if isinstance(value, dict)]
    assert max(remembered) <= MEMO_ENTRIES


def test_an_event_of_a_log_without_ends_goes_the_fast_way(events: Events, renderers: Renderers):
    without_end = copy_event(events[0], events[0].types, events[0].bodies)
    without_end.has_eoe = False

    assert_same(without_end, renderers, None)
    assert takes_fast_way(renderers[0], without_end)


def takes_fast_way(fast: Fast, event: Event) -> bool:
    """Whether *event*, rendered by *fast*, is never shown to the plain way."""
    shown: list[Event] = []
    # What a fragment is made of may be asked of it, so it has to stay.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast._plain, "render", lambda event, *_: shown.append(event))
        fast.render(event, HOST, None)
    return not shown


def test_an_event_that_is_an_amendment_or_not_whole_goes_the_plain_way(events: Events, renderers: Renderers):
    amendment = copy_event(events[0], events[0].types, events[0].bodies)
    amendment.amends = True
    without_end = copy_event(events[0], events[0].types, events[0].bodies)
    without_end.has_eoe, without_end.reasons = False, ("no_eoe",)

    for event in (amendment, without_end):
        assert_same(event, renderers, None)
        document = json.loads(renderers[0].render(event, HOST, None)[1])
        assert document["event"]["id"].startswith(f"{HOST}-{event.seconds}.{event.milliseconds}-{event.serial}-p")
