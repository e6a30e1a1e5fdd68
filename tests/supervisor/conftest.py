"""A service of real processes whose workers do what a test wants."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parent / "stand_ins.py"
DEADLINE_SECONDS = 20.0


def wait_until(
    is_reached: Callable[[], bool], what: str | Callable[[], str], deadline_seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait until something is so; fail with *what* otherwise."""
    deadline = time.monotonic() + deadline_seconds
    while not is_reached():
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            pytest.fail(f"{said} has not happened within {deadline_seconds} s")
        time.sleep(0.005)


class RunningService:
    """A supervisor started as a process of its own; its stdout and stderr are read all the time."""

    wait_until = staticmethod(wait_until)

    def __init__(self, state: Path, run: Path, choices: dict[str, object]) -> None:
        command = [sys.executable, str(SCRIPT), str(state), str(run), json.dumps(choices)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.pid = self.process.pid
        self.stdout = bytearray()
        self._stderr = bytearray()
        self._readers = [
            self._read_all(self.process.stdout, self.stdout),
            self._read_all(self.process.stderr, self._stderr),
        ]

    @property
    def stderr(self) -> str:
        return self._stderr.decode()

    def workers(self) -> dict[str, psutil.Process]:
        """The living workers by their title."""
        found = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                with contextlib.suppress(psutil.Error, IndexError):
                    if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[0].startswith("auditline: "):
                        found[child.cmdline()[0].removeprefix("auditline: ")] = child
        found.pop("supervisor", None)
        return found

    def wait_for_workers(self, *titles: str) -> dict[str, psutil.Process]:
        wait_until(lambda: set(titles) <= set(self.workers()), lambda: f"{titles} running; {self._describe()}")
        return self.workers()

    def wait_for_message(self, text: str, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        wait_until(lambda: text in self.stderr, lambda: f"{text!r} in {self.stderr!r}", deadline_seconds)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, deadline_seconds: float = DEADLINE_SECONDS) -> int:
        """Return the exit code, after everything that was said has been read."""
        code = self.process.wait(deadline_seconds)
        for reader in self._readers:
            reader.join(deadline_seconds)
            assert not reader.is_alive(), "somebody still holds the service's stdout or stderr"
        return code

    def end(self) -> None:
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children(recursive=True)
        if self.process.poll() is None:
            self.process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _describe(self) -> str:
        """Say what there is instead of what was waited for."""
        command = ["ps", "-L", "-o", "pid,ppid,stat,wchan:24,args", "--pid", str(self.pid), "--ppid", str(self.pid)]
        processes = subprocess.run(command, capture_output=True, text=True, check=False)
        return f"processes:\n{processes.stdout}\nstderr:\n{self.stderr}"

    def _read_all(self, pipe: object, into: bytearray) -> threading.Thread:
        def read() -> None:
            while data := os.read(pipe.fileno(), 65536):  # type: ignore[attr-defined]
                into.extend(data)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        return reader


StartService = Callable[..., RunningService]


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Start a service with workers that behave as named; all that is left of it is killed afterwards."""
    started: list[RunningService] = []

    def start(*, state: Path = tmp_path / "state", run: Path = tmp_path / "run", **choices: object) -> RunningService:
        service = RunningService(state, run, choices)
        started.append(service)
        return service

    yield start
    for service in started:
        service.end()
