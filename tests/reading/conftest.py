"""A series of segments, as the output writes them, and the commands that read it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., subprocess.Popen[bytes]]


class Series:
    """Segments that a test writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._next = 1

    def path(self, counter: int) -> Path:
        """Where segment *counter* is."""
        return self.directory / f"auditline-{counter:012}-{counter:08x}.jsonl"

    def write(self, counter: int, *ids: int, pad: int = 0, end: bytes = b"") -> Path:
        """Append an event for each of *ids* to a segment, then *end*."""
        with self.path(counter).open("ab") as file:
            file.write(b"".join(event(number, pad) for number in ids) + end)
        return self.path(counter)


def event(number: int, pad: int = 0) -> bytes:
    """Return a line."""
    head = f'{{"@timestamp":"2026-01-01T00:00:00.000Z","event":{{"id":"h-{number}"}},"host":{{"name":"n"}}'
    return (head + f',"pad":"{"x" * pad}"}}\n').encode()


@pytest.fixture
def numbers_in() -> Callable[[bytes], list[int]]:
    """Return the numbers of the events in some output, each line of which must be whole."""

    def read(output: bytes) -> list[int]:
        return [int(json.loads(line)["event"]["id"][2:]) for line in output.splitlines()]

    return read


@pytest.fixture
def series(tmp_path) -> Series:
    return Series(tmp_path / "segments")


@pytest.fixture
def cursor(tmp_path) -> Path:
    return tmp_path / "cursor"


@pytest.fixture
def start(series, cursor) -> Iterator[Command]:
    """Start `auditline read` or `stream` on the series; what still runs at the end is killed."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(command: str, *options: str, stdout: int = subprocess.PIPE, **more: object) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "auditline.workers.supervisor", command, "--cursor", str(cursor), *options]
        process = subprocess.Popen([*words, str(series.directory)], stdout=stdout, stderr=subprocess.PIPE, **more)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
