import array
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common import attributes
from auditline.workers.common.attributes import (
    FLAGS,
    LARGEST_VALUE,
    MOST_PACKED,
    MOST_READ,
    Xattr,
    XattrKind,
    complete,
    flag_words,
    flags_unless_changed,
    pack_xattrs,
    read_flags,
    read_xattrs,
    read_xattrs_at,
    unpack_xattrs,
)
from auditline.workers.common.file_state import FileState, state_of

# linux/fs.h
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_FS_IMMUTABLE_FL, _FS_APPEND_FL, _FS_NODUMP_FL = 0x10, 0x20, 0x40

Opened = Callable[[Path], int]
Flagged = Callable[[int], Path]


def _xattrs() -> st.SearchStrategy[list[Xattr]]:
    values = st.dictionaries(st.binary(min_size=1, max_size=255), st.binary(max_size=2 * LARGEST_VALUE), max_size=30)
    return values.map(lambda of: [_whole(name, of[name]) for name in sorted(of)])


def _whole(name: bytes, value: bytes) -> Xattr:
    return Xattr(XattrKind.WHOLE, name, value, len(value))


def _change_flags(path: Path, flags: int) -> None:
    """Set these of the flags and clear the others, as `chattr` does."""
    fd = os.open(path, os.O_RDONLY)
    values = array.array("i", [0, 0])
    try:
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, values)
        values[0] = values[0] & ~(_FS_IMMUTABLE_FL | _FS_APPEND_FL | _FS_NODUMP_FL) | flags
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, values)
    except OSError as error:
        pytest.skip(f"flags cannot be set here: {error.strerror}")
    finally:
        os.close(fd)


def _state(path: Path) -> FileState:
    return state_of(os.lstat(path), checked_ns=0)


@pytest.fixture
def opened() -> Iterator[Opened]:
    fds: list[int] = []

    def open_path(path: Path) -> int:
        fds.append(os.open(path, os.O_RDONLY))
        return fds[-1]

    yield open_path
    for fd in fds:
        os.close(fd)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def flagged(file: Path) -> Iterator[Flagged]:
    def set_flags(flags: int) -> Path:
        _change_flags(file, flags)
        return file

    yield set_flags
    _change_flags(file, 0)


def test_a_file_without_extended_attributes_has_an_empty_string(file: Path, opened: Opened):
    assert read_xattrs(opened(file)) == b""


def test_extended_attributes_are_sorted_by_name_in_whatever_order_they_were_set(file: Path, opened: Opened):
    for name in ("user.b", "user.a", "user.c"):
        os.setxattr(file, name, name.encode() * 2)

    names = [xattr.name for xattr in unpack_xattrs(read_xattrs(opened(file)))]

    assert names == [b"user.a", b"user.b", b"user.c"]


def test_a_value_is_read_as_it_is(file: Path, opened: Opened):
    os.setxattr(file, "user.odd", b"\x00\xff\n")

    assert unpack_xattrs(read_xattrs(opened(file))) == [_whole(b"user.odd", b"\x00\xff\n")]


def test_a_name_that_is_not_utf_8_is_kept(file: Path, opened: Opened):
    os.setxattr(os.fsencode(file), b"user.\xff\n", b"1")

    assert unpack_xattrs(read_xattrs(opened(file))) == [_whole(b"user.\xff\n", b"1")]


def test_a_path_tells_the_same_as_a_descriptor(file: Path, opened: Opened):
    os.setxattr(file, "user.a", b"1")

    assert read_xattrs(os.fsencode(file)) == read_xattrs(opened(file))


def test_an_entry_beneath_a_directory_tells_the_same_without_being_opened(file: Path, opened: Opened):
    os.setxattr(file, "user.a", b"1")
    directory_fd = os.open(file.parent, os.O_PATH)
    count = len(os.listdir("/proc/self/fd"))

    packed = read_xattrs_at(directory_fd, b"file")

    assert packed == read_xattrs(opened(file))
    assert len(os.listdir("/proc/self/fd")) == count + 1  # the one that the test opened
    os.close(directory_fd)


def test_a_symbolic_link_tells_its_own_and_not_those_of_what_it_leads_to(file: Path, opened: Opened):
    os.setxattr(file, "user.secret", b"1")
    (file.parent / "link").symlink_to("file")

    assert read_xattrs_at(opened(file.parent), b"link") == b""


@pytest.mark.parametrize("name", [b"", b"file", b"bare", b"link", b"gone"])
def test_a_kernel_that_lists_them_by_directory_and_one_that_does_not_tell_the_same(
    file: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, name: bytes
):
    os.setxattr(file, "user.one", b"1")
    (file.parent / "bare").write_text("")
    (file.parent / "link").symlink_to("file")
    directory_fd = opened(file.parent)

    told = told_of(directory_fd, name)
    monkeypatch.setattr(attributes, "_SYS_LISTXATTRAT", 9999)
    attributes._knows_listxattrat.cache_clear()
    told_without = told_of(directory_fd, name)
    attributes._knows_listxattrat.cache_clear()

    assert told == told_without


def told_of(directory_fd: int, name: bytes) -> bytes | int | None:
    """Return the attributes, or the number of the error."""
    try:
        return read_xattrs_at(directory_fd, name)
    except OSError as error:
        return error.errno


def test_those_that_only_some_processes_are_shown_are_left_out(tmp_path: Path, opened: Opened):
    try:
        os.setxattr(tmp_path, "trusted.mark", b"1")
    except OSError as error:
        pytest.skip(f"trusted attributes cannot be set here: {error.strerror}")
    os.setxattr(tmp_path, "user.mark", b"2")

    assert [xattr.name for xattr in unpack_xattrs(read_xattrs(opened(tmp_path)))] == [b"user.mark"]


def test_what_is_gone_is_an_error(tmp_path: Path, opened: Opened):
    with pytest.raises(FileNotFoundError):
        read_xattrs_at(opened(tmp_path), b"gone")


def test_a_file_system_without_extended_attributes_has_none(opened: Opened):
    assert read_xattrs(opened(Path("/proc/self/status"))) == b""


def test_a_long_value_is_told_by_length_and_digest_and_its_changes_are_seen():
    one = pack_xattrs([_whole(b"user.long", b"a" * (LARGEST_VALUE + 1))])
    other = pack_xattrs([_whole(b"user.long", b"a" * LARGEST_VALUE + b"b")])

    [xattr] = unpack_xattrs(one)

    assert (xattr.kind, xattr.length, len(xattr.value)) == (XattrKind.LONG, LARGEST_VALUE + 1, 32)
    assert one != other


def test_many_values_are_summed_up_and_a_change_of_the_last_one_is_seen():
    many = [_whole(b"user.%03d" % number, b"x" * 1000) for number in range(200)]
    changed = [*many[:-1], _whole(b"user.199", b"x" * 999 + b"y")]

    packed = pack_xattrs(many)

    assert len(packed) <= MOST_PACKED + 100
    assert unpack_xattrs(packed)[-1].kind is XattrKind.REST
    assert len(unpack_xattrs(packed)) - 1 + unpack_xattrs(packed)[-1].length == 200
    assert pack_xattrs(changed) != packed


def test_more_values_than_anybody_needs_are_not_all_read(monkeypatch: pytest.MonkeyPatch):
    names = [f"user.{number:04d}" for number in range(200)]
    asked: list[bytes] = []

    def getxattr(_fd: int, name: bytes) -> bytes:
        asked.append(name)
        return b"x" * 65536

    monkeypatch.setattr(os, "listxattr", lambda _fd: names)
    monkeypatch.setattr(os, "getxattr", getxattr)

    packed = read_xattrs(0)

    assert len(asked) == MOST_READ // 65536 + 1
    assert len(packed) <= MOST_PACKED + 100


def test_a_value_that_may_not_be_read_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "listxattr", lambda _fd: ["security.ima"])
    monkeypatch.setattr(os, "getxattr", _raise(errno.EACCES))

    assert unpack_xattrs(read_xattrs(0)) == [Xattr(XattrKind.UNREADABLE, b"security.ima")]


def test_a_value_that_was_removed_meanwhile_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "listxattr", lambda _fd: ["user.a"])
    monkeypatch.setattr(os, "getxattr", _raise(errno.ENODATA))

    assert read_xattrs(0) == b""


@pytest.mark.parametrize("number", [errno.E2BIG, errno.EACCES, errno.EIO])
def test_names_that_cannot_be_listed_are_told(number: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "listxattr", _raise(number))

    assert unpack_xattrs(read_xattrs(0)) == [Xattr(XattrKind.UNREADABLE, b"")]


@given(_xattrs())
def test_packed_attributes_are_of_limited_length_and_come_back(xattrs: list[Xattr]):
    packed = pack_xattrs(xattrs)

    again = unpack_xattrs(packed)

    assert len(packed) <= MOST_PACKED + 100
    assert pack_xattrs(again) == packed
    assert [xattr for xattr in again if xattr.kind is XattrKind.WHOLE] == [xattr for xattr in xattrs if xattr in again]


@given(_xattrs(), _xattrs())
def test_different_attributes_are_different_bytes(one: list[Xattr], other: list[Xattr]):
    assert (pack_xattrs(one) == pack_xattrs(other)) == (one == other)


@given(st.binary(max_size=200))
def test_damaged_bytes_are_attributes_or_an_error(packed: bytes):
    try:
        xattrs = unpack_xattrs(packed)
    except ValueError:
        return

    assert sum(len(xattr.name) + len(xattr.value) for xattr in xattrs) <= len(packed)


@given(_xattrs().filter(bool), st.data())
def test_what_is_cut_off_is_an_error_or_has_fewer_attributes(xattrs: list[Xattr], data: st.DataObject):
    packed = pack_xattrs(xattrs)
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]

    try:
        left = unpack_xattrs(cut)
    except ValueError:
        return

    assert left == unpack_xattrs(packed)[: len(left)]
    assert len(left) < len(unpack_xattrs(packed))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0, []),
        (_FS_IMMUTABLE_FL, ["immutable"]),
        (_FS_APPEND_FL, ["append"]),
        (_FS_NODUMP_FL | _FS_IMMUTABLE_FL, ["immutable", "nodump"]),
    ],
)
def test_flags_are_those_that_chattr_sets(flags: int, words: list[str], flagged: Flagged, opened: Opened):
    file = flagged(flags)

    assert flag_words(read_flags(opened(file))) == words


def test_flags_are_readable_though_a_descriptor_opens_nothing(flagged: Flagged):
    fd = os.open(flagged(_FS_IMMUTABLE_FL), os.O_PATH)

    flags = read_flags(fd)

    os.close(fd)
    assert flags == FLAGS["immutable"]


def test_a_mount_point_has_no_flag_of_its_own(opened: Opened):
    assert read_flags(opened(Path("/proc"))) == 0


def test_flags_of_a_file_that_has_not_changed_are_told(flagged: Flagged, opened: Opened):
    fd = opened(flagged(_FS_NODUMP_FL))

    assert flags_unless_changed(fd, os.fstat(fd)) == FLAGS["nodump"]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o700),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.write_bytes(b"longer than it was"),
        lambda path: os.setxattr(path, "user.a", b"1"),
    ],
    ids=["mode", "times", "content", "xattr"],
)
def test_flags_of_a_file_that_has_changed_meanwhile_are_not(
    change: Callable[[Path], object], file: Path, opened: Opened
):
    fd = opened(file)
    status = os.fstat(fd)

    change(file)

    assert flags_unless_changed(fd, status) is None


@pytest.mark.parametrize("times", [(-5, -7 * 10**9 - 1), (1, 2), (10**18 + 1, 10**18 + 2)])
def test_times_of_any_age_are_compared_to_the_nanosecond(times: tuple[int, int], file: Path, opened: Opened):
    os.utime(file, ns=times)
    fd = opened(file)

    assert flags_unless_changed(fd, os.fstat(fd)) == 0


def test_where_there_is_no_statx_changes_are_noticed_all_the_same(
    file: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    fd = opened(file)
    monkeypatch.setattr(attributes, "_call_statx", lambda *_arguments: -1)
    before = os.fstat(fd)
    unchanged = flags_unless_changed(fd, before)

    file.chmod(0o700)

    assert (unchanged, flags_unless_changed(fd, before)) == (0, None)


def test_a_state_is_completed_with_both(flagged: Flagged, opened: Opened):
    file = flagged(_FS_NODUMP_FL)
    os.setxattr(file, "user.a", b"1")

    state = complete(_state(file), opened(file.parent), b"file")

    assert unpack_xattrs(state.xattrs) == [_whole(b"user.a", b"1")]
    assert state.flags == FLAGS["nodump"]


def test_a_directory_is_completed_by_its_own_descriptor(tmp_path: Path, opened: Opened):
    os.setxattr(tmp_path, "user.a", b"1")

    state = complete(_state(tmp_path), opened(tmp_path), b"")

    assert unpack_xattrs(state.xattrs) == [_whole(b"user.a", b"1")]


def test_a_link_is_completed_with_its_own(flagged: Flagged, opened: Opened):
    file = flagged(_FS_NODUMP_FL)
    os.setxattr(file, "user.a", b"1")
    link = file.parent / "link"
    link.symlink_to("file")

    state = complete(_state(link), opened(file.parent), b"link")

    assert (state.xattrs, state.flags) == (b"", 0)


def test_a_fifo_is_completed_without_waiting_for_its_writer(tmp_path: Path, opened: Opened):
    os.mkfifo(tmp_path / "fifo")

    state = complete(_state(tmp_path / "fifo"), opened(tmp_path), b"fifo")

    assert (state.xattrs, state.flags) == (b"", 0)


def test_what_stands_in_the_place_of_another_is_not_taken_for_it(file: Path, opened: Opened):
    state = _state(file)
    other = file.parent / "other"
    other.write_bytes(b"")
    other.rename(file)

    with pytest.raises(OSError, match="something else is in its place"):
        complete(state, opened(file.parent), b"file")


def test_what_has_another_inode_number_and_the_same_time_of_change_is_the_same(file: Path, opened: Opened):
    state = _state(file)._replace(inode=1)

    completed = complete(state, opened(file.parent), b"file")

    assert completed.inode == 1


def test_what_is_gone_cannot_be_completed(file: Path, opened: Opened):
    state = _state(file)
    file.unlink()

    with pytest.raises(FileNotFoundError):
        complete(state, opened(file.parent), b"file")


def test_ten_thousand_attributes_keep_nobody_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "listxattr", lambda _fd: [f"user.{number}" for number in range(10_000)])
    monkeypatch.setattr(os, "getxattr", lambda _fd, _name: b"x" * 65536)
    started = time.process_time()

    read_xattrs(0)

    assert time.process_time() - started < 2


def _raise(number: int) -> Callable[..., bytes]:
    def raise_error(*_arguments: object) -> bytes:
        raise OSError(number, os.strerror(number))

    return raise_error
