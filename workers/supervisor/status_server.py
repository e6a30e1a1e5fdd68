"""Answers `auditline status` from the supervisor's own loop, which nobody who asks can hold up.

A client has so long to ask and to read; one that sends anything but the question is dropped. No more than a few are
served at a time: the others wait in the kernel's queue, where they cost nothing.
"""

import contextlib
import logging
import os
import select
import socket
import time
from collections.abc import Callable, Collection
from pathlib import Path

from auditline.workers.common.diagnostics import RepeatedWarning
from auditline.workers.common.privileges import Account
from auditline.workers.common.status_question import MOST_QUESTION_BYTES, QuestionError, is_whole

MOST_CLIENTS = 8
PATIENCE_SECONDS = 2.0
"""From when a client is taken until it must have read the answer."""
SAME_ANSWER_SECONDS = 0.2
"""Who asks so soon after another gets the same answer: to ask all the time costs us next to nothing."""

_SOCKET_MODE = 0o660
_QUEUE = 16
_PAUSE_SECONDS = 1.0
logger = logging.getLogger(__name__)


class _Client:
    """One who asks."""

    def __init__(self, connection: socket.socket) -> None:
        os.set_blocking(connection.fileno(), False)
        self.connection = connection
        self.deadline = time.monotonic() + PATIENCE_SECONDS
        self.received = b""
        self.answer: memoryview | None = None
        """What is still to be sent; None: the question is not there yet."""


class StatusServer:
    """The socket in the run directory and those who ask there; no call waits for anybody."""

    def __init__(self, path: Path, account: Account | None, describe: Callable[[], bytes]) -> None:
        """*describe* makes the answer; *account* is the service's user, whose group may ask, too.

        A socket that cannot be made is told; then nobody can ask, and the service runs all the same.
        """
        self._path = path
        self._describe = describe
        self._clients: dict[int, _Client] = {}
        self._answer, self._answer_until = b"", 0.0
        self._accept_at = 0.0
        self._failing = RepeatedWarning(logger, every=100, level=logging.ERROR)
        self._listener = self._listen(account)

    def register(self, poller: select.poll) -> None:
        """Let *poller* wake up for us."""
        has_room = len(self._clients) < MOST_CLIENTS and time.monotonic() >= self._accept_at
        if self._listener is not None and has_room:
            poller.register(self._listener, select.POLLIN)
        for descriptor, client in self._clients.items():
            poller.register(descriptor, select.POLLIN if client.answer is None else select.POLLOUT)

    @property
    def seconds_until_due(self) -> float | None:
        """When `serve` has somebody to drop, or can take somebody again; None: never."""
        now = time.monotonic()
        moments = [client.deadline for client in self._clients.values()]
        if self._accept_at > now:
            moments.append(self._accept_at)
        return max(0.0, min(moments) - now) if moments else None

    def serve(self, reported_fds: Collection[int]) -> None:
        """Go on with those that `poll` has reported, and drop whoever takes too long."""
        for client in [self._clients[descriptor] for descriptor in reported_fds if descriptor in self._clients]:
            self._go_on(client)
        now = time.monotonic()
        for client in [client for client in self._clients.values() if client.deadline <= now]:
            self._drop(client)
        if self._listener is not None and self._listener.fileno() in reported_fds:
            self._accept(self._listener)

    def close(self) -> None:
        """Drop all and remove the socket."""
        for client in list(self._clients.values()):
            self._drop(client)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _listen(self, account: Account | None) -> socket.socket | None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            # What a killed run has left.
            self._path.unlink(missing_ok=True)
            listener.bind(os.fspath(self._path))
            if account is not None and os.geteuid() == 0:
                os.chown(self._path, account.user_id, account.group_id, follow_symlinks=False)
            self._path.chmod(_SOCKET_MODE)
            listener.listen(_QUEUE)
        except OSError as error:
            listener.close()
            logger.warning("%s cannot be made: %s; `auditline status` finds nobody", self._path, error)
            return None
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while len(self._clients) < MOST_CLIENTS:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Most likely there are no descriptors left: it would be tried again in a busy loop.
                self._accept_at = time.monotonic() + _PAUSE_SECONDS
                self._failing.tell("somebody who asks for the status cannot be heard: %s", error.strerror)
                return
            client = _Client(connection)
            self._clients[connection.fileno()] = client
            # Most have asked by now.
            self._go_on(client)

    def _go_on(self, client: _Client) -> None:
        try:
            if client.answer is None:
                client.answer = self._take(client)
            if client.answer is not None and self._send(client, client.answer):
                self._drop(client)
        except BlockingIOError:
            return
        except (OSError, QuestionError) as error:
            logger.debug("somebody who asked is dropped: %s", error)
            self._drop(client)

    def _take(self, client: _Client) -> memoryview | None:
        """Return the answer, None: the question is not whole."""
        data = client.connection.recv(MOST_QUESTION_BYTES)
        if not data:
            raise QuestionError("asked nothing")
        client.received += data
        return memoryview(self._make_answer()) if is_whole(client.received) else None

    def _send(self, client: _Client, answer: memoryview) -> bool:
        """Send what there is room for; return whether that was all."""
        sent = client.connection.send(answer, socket.MSG_NOSIGNAL)
        client.answer = answer[sent:]
        return not client.answer

    def _make_answer(self) -> bytes:
        now = time.monotonic()
        if now >= self._answer_until:
            try:
                self._answer = self._describe()
            except Exception as error:  # a question never ends the service
                self._failing.tell("the status cannot be told: %r", error)
                raise QuestionError("no answer") from error
            self._answer_until = now + SAME_ANSWER_SECONDS
        return self._answer

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()
