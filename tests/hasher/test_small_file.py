"""Small files in one call: the same as the plain way finds, and nothing of what only that one may judge."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditline.workers.common.attributes import read_xattrs
from auditline.workers.common.file_state import FileState
from auditline.workers.common.hashes import ALGORITHMS, is_available
from auditline.workers.hasher import small_file
from auditline.workers.hasher.compiling import COMPILED
from auditline.workers.hasher.content import BUFFER_BYTES
from auditline.workers.hasher.small_file import look_at_small
from auditline.workers.hasher.snapshot import Order, look_at

pytestmark = pytest.mark.skipif(COMPILED is None, reason="nothing is compiled: no compiler, or no Python.h, was there")

MANY = 1 << 40
NAME = b"file"
HASHES = tuple(name for name in ALGORITHMS if is_available(name))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's own directory."""
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.fixture
def plainly(folder: int, monkeypatch) -> Callable[..., FileState | None]:
    """Look the plain way."""

    def look(hashes: tuple[str, ...] = ("sha256",)) -> FileState | None:
        with monkeypatch.context() as patch:
            patch.setattr(small_file, "COMPILED", None)
            return look_at(NAME, folder, Order(hashes, MANY, MANY)).state

    return look


def at_once(folder: int, hashes: tuple[str, ...] = ("sha256",), most_bytes: int = MANY) -> FileState | None:
    return look_at_small(NAME, folder, hashes, most_bytes, 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=300) | st.sampled_from([4095, 4096, BUFFER_BYTES - 1]).map(bytes),
    mode=st.integers(0, 0o7777),
    owner=st.integers(0, (1 << 32) - 2),
    times=st.tuples(st.integers(-(1 << 31), 1 << 33), st.integers(-(1 << 31), 1 << 33)),
    hashes=st.lists(st.sampled_from(HASHES), min_size=1, max_size=3, unique=True).map(tuple),
)
def test_each_file_is_what_the_plain_way_says(tmp_path, folder, plainly, content, mode, owner, times, hashes):
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "file").chmod(mode)
    if os.geteuid() == 0:
        os.chown(tmp_path / "file", owner, owner)
    os.utime(tmp_path / "file", times)

    state = at_once(folder, hashes)

    assert state == plainly(hashes)._replace(checked_ns=0)


def test_extended_attributes_are_what_the_plain_way_says(tmp_path, folder, plainly):
    (tmp_path / "file").write_bytes(b"content")
    try:
        os.setxattr(tmp_path / "file", "user.one", b"1" * 2000)
        os.setxattr(tmp_path / "file", "user.other", b"")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error.strerror}")

    state = at_once(folder)

    assert state == plainly()._replace(checked_ns=0)
    assert state is not None
    assert state.xattrs == read_xattrs(os.fsencode(tmp_path / "file"))


def test_a_file_with_several_names_is_what_the_plain_way_says(tmp_path, folder, plainly):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "other").hardlink_to(tmp_path / "file")

    assert at_once(folder) == plainly()._replace(checked_ns=0)


@pytest.mark.parametrize(("size", "most_bytes"), [(BUFFER_BYTES, MANY), (101, 100), (1 << 40, MANY)])
def test_a_larger_file_is_left_to_the_plain_way(size, most_bytes, tmp_path, folder):
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", size)

    assert at_once(folder, most_bytes=most_bytes) is None


def test_of_the_most_bytes_it_is_read(tmp_path, folder):
    (tmp_path / "file").write_bytes(bytes(100))

    assert at_once(folder, most_bytes=100) is not None


@pytest.mark.parametrize("make", [
    lambda path: path.with_name("another").touch(),
    lambda path: path.mkdir(),
    os.mkfifo,
    lambda path: path.symlink_to("/etc/hostname"),
], ids=["nothing", "directory", "fifo", "link"])  # fmt: skip
def test_what_is_no_file_is_left_to_the_plain_way(make, tmp_path, folder):
    make(tmp_path / "file")

    assert at_once(folder) is None


@pytest.mark.parametrize("change", [
    lambda path: path.write_bytes(b"another"),
    lambda path: os.truncate(path, 100),
    lambda path: path.chmod(0o600),
], ids=["written", "longer", "mode"])  # fmt: skip
def test_a_file_that_changes_meanwhile_is_left_to_the_plain_way(change, tmp_path, folder, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")
    try:
        os.setxattr(tmp_path / "file", "user.one", b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error.strerror}")

    def change_and_read(fd: int) -> bytes:
        change(tmp_path / "file")
        return read_xattrs(fd)

    monkeypatch.setattr(small_file, "read_xattrs", change_and_read)

    assert at_once(folder) is None


@pytest.mark.parametrize("error", [OSError(5, "the disk is broken"), FileNotFoundError(2, "gone")])
def test_what_cannot_be_told_is_left_to_the_plain_way(error, tmp_path, folder, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")
    try:
        os.setxattr(tmp_path / "file", "user.one", b"1")
    except OSError as refusal:
        pytest.skip(f"no extended attributes here: {refusal.strerror}")

    def fail(_fd: int) -> bytes:
        raise error

    monkeypatch.setattr(small_file, "read_xattrs", fail)

    assert at_once(folder) is None


def test_no_descriptor_stays_open(tmp_path, folder):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "fifo")
    at_once(folder)
    before = os.listdir("/proc/self/fd")

    at_once(folder)
    look_at_small(b"fifo", folder, ("sha256",), MANY, 0)
    look_at_small(b"missing", folder, ("sha256",), MANY, 0)

    assert os.listdir("/proc/self/fd") == before
