"""Directories under watch: the service that watches them, and what its lines say of them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import psutil
import pytest

from auditline.workers.common.watch_plan import watch_name

NOBODY = 65534
BE_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
WALKED = {"first_walk", "restart", "baseline_rebuilt"}
"""The reasons of the coverage events that end the walk at a start."""
MARKER = ".settled"
MOST_BYTES = 1 << 30
FAST = {"debounce_seconds": 0.05, "max_delay_seconds": 1.0, "poll_seconds": 0.2}


class Change(NamedTuple):
    """What one line says of one path."""

    action: str
    path: str
    file: dict[str, Any]
    """`audit.file`."""
    before: dict[str, Any]
    after: dict[str, Any]
    detected_by: str
    document: dict[str, Any]


class Lines:
    """The lines of one run, each parsed once."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """*read* returns what has come from that position on."""
        self._read = read
        self._position = 0
        self.lines: list[bytes] = []
        self.changes: list[Change] = []
        self.coverage: list[dict[str, Any]] = []
        """`audit.coverage` with `auditline.detail` as one more key."""
        self.health: list[dict[str, Any]] = []

    def take(self) -> "Lines":
        """Take what has come since."""
        data = self._read(self._position)
        whole = data.rfind(b"\n") + 1
        self._position += whole
        for line in data[:whole].splitlines():
            self._take(line)
        return self

    def _take(self, line: bytes) -> None:
        self.lines.append(line)
        document = json.loads(line)
        audit, ours = document["audit"], document["auditline"]
        if "coverage" in audit:
            self.coverage.append({**audit["coverage"], "detail": ours.get("detail", {})})
        elif "health" in audit:
            self.health.append(audit["health"])
        elif "file" in audit:
            file, change = audit["file"], ours["change"]
            sides = change.get("before", {}), change.get("after", {})
            self.changes.append(Change(file["action"], file["path"], file, *sides, change["detected_by"], document))


class Watched:
    """Watched directories, and the service over one or more starts."""

    def __init__(
        self,
        folder: Path,
        start_run: Callable[..., Any],
        wait_until: Callable[..., None],
        *,
        user: int | None = None,
    ) -> None:
        """*user*: the service and the test itself belong to that one; only root can."""
        self.folder = folder
        self.root = folder / "watched"
        self.root.mkdir()
        self.run: Any = None
        self.comes_back = False
        """A path may go from one state to another twice, as what is moved away and back with a directory does."""
        self._start_run = start_run
        self._wait_until = wait_until
        self._user = user
        self._all_lines: list[Lines] = []
        self._files: list[BinaryIO] = []
        self._markers = 0
        self._waited_for: Counter[Path | str] = Counter()

    @property
    def lines(self) -> Lines:
        """What the run of now has said so far."""
        return self._all_lines[-1].take()

    @property
    def changes(self) -> list[Change]:
        """The changes so far, without those that `settle` made."""
        return [change for change in self.lines.changes if MARKER not in change.path]

    @property
    def actions(self) -> dict[str, list[str]]:
        """What has happened to each path so far, in order."""
        found = defaultdict(list)
        for change in self.changes:
            found[change.path].append(change.action)
        return dict(found)

    @property
    def coverage(self) -> list[dict[str, Any]]:
        """The coverage events so far."""
        return self.lines.coverage

    def start(
        self,
        *watches: Mapping[str, object],
        fim: Mapping[str, object] | None = None,
        hasher: Mapping[str, object] | None = None,
        is_walked: bool = True,
        into: Path | None = None,
        prefix: tuple[str, ...] = (),
        audit: str = "enabled = false",
        tables: str = "",
    ) -> Any:
        """Start the service with these `[[fim.watch]]`, by default one of `root`, and wait until they are walked.

        *into*: an empty file that is stdout and is then read instead of the pipe.
        """
        watches = watches or ({"path": self.root},)
        tables = "".join(
            (
                toml("[fim]", FAST | dict(fim or {})),
                *(toml("[[fim.watch]]", watch) for watch in watches),
                toml("[hasher]", hasher or {}),
                tables,
            )
        )
        self.start_bare(tables, into, audit=audit, prefix=prefix)
        if is_walked:
            self.wait_until_walked(len(watches))
        return self.run

    def start_bare(
        self, tables: str, into: Path | None = None, *, audit: str = "enabled = false", prefix: tuple[str, ...] = ()
    ) -> Any:
        """Start the service with these tables alone, and wait for nothing."""
        self.run = self._start_into(into, {"audit": audit, "tables": tables, "prefix": prefix})
        self._all_lines.append(Lines(self._reader(into)))
        self._waited_for.clear()
        return self.run

    def wait_until_walked(self, count: int = 1) -> None:
        """Wait until so many watchers have compared what is there with what they knew."""
        self._wait_until(lambda: sum(entry["reason"] in WALKED for entry in self.coverage) >= count, 30)

    def put(self, path: Path, text: str) -> None:
        """Make a file that nobody sees before it is complete."""
        half = self.folder / "half-written"
        half.write_text(text)
        half.rename(path)

    def wait_for(self, action: str, path: Path | str) -> Change:
        """Wait until *action* is the last that happened to *path*, after all that was waited for before."""
        found: list[Change] = []

        def has_come() -> bool:
            found[:] = [change for change in self.changes if change.path == str(path)]
            return len(found) > self._waited_for[path] and found[-1].action == action

        self._wait_until(has_come)
        self._waited_for[path] = len(found)
        return found[-1]

    def wait_for_paths(self, action: str, paths: Collection[str], seconds: float = 10) -> None:
        """Wait until that has happened to each of *paths*."""
        wanted, position = set(paths), 0

        def have_come() -> bool:
            nonlocal position
            changes = self.lines.changes
            wanted.difference_update(change.path for change in changes[position:] if change.action == action)
            position = len(changes)
            return not wanted

        self._wait_until(have_come, seconds)

    def wait_for_present_hash(self, *paths: Path) -> None:
        """Wait until the last event of each has the hash that it has now: what is not stable is looked at again."""
        present = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

        def is_told() -> bool:
            last = {change.path: change.file.get("sha256") for change in self.changes}
            return {path: last.get(path) for path in present} == present

        self._wait_until(is_told)

    def wait_for_coverage(self, reason: str) -> dict[str, Any]:
        """Wait for a coverage event with that reason and return it."""

        def found() -> list[dict[str, Any]]:
            return [entry for entry in self.coverage if entry["reason"] == reason]

        self._wait_until(found)
        return found()[-1]

    def settle(self, directory: Path | None = None) -> None:
        """Return when all that happened before has been told: what happens now to a file in *directory* has."""
        self._markers += 1
        marker = (directory or self.root) / f"{MARKER}-{self._markers}"
        for action, act in (("created", marker.touch), ("deleted", marker.unlink)):
            act()
            self._wait_until(lambda action=action: self._has_told(action, marker))

    def worker(self, title: str) -> psutil.Process:
        """Wait for the living process of that title."""
        found: list[psutil.Process] = []

        def find() -> bool:
            found[:] = filter(None, [self.run.worker(title)])
            return bool(found)

        self._wait_until(find)
        return found[0]

    @property
    def watcher_titles(self) -> list[str]:
        """The titles of all living watchers."""
        titles = []
        for process in self.run.family():
            # One of them may end meanwhile.
            with suppress(psutil.Error):
                titles += [title for title in process.cmdline()[:1] if title.startswith("auditline: fim ")]
        return titles

    @property
    def title(self) -> str:
        """The title of the process that watches `root`."""
        return f"fim {self.root}"

    @contextmanager
    def suspended(self, *titles: str) -> Iterator[None]:
        """Hold these workers up; by default the watcher of `root`."""
        workers = [self.worker(title) for title in titles or (self.title,)]
        for worker in workers:
            worker.suspend()
        try:
            yield
        finally:
            for worker in workers:
                # Some tests kill it meanwhile.
                with suppress(psutil.NoSuchProcess):
                    worker.resume()

    def counters(self, title: str | None = None) -> dict[str, int]:
        """What the watcher of `root`, or that process, has counted."""
        return dict(self.run.counters(title or self.source))

    @property
    def source(self) -> str:
        """The name that the watcher of `root` has on the bus and elsewhere."""
        return watch_name(os.fsencode(self.root.resolve()))

    def stop(self) -> None:
        """End the service, which it must do well."""
        self.run.process.send_signal(signal.SIGTERM)
        assert self.run.wait(6) == 0, self.run.stderr
        # Its last words.
        self.lines.take()

    def kill_everything(self) -> None:
        """Kill the supervisor and all workers."""
        supervisor, *workers = self.run.family()
        # It would start again whoever dies first.
        supervisor.suspend()
        for process in (*workers, supervisor):
            process.kill()
        self.run.wait()

    def end(self) -> None:
        """Show what the service said, in case that the test failed, and hold what holds in every test."""
        if self.run is not None:
            sys.stdout.write(self.run.stderr)
            self.lines.take()
            for file in self._files:
                file.close()
            self.assert_ids_are_unambiguous()

    def assert_ids_are_unambiguous(self) -> None:
        """Over all starts, an id stands for one line, and a change has one id."""
        by_id: dict[str, bytes] = {}
        by_change: dict[str, str] = {}
        for line in (line for lines in self._all_lines for line in lines.lines):
            document = json.loads(line)
            identity = document["event"]["id"]
            other = by_id.setdefault(identity, line)
            assert other == line, f"{other!r} and {line!r} have one id"
            if "file" in document["audit"] and not self.comes_back:
                assert by_change.setdefault(content_of(document), identity) == identity, f"{line!r} has another id, too"

    def _has_told(self, action: str, path: Path) -> bool:
        return any(change.path == str(path) and change.action == action for change in self.lines.changes)

    def _start_into(self, into: Path | None, choices: dict[str, Any]) -> Any:
        if self._user is not None:
            os.seteuid(0)
            choices["prefix"] = (*BE_NOBODY, *choices["prefix"])
        try:
            if into is None:
                return self._start_run("service", self.folder, **choices)
            with into.open("ab") as file:
                return self._start_run("service", self.folder, stdout=file.fileno(), **choices)
        finally:
            if self._user is not None:
                os.seteuid(self._user)

    def _reader(self, into: Path | None) -> Callable[[int], bytes]:
        if into is None:
            run = self.run
            return lambda position: bytes(run._stdout[position:])
        # Held open: some tests give it another name.
        file = into.open("rb")
        self._files.append(file)
        return lambda position: os.pread(file.fileno(), MOST_BYTES, position)


def toml(header: str, values: Mapping[str, object]) -> str:
    """Return a table; JSON's texts, numbers, truths and lists are TOML's, too."""
    lines = [f"{key} = {json.dumps(value, default=str)}" for key, value in values.items()]
    return "\n".join([header, *lines, ""])


def content_of(document: dict[str, Any]) -> str:
    """Return all that makes the change what it is, however often it is told: its time and its reading are not in it."""
    file = {key: value for key, value in document["audit"]["file"].items() if key != "atime"}
    change = {key: value for key, value in document["auditline"]["change"].items() if key != "detected_by"}
    return json.dumps([file, change, document["auditline"].get("undecodable")], sort_keys=True)


@pytest.fixture
def watched(tmp_path: Path, start_run, wait_until) -> Iterator[Watched]:
    """A folder to watch, and the service."""
    watched = Watched(tmp_path, start_run, wait_until)
    yield watched
    watched.end()


@pytest.fixture(scope="module")
def watched_of_module(tmp_path_factory, start_run_of_module, wait_until) -> Iterator[Watched]:
    """The same for all tests of a module."""
    watched = Watched(tmp_path_factory.mktemp("fim"), start_run_of_module, wait_until)
    watched.comes_back = True
    yield watched
    watched.end()


@pytest.fixture
def nobodys_watched(public_folder: Path, start_run, wait_until) -> Iterator[Watched]:
    """The same for a user without any right on a folder of its own; the test itself is that user meanwhile."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    trial = [*BE_NOBODY, sys.executable, "-c", "import auditline.workers.common.errors"]
    if subprocess.run(trial, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip(f"uid {NOBODY} may not enter a folder above {sys.executable}")
    home = public_folder / "home"
    (home / "service").mkdir(parents=True)
    for folder in (home, home / "service"):
        os.chown(folder, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        watched = Watched(home, start_run, wait_until, user=NOBODY)
        yield watched
    finally:
        os.seteuid(0)
        os.setegid(0)
    watched.end()


@pytest.fixture(params=["watched", "nobodys_watched"], ids=["as-root", "as-nobody"])
def each_watched(request: pytest.FixtureRequest) -> Watched:
    """Both in turn."""
    found: Watched = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def count_watches() -> Callable[[psutil.Process], int]:
    """Count a process's inotify watches."""

    def count(process: psutil.Process) -> int:
        infos = Path(f"/proc/{process.pid}/fdinfo").iterdir()
        return sum(info.read_text().count("inotify wd:") for info in infos)

    return count
