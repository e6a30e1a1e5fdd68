"""Fixtures for what only a process of its own can show."""

import json
import os
import traceback
from collections.abc import Callable
from typing import Any

import pytest

InChild = Callable[[Callable[[], Any]], Any]
ANSWER_FD = 200
"""Where the child writes its answer: above what a test opens itself."""


@pytest.fixture
def in_child() -> InChild:
    """Run a function in a forked child and return its result, which crosses as JSON."""

    def run(function: Callable[[], Any]) -> Any:
        read_fd, write_fd = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(write_fd, ANSWER_FD)
                os.write(ANSWER_FD, json.dumps(function()).encode())
            except BaseException:  # noqa: BLE001  # pytest must not run on in the child
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(0)
        os.close(write_fd)
        with os.fdopen(read_fd, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(pid, 0)
        assert answer, "the child died without an answer"
        return json.loads(answer)

    return run
