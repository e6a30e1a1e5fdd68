"""Asks the running service how it is."""

import json
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from auditline.workers.common.errors import AuditlineError, Exit
from auditline.workers.common.status_question import QUESTION, status_socket

PATIENCE_SECONDS = 5.0
MOST_ANSWER_BYTES = 64 * 1024**2
_QUEUE_FULL_SECONDS = 0.02


class NotRunning(AuditlineError):
    """Nobody is there to be asked."""

    exit = Exit.NOT_RUNNING


def ask(run_directories: Iterable[Path], patience_seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Return the answer of the first service that runs in one of *run_directories*.

    Raises:
        NotRunning: none does.
        AuditlineError: it may not be asked, or does not answer.
    """
    asked = []
    for directory in run_directories:
        path = status_socket(directory)
        try:
            return _read_answer(_ask_at(path, patience_seconds), path)
        except (FileNotFoundError, ConnectionRefusedError):
            asked.append(str(path))
        except PermissionError as error:
            raise AuditlineError(f"{path} may be asked by root and the service's group only") from error
        except TimeoutError as error:
            raise AuditlineError(f"{path}: the service does not answer within {patience_seconds:.0f} s") from error
        except OSError as error:
            raise AuditlineError(f"{path}: the service cannot be asked: {error.strerror}") from error
    raise NotRunning(f"not running: nobody answers at {' or '.join(asked)}")


def _ask_at(path: Path, patience_seconds: float) -> bytes:
    deadline = time.monotonic() + patience_seconds
    answer = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, path, deadline)
        connection.sendall(QUESTION)
        while len(answer) <= MOST_ANSWER_BYTES:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = connection.recv(65536)
            if not data:
                break
            answer += data
    return bytes(answer)


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connect, also while others fill the queue: with a time limit the kernel lets nobody wait in front of it."""
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    while True:
        try:
            return connection.connect(str(path))
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise TimeoutError from error
            time.sleep(_QUEUE_FULL_SECONDS)


def _read_answer(answer: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("status"), dict):
        raise AuditlineError(f"{path}: the answer of {len(answer)} bytes is none, or not whole: ask again")
    return value
