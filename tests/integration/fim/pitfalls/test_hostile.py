"""A hostile user in a watched directory: nothing outside is opened, nothing hangs, and memory is bounded."""

import ctypes
import hashlib
import os
import socket
import stat
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

FAN_CLASS_NOTIF, FAN_NONBLOCK, FAN_CLOEXEC, FAN_MARK_ADD, FAN_OPEN, FAN_EVENT_ON_CHILD = 0, 2, 1, 1, 0x20, 0x08000000
EVENT = struct.Struct("<IBBHQii")
"""Length, version, reserved, length of the head, mask, descriptor, pid. Source: linux/fanotify.h."""
SWAPPER = Path(__file__).parent / "swapper.py"
MEBIBYTE = 1 << 20


class OpenedBy:
    """Who has opened what in a directory, as fanotify tells it, which names the process."""

    def __init__(self, directory):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC, os.O_RDONLY)
        if self._fd < 0:
            pytest.skip(f"fanotify: {os.strerror(ctypes.get_errno())}")
        mark = self._libc.fanotify_mark
        mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
        done = mark(self._fd, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, -100, os.fsencode(directory))
        assert done == 0, os.strerror(ctypes.get_errno())
        self._pids = set()

    @property
    def pids(self):
        """The processes so far."""
        while data := self._read():
            for position in range(0, len(data), EVENT.size):
                *_, descriptor, pid = EVENT.unpack_from(data, position)
                os.close(descriptor)
                self._pids.add(pid)
        return self._pids

    def close(self):
        os.close(self._fd)

    def _read(self):
        try:
            return os.read(self._fd, EVENT.size * 200)
        except BlockingIOError:
            return b""


@pytest.fixture
def secret(corner):
    """A file in a directory that nobody watches."""
    directory = corner.watched.folder / f"outside-{corner.root.name}"
    directory.mkdir()
    (directory / "file").write_text("the secret")
    return directory / "file"


@pytest.fixture
def opened_by(secret):
    with closing(OpenedBy(secret.parent)) as opened:
        yield opened


@pytest.fixture
def swap(corner, secret):
    """Run what exchanges files and directories for links to the secret, so many rounds."""

    def run(rounds):
        command = [sys.executable, "-S", str(SWAPPER), str(corner.root), str(secret.parent), str(rounds)]
        subprocess.run(command, check=True, timeout=600)

    return run


@pytest.mark.parametrize("rounds", [300, pytest.param(100_000, marks=(pytest.mark.soak, pytest.mark.timeout(900)))])
def test_files_and_parents_swapped_for_links_to_a_secret_never_lead_there(corner, swap, opened_by, rounds):
    """Pitfalls 14 and 15, by a program that does nothing else."""
    family = {process.pid for process in corner.watched.run.family()}

    swap(rounds)
    corner.settle()

    assert opened_by.pids.isdisjoint(family)
    told = {change.file.get("sha256") for change in corner.changes}
    assert hashlib.sha256(b"the secret").hexdigest() not in told


def test_the_watch_on_the_secret_would_have_seen_it(secret, opened_by):
    """Pitfalls 14 and 15: the test's own instrument works."""
    secret.read_text()

    assert opened_by.pids == {os.getpid()}


def test_what_has_no_end_holds_up_nobody(corner):
    """Pitfalls 17 and 20: FIFOs, devices, sockets and a sparse file of a tebibyte."""
    with closing(socket.socket(socket.AF_UNIX)) as server:
        for number in range(20):
            os.mkfifo(corner.root / f"fifo-{number}")
            if os.geteuid() == 0:
                os.mknod(corner.root / f"zero-{number}", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        descriptor = os.open(corner.root, os.O_PATH)
        server.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
    with (corner.root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (corner.root / "small").write_text("is told soon")
    small = corner.wait_for("created", corner.root / "small")
    corner.wait_for_size(corner.root / "sparse", 1 << 40)
    (*_, sparse) = (change for change in corner.changes if change.path.endswith("/sparse"))

    assert small.file["sha256"] == hashlib.sha256(b"is told soon").hexdigest()
    assert "sha256" not in sparse.file
    ours = sparse.document["auditline"]
    assert (ours["hash_state"], ours["hash_reason"]) == ("partial", "too_large")


@pytest.mark.parametrize("count", [500, pytest.param(1_000_000, marks=(pytest.mark.soak, pytest.mark.timeout(1800)))])
def test_very_many_empty_files_in_one_directory_are_told_in_bounded_memory(corner, count):
    """Pitfall 57, and that nothing grows with the number of files for ever."""
    directory = os.open(corner.root, os.O_RDONLY)
    for number in range(count):
        os.close(os.open(f"{number}", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    corner.wait_for_count(count, 1200)

    watcher = corner.watched.worker(f"fim {corner.root.parent}")
    assert {change.action for change in corner.changes} == {"created"}
    assert len({change.path for change in corner.changes}) == count
    assert watcher.memory_info().rss < 200 * MEBIBYTE


def test_a_name_that_looks_like_our_own_words_is_a_name_alone(corner):
    """Pitfall 42: quotes, braces and format strings."""
    names = ['", "action": "deleted', "{0}%s%n", "\\u0000", "a\tb", "-rf", " "]

    for name in names:
        (corner.root / name).touch()

    corner.wait_for_actions({name: ["created"] for name in names})
