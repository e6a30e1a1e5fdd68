"""Hints of one directory, and how what the kernel writes is read."""

import os
import select
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.settings import FimSettings
from auditline.workers.fim import inotify
from auditline.workers.fim.backend import Hint, HintKind
from auditline.workers.fim.inotify import InotifyBackend, open_backend, parse_events

CREATED, CHANGED, ATTRIBUTES, GONE = HintKind.CREATED, HintKind.CHANGED, HintKind.ATTRIBUTES, HintKind.GONE
HEADER = struct.Struct("@iIII")


def paths_of(hints: list[Hint]) -> list[bytes]:
    return [hint.path for hint in hints]


# One directory


def test_its_descriptor_is_readable_when_there_are_hints_and_not_before(root, backend, watch):
    watch(backend, root)
    before = select.select([backend.fd], [], [], 0)[0]
    (root / "a").touch()
    after = select.select([backend.fd], [], [], 0)[0]
    backend.read()
    afterwards = select.select([backend.fd], [], [], 0)[0]

    assert before == afterwards == []
    assert after == [backend.fd]
    assert backend.name == "inotify"


def test_a_directory_that_changes_before_it_is_listed_has_told_by_then(root, backend, watch):
    assert watch(backend, root) == [True]

    (root / "a").touch()

    assert paths_of(backend.read()) == [b"a"]


def test_a_file_that_is_made_and_written_is_one_hint(root, backend, watch):
    watch(backend, root)

    (root / "a").write_text("x")

    assert backend.read() == [Hint(CREATED, b"a", is_directory=False, is_content=True)]
    assert backend.read() == []


def test_writing_tells_that_the_content_changed(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    with (root / "a").open("w") as file:
        file.write("x")
        file.flush()
        while_open = backend.read()
    closed = backend.read()

    assert while_open == closed == [Hint(CHANGED, b"a", is_content=True)]


def test_a_mode_or_a_time_tells_of_attributes_alone(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").chmod(0o600)
    mode = backend.read()
    os.utime(root / "a", (1, 1))

    assert mode == backend.read() == [Hint(ATTRIBUTES, b"a", is_content=False)]


def test_content_and_attributes_together_are_content(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").write_text("x")
    (root / "a").chmod(0o600)

    assert backend.read() == [Hint(CHANGED, b"a", is_content=True)]


def test_truncation_by_path_is_told(root, backend, watch):
    (root / "a").write_text("x")
    watch(backend, root)

    os.truncate(root / "a", 0)

    assert backend.read() == [Hint(CHANGED, b"a", is_content=True)]


def test_a_removed_file_is_gone(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").unlink()

    assert [(hint.kind, hint.path) for hint in backend.read()] == [(GONE, b"a")]


def test_a_file_that_is_removed_and_made_again_is_there(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").unlink()
    (root / "a").touch()

    assert backend.read() == [Hint(CREATED, b"a", is_content=True)]


def test_a_rename_tells_of_both_names(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    (root / "a").rename(root / "b")

    assert {(hint.kind, hint.path) for hint in backend.read()} == {(GONE, b"a"), (CREATED, b"b")}


def test_a_rename_over_a_file_tells_that_another_has_its_name(root, backend, watch):
    (root / "a").write_text("old")
    (root.parent / "new").write_text("new")
    watch(backend, root)

    (root.parent / "new").rename(root / "a")

    assert backend.read() == [Hint(CREATED, b"a", is_content=True)]


def test_a_move_in_and_a_move_out_are_told(root, backend, watch):
    (root / "out").touch()
    (root.parent / "in").touch()
    watch(backend, root)

    (root / "out").rename(root.parent / "out")
    (root.parent / "in").rename(root / "in")

    assert {(hint.kind, hint.path) for hint in backend.read()} == {(GONE, b"out"), (CREATED, b"in")}


def test_the_directory_s_own_attributes_are_told(root, backend, watch):
    (root / "a").mkdir()
    watch(backend, root)

    root.chmod(0o700)
    of_root = backend.read()
    (root / "a").chmod(0o700)

    assert of_root == [Hint(ATTRIBUTES, b"", is_directory=True)]
    assert backend.read() == [Hint(ATTRIBUTES, b"a", is_directory=True)]


@pytest.mark.parametrize("name", [b"\n", b"\x1b[2J", b"\xff\xfe", b"a" * 255, b"\xc3\xa9" * 127, b" ", b"-rf", b"..."])
def test_any_name_is_told_as_it_is(root, backend, name, watch):
    watch(backend, root)

    os.close(os.open(os.fsencode(root) + b"/" + name, os.O_CREAT | os.O_WRONLY))

    assert paths_of(backend.read()) == [name]


def test_thousands_of_writes_to_one_file_are_one_hint(root, backend, watch):
    (root / "a").touch()
    watch(backend, root)

    with (root / "a").open("w", buffering=1) as file:
        file.writelines("line\n" for _ in range(50_000))

    assert backend.read() == [Hint(CHANGED, b"a", is_content=True)]


# What the kernel writes


def event(watch: int, mask: int, name: bytes, padding: int = 0) -> bytes:
    padded = name + bytes(padding)
    return HEADER.pack(watch, mask, 0, len(padded)) + padded


NAMES = st.binary(max_size=255).map(lambda name: name.replace(b"\0", b"").replace(b"/", b""))
EVENTS = st.tuples(st.integers(-1, 2**31 - 1), st.integers(0, 2**32 - 1), NAMES, st.integers(0, 16))


@given(st.lists(EVENTS))
def test_events_are_read_as_they_were_written(events):
    data = b"".join(event(*values) for values in events)

    assert list(parse_events(data)) == [(watch, mask, name) for watch, mask, name, _ in events]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_error(data):
    assert len(list(parse_events(data))) <= len(data) // HEADER.size


@given(events=st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2**32 - 1), NAMES)))
def test_any_events_give_hints_without_error(read_from_pipe, events):
    hints = read_from_pipe([event(*values) for values in events])

    assert len(hints) <= 2 * len(events)


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


@pytest.mark.parametrize("read_bytes", [16, 64, 272, 4096])
def test_a_buffer_that_is_too_small_for_an_event_grows(root, read_bytes, watch):
    backend = InotifyBackend(inotify._libc.inotify_init1(os.O_NONBLOCK), 5, read_bytes=read_bytes)
    watch(backend, root)

    (root / "a").mkdir()
    (root / "a").rename(root / "b")
    (root / ("n" * 255)).touch()
    hints = backend.read()

    backend.close()
    assert [(hint.kind, hint.path) for hint in hints] == [
        (CREATED, b"a"),
        (GONE, b"a"),
        (CREATED, b"b"),
        (CREATED, b"n" * 255),
    ]


def test_closed_it_holds_no_descriptor(root, watch):
    backend = open_backend(FimSettings())
    watch(backend, root)

    backend.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        backend.read()
