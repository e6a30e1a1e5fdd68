"""`auditline run` for real: its own processes, the real kernel, rules for uid 65534 alone."""

import ctypes
import json
import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from auditline.workers.common.counters import read_pages

RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open"
IN_OPEN = 0x20
INOTIFY_EVENT = struct.Struct("iIII")
AS_NOBODY = ("setsid", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Run:
    """One `auditline run`, whose stdout and stderr are read all the time."""

    def __init__(
        self,
        folder: Path,
        *,
        run: str = "",
        audit: str = "",
        tables: str = "",
        prefix: tuple[str, ...] = (),
        stdin: int | None = None,
        stdout: int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it: *run* and *audit* are added to these tables, *tables* at the end; *prefix* is what runs it.

        No directory is watched unless *tables* have the table `[fim]`.

        With an *environment* of its own there is no configuration file.
        """
        self.folder = folder
        command = [*prefix, sys.executable, "-m", "auditline.workers.supervisor", "run"]
        if environment is None:
            config = folder / "auditline.toml"
            rules_files = "" if "rules_files" in audit else "rules_files = []\n"
            watch = "" if "[fim]" in tables else "[fim]\nwatch = []\n"
            config.write_text(
                f'[state]\ndirectory = "{folder}/state"\n[run]\ndirectory = "{folder}/run"\n{run}\n'
                f"[audit]\nrules = ['{RULE}']\n{rules_files}{audit}\n{watch}{tables}\n"
            )
            config.chmod(0o644)
            command += ["--config", str(config)]
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True, env=environment
        )
        self.pid = self.process.pid
        self._stdout, self._stderr = bytearray(), bytearray()
        self._threads = [
            self._follow(pipe, into)
            for pipe, into in ((self.process.stdout, self._stdout), (self.process.stderr, self._stderr))
            if pipe is not None
        ]

    @property
    def stdout(self) -> bytes:
        """What has come so far."""
        return bytes(self._stdout)

    @property
    def stderr(self) -> str:
        return self._stderr.decode()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The whole lines that have come so far."""
        return [json.loads(line) for line in bytes(self._stdout).split(b"\n")[:-1]]

    @property
    def health(self) -> dict[str, Any]:
        """The newest health event's object; empty before the first one."""
        found = [event["audit"]["health"] for event in self.events if "health" in event["audit"]]
        return found[-1] if found else {}

    @property
    def opened_names(self) -> list[str]:
        """What the audited opens of uid 65534 were about, in order."""
        return self.names_in(self.events)

    @staticmethod
    def names_in(events: list[dict[str, Any]]) -> list[str]:
        """What the opens among *events* were about, in order."""
        things = (event["audit"].get("kernel", {}).get("thing", {}) for event in events)
        return [thing["primary"] for thing in things if thing.get("what") == "file"]

    @staticmethod
    def lines_of(directory: Path) -> list[dict[str, Any]]:
        """The whole lines of all segments in *directory*; one that a kill left torn is skipped, as readers do."""
        segments = (path.read_bytes() for path in sorted(directory.glob("*.jsonl")))
        lines = (line for segment in segments for line in segment.splitlines(keepends=True))
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    @property
    def journal(self) -> bytes:
        """What the reader's journal has, done or not."""
        return b"".join(path.read_bytes() for path in (self.folder / "state" / "journal").rglob("*") if path.is_file())

    def counters(self, process: str) -> dict[str, int]:
        """What that process has counted so far."""
        return read_pages(self.folder / "run" / "counters").get(process, {})

    def worker(self, title: str) -> psutil.Process | None:
        """The living process of that title."""
        for child in psutil.Process(self.pid).children():
            try:
                if child.cmdline()[:1] == [f"auditline: {title}"]:
                    return child
            except psutil.Error:
                continue
        return None

    def pid_of(self, title: str) -> int:
        """The pid of the living process of that title; 0: there is none."""
        worker = self.worker(title)
        return worker.pid if worker else 0

    def status_of(self, title: str) -> dict[str, str]:
        """What the kernel's status file of the living process of that title says; empty: there is none."""
        try:
            lines = Path(f"/proc/{self.pid_of(title)}/status").read_text().splitlines()
        except OSError:
            return {}
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def has_all(self, titles: Iterable[str]) -> bool:
        """Tell whether there is a process of each title that has given up the rights that it does not need."""
        return all(self.status_of(title).get("NoNewPrivs") == "1" for title in titles)

    def family(self) -> list[psutil.Process]:
        """The supervisor and all workers."""
        supervisor = psutil.Process(self.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def wait(self, seconds: float = 10) -> int:
        """Return the exit code, after the end of stdout and stderr: nobody else has them open."""
        code = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), "somebody still has the service's stdout or stderr"
        return code

    def end(self) -> None:
        """Kill what is left."""
        if self.process.poll() is None:
            for process in self.family():
                process.kill()
        self.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _follow(self, pipe, into: bytearray) -> threading.Thread:
        def read() -> None:
            while data := os.read(pipe.fileno(), 65536):
                into.extend(data)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread


class Opens:
    """What somebody has opened in some directories, as the kernel tells it; O_PATH is no opening."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0, os.strerror(ctypes.get_errno())
        self._directories: dict[int, Path] = {}
        self._paths: set[Path] = set()

    def watch(self, directory: Path) -> None:
        """Hear of *directory* itself and of what is in it."""
        descriptor = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), IN_OPEN)
        assert descriptor >= 0, os.strerror(ctypes.get_errno())
        self._directories[descriptor] = directory

    @property
    def paths(self) -> set[Path]:
        """What has been opened so far."""
        while data := self._read():
            position = 0
            while position < len(data):
                descriptor, _, _, length = INOTIFY_EVENT.unpack_from(data, position)
                name = data[position + INOTIFY_EVENT.size :][:length].rstrip(b"\0")
                self._paths.add(self._directories[descriptor] / os.fsdecode(name))
                position += INOTIFY_EVENT.size + length
        return self._paths

    def close(self) -> None:
        os.close(self._fd)

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 65536)
        except BlockingIOError:
            return b""


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no room, not even for an empty file."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while file.write(bytes(size)) == size:
                        continue
                except OSError:
                    continue

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start `auditline run` with a rule for denied opens of uid 65534."""
    with _starter(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_run_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Run]]:
    """The same for all tests of a module."""
    with _starter(tmp_path_factory.mktemp("runs")) as start:
        yield start


@contextmanager
def _starter(folder: Path) -> Iterator[Callable[..., Run]]:
    started: list[Run] = []

    def start(name: str = "first", parent: Path = folder, **choices) -> Run:
        its_folder = parent / name
        its_folder.mkdir(exist_ok=True)
        started.append(Run(its_folder, **choices))
        return started[-1]

    yield start
    for run in started:
        run.end()


@pytest.fixture
def open_denied() -> Callable[..., None]:
    """Let uid 65534 try to open files that it may not open."""

    def run(*paths: str) -> None:
        subprocess.run([*AS_NOBODY, "cat", *paths], capture_output=True, check=False)

    return run


@pytest.fixture
def opens() -> Iterator[Opens]:
    """Hears what is opened."""
    opens = Opens()
    yield opens
    opens.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Disk]]:
    """Mount small disks at folders of the test's directory."""
    mounted: list[Path] = []

    def mount(name: str, megabytes: int = 2) -> Disk:
        path = tmp_path / name
        path.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=750", "auditline-test", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
        mounted.append(path)
        return Disk(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def chance() -> random.Random:
    """Random moments; a failure shows the seed, and AUDITLINE_TEST_SEED gives the same ones again."""
    seed = int(os.environ.get("AUDITLINE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    sys.stdout.write(f"AUDITLINE_TEST_SEED={seed}\n")
    return random.Random(seed)


@pytest.fixture
def at_moments(chance: random.Random) -> Callable[..., Iterator[Any]]:
    """Give things one by one, each at its random moment within so many seconds from now."""

    def give(things: Iterable[Any], seconds: float) -> Iterator[Any]:
        things = list(things)
        start = time.monotonic()
        moments = sorted(chance.uniform(0.1, 1.0) * seconds for _ in things)
        for moment, thing in zip(moments, things, strict=True):
            time.sleep(max(0.0, start + moment - time.monotonic()))
            yield thing

    return give
