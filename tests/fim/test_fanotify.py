"""What is particular to fanotify: merged records, who did it, marks on file systems, and what it does not reach."""

import errno
import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.process_info import Process
from auditline.workers.fim import fanotify_calls
from auditline.workers.fim.backend import BackendError, Hint, HintKind
from auditline.workers.fim.fanotify import Choices, FanotifyBackend, open_fanotify
from auditline.workers.fim.inotify import open_inotify

CREATED, CHANGED, GONE, MOVED = HintKind.CREATED, HintKind.CHANGED, HintKind.GONE, HintKind.MOVED


def paths_of(hints: list[Hint]) -> list[bytes]:
    return [hint.path for hint in hints]


@pytest.fixture
def open_one():
    """Opens fanotify; what it is told to do is given by name."""
    opened: list[FanotifyBackend] = []

    def open_one(**choices: Any) -> FanotifyBackend:
        try:
            opened.append(open_fanotify(Choices(**{"open_other": partial(open_inotify, 5), **choices})))
        except BackendError as error:
            pytest.skip(str(error))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


@pytest.fixture
def backend_name():
    return "fanotify"


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def marks_of(backend: FanotifyBackend) -> list[str]:
    """Return the kinds of its marks, `ino` or `sdev`. Source: proc_pid_fdinfo(5)."""
    lines = Path(f"/proc/self/fdinfo/{backend._group_fd}").read_text().splitlines()
    return sorted(line.split()[1].split(":")[0] for line in lines if line.startswith(("fanotify ino", "fanotify sdev")))


# Merged records


def test_what_was_made_written_and_removed_unread_is_one_hint_to_look(root, backend, watch):
    watch(backend, root)

    (root / "a").write_text("x")
    (root / "a").unlink()

    assert backend.read() == [Hint(CREATED, b"a", is_content=True)]


def test_what_was_removed_and_made_again_unread_is_one_hint_to_look(root, backend, watch):
    """Pitfall 5."""
    (root / "a").touch()
    watch(backend, root)

    (root / "a").unlink()
    (root / "a").write_text("x")

    assert backend.read() == [Hint(CREATED, b"a", is_content=True)]


def test_a_directory_that_was_made_twice_and_renamed_once_is_looked_at_under_both_names(root, backend, watch):
    """The kernel merges the second making with the first, as if nothing were at the old name any more."""
    watch(backend, root)

    (root / "a").mkdir()
    (root / "a").rename(root / "b")
    (root / "a").mkdir()

    assert {hint.path for hint in backend.read() if hint.kind in (MOVED, GONE)} == {b"a", b"b"}


def test_files_of_a_removed_tree_have_whole_paths(root, backend, watch):
    """Pitfall 6."""
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").touch()
    watch(backend, root)

    (root / "a" / "b" / "file").unlink()
    (root / "a" / "b").rmdir()
    (root / "a").rmdir()

    assert set(paths_of(backend.read())) == {b"a", b"a/b", b"a/b/file"}


# Records as they might come


@pytest.fixture
def feed(root, open_one, watch):
    """Fanotify that reads what the test says in place of the kernel."""
    backend = open_one()
    watch(backend, root)
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.dup2(reader, backend._group_fd)
    os.close(reader)

    def feed(data: bytes) -> list[Hint]:
        os.write(writer, data)
        hints: list[Hint] = backend.read()
        return hints

    yield feed
    os.close(writer)


def record(mask: int) -> bytes:
    return struct.pack("=IBBHQii", 24, 3, 0, 24, mask, -1, 0)


def test_an_overflow_is_told_though_it_bears_no_name(feed):
    """Pitfall 4."""
    assert feed(record(fanotify_calls.FAN_Q_OVERFLOW)) == [Hint(HintKind.OVERFLOW, b"", is_directory=True)]


@pytest.mark.parametrize("mask", [fanotify_calls.FAN_CREATE, fanotify_calls.FAN_RENAME, fanotify_calls.FAN_DELETE_SELF])
def test_a_record_without_a_handle_is_ignored(feed, mask):
    assert feed(record(mask)) == []


def test_a_descriptor_that_cannot_be_read_ends_the_backend(root, backend, watch):
    watch(backend, root)
    unreadable = os.open("/dev/null", os.O_WRONLY)
    os.dup2(unreadable, backend._group_fd)
    os.close(unreadable)

    with pytest.raises(BackendError, match="fanotify cannot be read any more"):
        backend.read()


# Who did it


def test_hints_say_who_did_it(root, open_one, watch):
    backend = open_one(see=lambda pid, _: Process(pid))
    watch(backend, root)

    maker = run("import sys; open(sys.argv[1], 'w')", root / "a")
    mover = run("import os, sys; os.rename(sys.argv[1], sys.argv[1] + 'b')", root / "a")

    told = {(hint.kind, hint.path, hint.process.pid) for hint in backend.read() if hint.process is not None}
    assert told >= {(MOVED, b"ab", mover)}
    assert {pid for _, _, pid in told} <= {maker, mover}


def run(script: str, *arguments: Path) -> int:
    """Return the pid of a process that has run Python."""
    with subprocess.Popen([sys.executable, "-c", script, *arguments]) as process:
        process.wait()
    return process.pid


def test_of_several_writers_the_last_is_told(root, open_one, watch):
    backend = open_one(see=lambda pid, _: Process(pid))
    watch(backend, root)

    write = "import sys; open(sys.argv[1], 'a').write('x')"
    run(write, root / "a")
    last = run(write, root / "a")

    (hint,) = backend.read()
    assert hint.process == Process(last)


def test_a_process_that_lives_comes_with_a_descriptor(root, open_one, watch):
    seen = []
    backend = open_one(see=lambda pid, pidfd: seen.append((pid, os.readlink(f"/proc/self/fd/{pidfd}"))))
    watch(backend, root)

    (root / "a").touch()
    backend.read()

    assert {pid for pid, _ in seen} == {os.getpid()}
    assert all("pidfd" in target for _, target in seen)


def test_every_descriptor_of_a_process_is_closed(root, open_one, watch):
    backend = open_one(see=lambda pid, _: Process(pid))
    watch(backend, root)
    before = open_descriptors()

    for number in range(500):
        (root / str(number)).touch()
    (root.parent / "outside").touch()
    hints = backend.read()

    assert len(hints) == 500
    assert open_descriptors() == before


def test_descriptors_are_closed_though_nobody_could_be_looked_up(root, open_one, watch):
    backend = open_one(see=lambda *_: 1 / 0)
    watch(backend, root)
    before = open_descriptors()
    (root / "a").touch()

    with pytest.raises(ZeroDivisionError):
        backend.read()

    assert open_descriptors() == before


FEW_DESCRIPTORS = """
import os, resource, sys
from functools import partial
from auditline.workers.common.process_info import Process
from auditline.workers.fim.fanotify import Choices, open_fanotify
from auditline.workers.fim.inotify import open_inotify

seen = []
def see(pid, pidfd):
    seen.append(pidfd is not None and pidfd >= 0)
    return Process(pid)

backend = open_fanotify(Choices(open_other=partial(open_inotify, 5), see=see))
directory = os.open(sys.argv[1], os.O_RDONLY)
backend.watch(b"", directory)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
for number in range(10_000):
    os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=directory))
hints = [hint for hints in iter(backend.read, []) for hint in hints]
print(len({hint.path for hint in hints}), {hint.process.pid for hint in hints} == {os.getpid()})
print(set(seen) == {True, False})
"""


def test_where_descriptors_run_out_nothing_is_lost_but_descriptors(root, open_one):
    """Pitfall 46."""
    open_one()

    done = subprocess.run([sys.executable, "-c", FEW_DESCRIPTORS, root], check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["10000", "True", "True"]


def test_what_our_own_processes_do_is_not_told(root, open_one, watch):
    backend = open_one(own_pids=lambda: {os.getpid()})
    watch(backend, root)

    (root / "ours").touch()
    run("import sys; open(sys.argv[1], 'w')", root / "theirs")

    assert paths_of(backend.read()) == [b"theirs"]


# Marks


def test_each_directory_has_a_mark(root, open_one, watch):
    (root / "a" / "b").mkdir(parents=True)
    backend = open_one()

    watch(backend, root)

    assert marks_of(backend) == ["ino"] * 3


def test_one_mark_serves_a_whole_file_system(root, open_one, watch):
    (root / "a" / "b").mkdir(parents=True)
    backend = open_one(marks_file_systems=True)

    watch(backend, root)

    # The root itself has one, too: that it is moved or removed is told in no other way.
    assert marks_of(backend) == ["ino", "sdev"]
    assert backend.name == "fanotify-filesystem"


def test_of_a_whole_file_system_only_what_is_watched_is_told(root, open_one, watch):
    (root / "skipped").mkdir()
    backend = open_one(marks_file_systems=True)
    watch(backend, root, "")

    (root.parent / "outside").touch()
    (root / "skipped" / "file").touch()
    (root / "file").touch()

    assert paths_of(backend.read()) == [b"file"]


def test_with_many_directories_it_goes_over_to_one_mark(root, open_one, watch):
    for number in range(30):
        (root / f"{number:02}" / "inner").mkdir(parents=True)
    backend = open_one(most_inode_marks=20)

    watch(backend, root)
    for number in range(30):
        (root / f"{number:02}" / "inner" / "file").touch()
        (root / f"{number:02}" / "file").touch()

    assert backend.name == "fanotify-filesystem"
    assert backend.reason == "more than 20 directories are watched: whole file systems are marked"
    assert marks_of(backend) == ["ino", "sdev"]
    assert len(backend.read()) == 60


def test_what_several_file_systems_have_is_told_after_it_went_over(root, open_one, watch, mount):
    for number in range(10):
        (root / f"{number:02}").mkdir()
    (root / "05" / "mnt").mkdir()
    mount("-t", "tmpfs", "none", root / "05" / "mnt")
    (root / "05" / "mnt" / "inner").mkdir()
    backend = open_one(most_inode_marks=9)

    watch(backend, root)
    (root / "05" / "mnt" / "inner" / "file").touch()
    (root / "01" / "file").touch()
    (root / "09" / "file").touch()

    assert set(paths_of(backend.read())) == {b"05/mnt/inner/file", b"01/file", b"09/file"}


def test_a_directory_that_was_moved_out_is_unmarked_when_another_is_watched(root, open_one, watch):
    (root / "a").mkdir()
    (root / "b").mkdir()
    backend = open_one()
    watch(backend, root, "", "a")
    (root / "a").rename(root.parent / "a")
    backend.read()

    watch(backend, root, "b")

    assert marks_of(backend) == ["ino"] * 2


def test_directories_that_come_and_go_leave_no_marks(root, open_one, watch):
    backend = open_one()
    watch(backend, root)

    for number in range(20):
        (root / "a").mkdir()
        watch(backend, root, "a")
        (root / "a").rename(root.parent / str(number))
        backend.read()
    (root / "last").mkdir()
    watch(backend, root, "last")

    assert marks_of(backend) == ["ino"] * 2


# What it does not reach


@pytest.fixture
def refusing(monkeypatch):
    """From now on the kernel refuses marks with that error."""
    real_mark = fanotify_calls.mark

    def refuse(number: int) -> None:
        def mark(group_fd, flags, mask, directory_fd, name=None):
            is_directory = flags & fanotify_calls.FAN_MARK_ONLYDIR
            return number if is_directory else real_mark(group_fd, flags, mask, directory_fd, name)

        monkeypatch.setattr(fanotify_calls, "mark", mark)

    return refuse


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.ENODEV, errno.ENOSPC])
def test_directories_that_are_refused_are_left_to_inotify(root, open_one, watch, refusing, caplog, number):
    (root / "a").mkdir()
    backend = open_one()
    watch(backend, root, "")

    with caplog.at_level("INFO"):
        refusing(number)
        is_watched = watch(backend, root, "a")
    (root / "a" / "file").touch()
    (root / "file").touch()

    assert is_watched == [True]
    assert set(paths_of(backend.read())) == {b"a/file", b"file"}
    assert (backend.watched, backend.polled) == (2, 0)
    assert f"some directories are left to inotify: fanotify refused a mark: {os.strerror(number)}" in caplog.text


def test_why_directories_are_left_to_another_is_told_as_long_as_there_are_any(root, open_one, watch, refusing):
    (root / "a").mkdir()
    backend = open_one()
    watch(backend, root, "")
    refusing(errno.EXDEV)
    watch(backend, root, "a")
    troubles = [backend.trouble]

    backend.forget(b"a")
    troubles.append(backend.trouble)

    assert troubles == ["fanotify refused a mark: Invalid cross-device link", ""]


def test_what_is_left_to_inotify_makes_the_descriptor_readable(root, open_one, watch, refusing, wait_until):
    backend = open_one()
    refusing(errno.EXDEV)
    watch(backend, root)

    (root / "a").touch()

    wait_until(lambda: backend._poller.poll(0))
    assert paths_of(backend.read()) == [b"a"]


def test_directories_that_are_left_to_inotify_are_forgotten_and_moved_there(root, open_one, watch, refusing):
    (root / "a" / "inner").mkdir(parents=True)
    backend = open_one()
    refusing(errno.EXDEV)
    watch(backend, root)

    (root / "a").rename(root / "b")
    backend.read()
    (root / "b" / "inner" / "file").touch()
    moved = backend.read()
    backend.forget(b"b")
    (root / "b" / "inner" / "other").touch()

    assert paths_of(moved) == [b"b/inner/file"]
    assert backend.read() == []
    assert backend.watched == 1


def test_closed_it_holds_no_descriptor(root, watch, refusing):
    before = open_descriptors()
    backend = open_fanotify(Choices(open_other=partial(open_inotify, 5)))
    refusing(errno.EXDEV)
    watch(backend, root)

    backend.close()

    assert open_descriptors() == before
