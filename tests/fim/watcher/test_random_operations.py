"""Whatever is done in a watched directory: what is known of it in the end is what is there, and the changes say how."""

import contextlib
import ctypes
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditline.workers.common.file_entry import FileChange
from auditline.workers.common.file_state import FileState
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.fim import walk
from auditline.workers.fim.compare import find_action
from auditline.workers.fim.listing import Listing
from auditline.workers.fim.polling import Polling

NAMES = ("a", "b", "c")
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
SOMEWHERE = PATHS | st.sampled_from(["../outside", "../elsewhere"])
CONTENTS = st.sampled_from(["", "one", "two", "three"])
RENAME_EXCHANGE = 2

FIRST = (
    ("mkdir", "a/b"),
    ("write", "a/b/c", "one"),
    ("write", "a/c", "two"),
    ("mkdir", "b/a"),
    ("write", "b/a/a", "one"),
    ("mkdir", "../outside"),
    ("write", "../outside/b", "three"),
)
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("append"), PATHS, CONTENTS),
    st.tuples(st.just("mkdir"), PATHS),
    st.tuples(st.just("rename"), SOMEWHERE, SOMEWHERE),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("exchange"), PATHS, PATHS),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(NAMES)),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("chmod"), PATHS, st.sampled_from([0o600, 0o755])),
    st.tuples(st.just("look"), st.integers(1, 4)),
    st.tuples(st.just("settle")),
)

_libc = ctypes.CDLL(None, use_errno=True)


class Tree:
    """The directory in which the operations are done; those that are not possible do nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def append(self, name: str, text: str) -> None:
        with (self.path / name).open("a") as stream:
            stream.write(text)

    def mkdir(self, name: str) -> None:
        (self.path / name).mkdir(parents=True)

    def rename(self, old: str, new: str) -> None:
        (self.path / old).rename(self.path / new)

    def exchange(self, one: str, other: str) -> None:
        paths = [os.fsencode(self.path / name) for name in (one, other)]
        _libc.renameat2(-100, paths[0], -100, paths[1], RENAME_EXCHANGE)

    def link(self, old: str, new: str) -> None:
        os.link(self.path / old, self.path / new)

    def symlink(self, name: str, target: str) -> None:
        (self.path / name).symlink_to(target)

    def remove(self, name: str) -> None:
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def chmod(self, name: str, mode: int) -> None:
        path = self.path / name
        path.lchmod(mode) if path.is_symlink() else path.chmod(mode)

    def walk(self) -> dict[bytes, tuple[Any, ...]]:
        """Return what is there, as `comparable` has it."""
        found = {b"": _of_status(self.path)}
        for path in self.path.rglob("*"):
            found[os.fsencode(path.relative_to(self.path))] = _of_status(path)
        return found


def _of_status(path: Path) -> tuple[Any, ...]:
    status = path.lstat()
    common = (status.st_mode, status.st_uid, status.st_gid, status.st_ino)
    if stat.S_ISLNK(status.st_mode):
        return (*common, os.readlink(os.fsencode(path)))
    if stat.S_ISREG(status.st_mode):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return (*common, status.st_size, status.st_mtime_ns, status.st_nlink, digest)
    return common


def comparable(state: FileState) -> tuple[Any, ...]:
    """Return what is compared of a state: what an event would have told of."""
    common = (state.mode, state.uid, state.gid, state.inode)
    if stat.S_ISLNK(state.mode):
        return (*common, state.target)
    if state.is_regular:
        return (*common, state.size, state.mtime_ns, state.links, unpack_digests(state.hashes).get("sha256"))
    return common


def fold(known: dict[bytes, FileState], changes: Iterable[FileChange], root: bytes) -> dict[bytes, FileState]:
    """Return what somebody knows who knew *known* and read the changes."""
    folded = dict(known)
    exchanged, aside = None, {}
    for change in changes:
        path = _relative(change.path, root)
        old = None if change.moved_from is None else _relative(change.moved_from, root)
        if old is None:
            exchanged = None
        elif (path, old) == exchanged:
            folded |= {path + inner: state for inner, state in aside.items()}
        else:
            exchanged, aside = (old, path), _take_beneath(folded, path)
            folded.pop(old, None)
            folded |= {path + inner: state for inner, state in _take_beneath(folded, old).items()}
        if change.after is None:
            del folded[path]
        else:
            folded[path] = change.after
    return folded


def _take_beneath(folded: dict[bytes, FileState], directory: bytes) -> dict[bytes, FileState]:
    """Take out what lies beneath a directory, and return it by what follows the directory's path."""
    inner = [path for path in folded if path.startswith(directory + b"/")]
    return {path[len(directory) :]: folded.pop(path) for path in inner}


def _relative(path: bytes, root: bytes) -> bytes:
    return path[len(root) + 1 :]


def known_of(running: Any) -> dict[bytes, FileState]:
    """Return all that the baseline knows."""
    baseline = running.watch.baseline
    paths = [b"", *baseline.known_beneath(b"")]
    return {path: state for path in paths if (state := baseline.known(path)) is not None}


def settle(running: Any) -> None:
    """Take turns until all has been seen: where directories are polled, each of them has had its turn."""
    backend = running.watch.backend._backend
    next_turns_from = time.monotonic() + running.settings.fim.poll_seconds
    if isinstance(backend, Polling):
        running.turn_until(lambda: min(backend._due_at.values()) >= next_turns_from)
    running.settle()


def do(tree: Tree, running: Any, operation: tuple[Any, ...]) -> None:
    """Do one operation, or let the watcher look."""
    name, *arguments = operation
    if name == "look":
        for _ in range(arguments[0]):
            running.watcher._turn(0.01)
    elif name == "settle":
        settle(running)
    else:
        with contextlib.suppress(OSError, NotImplementedError):
            getattr(tree, name)(*arguments)


@pytest.mark.parametrize("backend", ["fanotify", "fanotify-filesystem", "inotify", "poll"])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    debounce_seconds=st.sampled_from([0.0, 0.03]),
    most_at_once=st.sampled_from([1, 2, 1000]),
    slice_seconds=st.sampled_from([0.0, 0.02]),
    before=st.lists(OPERATIONS, max_size=5),
    operations=st.lists(OPERATIONS, min_size=1, max_size=25),
)
def test_what_is_known_in_the_end_is_what_is_there_and_what_the_changes_say(
    watching, monkeypatch, backend, debounce_seconds, most_at_once, slice_seconds, before, operations
):
    monkeypatch.setattr(Listing, "most_at_once", most_at_once)
    monkeypatch.setattr(walk, "MOST_UNBROKEN", 0)
    # Who polls all the time, a bit at a time, is never quiet.
    monkeypatch.setattr(walk, "SLICE_SECONDS", slice_seconds if backend != "poll" else 0.02)
    times = {"debounce_seconds": debounce_seconds, "max_delay_seconds": 0.1, "poll_seconds": 0.03}
    with watching({"backend": backend}, **times) as running:
        assert running.watch.backend.name in {backend, "polling"}
        tree = Tree(running.path)
        for operation in (*FIRST, *before):
            do(tree, running, operation)
        settle(running)
        old = known_of(running)
        running.forget_all()
        running.watcher._turn(0)

        for operation in operations:
            do(tree, running, operation)
        settle(running)

        known = known_of(running)
        folded = fold(old, running.changes, os.fsencode(running.path))
        assert {path: comparable(state) for path, state in known.items()} == tree.walk()
        assert {path: find_action(state, known.get(path)) for path, state in folded.items()} == dict.fromkeys(known)
