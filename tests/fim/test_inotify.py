"""What inotify writes, and what is particular to it."""

import os
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.fim import inotify
from auditline.workers.fim.backend import BackendError, Hint, HintKind
from auditline.workers.fim.inotify import InotifyBackend, open_inotify, parse_events

CREATED, GONE, MOVED = HintKind.CREATED, HintKind.GONE, HintKind.MOVED
HEADER = struct.Struct("@iIII")


@pytest.fixture
def backend_name():
    return "inotify"


# What the kernel writes


def event(watch: int, mask: int, cookie: int, name: bytes, padding: int = 0) -> bytes:
    padded = name + bytes(padding)
    return HEADER.pack(watch, mask, cookie, len(padded)) + padded


NAMES = st.binary(max_size=255).map(lambda name: name.replace(b"\0", b"").replace(b"/", b""))
EVENTS = st.tuples(
    st.integers(-1, 2**31 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), NAMES, st.integers(0, 16)
)


@given(st.lists(EVENTS))
def test_events_are_read_as_they_were_written(events):
    data = b"".join(event(*values) for values in events)

    assert list(parse_events(data)) == [values[:4] for values in events]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_error(data):
    assert len(list(parse_events(data))) <= len(data) // HEADER.size


@given(events=st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2**32 - 1), st.integers(0, 3), NAMES)))
def test_any_events_give_hints_without_error(read_from_pipe, events):
    hints = read_from_pipe([event(*values) for values in events])

    assert len(hints) <= 4 * len(events)


@pytest.fixture(scope="module")
def read_from_pipe(tmp_path_factory, watch) -> Callable[[list[bytes]], list[Hint]]:
    """Watch two directories, and read what the test says instead of what the kernel does."""
    top = tmp_path_factory.mktemp("any")
    (top / "a").mkdir()

    def read(blocks: list[bytes]) -> list[Hint]:
        backend = InotifyBackend(inotify._libc.inotify_init1(os.O_NONBLOCK), 5)
        watch(backend, top)
        reader, writer = os.pipe2(os.O_NONBLOCK)
        for block in blocks:
            os.write(writer, block)
        os.close(writer)
        os.dup2(reader, backend.fd)
        os.close(reader)
        hints = backend.read()
        backend.close()
        return hints

    return read


@pytest.fixture
def open_small() -> Iterator[Callable[[int], InotifyBackend]]:
    """Opens inotify that reads so many bytes at a time."""
    opened: list[InotifyBackend] = []

    def open_one(read_bytes: int) -> InotifyBackend:
        opened.append(InotifyBackend(inotify._libc.inotify_init1(os.O_NONBLOCK), 5, read_bytes=read_bytes))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


@pytest.mark.parametrize("read_bytes", [16, 64, 272, 4096])
def test_a_buffer_that_is_too_small_for_an_event_grows(root, read_bytes, watch, open_small):
    backend = open_small(read_bytes)
    watch(backend, root)

    (root / "a").mkdir()
    (root / "a").rename(root / "b")
    (root / ("n" * 255)).touch()

    assert [(hint.kind, hint.path) for hint in backend.read()] == [
        (CREATED, b"a"),
        (MOVED, b"b"),
        (GONE, b"a"),
        (CREATED, b"n" * 255),
    ]


# Renames in two halves


@pytest.fixture
def feed(root, watch):
    """Inotify whose clock the test moves, and which reads what the test writes in place of the kernel."""
    (root / "a").mkdir()
    now = [0.0]
    backend = InotifyBackend(inotify._libc.inotify_init1(os.O_NONBLOCK), 5, clock=lambda: now[0])
    watch(backend, root)
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.dup2(reader, backend.fd)
    os.close(reader)

    def feed(*events: bytes, seconds: float = 0.0) -> list[Hint]:
        now[0] += seconds
        os.write(writer, b"".join(events))
        return backend.read()

    yield feed
    os.close(writer)
    backend.close()


ROOT, INNER = 1, 2
FROM, TO = inotify.IN_MOVED_FROM, inotify.IN_MOVED_TO


def test_halves_of_two_readings_are_put_together(feed):
    """Pitfall 11."""
    first = feed(event(ROOT, FROM, 7, b"x"))
    second = feed(event(INNER, TO, 7, b"y"))

    assert first == []
    assert second == [Hint(MOVED, b"a/y", is_content=True, moved_from=b"x"), Hint(GONE, b"x", is_content=True)]


def test_a_half_that_stays_alone_is_gone_a_moment_later(feed):
    """Pitfall 11."""
    first = feed(event(ROOT, FROM, 7, b"x"))
    second = feed(seconds=inotify.HALF_SECONDS)
    third = feed(event(ROOT, TO, 7, b"y"))

    assert first == []
    assert second == [Hint(GONE, b"x", is_content=True)]
    assert third == [Hint(CREATED, b"y", is_content=True)]


def test_halves_of_several_renames_are_told_apart(feed):
    hints = feed(
        event(ROOT, FROM, 7, b"x"), event(ROOT, FROM, 8, b"y"), event(ROOT, TO, 8, b"yy"), event(ROOT, TO, 7, b"xx")
    )

    moves = [(hint.moved_from, hint.path) for hint in hints if hint.kind is MOVED]
    assert moves == [(b"y", b"yy"), (b"x", b"xx")]


def test_what_is_made_in_place_of_a_half_comes_after_it(feed):
    is_directory = inotify.IN_ISDIR

    hints = feed(event(ROOT, FROM | is_directory, 7, b"a"), event(ROOT, inotify.IN_CREATE | is_directory, 0, b"a"))

    assert [(hint.kind, hint.path) for hint in hints] == [(GONE, b"a"), (CREATED, b"a")]


def test_closed_it_holds_no_descriptor(root, watch):
    backend = open_inotify(5)
    watch(backend, root)

    backend.close()

    with pytest.raises(BackendError, match="Bad file descriptor"):
        backend.read()
