"""One consistent look at a file: what is called stable was never torn, and what cannot be hashed says why."""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.file_state import HASHED, NOT_HASHED, STABLE, FileState
from auditline.workers.common.hashes import ALGORITHMS, is_available, unpack_digests
from auditline.workers.common.jobs import LARGE_BYTES, Outcome, Result
from auditline.workers.hasher import snapshot
from auditline.workers.hasher.content import SLICE_BYTES
from auditline.workers.hasher.snapshot import Order, look_at, look_in_slices

MANY = 1 << 40
SHA256 = Order(("sha256",), MANY, MANY)
SIZES = [0, 1, 4095, 4096, 65_536, 262_143, 262_144, 262_145, 1_000_000, SLICE_BYTES, SLICE_BYTES + 1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's own directory."""
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def look(folder: int, name: str, order: Order = SHA256) -> Result:
    return look_at(os.fsencode(name), folder, order)


def state_of(result: Result) -> FileState:
    assert result.state is not None, result
    return result.state


def sha256(result: Result) -> str:
    return unpack_digests(state_of(result).hashes)["sha256"]


@contextmanager
def repeated(action: Callable[[], object]) -> Iterator[None]:
    """Do *action* again and again in a thread."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.is_set():
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("size", SIZES)
def test_a_file_of_any_size_is_hashed(tmp_path: Path, folder: int, size: int):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)

    result = look(folder, "file")

    assert (result.outcome, result.error) == (Outcome.LOOKED_AT, "")
    assert state_of(result).hash_state == STABLE
    assert sha256(result) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_in_slices_a_file_has_the_same_state(tmp_path: Path, folder: int, size: int):
    (tmp_path / "file").write_bytes(os.urandom(size))

    slices = look_in_slices(b"file", folder, SHA256)
    in_slices = snapshot._exhaust(slices)

    assert in_slices.state is not None
    assert in_slices.state._replace(checked_ns=0) == state_of(look(folder, "file"))._replace(checked_ns=0)


@given(st.lists(st.sampled_from(sorted(ALGORITHMS)), min_size=1, unique=True), st.binary(max_size=3000))
def test_all_hashes_are_of_the_same_content(tmp_path_factory, names: list[str], content: bytes):
    available = tuple(filter(is_available, names))
    top = tmp_path_factory.getbasetemp()
    (top / "file").write_bytes(content)
    directory_fd = os.open(top, os.O_PATH)

    result = look(directory_fd, "file", Order(available, MANY, MANY))

    os.close(directory_fd)
    digests = [ALGORITHMS[name].make() for name in available]
    for digest in digests:
        digest.update(content)
    expected = {name: digest.digest().hex() for name, digest in zip(available, digests, strict=True)}
    assert unpack_digests(state_of(result).hashes) == expected


def test_the_state_is_what_stat_says(tmp_path: Path, folder: int):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    file.chmod(0o4750)
    os.link(file, tmp_path / "other")
    os.utime(file, ns=(1_000_000_001, 2_000_000_002))
    before_ns = time.time_ns()

    state = state_of(look(folder, "file"))

    status = file.stat()
    assert state == FileState(
        mode=stat.S_IFREG | 0o4750,
        uid=status.st_uid,
        gid=status.st_gid,
        size=7,
        inode=status.st_ino,
        device=status.st_dev,
        links=2,
        mtime_ns=2_000_000_002,
        ctime_ns=status.st_ctime_ns,
        atime_ns=1_000_000_001,
        rdev=0,
        target=None,
        hashes=state.hashes,
        hash_state=STABLE,
        checked_ns=state.checked_ns,
    )
    assert before_ns <= state.checked_ns <= time.time_ns()


def test_without_hashes_nothing_is_read(tmp_path: Path, folder: int):
    (tmp_path / "file").write_bytes(b"content")

    state = state_of(look(folder, "file", Order((), MANY, MANY)))

    assert (state.hash_state, state.hashes, state.size) == (NOT_HASHED, b"", 7)


def test_a_file_beyond_the_limit_has_a_state_and_no_hash(tmp_path: Path, folder: int):
    (tmp_path / "file").write_bytes(b"x" * 101)
    (tmp_path / "just").write_bytes(b"x" * 100)
    order = Order(("sha256",), 100, 100)

    state, just = state_of(look(folder, "file", order)), state_of(look(folder, "just", order))

    assert (state.hash_state, state.hashes, state.size) == ("too_large", b"", 101)
    assert just.hash_state == STABLE


def test_a_sparse_file_of_a_tebibyte_is_too_large_at_once(tmp_path: Path, folder: int):
    """Pitfall 20."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    start = time.process_time()

    state = state_of(look(folder, "file", Order(("sha256",), 100 << 20, 100 << 20)))

    assert (state.hash_state, state.size) == ("too_large", 1 << 40)
    assert time.process_time() - start < 1


def test_a_file_too_large_for_its_lane_is_not_read(tmp_path: Path, folder: int):
    (tmp_path / "file").write_bytes(b"x" * (LARGE_BYTES + 1))

    result = look(folder, "file", Order(("sha256",), MANY, LARGE_BYTES))

    assert result == Result(Outcome.LARGER)


@pytest.mark.parametrize("name", ["none", "none/file", "file/below"])
def test_what_is_gone_is_gone(tmp_path: Path, folder: int, name: str):
    (tmp_path / "file").write_bytes(b"")

    assert look(folder, name) == Result(Outcome.GONE)


def test_a_symbolic_link_is_not_followed(tmp_path: Path, folder: int):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("secret")

    result = look(folder, "link")

    assert (result.outcome, result.state) == (Outcome.NOT_REGULAR, None)


def test_a_fifo_is_not_waited_for(tmp_path: Path, folder: int):
    os.mkfifo(tmp_path / "fifo")

    result = look(folder, "fifo")

    assert (result.outcome, result.state) == (Outcome.NOT_REGULAR, None)


@contextmanager
def as_nobody() -> Iterator[None]:
    if os.getuid():
        pytest.skip("root may read everything, and only root can become somebody else")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read_says_so(public_folder: Path):
    (public_folder / "file").write_bytes(b"content")
    (public_folder / "file").chmod(0)
    directory_fd = os.open(public_folder, os.O_PATH)

    with as_nobody():
        result = look(directory_fd, "file")

    os.close(directory_fd)
    assert result == Result(Outcome.FORBIDDEN, None, "Permission denied")


def test_a_file_that_cannot_be_read_has_a_state_and_no_hash():
    # A process's memory: regular, but nothing is mapped at its beginning.
    directory_fd = os.open("/proc/self", os.O_PATH)

    result = look(directory_fd, "mem")

    os.close(directory_fd)
    assert (state_of(result).hash_state, state_of(result).hashes) == ("unreadable", b"")
    assert result.error == "Input/output error"


def test_an_endless_file_is_never_stable():
    # Its size is 0, and there is always more.
    directory_fd = os.open("/proc", os.O_PATH)

    result = look(directory_fd, "kmsg" if os.getuid() else "cpuinfo")

    os.close(directory_fd)
    assert state_of(result).hash_state in ("unstable", "unreadable")


def test_a_file_that_is_rewritten_all_the_time_is_never_called_stable_when_torn(tmp_path: Path, folder: int):
    """Pitfall 18."""
    size = 4 << 20
    contents = [bytes([letter]) * size for letter in range(4)]
    whole = {hashlib.sha256(content).hexdigest() for content in contents}
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.pwrite(fd, contents[0], 0)

    with repeated(lambda: [os.pwrite(fd, content, 0) for content in contents]):
        results = [look(folder, "file") for _ in range(20)]

    os.close(fd)
    states = [state_of(result) for result in results]
    stable = {sha256(result) for result in results if state_of(result).hash_state == STABLE}
    assert {state.hash_state for state in states} <= {STABLE, "unstable"}
    assert "unstable" in {state.hash_state for state in states}
    assert all(state.hashes == b"" for state in states if state.hash_state == "unstable")
    assert stable <= whole


def test_a_small_file_that_is_rewritten_all_the_time_is_never_called_stable_when_torn(tmp_path: Path, folder: int):
    contents = [bytes([letter]) * 60_000 for letter in range(4)]
    whole = {hashlib.sha256(content).hexdigest() for content in contents}
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.pwrite(fd, contents[0], 0)

    with repeated(lambda: [os.pwrite(fd, content, 0) for content in contents]):
        results = [look(folder, "file") for _ in range(100)]

    os.close(fd)
    assert {sha256(result) for result in results if state_of(result).hash_state == STABLE} <= whole


def test_a_file_that_is_truncated_while_it_is_read_is_no_crash(tmp_path: Path, folder: int):
    """Pitfall 19."""
    content = os.urandom(8 << 20)
    file = tmp_path / "file"
    file.write_bytes(content)

    def cut() -> None:
        os.truncate(file, 10)
        os.truncate(file, 8 << 20)

    with repeated(cut):
        results = [look(folder, "file") for _ in range(30)]

    possible = {
        hashlib.sha256(content[:10]).hexdigest(),
        hashlib.sha256(content[:10].ljust(8 << 20, b"\0")).hexdigest(),
    }
    hashed = {sha256(result) for result in results if state_of(result).hash_state in HASHED}
    # Between its cuts it grows.
    assert {state_of(result).hash_state for result in results} <= {*HASHED, "unstable"}
    assert hashed <= possible


def test_a_file_that_grows_while_it_is_read_is_looked_at_again(tmp_path: Path, folder: int):
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * SLICE_BYTES))
    slices = look_in_slices(b"file", folder, SHA256)
    next(slices)

    with file.open("ab") as appended:
        appended.write(b"more")
    result = snapshot._exhaust(slices)

    assert state_of(result).size == 2 * SLICE_BYTES + 4
    assert sha256(result) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_that_grows_beyond_the_limit_while_it_is_read_is_too_large(tmp_path: Path, folder: int):
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * SLICE_BYTES))
    slices = look_in_slices(b"file", folder, Order(("sha256",), 2 * SLICE_BYTES, MANY))
    next(slices)

    with file.open("ab") as appended:
        appended.write(b"more")
    result = snapshot._exhaust(slices)

    assert (state_of(result).hash_state, state_of(result).hashes) == ("too_large", b"")
    assert state_of(result).size == 2 * SLICE_BYTES + 4


def test_a_file_that_changes_in_every_slice_is_given_up_soon(tmp_path: Path, folder: int):
    file = tmp_path / "file"
    with file.open("wb") as opened:
        opened.truncate(100 * SLICE_BYTES)
    start = time.process_time()

    with repeated(lambda: os.utime(file)):
        result = look(folder, "file")

    assert state_of(result).hash_state == "unstable"
    assert time.process_time() - start < 1


def test_a_file_that_is_deleted_while_it_is_read_is_gone(tmp_path: Path, folder: int):
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * SLICE_BYTES))
    slices = look_in_slices(b"file", folder, SHA256)
    next(slices)

    file.unlink()

    assert snapshot._exhaust(slices) == Result(Outcome.GONE)


def test_a_change_of_mode_alone_is_noticed(tmp_path: Path, folder: int):
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * SLICE_BYTES))
    file.chmod(0o600)
    slices = look_in_slices(b"file", folder, SHA256)
    next(slices)

    file.chmod(0o644)
    state = state_of(snapshot._exhaust(slices))

    assert (state.hash_state, stat.S_IMODE(state.mode)) == (STABLE, 0o644)


def test_the_access_time_is_that_before_it_was_read(tmp_path: Path, folder: int):
    (tmp_path / "file").write_bytes(b"x" * 300_000)
    os.utime(tmp_path / "file", ns=(1, 2))

    states = [state_of(look(folder, "file")) for _ in range(2)]

    assert [state.atime_ns for state in states] == [1, 1]


def test_no_descriptor_stays_open(tmp_path: Path, folder: int):
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * SLICE_BYTES))
    look(folder, "file")
    before = len(os.listdir("/proc/self/fd"))

    slices = look_in_slices(b"file", folder, SHA256)
    next(slices)
    slices.close()
    for name in ("file", "none", "."):
        look(folder, name)

    assert len(os.listdir("/proc/self/fd")) == before
