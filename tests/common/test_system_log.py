"""Diagnostics go where somebody reads them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import logging, sys
from auditline.workers.common.system_log import log_where_it_is_read
log_where_it_is_read("supervisor", sys.argv[1])
logging.getLogger("x").warning("one\\nline")
logging.getLogger("x").error("worse")
logging.getLogger("x").info("told")
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "log"))
        opened.setblocking(False)
        yield opened


def run(path: Path, stderr: int) -> Any:
    command = [sys.executable, "-c", PROGRAM, str(path)]
    return subprocess.run(command, stderr=stderr, text=True, check=True)


def received(log: socket.socket) -> list[str]:
    texts = []
    while True:
        try:
            texts.append(log.recv(65536).decode())
        except BlockingIOError:
            return texts


def test_with_stderr_to_dev_null_they_go_to_the_system_s_log(log: socket.socket, tmp_path: Path) -> None:
    run(tmp_path / "log", subprocess.DEVNULL)

    texts = received(log)
    assert [text.partition("auditline[")[0] for text in texts] == ["<28>", "<27>", "<30>"]
    assert texts[0].endswith("WARNING supervisor: one\\nline")


def test_a_stderr_that_somebody_may_read_has_them(log: socket.socket, tmp_path: Path) -> None:
    done = run(tmp_path / "log", subprocess.PIPE)

    assert "ERROR supervisor: worse" in done.stderr
    assert received(log) == []


def test_without_a_system_s_log_nothing_fails(tmp_path: Path) -> None:
    assert run(tmp_path / "none", subprocess.DEVNULL).returncode == os.EX_OK


def test_a_log_that_takes_nothing_is_not_waited_for(log: socket.socket, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        fill(sender, str(tmp_path / "log"))

    assert run(tmp_path / "log", subprocess.DEVNULL).returncode == os.EX_OK


def fill(sender: socket.socket, path: str) -> None:
    sender.setblocking(False)
    try:
        while True:
            sender.sendto(b"x", path)
    except BlockingIOError:
        return
