"""What is compiled does what its twins in Python do, whatever it is given."""

from collections.abc import Callable, Iterator
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditline.workers.router.compiling import COMPILED, Compiled
from auditline.workers.router.decode.calls import REGISTERS, calls_of
from auditline.workers.router.event import Event
from auditline.workers.router.grouping import Grouper
from auditline.workers.router.log_lines import frame
from auditline.workers.router.names import NoNames
from auditline.workers.router.render.called import Called
from auditline.workers.router.render.cutting import Cutter, Head, add_rest
from auditline.workers.router.render.fragments import FragmentRenderer
from auditline.workers.router.render.memo import Memo
from auditline.workers.router.render.pieces import make_directory, make_title

pytestmark = pytest.mark.skipif(COMPILED is None, reason="nothing is compiled: no compiler, or no Python.h, was there")

CALL = "arch=c000003e syscall=1 a0=1 a1=2 a2=3 a3=4 items=0 ppid=1 pid=2 auid=3"
SAMPLE_LINES = 6000
BATCH_LINES = 37
HEADERS = [
    "audit(1700000000.123:1", "audit(1700000000.123:2", "audit(1700000004.5:2", "audit(1700000009.123:4294967295",
    "audit(1700000000.123:99999999999", "audit(9999999999999999.123:1", "audit(.123:1", "audit(1.1234:1",
    "audit(1.123:", "node=web1 audit(1700000000.123:1", "node=a): b audit(1700000000.123:1",
    "audit(1700000000.123:1):", "", "audit(", "aud\udcff(1700000000.123:1", "audit(1700000000.123:\u0661",
]  # fmt: skip
JOINTS = ["): ", "):", ")", ") ", "", ": ", "): ): "]
BODIES = [
    "", " ", "a=1", "op=add_rule list=5 res=1", 'auid=1 op="remove_rule" key="x" list=5 res=1', "é", "\udcff", "\x00",
    "audit(1700000000.123:2): a=1",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(st.sampled_from("0123456789ABCDEFabcdef"), max_size=40),
    st.text(st.sampled_from("\"'=\\/ .:?()[]\x00\x1d\x1f\x7fé\udcff\u202eabzAZ09"), max_size=20),
    st.sampled_from(["", "?", "(null)", '""', '"', '"a"', '"a', '"/a b"', '"a=b"', "2F62696E2F7368", "2F00", "FF"]),
)


@pytest.fixture(scope="session")
def compiled() -> Compiled:
    """What was built; the module's mark has seen to it that something was."""
    assert COMPILED is not None
    return COMPILED


def what(event: Event) -> list[Any]:
    """Return all that grouping says of an event."""
    return [getattr(event, name) for name in Event.__slots__]


def group(batches: list[tuple[list[int], list[str]]], compiled: Compiled | None) -> tuple[Any, ...]:
    """Return all that comes of these batches, and what is known then."""
    events: list[Event] = []
    unparsed: list[tuple[int, str]] = []
    seen: list[tuple[int, int]] = []
    grouper = Grouper(
        events.append,
        lambda kind, payload: unparsed.append((kind, payload)),
        lambda event, clock: seen.append((event.serial, clock)),
        compiled,
    )
    grouper.skipped = {"audit(1700000000.123:2": 2}
    for number, (kinds, payloads) in enumerate(batches):
        grouper.feed(kinds, payloads, number)
    known = grouper.expectations.snapshot(), grouper.latest(), grouper.out_by_then(), grouper.ends_dropped
    return [*map(what, events)], unparsed, seen, [*map(what, grouper.open.values())], known


@st.composite
def records(draw: st.DrawFn) -> tuple[int, str]:
    kind = draw(st.sampled_from([1300, 1302, 1305, 1307, 1320, 1320, 1112, 1327, 0, 1329, 2100]))
    header = draw(st.one_of(st.sampled_from(HEADERS[:4]), st.sampled_from(HEADERS)))
    joint = draw(st.one_of(st.just("): "), st.just("): "), st.sampled_from(JOINTS)))
    return kind, header + joint + draw(st.sampled_from(BODIES))


@settings(max_examples=300)
@given(st.lists(records(), max_size=40), st.lists(st.integers(1, 9), max_size=8))
def test_records_are_grouped_alike(compiled, made, sizes):
    ends = [*accumulate(sizes, initial=0), len(made)]
    cut = [made[start:end] for start, end in pairwise(ends)]
    batches = [([kind for kind, _ in batch], [text for _, text in batch]) for batch in cut]

    assert group(batches, compiled) == group(batches, None)


def test_records_of_a_log_are_grouped_alike(compiled, any_log: Path, all_lines: Callable[[Path], Iterator[str]]):
    lines = list(islice(all_lines(any_log), SAMPLE_LINES))
    batches = [frame(lines[start : start + BATCH_LINES]) for start in range(0, len(lines), BATCH_LINES)]

    assert group(batches, compiled) == group(batches, None)


@settings(max_examples=300)
@given(TEXTS)
def test_titles_and_directories_are_made_alike(compiled, text):
    title, directory = f"proctitle={text}", f"cwd={text}"

    assert compiled.make_title((make_title,), title) == make_title(title)
    assert compiled.make_directory((make_directory,), directory) == make_directory(directory)
    assert compiled.make_title((make_title,), text) == make_title(text)
    assert compiled.make_directory((make_directory,), text) == make_directory(text)


def test_a_title_of_any_length_is_made_alike(compiled):
    titles = [f"proctitle={'61' * length}" for length in (*range(9), 16_380, 16_384, 16_385, 40_000)]

    assert [compiled.make_title((make_title,), title) for title in titles] == list(map(make_title, titles))


@settings(max_examples=300)
@given(
    item=st.sampled_from(["item=0", "item=12", "item=", "item=x", "item", "é"]),
    name=TEXTS,
    inode=st.sampled_from(["", "inode=7 ", "inode= ", "inode=x ", "inode=7", "inode=²", "inode="]),
    tail=st.sampled_from(["nametype=NORMAL", "dev=00:01 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=é", "", "x"]),
)
def test_paths_are_made_alike(compiled, item, name, inode, tail):
    cutter, twin = FragmentRenderer(NoNames())._cutter, FragmentRenderer(NoNames(), compiled=None)._cutter
    body = f"{item} name={name} {inode}{tail}"

    assert without_tail(cutter, body) == without_tail(twin, body)


def without_tail(cutter: Cutter, body: str) -> tuple[Any, ...] | None:
    """Return a path; its tail is an object of its own each time."""
    path = cutter._paths.find(body)
    return path and path[:5]


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 4096), st.sampled_from([0xFFFFFF9C, 2**32 - 1])),
        min_size=4,
        max_size=4,
    )
)
def test_registers_of_every_call_say_the_same(compiled, numbers):
    registers = (*(f"{number:x}" for number in numbers), "0", "1", "2")

    for architecture in ("x86_64", "aarch64"):
        for call in sorted(calls_of(architecture)):
            called = Called(architecture, call)
            assert ours_of(compiled, called, registers) == ours_around(called.arguments(registers)), call


def ours_of(compiled: Compiled, called: Called, registers: tuple[str, ...]) -> str:
    """Return the object `auditline` of an event that is one SYSCALL of *called*."""
    head = Head(None, False, False, False, True, True, called, None)
    memos = [Memo(lambda _: (head, None)), *(Memo(str) for _ in range(5))]
    texts = " ".join(f"{name}={text}" for name, text in zip(REGISTERS, registers, strict=False))
    parts = compiled.cut((*memos, add_rest), [1300], [f"arch=0 {texts} items=0 ppid=1 pid=2 auid=3"])
    return str(parts[-1])


def ours_around(arguments: str) -> str:
    return f'{{"complete":true,"decoded":{{{arguments[1:]}}}}}' if arguments else '{"complete":true}'


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (1,),
        ((), [], []),
        ([Memo(str)] * 7, [1300], [""]),
        ((*[Memo(str)] * 6, None), [1300], [""], 1),
        ((*[{}] * 5, 7, None), [1300], [""]),
    ],
)
def test_what_makes_no_sense_is_refused(compiled, arguments):
    for function in (compiled.cut, compiled.feed, compiled.make_path, compiled.make_tail, compiled.make_frame):
        with pytest.raises(TypeError):
            function(*arguments)


@pytest.mark.parametrize(
    ("kinds", "bodies"),
    [
        ([], []),
        ([1300], []),
        ((1300,), ("x",)),
        ([1300], [7]),
        ([1300], [None]),
        ([1300, 1302], [CALL, 7]),
        ([1300], [""]),
    ],
)
def test_what_is_no_event_is_left_to_the_twin(compiled, kinds, bodies):
    memos = [Memo(lambda _: (None, None)), *(Memo(str) for _ in range(5))]

    assert compiled.cut((*memos, add_rest), kinds, bodies) is NotImplemented


def test_an_error_of_what_is_asked_comes_through(compiled):
    def fail(_key: object) -> None:
        raise LookupError("asked")

    with pytest.raises(LookupError, match="asked"):
        compiled.cut((*[Memo(fail) for _ in range(6)], add_rest), [1300], [CALL])
    with pytest.raises(LookupError, match="asked"):
        compiled.make_title((fail,), "proctitle=x")
    with pytest.raises(LookupError, match="asked"):
        compiled.make_tail((*[Memo(fail) for _ in range(3)], fail), "1 tty=x comm=y")
    with pytest.raises(OverflowError):
        compiled.cut((Memo(lambda _: (None, None)), *[Memo(str) for _ in range(5)], add_rest), [2**70], [CALL])
