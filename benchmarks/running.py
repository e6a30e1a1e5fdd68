"""What the benchmarks of files share: the real command, what its processes use, and peers from Debian packages."""

import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from auditline import plugins, workers

PATIENCE_SECONDS = 300
FILES_PER_DIRECTORY = 100

Event = dict[str, Any]


class Service:
    """One `auditline run`, whose stdout is a pipe to us."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self._stdout_fd = process.stdout.fileno()
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def next_event(self) -> Event:
        """Return the next event; end the program if none comes within PATIENCE_SECONDS."""
        while not self._lines:
            readable, _, _ = select.select([self._stdout_fd], [], [], PATIENCE_SECONDS)
            data = os.read(self._stdout_fd, 1 << 20) if readable else b""
            if not data:
                raise SystemExit("the service has ended, or the event that is waited for does not come")
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(lines)
        event: Event = json.loads(self._lines.popleft())
        return event

    def wait_for(self, is_wanted: Callable[[Event], bool]) -> Event:
        """Return the next event that *is_wanted*, and skip those before it."""
        while not is_wanted(event := self.next_event()):
            pass
        return event

    def wait_for_first_walks(self, count: int) -> None:
        """Return when *count* watchers have said that they know their directories."""
        for _ in range(count):
            self.wait_for(lambda event: event["audit"].get("coverage", {}).get("reason") == "first_walk")

    def processes(self) -> list[psutil.Process]:
        """Return the supervisor and its workers."""
        supervisor = psutil.Process(self.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def cpu_seconds(self) -> dict[str, float]:
        """Return by title what each process has used so far, to the microsecond."""
        return {title_of(process): _cpu_seconds(process.pid) for process in self.processes()}


def title_of(process: psutil.Process) -> str:
    """Return what `ps` shows of one of our processes."""
    return " ".join(process.cmdline()).strip()


def _cpu_seconds(pid: int) -> float:
    # /proc/PID/stat counts in ticks of 10 ms, which is more than an idle process uses in a minute.
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


@contextmanager
def service(directory: Path, settings: str) -> Iterator[Service]:
    """Run auditline with its own files in *directory*, and stop it at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "auditline.toml"
    places = "".join(f'[{name}]\ndirectory = "{directory / name}"\n' for name in ("state", "run"))
    configuration.write_text(places + settings)
    configuration.chmod(0o600)
    command = [sys.executable, "-m", "auditline.workers.supervisor", "run", "--config", str(configuration)]
    environment = _environment()
    with (
        (directory / "diagnostics").open("wb") as diagnostics,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=diagnostics, env=environment) as process,
    ):
        try:
            yield Service(process)
        except SystemExit:
            sys.stderr.write((directory / "diagnostics").read_text())
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


@cache
def _environment() -> dict[str, str]:
    """Return that of a service: with its bytecode at hand, as it is where a package was installed.

    Without it a start costs three times as much, because everything is compiled.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    folders = [folder for package in (workers, plugins) for folder in package.__path__]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *folders], env=environment, check=True)
    return environment


def file_settings(root: Path, more: str = "") -> str:
    """Return settings with one watch and no kernel events; *more* are keys of `[fim]`."""
    return f'[audit]\nenabled = false\n[fim]\n{more}\n[[fim.watch]]\npath = "{root}"\n'


@contextmanager
def measured_children() -> Iterator[Callable[[], float]]:
    """Give a function for the CPU seconds of all children, and theirs, that began and ended within the block."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = [0.0]
    yield lambda: used[0]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used[0] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Return the CPU seconds of a command and of all that it starts."""
    with measured_children() as used:
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
    return used()


def make_files(root: Path, count: int, sizes: tuple[int, int]) -> int:
    """Make *count* files of random bytes in directories below *root*; return their bytes.

    The sizes lie evenly between the two given ones, and are the same each time.
    """
    chance = random.Random(20_000)
    total = 0
    for number in range(count):
        directory = root / f"d{number // FILES_PER_DIRECTORY // 20:02}" / f"d{number // FILES_PER_DIRECTORY:03}"
        if number % FILES_PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        size = chance.randint(*sizes)
        (directory / f"file-{number:05}").write_bytes(chance.randbytes(size))
        total += size
    # What is written back during a round would be counted against whoever runs then.
    os.sync()
    return total


def unpack(packages: Sequence[str], directory: Path) -> dict[str, str] | None:
    """Unpack Debian packages below *directory*, installing nothing; None if they cannot be had.

    Returns:
        An environment in which their programs are found, with their libraries.
    """
    directory.mkdir()
    download = ["apt-get", "download", "--quiet=2", "--option=APT::Sandbox::User=root", *packages]
    try:
        subprocess.run(download, cwd=directory, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    root = directory / "root"
    for archive in directory.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, root], check=True)
    libraries = {str(library.parent) for library in root.rglob("*.so.*")}
    return {
        **os.environ,
        "PATH": f"{root}/usr/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(sorted(libraries)),
    }
