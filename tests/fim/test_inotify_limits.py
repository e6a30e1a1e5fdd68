"""Where inotify ends: file systems that go or are remote, full queues, watches and instances that run out."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from auditline.workers.fim import file_systems, inotify
from auditline.workers.fim.backend import Backend, Hint, HintKind
from auditline.workers.fim.inotify import InotifyBackend

GONE = HintKind.GONE
QUEUE_EVENTS = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
def backend_name():
    return "inotify"


def paths_of(hints: list[Hint]) -> list[bytes]:
    return [hint.path for hint in hints]


# File systems


def test_a_file_system_that_is_unmounted_takes_its_directories_with_it(root, backend, mount, unmount, watch):
    (root / "mnt").mkdir()
    mount("-t", "tmpfs", "none", root / "mnt")
    (root / "mnt" / "inner").mkdir()
    watch(backend, root)

    unmount(root / "mnt")

    hints = backend.read()
    assert {(hint.kind, hint.path) for hint in hints} == {(GONE, b"mnt"), (GONE, b"mnt/inner")}
    assert backend.watched == 1


def test_a_root_that_is_unmounted_is_gone(root, backend, mount, unmount, watch):
    mount("-t", "tmpfs", "none", root)
    watch(backend, root)

    unmount(root)

    assert {hint.kind for hint in backend.read()} == {HintKind.ROOT_GONE}


def kind_of_file_system(path: Path) -> int:
    printed = subprocess.run(["stat", "-f", "-c", "%t", path], check=True, capture_output=True, text=True).stdout
    return int(printed, 16)


def test_a_network_file_system_is_watched_and_polled(root, monkeypatch, watch):
    now = [0.0]
    backend = InotifyBackend(inotify._libc.inotify_init1(os.O_NONBLOCK), 5, clock=lambda: now[0])
    # The kind of the file system that the test is on counts as one, for there is no network here.
    monkeypatch.setitem(file_systems._REMOTE, kind_of_file_system(root), "NFS")

    is_watched = watch(backend, root)
    (root / "here").touch()
    local = backend.read()
    now[0] = 5
    polled = backend.read()

    counts, trouble, is_limited = (backend.watched, backend.polled), backend.trouble, backend.limit_reached
    backend.close()
    assert is_watched == [False]
    assert paths_of(local) == [b"here"]
    assert polled == [Hint(HintKind.POLL, b"", is_directory=True)]
    assert counts == (1, 1)
    assert trouble == "NFS: changes made on other hosts are not told"
    assert not is_limited


# Limits


def test_an_overflow_is_told_and_hints_come_again_afterwards(root, backend, watch):
    watch(backend, root)
    rename_often(root, ["a", "b"] * (QUEUE_EVENTS // 4 + 10))

    hints = read_all(backend)
    (root / "later").touch()

    assert [hint for hint in hints if hint.kind is HintKind.OVERFLOW] == [
        Hint(HintKind.OVERFLOW, b"", is_directory=True)
    ]
    assert paths_of(backend.read()) == [b"later"]


def rename_often(root: Path, names: list[str]) -> None:
    """Give one file these names in turn: two events each."""
    (root / names[0]).touch()
    for before, after in pairwise(names):
        os.rename(root / before, root / after)


def read_all(backend: Backend) -> list[Hint]:
    return [hint for hints in iter(backend.read, []) for hint in hints]


def test_one_reading_takes_no_more_than_its_share(root, backend, watch):
    watch(backend, root)
    names = [f"{number:0240}" for number in range(QUEUE_EVENTS // 2 - 10)]
    rename_often(root, names)

    first = backend.read()
    rest = read_all(backend)

    assert len(first) <= inotify.MOST_READ_BYTES // 256
    assert set(paths_of(first + rest)) == {name.encode() for name in names}


def run_with_limit(limit: str, script: str, *arguments: str | Path) -> str:
    """Run Python in a user namespace of its own, where *limit* (`max_inotify_watches=100`) holds."""
    name, _, value = limit.partition("=")
    command = f'echo {value} > /proc/sys/user/{name} && exec "$@"'
    try:
        return subprocess.run(
            [
                "unshare",
                "--user",
                "--map-root-user",
                "sh",
                "-c",
                command,
                "-",
                sys.executable,
                "-c",
                script,
                *arguments,
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except subprocess.CalledProcessError as error:
        if "unshare" in error.stderr or "Permission denied" in error.stderr:
            pytest.skip(f"no user namespace to be had: {error.stderr}")
        raise AssertionError(error.stderr) from error


WATCH_LIMIT = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import Follower
from auditline.workers.fim import file_systems, inotify

now = [0.0]
root = Path(sys.argv[1])
backend = inotify.InotifyBackend(inotify._libc.inotify_init1(os.O_NONBLOCK), 5, clock=lambda: now[0])
follower = Follower(root, backend)
print(backend.watched, backend.polled, backend.limit_reached)
print(backend.trouble)
for directory in sorted(root.iterdir()):
    (directory / "file").touch()
while follower.known != follower.read_tree():
    now[0] += 5
    follower.follow()
for directory in sorted(root.iterdir())[:50]:
    (directory / "file").unlink()
    directory.rmdir()
for _ in range(10):
    now[0] += 5
    follower.follow()
print(follower.known == follower.read_tree(), backend.watched, backend.polled, backend.limit_reached)
"""


def test_where_watches_run_out_the_rest_is_polled_until_there_are_some_again(root):
    """Pitfall 49."""
    for number in range(140):
        (root / f"{number:03}").mkdir()

    printed = run_with_limit("max_inotify_watches=100", WATCH_LIMIT, root, Path(__file__).parent)

    first, trouble, last = printed.splitlines()
    assert first == "100 41 True"
    assert trouble.startswith("no inotify watch is left: raise fs.inotify.max_user_watches (now ")
    assert last == "True 91 0 False"


NO_INSTANCE = """
import os, sys
from auditline.workers.common.settings import FimSettings
from auditline.workers.fim.choosing import open_backend

backend = open_backend(FimSettings(), "inotify")
print(backend.name, backend.fd, backend.watch(b"", os.open(sys.argv[1], os.O_RDONLY)), backend.limit_reached)
print(backend.trouble)
"""


def test_without_an_instance_all_is_polled(root):
    """Pitfall 49."""
    printed = run_with_limit("max_inotify_instances=0", NO_INSTANCE, root)

    first, trouble = printed.splitlines()
    assert first == "polling None False True"
    assert trouble.startswith("no inotify instance is left: raise fs.inotify.max_user_instances (now ")
