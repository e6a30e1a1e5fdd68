"""Names that only the name service knows (LDAP, SSSD …): asked in a process of its own, because it can block.

The router sends `<number> <uid|gid> <id>` over a sequenced-packet socket; the answer is `<number> <name>`, with an
empty name where there is none. A helper that hangs costs the router one second, once in half a minute.
"""

import contextlib
import grp
import logging
import os
import pwd
import select
import socket
import time

from auditline.workers.common.lifecycle import Life
from auditline.workers.common.settings import Settings

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""How long the router waits within PAUSE_SECONDS for all answers together: one that hangs, or many slow ones."""
PAUSE_SECONDS = 30.0
_MAX_BYTES = 512


def run(life: Life, settings: Settings, socket_fd: int) -> None:  # noqa: ARG001 (every worker has it)
    """Answer the router until told to stop."""
    life.ready()
    with socket.socket(fileno=socket_fd) as channel:
        poller = select.poll()
        poller.register(channel, select.POLLIN)
        poller.register(life.wakeup_fd, select.POLLIN)
        while not life.stopping:
            poller.poll()
            life.drain_wakeup()
            with contextlib.suppress(OSError):
                question = channel.recv(_MAX_BYTES, socket.MSG_DONTWAIT)
                if not question:
                    return
                channel.send(_answer(question), socket.MSG_DONTWAIT)


def _answer(question: bytes) -> bytes:
    """Return the answer to a question; no name for one that makes no sense."""
    number, kind, identity = (*question.decode("utf-8", "replace").split(" "), "", "")[:3]
    name = ""
    with contextlib.suppress(KeyError, OverflowError, ValueError):
        name = pwd.getpwuid(int(identity)).pw_name if kind == "uid" else grp.getgrgid(int(identity)).gr_name
    return f"{number} {name}".encode("utf-8", "replace")


class NameServiceClient:
    """The router's end."""

    def __init__(self, socket_fd: int) -> None:
        self._channel = socket.socket(fileno=socket_fd)
        self._poller = select.poll()
        self._poller.register(self._channel, select.POLLIN)
        self._asked = 0
        self._window_end = 0.0
        self._seconds_left = ANSWER_SECONDS

    def ask(self, kind: str, identity: str) -> str | None:
        """Return the name of an id; None if it has none, or no answer came in time."""
        start = time.monotonic()
        if start >= self._window_end:
            self._window_end, self._seconds_left = start + PAUSE_SECONDS, ANSWER_SECONDS
        if self._seconds_left <= 0:
            return None
        self._asked += 1
        prefix = f"{os.getpid()}.{self._asked}"
        try:
            self._channel.send(f"{prefix} {kind} {identity}".encode(), socket.MSG_DONTWAIT)
            name = self._wait_for_answer(prefix)
        except OSError:
            self._give_up()
            return None
        self._seconds_left -= time.monotonic() - start
        if self._seconds_left <= 0:
            self._give_up()
        return name

    def _wait_for_answer(self, prefix: str) -> str | None:
        """Return the answer to the question that began with *prefix*.

        Raises:
            OSError: there is none in time, or the helper's end is closed.
        """
        deadline = time.monotonic() + self._seconds_left
        while (left := deadline - time.monotonic()) > 0 and self._poller.poll(left * 1000):
            answer = self._channel.recv(_MAX_BYTES)
            if not answer:
                raise ConnectionResetError
            number, _, name = answer.decode("utf-8", "replace").partition(" ")
            # Answers to questions that were given up on, also by a router before us, come first.
            if number == prefix:
                return name or None
        raise TimeoutError

    def _give_up(self) -> None:
        self._seconds_left = 0.0
        logger.warning(
            "the name service is slow or gone: %g s were spent waiting, so it is not asked again for %g s, and"
            " ids without a local name stay numbers for up to 5 minutes",
            ANSWER_SECONDS,
            PAUSE_SECONDS,
        )
