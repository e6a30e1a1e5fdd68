"""What tests of watchers share: a root, a backend, file systems to mount, and a stand-in for the core."""

import contextlib
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.beneath import Root, open_regular
from auditline.workers.fim.backend import Backend, BackendError, Hint, HintKind
from auditline.workers.fim.baseline import Baseline
from auditline.workers.fim.fanotify import Choices, open_fanotify
from auditline.workers.fim.inotify import open_inotify
from auditline.workers.fim.polling import Polling

KERNEL_BACKENDS = ("fanotify", "fanotify-filesystem", "inotify")

Watch = Callable[..., list[bool]]
Mount = Callable[..., None]


@pytest.fixture
def root(tmp_path):
    """A directory to watch; its own path has no symbolic link."""
    path = tmp_path.resolve() / "root"
    path.mkdir()
    return path


def is_due_soon(backend: Backend) -> bool:
    """Whether hints are held back for a moment."""
    return backend.seconds_until_due is not None and backend.seconds_until_due < 0.05


def open_named(name: str, **choices: Any) -> Backend:
    """Open the backend of that name; a test that needs one that cannot be had here is skipped."""
    try:
        if name == "inotify":
            return open_inotify(5)
        other = partial(open_inotify, 5)
        return open_fanotify(Choices(open_other=other, marks_file_systems=name == "fanotify-filesystem", **choices))
    except BackendError as error:
        pytest.skip(f"{name}: {error}")


@pytest.fixture(params=KERNEL_BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    """Each backend that the kernel tells of changes by, in turn."""
    return str(request.param)


@pytest.fixture
def backend(backend_name: str) -> Iterator[Backend]:
    """One that watches nothing yet."""
    opened = open_named(backend_name)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def read_all() -> Callable[[Backend], list[Hint]]:
    """Read until no more hints come, also of those that are held back for a moment."""

    def read_all(backend: Backend) -> list[Hint]:
        hints: list[Hint] = []
        while (more := backend.read()) or is_due_soon(backend):
            hints += more
            time.sleep(0.001)
        return hints

    return read_all


@pytest.fixture(scope="session")
def watch() -> Watch:
    """Watch directories of a root; without any, the root and all that are beneath it."""

    def watch(backend: Backend, root: Path, *directories: str) -> list[bool]:
        found = directories or ("", *(str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_dir()))
        top = Root.open(os.fsencode(root))
        watched = []
        for directory in map(os.fsencode, found):
            descriptor = top.open_directory(directory)
            watched.append(backend.watch(directory, descriptor))
            os.close(descriptor)
        top.close()
        return watched

    return watch


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Take what the command of that name takes; all is unmounted when the test is over."""
    mounted: list[Path] = []

    def mount(*arguments: str | Path) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr}")
        mounted.append(Path(arguments[-1]))

    yield mount
    for target in reversed(mounted):
        subprocess.run(["umount", "-l", target], capture_output=True, check=False)


@pytest.fixture(scope="session")
def unmount() -> Callable[..., None]:
    """Unmount what is mounted last at a place."""

    def unmount(place: Path, *options: str) -> None:
        subprocess.run(["umount", *options, place], check=True)

    return unmount


class Follower:
    """Does with hints what a watcher's core does, as simply as possible: knows a root from one walk and from hints."""

    def __init__(self, root: Path, backend: Backend, before_follow: Callable[[], None] = lambda: None) -> None:
        self.backend = backend
        self.known: dict[bytes, bytes | None] = {}
        """Contents by path; None: a directory."""
        self._entered: set[bytes] = set()
        self._before_follow = before_follow
        self._path = root
        self._root = Root.open(os.fsencode(root))
        self._visit(b"")

    def read_tree(self) -> dict[bytes, bytes | None]:
        """Return what it should know."""
        return {
            os.fsencode(path.relative_to(self._path)): None if path.is_dir() else path.read_bytes()[:100]
            for path in self._path.rglob("*")
        }

    def follow(self) -> list[Hint]:
        """Obey all hints that there are, and return them."""
        obeyed = []
        self._before_follow()
        while (hints := self.backend.read()) or is_due_soon(self.backend):
            obeyed += hints
            for hint in hints:
                self._obey(hint)
            time.sleep(0 if hints else 0.001)
        return obeyed

    def close(self) -> None:
        """Let go of the root and of the backend."""
        self._root.close()
        self.backend.close()

    def _obey(self, hint: Hint) -> None:
        if hint.kind is HintKind.OVERFLOW:
            self._visit(b"")
        elif hint.kind is HintKind.POLL:
            self._visit(hint.path)
        elif hint.kind is HintKind.EXCHANGED and hint.moved_from is not None:
            for path in (hint.moved_from, hint.path):
                self._look(path, is_new=True)
        elif hint.path:
            if hint.is_directory and hint.kind is HintKind.GONE:
                self._drop(hint.path)
            elif hint.moved_from is not None:
                self._move(hint.moved_from, hint.path)
            self._look(hint.path, is_new=hint.kind is HintKind.CREATED)

    def _look(self, path: bytes, *, is_new: bool) -> None:
        try:
            is_directory = stat.S_ISDIR(self._root.lstat(path).st_mode)
        except OSError:
            self._drop(path)
            return
        if not is_directory:
            self._drop(path)
            self._read(path)
        elif is_new or path not in self._entered:
            self._drop(path)
            self.known[path] = None
            self._visit(path)

    def _move(self, old: bytes, new: bytes) -> None:
        """Let names change, then look at all that is beneath: it may have been told under its old path."""
        self._forget(new)
        for path in [path for path in self.known if path == old or path.startswith(old + b"/")]:
            self.known[new + path[len(old) :]] = self.known.pop(path)
        for path in [path for path in self._entered if path == old or path.startswith(old + b"/")]:
            self._entered.remove(path)
            self._entered.add(new + path[len(old) :])
        self.backend.move(old, new)
        for directory in sorted(path for path in self._entered if path == new or path.startswith(new + b"/")):
            self._visit(directory, is_new=False)

    def _read(self, path: bytes) -> None:
        with contextlib.suppress(OSError):
            parent, name = self._root.open_parent(path)
            try:
                descriptor, _status = open_regular(name, parent)
            finally:
                os.close(parent)
            self.known[path] = os.read(descriptor, 100)
            os.close(descriptor)

    def _visit(self, directory: bytes, *, is_new: bool = True) -> None:
        try:
            descriptor = self._root.open_directory(directory)
        except OSError:
            return
        self.backend.watch(directory, descriptor)
        self._entered.add(directory)
        names = {os.fsencode(name) for name in os.listdir(descriptor)}
        os.close(descriptor)
        prefix = directory + b"/" if directory else b""
        known = {path for path in self.known if path.startswith(prefix) and b"/" not in path[len(prefix) :]}
        for path in known | {prefix + name for name in names}:
            self._look(path, is_new=is_new)

    def _drop(self, path: bytes) -> None:
        self.backend.forget(path)
        self._forget(path)

    def _forget(self, path: bytes) -> None:
        self._entered = {inner for inner in self._entered if not (inner + b"/").startswith(path + b"/")}
        if self.known.pop(path, b"") is None:
            for inner in [inner for inner in self.known if inner.startswith(path + b"/")]:
                del self.known[inner]


@pytest.fixture(scope="session")
def start_follower() -> Callable[..., contextlib.AbstractContextManager["Follower"]]:
    """Follow what happens beneath a root with the backend of that name, until the end of a `with`."""

    @contextlib.contextmanager
    def start(root: Path, name: str) -> Iterator[Follower]:
        now = [0.0]

        def let_time_pass() -> None:
            now[0] += 5

        if name == "poll":
            follower = Follower(root, Polling(5, clock=lambda: now[0]), let_time_pass)
        else:
            follower = Follower(root, open_named(name))
        try:
            yield follower
        finally:
            follower.close()

    return start


@pytest.fixture
def open_baseline(tmp_path: Path) -> Iterator[Callable[..., Baseline]]:
    """Opens baselines, of /etc and in the test's folder if nothing else is said; closes them in the end."""
    opened: list[Baseline] = []

    def open_one(directory: Path = tmp_path, name: str = "fim-etc", root: bytes = b"/etc", **bounds: int) -> Baseline:
        opened.append(Baseline.open(directory, name, root, **bounds))
        return opened[-1]

    yield open_one
    for baseline in opened:
        baseline.close()
