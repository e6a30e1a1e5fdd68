"""Access beneath a root: whatever is swapped in, nothing outside of it is reached and only regular files are opened."""

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common import beneath
from auditline.workers.common.beneath import NotRegularError, Root, open_regular

NO_SUCH_SYSCALL = 9999
SECRET = b"the secret"

InChild = Callable[[Callable[[], object]], object]


@pytest.fixture(params=["openat2", "components"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How directories are reached: by openat2, or as on a kernel that says ENOSYS to it."""
    if request.param == "components":
        monkeypatch.setattr(beneath, "_SYS_OPENAT2", NO_SUCH_SYSCALL)
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with a/b/file in it, and a secret beside it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_bytes(SECRET)
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root" / "a" / "b" / "file").write_bytes(b"content")
    return tmp_path / "root"


@pytest.fixture
def root(folder: Path) -> Iterator[Root]:
    opened = Root.open(os.fsencode(folder))
    yield opened
    opened.close()


def open_file(root: Root, relative: bytes) -> int:
    """Return a descriptor to read a regular file with, opened as hashers do."""
    parent_fd, name = root.open_parent(relative)
    try:
        return open_regular(name, parent_fd)[0]
    finally:
        os.close(parent_fd)


def read(root: Root, relative: bytes) -> bytes:
    fd = open_file(root, relative)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def listing(root: Root, relative: bytes) -> list[str]:
    fd = root.open_directory(relative)
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


CALLS = [open_file, Root.lstat, Root.open_directory, Root.readlink]


def errno_of(function: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which number it has is what is asserted
        function(*arguments)
    return caught.value.errno


def test_what_is_beneath_is_reached(way, folder: Path, root: Root):
    (folder / "a" / "link").symlink_to("b/file")

    assert read(root, b"a/b/file") == b"content"
    assert listing(root, b"") == ["a"]
    assert listing(root, b"a") == ["b", "link"]
    assert root.lstat(b"a/b/file").st_size == 7
    assert root.lstat(b"").st_ino == folder.stat().st_ino
    assert stat.S_ISLNK(root.lstat(b"a/link").st_mode)
    assert root.readlink(b"a/link") == b"b/file"


def test_to_list_a_directory_leaves_its_access_time_as_it_was(root: Root, folder: Path, way: str):
    # Older than the time of modification: a mere `ls` would renew it on every usual mount.
    os.utime(folder / "a", ns=(1, 10**18))

    fd = root.open_directory(b"a")
    names = os.listdir(fd)

    os.close(fd)
    assert (names, (folder / "a").stat().st_atime_ns) == (["b"], 1)


@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_there_is_told_as_the_kernel_tells_it(way, root: Root, call: Callable[[Root, bytes], object]):
    assert errno_of(call, root, b"a/none") == errno.ENOENT
    assert errno_of(call, root, b"none/none") == errno.ENOENT
    assert errno_of(call, root, b"a/b/file/none") == errno.ENOTDIR


@pytest.mark.parametrize("call", CALLS)
def test_a_symbolic_link_on_the_way_is_not_followed(
    way, folder: Path, root: Root, call: Callable[[Root, bytes], object]
):
    (folder / "a" / "b").rename(folder / "moved")
    (folder / "a" / "b").symlink_to(folder.parent / "secret")

    assert errno_of(call, root, b"a/b/file") in (errno.ELOOP, errno.ENOTDIR)


def test_a_symbolic_link_at_the_end_is_not_opened(way, folder: Path, root: Root):
    (folder / "link").symlink_to(folder.parent / "secret" / "file")
    (folder / "directory").symlink_to(folder.parent / "secret")

    with pytest.raises(NotRegularError):
        open_file(root, b"link")
    assert errno_of(root.open_directory, b"directory") in (errno.ELOOP, errno.ENOTDIR)


@pytest.mark.parametrize(
    "path", [b"../secret/file", b"a/../../secret/file", b"/etc/passwd", b"a/b/../../../secret/file"]
)
def test_no_path_leads_out(way, root: Root, path: bytes):
    with pytest.raises(OSError):  # noqa: PT011  # any will do
        open_file(root, path)


@given(path=st.lists(st.sampled_from([b"a", b"b", b"..", b".", b"", b"up", b"file", b"/"]), max_size=8).map(b"/".join))
def test_whatever_the_path_the_secret_is_not_read(tmp_path_factory, path: bytes):
    top = tmp_path_factory.getbasetemp() / "given"
    (top / "a" / "b").mkdir(parents=True, exist_ok=True)
    (top.parent / "file").write_bytes(SECRET)
    if not (top / "a" / "up").is_symlink():
        (top / "a" / "up").symlink_to("../..")
    root = Root.open(os.fsencode(top))

    with pytest.raises(OSError):  # noqa: PT011  # any will do
        read(root, path)
    root.close()


def test_a_path_of_any_length_is_reached(way, folder: Path, root: Root):
    names = [b"d" * 250] * 20
    at = os.open(folder, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open(b"f" * 255, os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    path = b"/".join([*names, b"f" * 255])
    read(root, b"a/b/file")  # /proc/self/fd is opened with the first file, and kept
    before = open_descriptors()

    assert len(path) > 5000
    assert root.lstat(path).st_size == 0
    assert read(root, path) == b""
    assert listing(root, b"/".join(names)) == ["f" * 255]
    assert open_descriptors() == before


def test_names_are_bytes(way, folder: Path, root: Root):
    name = b"\xff\n\x1b[31m'\"\\ \xc3\xa9"
    (folder / os.fsdecode(name)).write_bytes(b"odd")

    assert read(root, name) == b"odd"


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("device nodes cannot be made here")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("make", [make_fifo, make_socket, make_device, Path.mkdir])
def test_nothing_but_a_regular_file_is_opened(folder: Path, root: Root, make: Callable[[Path], None]):
    make(folder / "odd")

    with pytest.raises(NotRegularError, match="not a regular file but of mode"):
        open_file(root, b"odd")


@contextmanager
def repeated(*actions: Callable[[], None]) -> Iterator[None]:
    """Do each of *actions* again and again in a thread of its own."""
    is_over = threading.Event()

    def repeat(action: Callable[[], None]) -> None:
        while not is_over.is_set():
            action()

    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def outcomes_of(function: Callable[[], str], wanted: int) -> set[str]:
    """Call *function* 20,000 times, or until it has given *wanted* different answers, at most ten seconds."""
    seen: set[str] = set()
    rounds, end = 0, time.monotonic() + 10
    while (len(seen) < wanted or rounds < 20) and time.monotonic() < end:
        seen |= {function() for _ in range(1000)}
        rounds += 1
    return seen


def try_to_read(root: Root, path: bytes) -> str:
    try:
        return read(root, path).decode()
    except NotRegularError:
        return "not regular"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def test_a_fifo_that_is_swapped_in_is_never_opened(folder: Path, root: Root):
    os.mkfifo(folder / "fifo")
    (folder / "plain").write_bytes(b"content")
    (folder / "name").write_bytes(b"content")
    opened: list[int] = []

    def swap() -> None:
        for source in ("fifo", "plain"):
            os.link(folder / source, folder / "new")
            os.rename(folder / "new", folder / "name")

    def write() -> None:
        # To open it for writing succeeds only while somebody has it open for reading.
        with suppress(OSError):
            opened.append(os.open(folder / "fifo", os.O_WRONLY | os.O_NONBLOCK))

    with repeated(swap, write):
        outcomes = outcomes_of(lambda: try_to_read(root, b"name"), 2)

    assert outcomes == {"content", "not regular"}
    assert opened == []


def test_a_directory_that_is_swapped_for_a_symbolic_link_never_leads_to_the_secret(way, folder: Path, root: Root):
    (folder / "link").symlink_to(folder.parent / "secret")

    def swap() -> None:
        os.rename(folder / "a" / "b", folder / "real")
        os.rename(folder / "link", folder / "a" / "b")
        os.rename(folder / "a" / "b", folder / "link")
        os.rename(folder / "real", folder / "a" / "b")

    with repeated(swap):
        outcomes = outcomes_of(lambda: try_to_read(root, b"a/b/file"), 3)

    assert "content" in outcomes
    assert outcomes & {"ELOOP", "ENOTDIR"}
    assert outcomes <= {"content", "ELOOP", "ENOENT", "ENOTDIR"}


def test_the_access_time_stays(folder: Path, root: Root):
    file = folder / "a" / "b" / "file"
    os.utime(file, ns=(1, 2))

    read(root, b"a/b/file")

    assert file.stat().st_atime_ns == 1


def test_who_may_not_keep_the_access_time_still_reads(public_folder: Path, in_child: InChild):
    if os.getuid():
        pytest.skip("only root can become somebody else")
    (public_folder / "file").write_bytes(b"content")
    (public_folder / "file").chmod(0o644)

    def read_as_nobody() -> str:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        return read(Root.open(os.fsencode(public_folder)), b"file").decode()

    assert in_child(read_as_nobody) == "content"


def test_who_may_not_read_is_told_so(public_folder: Path, in_child: InChild):
    if os.getuid():
        pytest.skip("root may read everything, and only root can become somebody else")
    (public_folder / "file").write_bytes(b"content")
    (public_folder / "file").chmod(0)

    def read_as_nobody() -> int | None:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            open_file(Root.open(os.fsencode(public_folder)), b"file")
        except OSError as error:
            return error.errno
        return None

    assert in_child(read_as_nobody) == errno.EACCES


def test_names_beneath_a_directory_that_cannot_be_listed_are_reached(public_folder: Path, in_child: InChild):
    if os.getuid():
        pytest.skip("root may list everything, and only root can become somebody else")
    (public_folder / "closed").mkdir()
    (public_folder / "closed" / "file").write_bytes(b"content")
    (public_folder / "closed" / "file").chmod(0o644)
    (public_folder / "closed").chmod(0o711)

    def read_as_nobody() -> str:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        return read(Root.open(os.fsencode(public_folder)), b"closed/file").decode()

    assert in_child(read_as_nobody) == "content"


def test_a_root_must_be_a_directory_and_no_symbolic_link(folder: Path):
    (folder / "link").symlink_to(folder / "a")

    assert errno_of(Root.open, os.fsencode(folder / "link")) in (errno.ENOTDIR, errno.ELOOP)
    assert errno_of(Root.open, os.fsencode(folder / "a" / "b" / "file")) == errno.ENOTDIR
    assert errno_of(Root.open, os.fsencode(folder / "none")) == errno.ENOENT


def test_a_root_stays_the_same_directory_and_knows_when_its_path_names_another(folder: Path, root: Root):
    before = root.is_current()
    folder.rename(folder.parent / "moved")
    without = root.is_current()
    folder.mkdir()

    assert (before, without, root.is_current()) == (True, False, False)
    assert read(root, b"a/b/file") == b"content"
    assert root.identity != (folder.stat().st_dev, folder.stat().st_ino)


def test_a_directory_that_was_renamed_is_not_found_under_its_old_name(way, folder: Path, root: Root):
    root.lstat(b"a/b/file")
    (folder / "a" / "b").rename(folder / "a" / "c")

    assert errno_of(root.lstat, b"a/b/file") == errno.ENOENT
    assert root.lstat(b"a/c/file").st_size == 7


def test_no_descriptor_stays_open(way, folder: Path, root: Root):
    (folder / "link").symlink_to("a")
    paths = [b"a/b/file", b"a/b", b"a/none", b"none/none", b"link/b", b"a/b/file/x", b"", b"..", b"link"]
    read(root, b"a/b/file")  # /proc/self/fd is opened with the first file, and kept
    before = open_descriptors()

    for path in paths:
        for call in CALLS:
            try:
                result = call(root, path)
            except OSError:
                continue
            if isinstance(result, int):
                os.close(result)

    assert open_descriptors() == before


def test_a_file_is_told_as_it_was_before_it_was_opened(folder: Path):
    directory_fd = os.open(folder / "a" / "b", os.O_PATH)

    fd, status = open_regular(b"file", directory_fd)

    assert status == os.fstat(fd)
    os.close(fd)
    os.close(directory_fd)


class TestHoldingParents:
    """Many paths that are looked at one after the other."""

    MANY = tuple(b"many/%d/file" % number for number in range(200))

    @pytest.fixture(autouse=True)
    def make(self, folder: Path):
        (folder / "a" / "other").write_bytes(b"")
        for path in self.MANY:
            (folder / os.fsdecode(path)).parent.mkdir(parents=True)
            (folder / os.fsdecode(path)).write_bytes(path)

    @pytest.mark.usefixtures("way")
    def test_each_is_what_it_is_by_itself(self, root: Root):
        paths = [b"", b"a", b"a/b", b"a/b/file", b"a/other", b"a/b/file", *self.MANY, b"a/other"]

        with root.holding_parents():
            found = [root.lstat(path) for path in paths]

        assert found == [root.lstat(path) for path in paths]

    @pytest.mark.parametrize(
        "path", [b"a/none", b"none/file", b"a/other/file", b"link/b", b"../file", b"a/" + b"n" * 256]
    )
    @pytest.mark.usefixtures("way")
    def test_what_cannot_be_looked_at_is_told_as_by_itself(self, folder: Path, root: Root, path: bytes):
        (folder / "link").symlink_to("a")

        with root.holding_parents():
            errors = [errno_of(root.lstat, path), errno_of(root.lstat, path)]

        assert errors == [errno_of(root.lstat, path)] * 2
        assert None not in errors

    def test_few_are_held_and_none_behind_the_block(self, root: Root):
        root.lstat(b"a/b")
        before = open_descriptors()

        with root.holding_parents():
            for path in self.MANY:
                root.lstat(path)
            held = open_descriptors()

        assert before < held <= before + 64
        assert open_descriptors() == before

    def test_one_that_is_renamed_within_the_block_stays_the_one_that_was_looked_up(self, folder: Path, root: Root):
        with root.holding_parents():
            before = root.lstat(b"a/other")
            (folder / "a").rename(folder / "c")
            after = root.lstat(b"a/other")

        assert before.st_ino == after.st_ino
        assert errno_of(root.lstat, b"a/other") == errno.ENOENT

    def test_one_that_was_released_is_looked_up_anew(self, folder: Path, root: Root):
        with root.holding_parents():
            root.lstat(b"a/other")
            (folder / "a").rename(folder / "c")
            root.release_parents()
            error = errno_of(root.lstat, b"a/other")

        assert error == errno.ENOENT

    def test_the_parent_that_a_caller_opens_is_the_callers(self, root: Root):
        with root.holding_parents():
            parent_fd, name = root.open_parent(b"a/other")
            os.close(parent_fd)
            status = root.lstat(b"a/other")

        assert name == b"other"
        assert status == root.lstat(b"a/other")
