"""The ZeroMQ bus between producers and the router: numbered batches one way, acknowledgements the other.

The only module that imports zmq. A context is made here, in the process that uses it: one inherited through
fork loses messages silently. The wire format is written down in docs/bus.md.

Longer than other files, so that both ends of each message are read side by side: Producer and Hub.
"""

import json
import logging
import os
import struct
from collections.abc import Hashable, Sequence
from enum import Enum
from pathlib import Path

import zmq

from auditline.workers.common.batch import Batch, Store
from auditline.workers.common.bus_messages import (
    ANSWERS,
    BATCH,
    BATCH_HEADER,
    BYE,
    DONE,
    END,
    HELLO,
    NUMBER,
    PROTOCOL_VERSION,
    QUESTIONS,
    RECEIVED,
    RESUME,
    STORED,
    UNREADABLE,
    Arrival,
    Bye,
    Hello,
    Message,
    Questions,
    Stored,
    parse,
    parse_answer,
)

__all__ = [
    "HIGH_WATER_MARK",
    "MAX_FRAME_BYTES",
    "PROTOCOL_VERSION",
    "WINDOW_BATCHES",
    "Arrival",
    "Bye",
    "Client",
    "Connection",
    "Hello",
    "Hub",
    "Message",
    "Producer",
    "Questions",
    "Server",
    "Stored",
    "Waiter",
    "endpoint",
]

logger = logging.getLogger(__name__)

WINDOW_BATCHES = 32
"""Batches under way that the router has not yet received; below half the high-water mark, or a resend blocks."""
HIGH_WATER_MARK = 128
MAX_FRAME_BYTES = 1 << 26
"""Whoever sends more is cut off; a batch has at most 256 records of 9 KiB."""
_MONITOR_HEAD = struct.Struct("=Hi")
"""Of what a monitor socket tells: the event and a value that depends on it. Source: zmq_socket_monitor(3)."""
_LINGER_MILLISECONDS = 500
_LONGEST_RECONNECT_MILLISECONDS = 100
"""A reader is up before the first router is, and its first events are waited for."""


def endpoint(run_directory: Path) -> str:
    """Return where the router listens."""
    return f"ipc://{run_directory / 'bus.sock'}"


class _Context:
    """The process's one ZeroMQ context: made with the first socket, gone with the last."""

    def __init__(self) -> None:
        self._owner = 0
        self._sockets = 0

    def socket(self, kind: int) -> "zmq.Socket[bytes]":
        """Return a new socket, to be given back to `close`."""
        if self._owner != os.getpid() or not self._sockets:
            # After a fork the parent's context is left alone: its threads are not here.
            self._context, self._owner, self._sockets = zmq.Context(), os.getpid(), 0
        self._sockets += 1
        return self._context.socket(kind)

    def close(self, socket: "zmq.Socket[bytes]", linger_milliseconds: int) -> None:
        """Close *socket*, once; the last one is given the time of its linger to get rid of what it has to send."""
        if not socket.closed:
            socket.close(linger=linger_milliseconds)
            self._sockets -= 1
            if not self._sockets:
                self._context.term()


_context = _Context()


def _receive(socket: "zmq.Socket[bytes]") -> list[bytes] | None:
    try:
        return socket.recv_multipart(flags=zmq.NOBLOCK, copy=True)
    except zmq.Again:
        return None


class Server:
    """A bound socket that many clients talk to, each known by an address."""

    def __init__(self, endpoint: str) -> None:
        self.socket = _context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        # Or a reply to a client that is gone would vanish without the error that we count on.
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.bind(endpoint)

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """Return the sender's address and the frames of the next message, None if there is none."""
        frames = _receive(self.socket)
        return None if frames is None else (frames[0], frames[1:])

    def send(self, peer: bytes, frames: list[bytes]) -> bool:
        """Send to one client; return False if it is gone."""
        try:
            self.socket.send_multipart([peer, *frames], flags=zmq.NOBLOCK)
        except (zmq.Again, zmq.ZMQError) as error:
            logger.debug("no message to a client: %s", error)
            return False
        return True

    def close(self) -> None:
        """Leave, after the last messages are on their way."""
        _context.close(self.socket, _LINGER_MILLISECONDS)


class Connection(Enum):
    """What became of a client's connection."""

    MADE = "made"
    LOST = "lost"


class Client:
    """A connected socket that tells when the server is there, and when it is lost."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._connect()

    def _connect(self) -> None:
        self.socket = _context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, _LONGEST_RECONNECT_MILLISECONDS)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self.socket.connect(self._endpoint)

    def next_event(self) -> Connection | None:
        """Return what happened to the connection next; after LOST take what is still there, then `renew`."""
        try:
            head, _endpoint = self.monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        # By hand: zmq.utils.monitor imports asyncio, which would be 6 MB and 30 ms for every start.
        event, _value = _MONITOR_HEAD.unpack(head)
        return Connection.MADE if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else Connection.LOST

    def receive(self) -> list[bytes] | None:
        """Return the frames of the next message, None if there is none."""
        return _receive(self.socket)

    def send(self, frames: list[bytes]) -> bool:
        """Send to the server, or to the next one that comes; return False if too much waits already."""
        try:
            self.socket.send_multipart(frames, flags=zmq.NOBLOCK, copy=True)
        except zmq.Again:
            return False
        return True

    def renew(self) -> None:
        """Begin anew after the server was lost.

        With a new socket, because the old one would keep what it has queued for the dead server
        and give it to the next one ahead of our greeting.
        """
        self.close(is_hasty=True)
        self._connect()

    def close(self, *, is_hasty: bool) -> None:
        """Leave; *is_hasty*: without seeing that what was sent gets away."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        _context.close(self.socket, 0 if is_hasty else _LINGER_MILLISECONDS)


class Waiter:
    """Waits for sockets and descriptors; made once, because most turns wait for the same ones."""

    def __init__(self) -> None:
        self._known: Hashable = None
        self._poller = zmq.Poller()

    def wait(
        self,
        sockets: Sequence[Server | Client],
        readable: Sequence[int],
        timeout_seconds: float,
        writable: Sequence[int] = (),
        urgent: Sequence[int] = (),
    ) -> set[int]:
        """Wait for a message, a ready descriptor, or the end of the time; return the ready descriptors.

        *urgent* ones are ready when there is something of priority to be told (POLLPRI).
        """
        own = [socket.socket for socket in sockets]
        own += [socket.monitor for socket in sockets if isinstance(socket, Client)]
        wanted = (*own, *readable, None, *writable, None, *urgent)
        if wanted != self._known:
            self._known, self._poller = wanted, zmq.Poller()
            for socket in (*own, *readable):
                self._poller.register(socket, zmq.POLLIN)
            for fd in writable:
                self._poller.register(fd, zmq.POLLOUT)
            for fd in urgent:
                self._poller.register(fd, zmq.POLLPRI)
        ready = dict(self._poller.poll(max(0, int(timeout_seconds * 1000))))
        return {fd for fd in (*readable, *writable, *urgent) if fd in ready}


class Producer:
    """The sending end: keeps nothing itself, sends what *store* holds from where the router wants it."""

    def __init__(self, endpoint: str, store: Store) -> None:
        self._store = store
        self._client = Client(endpoint)
        self._waiter = Waiter()
        self._attempt = 0
        self._received = 0
        self._bye_wanted = False
        self.is_finished = False
        """The router has answered our bye."""
        self._answers: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        self.is_greeted = False
        """A router is there, and has said where to go on."""
        self._bye_sent = False
        self._told_done = 0
        """The last number that the router knows to be stored as done."""
        self._next = self._store.done_number + 1

    def wait(
        self,
        fds: Sequence[int],
        timeout_seconds: float,
        also: Sequence["Server | Client"] = (),
        urgent: Sequence[int] = (),
    ) -> set[int]:
        """Wait until one of *fds* is readable, the router or one of *also* has a message; return the ready fds.

        *urgent*: see `Waiter`.
        """
        return self._waiter.wait((self._client, *also), fds, timeout_seconds, urgent=urgent)

    def pump(self) -> None:
        """Take what the router said and send what its window allows."""
        self._watch_connection()
        self._take_all()
        while self._may_send() and self._next <= self._store.last_number:
            if not self._send(self._store.read(self._next)):
                break
        self._send_stored()
        self._send_bye()

    def offer(self, batch: Batch) -> None:
        """Send a batch just appended to the store at once, if it is next in line; otherwise pump() comes to it."""
        if batch.number == self._next and self._may_send():
            self._send(batch)

    def ask(self, questions: bytes) -> bool:
        """Ask the router something, with a message that may get lost; return False if it cannot be sent now."""
        return self.is_greeted and self._client.send([QUESTIONS, questions, self._store.source.encode()])

    def take_answers(self) -> list[bytes]:
        """Return the answers that have come since the last time, as they came."""
        answers, self._answers = self._answers, []
        return answers

    def say_bye(self) -> None:
        """Nothing more will be appended: tell the router, once all is sent, that it may finish."""
        self._bye_wanted = True
        self.pump()

    def close(self) -> None:
        """Leave the bus; what is unsent stays in the store."""
        self._client.close(is_hasty=True)

    def _watch_connection(self) -> None:
        while (event := self._client.next_event()) is not None:
            if event is Connection.MADE:
                self._greet()
            else:
                self._take_all()
                self._client.renew()
                self._begin()

    def _greet(self) -> None:
        self.is_greeted = False
        self._attempt += 1
        self._told_done = self._store.done_number
        greeting = {
            "version": PROTOCOL_VERSION,
            "attempt": self._attempt,
            "source": self._store.source,
            "epoch": self._store.epoch,
            "done": self._store.done_number,
            "last": self._store.last_number,
        }
        self._client.send([HELLO, json.dumps(greeting).encode(), self._store.done_state])

    def _take_all(self) -> None:
        while (frames := self._client.receive()) is not None:
            try:
                kind, subject, number, state = parse_answer(frames)
            except UNREADABLE as error:
                logger.warning("an answer on the bus is not of protocol version %d: %s", PROTOCOL_VERSION, error)
            else:
                self._take(kind, subject, number, state)

    def _take(self, kind: bytes, subject: str, number: int, state: bytes) -> None:
        if kind == END:
            self.is_finished = True
        elif kind == ANSWERS:
            self._answers.append(state)
        elif kind == RESUME and subject == str(self._attempt):
            self._next = max(number, self._store.done_number + 1)
            self._received = self._next - 1
            self.is_greeted = True
        elif kind in (RECEIVED, DONE) and subject == self._store.epoch:
            self._received = max(self._received, number)
            if kind == DONE and number > self._store.done_number:
                self._store.forget(number, state)

    def _may_send(self) -> bool:
        return self.is_greeted and self._next - self._received <= WINDOW_BATCHES

    def _send(self, batch: Batch) -> bool:
        store = self._store
        header = BATCH_HEADER.pack(batch.number, store.done_number, batch.kind, store.epoch.encode())
        if not self._client.send([BATCH + header + store.source.encode(), batch.types, batch.payload]):
            return False
        self._next = batch.number + 1
        self._told_done = store.done_number
        return True

    @property
    def _everything_is_sent(self) -> bool:
        return self.is_greeted and self._next > self._store.last_number

    def _send_stored(self) -> None:
        """Say what no batch says: the next one may be days away, and outputs remember ids for us until then."""
        store = self._store
        if self._everything_is_sent and self._told_done < store.done_number:
            frames = [STORED, store.epoch.encode(), NUMBER.pack(store.done_number), store.source.encode()]
            if self._client.send(frames):
                self._told_done = store.done_number

    def _send_bye(self) -> None:
        if self._bye_wanted and not self._bye_sent and self._everything_is_sent:
            self._bye_sent = self._client.send([BYE, NUMBER.pack(self._store.last_number), self._store.source.encode()])


class Hub:
    """The router's end: batches of all producers come in, acknowledgements go out."""

    def __init__(self, endpoint: str) -> None:
        self._server = Server(endpoint)
        self._waiter = Waiter()

    def wait(
        self, readable: Sequence[int], writable: Sequence[int], timeout_seconds: float, *, takes_batches: bool
    ) -> set[int]:
        """Wait for a message (if *takes_batches*), a readable or a writable descriptor; return the ready ones."""
        sockets = (self._server,) if takes_batches else ()
        return self._waiter.wait(sockets, readable, timeout_seconds, writable)

    def receive(self) -> Message | None:
        """Return the next message, None if there is none; what is not of our protocol is told and skipped."""
        while (message := self._server.receive()) is not None:
            try:
                return parse(*message)
            except UNREADABLE as error:
                logger.warning("a message on the bus is not of protocol version %d: %s", PROTOCOL_VERSION, error)
        return None

    def resume(self, hello: Hello, next_number: int) -> None:
        """Tell a producer which batch is wanted next."""
        self._reply(hello.peer, [RESUME, NUMBER.pack(hello.attempt), NUMBER.pack(next_number)])

    def received(self, peer: bytes, epoch: str, number: int) -> None:
        """Tell a producer that all batches up to *number* are here (flow control only)."""
        self._reply(peer, [RECEIVED, epoch.encode(), NUMBER.pack(number)])

    def done(self, peer: bytes, epoch: str, number: int, state: bytes) -> None:
        """Tell a producer that it may forget all batches up to *number*, and what to hand back before a resend."""
        self._reply(peer, [DONE, epoch.encode(), NUMBER.pack(number), state])

    def end(self, peer: bytes) -> None:
        """Answer a bye: nothing more will be acknowledged."""
        self._reply(peer, [END])

    def answer(self, peer: bytes, answers: bytes) -> None:
        """Answer questions of a producer."""
        self._reply(peer, [ANSWERS, answers])

    def close(self) -> None:
        """Leave the bus, after the last acknowledgements are on their way."""
        self._server.close()

    def _reply(self, peer: bytes, frames: list[bytes]) -> None:
        # A producer that is gone greets again and is told then.
        self._server.send(peer, frames)
