"""The commands that read segments, as processes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(series: Any, cursor: Path) -> Iterator[Command]:
    """Start `auditline read` or `stream` on the series; what still runs at the end is killed."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(
        command: str, *options: str, stdout: int = subprocess.PIPE, stdin: int | None = None
    ) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "auditline.workers.supervisor", command, "--cursor", str(cursor), *options]
        process = subprocess.Popen(
            [*words, str(series.directory)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
