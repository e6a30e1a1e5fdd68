"""What is read of a file, and how: holes are not read, and the page cache and the time of access stay as they were."""

import ctypes
import errno
import hashlib
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditline.workers.common.attributes import unpack_xattrs
from auditline.workers.common.file_state import (
    FORBIDDEN,
    GROWING,
    STABLE,
    TIME_LIMIT,
    UNREADABLE,
    UNSTABLE,
    FileState,
)
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.hasher import page_cache, small_file, snapshot
from auditline.workers.hasher.content import BUFFER_BYTES, SLICE_BYTES, Content, Fit, read_small
from auditline.workers.hasher.snapshot import Order, look_at, look_in_slices

MANY = 1 << 50
SHA256 = Order(("sha256",), MANY, MANY)
SMALL, LARGE = 100_000, 2 * SLICE_BYTES + 5
PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def look(folder: int, order: Order = SHA256) -> FileState:
    state = look_at(b"file", folder, order).state
    assert state is not None
    return state


def sha256(state: FileState) -> str:
    return unpack_digests(state.hashes)["sha256"]


def cached_pages(path: Path) -> list[bool]:
    """Return of each page of a file whether the page cache has it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    pages = ctypes.create_string_buffer(-(-size // PAGE))
    assert _libc.mincore(address, size, pages) == 0
    _libc.munmap(address, size)
    return [bool(page[0] & 1) for page in pages]


def make_cold(path: Path, start: int = 0) -> None:
    """Let the page cache forget a file from *start* on."""
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, start, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    if any(cached_pages(path)[start // PAGE :]):
        pytest.skip("this file system keeps everything in memory")


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_was_not_in_the_page_cache_is_not_in_it_afterwards(tmp_path: Path, folder: int, size: int):
    """Pitfall 58."""
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    make_cold(tmp_path / "file")

    state = look(folder)

    assert sha256(state) == hashlib.sha256(data).hexdigest()
    assert not any(cached_pages(tmp_path / "file"))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_was_in_the_page_cache_stays_there(tmp_path: Path, folder: int, size: int):
    (tmp_path / "file").write_bytes(os.urandom(size))

    look(folder)

    assert all(cached_pages(tmp_path / "file"))


def test_of_a_file_that_is_cached_in_part_that_part_stays(tmp_path: Path, folder: int):
    data = os.urandom(LARGE)
    (tmp_path / "file").write_bytes(data)
    half = SLICE_BYTES * 3 // 2
    make_cold(tmp_path / "file", half)

    state = look(folder)

    pages = cached_pages(tmp_path / "file")
    assert sha256(state) == hashlib.sha256(data).hexdigest()
    assert all(pages[: half // PAGE])
    assert not any(pages[half // PAGE :])


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_where_nobody_says_what_is_cached_it_is_left_as_reading_leaves_it(
    tmp_path: Path, folder: int, size: int, monkeypatch
):
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    make_cold(tmp_path / "file")
    monkeypatch.setattr(page_cache, "_syscall", lambda *_arguments: -1)
    monkeypatch.setattr(small_file, "COMPILED", None)

    state = look(folder)

    assert sha256(state) == hashlib.sha256(data).hexdigest()
    assert all(cached_pages(tmp_path / "file"))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_access_time_stays_as_it_was(tmp_path: Path, folder: int, size: int):
    (tmp_path / "file").write_bytes(os.urandom(size))
    # Older than the time of modification: a mere `cat` would renew it on every usual mount.
    os.utime(tmp_path / "file", ns=(1, 10**18))

    look(folder)

    assert (tmp_path / "file").stat().st_atime_ns == 1


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A file of 80 MiB, of which 5 bytes are on the disk."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(80 << 20)
        file.seek(40 << 20)
        file.write(b"data!")
    return tmp_path / "file"


def test_a_file_with_holes_has_the_hash_of_what_is_read_of_it(sparse: Path, folder: int):
    with sparse.open("rb") as file:
        wanted = hashlib.file_digest(file, "sha256").hexdigest()

    assert sha256(look(folder)) == wanted


def test_holes_do_not_fill_the_page_cache(sparse: Path, folder: int):
    make_cold(sparse)

    look(folder)

    assert sum(cached_pages(sparse)) == 0


def test_a_file_system_that_knows_no_holes_is_read(sparse: Path, folder: int, monkeypatch):
    def refuse(_fd: int, _position: int, _how: int) -> int:
        raise OSError(errno.EINVAL, "unknown")

    with sparse.open("rb") as file:
        wanted = hashlib.file_digest(file, "sha256").hexdigest()
    monkeypatch.setattr(os, "lseek", refuse)

    assert sha256(look(folder)) == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(BUFFER_BYTES, 3 * BUFFER_BYTES),
    pieces=st.lists(st.tuples(st.integers(0, 3 * BUFFER_BYTES), st.binary(min_size=1, max_size=20_000)), max_size=5),
)
def test_whatever_has_holes_has_the_hash_of_its_content(
    tmp_path_factory: pytest.TempPathFactory, size: int, pieces: list[tuple[int, bytes]]
):
    path = tmp_path_factory.getbasetemp() / "holes"
    with path.open("wb") as file:
        file.truncate(size)
        for position, data in pieces:
            file.seek(position)
            file.write(data)
    taken = bytearray()
    fd = os.open(path, os.O_RDONLY)

    reading = Content(fd, os.fstat(fd), taken.extend)
    reading._has_holes = True
    fit = reading.read_slice()

    os.close(fd)
    assert fit is Fit.EXACT
    assert bytes(taken) == path.read_bytes()


def test_a_sparse_file_of_a_tebibyte_is_given_up_in_time(tmp_path: Path, folder: int, monkeypatch):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr(snapshot, "TIME_LIMIT_SECONDS", 0.2)
    started = time.process_time()

    state = look(folder)

    assert (state.hash_state, state.hashes, state.size) == (TIME_LIMIT, b"", 1 << 40)
    assert time.process_time() - started < 2


def test_only_the_time_that_is_spent_reading_counts(tmp_path: Path, folder: int, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(LARGE))
    monkeypatch.setattr(snapshot, "TIME_LIMIT_SECONDS", 5.0)
    slices = look_in_slices(b"file", folder, SHA256)
    next(slices)

    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 1000)
    result = snapshot._exhaust(slices)

    assert result.state is not None
    assert result.state.hash_state == STABLE


@pytest.mark.parametrize(
    ("number", "word"), [(errno.EIO, UNREADABLE), (errno.EUCLEAN, UNREADABLE), (errno.EACCES, FORBIDDEN)]
)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_file_that_cannot_be_read_has_its_attributes_and_says_why(
    tmp_path: Path, folder: int, size: int, number: int, word: str, monkeypatch
):
    (tmp_path / "file").write_bytes(bytes(size))

    def fail(_fd: int, _buffers: list[memoryview], _position: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", fail)
    monkeypatch.setattr(small_file, "COMPILED", None)
    result = look_at(b"file", folder, SHA256)

    assert result.state is not None
    assert (result.state.hash_state, result.state.hashes, result.state.size) == (word, b"", size)
    assert result.error == os.strerror(number)


def append(path: Path, data: bytes = b"more") -> None:
    with path.open("ab") as file:
        file.write(data)


def overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)


def test_a_file_to_which_is_appended_all_the_time_has_the_hash_of_what_two_readings_found(tmp_path: Path, folder: int):
    path, data = tmp_path / "file", os.urandom(LARGE)
    path.write_bytes(data)
    before = path.stat()

    slices = look_in_slices(b"file", folder, SHA256)
    for _ in range(2):
        next(slices)
    append(path)
    next(slices)
    append(path)
    state = snapshot._exhaust(slices).state

    assert state is not None
    assert (state.hash_state, state.size, state.mtime_ns) == (GROWING, LARGE, before.st_mtime_ns)
    assert sha256(state) == hashlib.sha256(data).hexdigest()


def test_whatever_is_appended_meanwhile_a_hash_is_that_of_as_many_bytes_as_are_told(tmp_path: Path, folder: int):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(LARGE))
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.is_set():
            append(path, os.urandom(1000))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        states = [look(folder) for _ in range(5)]
    finally:
        is_over.set()
        thread.join()

    content = path.read_bytes()
    assert {state.hash_state for state in states} <= {STABLE, GROWING}
    assert [sha256(state) for state in states] == [
        hashlib.sha256(content[: state.size]).hexdigest() for state in states
    ]


def test_a_file_that_grows_once_is_stable_at_the_second_reading(tmp_path: Path, folder: int):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(LARGE))

    slices = look_in_slices(b"file", folder, SHA256)
    next(slices)
    append(path)
    state = snapshot._exhaust(slices).state

    assert state is not None
    assert (state.hash_state, state.size) == (STABLE, LARGE + 4)
    assert sha256(state) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_grows_and_is_overwritten_is_not_called_growing(tmp_path: Path, folder: int):
    """Pitfall 39."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(LARGE))
    slices = look_in_slices(b"file", folder, SHA256)

    state = None
    while state is None:
        try:
            next(slices)
        except StopIteration as end:
            state = end.value.state
        else:
            overwrite(path, os.urandom(8))
            append(path)

    assert (state.hash_state, state.hashes) == (UNSTABLE, b"")


def test_of_a_small_file_more_than_its_size_is_noticed(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"12345")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    before = os.fstat(fd)
    append(tmp_path / "file")

    found = read_small(fd, before.st_size)

    os.close(fd)
    assert found is None


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_extended_attributes_and_flags_come_with_the_hash(tmp_path: Path, folder: int, size: int):
    (tmp_path / "file").write_bytes(bytes(size))
    os.setxattr(tmp_path / "file", "user.a", b"1")

    state = look(folder)

    assert state.hash_state == STABLE
    assert [(xattr.name, xattr.value) for xattr in unpack_xattrs(state.xattrs)] == [(b"user.a", b"1")]


@pytest.mark.parametrize("order", [Order((), MANY, MANY), Order(("sha256",), 1, 1)])
def test_extended_attributes_come_also_without_a_hash(tmp_path: Path, folder: int, order: Order):
    (tmp_path / "file").write_bytes(b"content")
    os.setxattr(tmp_path / "file", "user.a", b"1")

    state = look(folder, order)

    assert (state.hashes, [xattr.name for xattr in unpack_xattrs(state.xattrs)]) == (b"", [b"user.a"])


def test_an_extended_attribute_that_changes_while_the_file_is_read_is_that_of_the_end(tmp_path: Path, folder: int):
    path = tmp_path / "file"
    path.write_bytes(bytes(LARGE))
    os.setxattr(path, "user.a", b"1")

    slices = look_in_slices(b"file", folder, SHA256)
    next(slices)
    os.setxattr(path, "user.a", b"2")
    state = snapshot._exhaust(slices).state

    assert state is not None
    assert (state.hash_state, state.ctime_ns) == (STABLE, path.stat().st_ctime_ns)
    assert [xattr.value for xattr in unpack_xattrs(state.xattrs)] == [b"2"]
