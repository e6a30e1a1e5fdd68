"""One service per module with a watch for each backend, and a corner of it for each test."""

import importlib.util
import itertools
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.watch_plan import watch_name

BACKENDS = ("fanotify", "fanotify-filesystem", "inotify", "poll")
PRIVILEGED = ("fanotify", "fanotify-filesystem")
TITLES = {"poll": "polling"}
"""What the log calls a backend, if it is not its name."""
MARKER = ".settled"
PATIENCE_SECONDS = 60
"""A poll of ten thousand files is followed by a rest nine times as long."""


class Corner:
    """A directory of its own in the watch of one backend, and what is told of it."""

    def __init__(self, watched: Any, backend: str, root: Path, wait_until: Callable[..., None]) -> None:
        self.watched = watched
        self.backend = backend
        self.root = root
        self.sees_renames = backend != "poll"
        """A poll finds two names and no connection between them."""
        self.names_processes = backend in PRIVILEGED
        self._wait_until = wait_until
        self._position = len(watched.lines.changes)
        self._coverage_position = len(watched.lines.coverage)
        self._changes: list[Any] = []
        self._waited_for: dict[str, int] = defaultdict(int)
        self._markers = itertools.count()

    @property
    def all_changes(self) -> list[Any]:
        """What has been told of this corner so far, with what `settle` made."""
        changes = self.watched.lines.changes
        beneath = f"{self.root}/"
        for change in changes[self._position :]:
            if change.path == str(self.root) or change.path.startswith(beneath):
                self._changes.append(change)
        self._position = len(changes)
        return self._changes

    @property
    def changes(self) -> list[Any]:
        """The same without what `settle` made."""
        return [change for change in self.all_changes if MARKER not in change.path]

    @property
    def actions(self) -> dict[str, list[str]]:
        """What has happened to each path so far, in order; paths are relative to `root`."""
        found = defaultdict(list)
        for change in self.changes:
            found[os.path.relpath(change.path, self.root)].append(change.action)
        return dict(found)

    @property
    def coverage(self) -> list[dict[str, Any]]:
        """The coverage events of the whole watch since the beginning of the test."""
        entries = self.watched.lines.coverage[self._coverage_position :]
        place = str(self.root.parent)
        return [entry for entry in entries if entry["path"] == place or entry["path"].startswith(f"{place}/")]

    def renamed(self, old: str, new: str) -> dict[str, list[str]]:
        """Return what is to be told of a rename, as `actions` has it."""
        return {new: ["moved"]} if self.sees_renames else {old: ["deleted"], new: ["created"]}

    def by_sight(self, renames: Any, names: Any) -> Any:
        """Return what is to be told: *renames* by a backend that sees these, *names* by one that sees names alone."""
        return renames if self.sees_renames else names

    def put(self, path: Path, content: str) -> None:
        """Make a file, or replace one, that nobody sees before it is complete."""
        half = self.watched.folder / "half-written"
        half.write_text(content)
        half.rename(path)

    def know(self, **files: str) -> dict[str, Path]:
        """Make files of these names with that content, and return their paths when they have been told."""
        paths = {name: self.root / name for name in files}
        for name, content in files.items():
            self.put(paths[name], content)
        self.forget(len(files))
        return paths

    def forget(self, count: int) -> None:
        """Wait until *count* paths have been told as created, and pass over all that was told so far."""
        self._wait_until(lambda: sum(change.action == "created" for change in self.changes) >= count, PATIENCE_SECONDS)
        self.settle()
        self.drop_changes()

    def drop_changes(self) -> None:
        """Pass over all that was told so far."""
        self.all_changes.clear()

    def wait_for(self, action: str, path: Path) -> Any:
        """Wait until *action* is the last that happened to *path*, after all that was waited for before."""
        found: list[Any] = []

        def has_come() -> bool:
            found[:] = [change for change in self.changes if change.path == str(path)]
            return len(found) > self._waited_for[str(path)] and found[-1].action == action

        self._wait_until(has_come, PATIENCE_SECONDS)
        self._waited_for[str(path)] = len(found)
        return found[-1]

    def wait_for_actions(self, expected: dict[str, list[str]], seconds: float = 10) -> None:
        """Wait until all that has happened is *expected*, see that no more comes, and show the difference."""
        count = sum(map(len, expected.values()))
        try:
            # `actions` are made anew each time: of thousands only when they may be complete.
            self._wait_until(lambda: len(self.changes) >= count and self.actions == expected, seconds)
            self.settle()
        finally:
            assert self.actions == expected

    def wait_for_paths(self, action: str, paths: Collection[Path], seconds: float = 20) -> None:
        """Wait until that has happened to each of *paths*."""
        wanted = set(map(str, paths))
        self._wait_until(lambda: wanted <= {change.path for change in self.changes if change.action == action}, seconds)

    def wait_for_size(self, path: Path, size: int) -> None:
        """Wait until the last event of *path* tells that size."""
        self._wait_until(lambda: [c.file["size"] for c in self.changes if c.path == str(path)][-1:] == [size])

    def wait_until_known(self, directory: Path) -> None:
        """Wait until what is in *directory* has been taken as known after a mount: what comes later is told."""
        while not any(change.path.startswith(f"{directory}/{MARKER}") for change in self.all_changes):
            marker = directory / f"{MARKER}-{next(self._markers)}"
            marker.touch()
            self.settle()
            marker.unlink()
        self.drop_changes()

    def wait_for_coverage(self, reason: str) -> dict[str, Any]:
        """Wait for a coverage event of that reason and return it."""
        self._wait_until(lambda: any(entry["reason"] == reason for entry in self.coverage))
        return [entry for entry in self.coverage if entry["reason"] == reason][-1]

    def wait_for_count(self, count: int, seconds: float) -> None:
        """Wait until so many changes have been told."""
        self._wait_until(lambda: len(self.all_changes) >= count, seconds)

    def settle(self) -> None:
        """Return when all that happened before has been told: what happens now to a file has."""
        marker = self.root / f"{MARKER}-{next(self._markers)}"
        marker.touch()
        self._wait_until(lambda: self._has_told("created", marker), PATIENCE_SECONDS)
        marker.unlink()
        if self.backend == "poll":
            # By then every other directory has had its turn, too.
            self._wait_until(lambda: self._has_told("deleted", marker), PATIENCE_SECONDS)

    def suspended(self) -> AbstractContextManager[None]:
        """Hold up the watcher of this backend."""
        held: AbstractContextManager[None] = self.watched.suspended(f"fim {self.root.parent}")
        return held

    def undisturbed(self) -> AbstractContextManager[None]:
        """Hold up a watcher that polls: in the middle of something it would tell what is there in the middle."""
        return self.suspended() if self.backend == "poll" else nullcontext()

    def counters(self) -> dict[str, int]:
        """What this backend's watcher has counted."""
        return dict(self.watched.counters(watch_name(os.fsencode(self.root.parent))))

    def _has_told(self, action: str, path: Path) -> bool:
        return any(change.path == str(path) and change.action == action for change in reversed(self.all_changes))


@pytest.fixture(scope="module")
def options() -> dict[str, Any]:
    """What `Watched.start` is given beside the watches; a module may have its own."""
    return {}


@pytest.fixture(scope="module")
def watch_options() -> dict[str, Any]:
    """Further keys of each watch; a module may have its own."""
    return {}


@pytest.fixture(scope="module")
def service(
    watched_of_module: Any, options: dict[str, Any], watch_options: dict[str, Any], wait_until: Callable[..., None]
) -> Any:
    """The service with a watch for each backend that there can be."""
    watched = watched_of_module
    for backend in filter(is_there, BACKENDS):
        (watched.root / backend).mkdir()
    watches = [{"path": watched.root / backend, "backend": backend} | watch_options for backend in BACKENDS]
    watches = [watch for watch in watches if watch["path"].exists()]
    watched.start(*watches, **options)
    # Nothing is proved about a backend that another one stands in for.
    wanted = [f"{watch_name(os.fsencode(w['path']))}: {TITLES.get(w['backend'], w['backend'])}: " for w in watches]
    wait_until(lambda: all(choice in watched.run.stderr for choice in wanted))
    return watched


@pytest.fixture(params=BACKENDS)
def corner(request: pytest.FixtureRequest, service: Any, wait_until: Callable[..., None]) -> Iterator[Corner]:
    """A new directory that each backend in turn watches, and that is told already."""
    backend = request.param
    if not is_there(backend):
        pytest.skip(f"{backend} needs CAP_SYS_ADMIN")
    root = Path(tempfile.mkdtemp(prefix="corner-", dir=service.root / backend))
    corner = Corner(service, backend, root, wait_until)
    corner.wait_for("created", root)
    corner.drop_changes()
    yield corner
    # All at once: what happens in it is nobody's business any more.
    root.rename(service.folder / root.name)
    shutil.rmtree(service.folder / root.name, ignore_errors=True)


def is_there(backend: str) -> bool:
    """Say whether this backend can be had here."""
    if importlib.util.find_spec(f"auditline.workers.fim.{'fanotify' if backend in PRIVILEGED else 'polling'}") is None:
        return False
    return backend not in PRIVILEGED or os.geteuid() == 0
