"""Asks the kernel's audit system: status, rules, and who is registered as its daemon."""

import errno
import os
import socket
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from auditline.workers.common.errors import KernelError
from auditline.workers.control import messages
from auditline.workers.control.messages import (
    NLMSG_DONE,
    NLMSG_ERROR,
    KernelStatus,
    Reply,
    Request,
    pack_request,
    parse_replies,
)
from auditline.workers.control.refusals import explain

NETLINK_AUDIT = 9
LOCKED = 2
"""Value of `enabled` after which nothing but the pid can be changed until the next boot."""

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_KERNEL = (0, 0)
_DATAGRAM_BYTES = 65536
_RECEIVE_BUFFER_BYTES = 1 << 20
_SEND_BUFFER_BYTES = 1 << 20
_CLAIM_SEQUENCE = 0x61756474
_OPEN = Request(0, b"", "open the audit socket")
_STATUS = Request(messages.AUDIT_GET, b"", "read audit status")
_RULES = Request(messages.AUDIT_LIST_RULES, b"", "list audit rules")


class AuditControl:
    """A netlink socket for requests and their answers, matched by sequence number; one per thread.

    Sending may take as long as `backlog_wait_time`, uninterruptibly and past SIGKILL: while its queue is over the
    limit the kernel makes every sender wait once per datagram, after the requests in it were carried out
    (kernel/audit.c, audit_receive()). Hence several requests go in one datagram; who must not wait uses a thread.
    """

    def __init__(self, timeout_seconds: float = 5.0) -> None:
        """Open the socket.

        Raises:
            KernelError: this kernel has no audit.
        """
        self._timeout_seconds = timeout_seconds
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_AUDIT)
            self._socket.bind(_KERNEL)
        except OSError as error:
            raise _refused(_OPEN, error.errno or 0) from error
        # A refusal otherwise carries the whole request, a kilobyte and more for a rule.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        # The kernel refuses a datagram larger than the buffer it granted (net.core.wmem_max limits it).
        self._largest_send_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def status(self) -> KernelStatus:
        """Return the kernel's audit status now.

        Raises:
            KernelError: as all methods here, when the kernel refuses or does not answer in time.
        """
        for reply in self._ask(_STATUS):
            status = messages.parse_status(reply.payload)
            if status is not None:
                return status
        raise _refused(_STATUS, errno.EBADMSG)

    def list_rules(self) -> list[bytes]:
        """Return all loaded rules, each `struct audit_rule_data` with its strings, in the order in which they match."""
        listed = (messages.parse_listed_rule(reply.payload) for reply in self._ask(_RULES))
        return [rule for rule in listed if rule is not None]

    def set_status(self, **fields: int) -> None:
        """Set *fields*, named as in `KernelStatus`, in one step."""
        self._change_one(messages.set_status(**fields))

    def add_rule(self, rule: bytes, *, is_prepended: bool | None = None) -> None:
        """Load *rule*; EEXIST when it is loaded already (not noticed by the kernel for a prepended one)."""
        self._change_one(messages.add_rule(rule, is_prepended=is_prepended))

    def delete_rule(self, rule: bytes) -> None:
        """Take *rule* out; ENOENT when it is not loaded. Each takes a grace period of the kernel (12 ms measured)."""
        self._change_one(messages.delete_rule(rule))

    def clear_dead_pid(self) -> bool:
        """Unregister a daemon that is dead; False: it lives, in whichever process its socket is open."""
        request = messages.set_status(pid=0)
        (code,) = self.change([request])
        if code < 0 and code != -errno.EACCES:
            raise self.refusal(request, -code)
        return code >= 0

    def change(self, requests: Sequence[Request]) -> list[int]:
        """Send *requests*, as many as possible at once, and return the code of each: negative errno, or a value.

        A refused request does not stop those after it.
        """
        codes: list[int] = []
        while len(codes) < len(requests):
            codes += self._change_some(requests, len(codes))
        return codes

    def refusal(self, request: Request, code: int) -> KernelError:
        """Return the error that tells why *request* was refused with errno *code*."""
        is_locked = False
        if code == errno.EPERM:
            try:
                is_locked = self.status().enabled == LOCKED
            except KernelError:
                # Then not even reading is permitted, which is not the lock.
                is_locked = False
        return _refused(request, code, is_locked=is_locked)

    def _change_one(self, request: Request) -> None:
        (code,) = self.change([request])
        if code < 0:
            raise self.refusal(request, -code)

    def _change_some(self, requests: Sequence[Request], start: int) -> list[int]:
        first = self._sequence + 1
        datagram = bytearray()
        for request in requests[start:]:
            message = pack_request(request, self._next_sequence(), is_acknowledged=True)
            if datagram and len(datagram) + len(message) > self._largest_send_bytes:
                self._sequence -= 1
                break
            datagram += message
        self._send(bytes(datagram), requests[start])
        count = self._sequence - first + 1
        codes: dict[int, int] = {}
        for reply in self._receive(range(first, first + count), requests[start]):
            if reply.kind == NLMSG_ERROR:
                codes[reply.sequence] = reply.code
            if len(codes) == count:
                break
        return [codes[first + index] for index in range(count)]

    def _ask(self, request: Request) -> Iterator[Reply]:
        """Yield the data that answers *request*; ends after the first, for a listing at its end mark.

        The kernel acknowledges a listing *before* it sends the rules, so an acknowledgement ends nothing.
        """
        sequence = self._next_sequence()
        self._send(pack_request(request, sequence, is_acknowledged=True), request)
        for reply in self._receive(range(sequence, sequence + 1), request):
            if reply.kind == NLMSG_ERROR and reply.code < 0:
                raise _refused(request, -reply.code)
            if reply.kind == NLMSG_DONE:
                return
            if reply.kind == request.kind:
                yield reply
                if request.kind != messages.AUDIT_LIST_RULES:
                    return

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _send(self, datagram: bytes, request: Request) -> None:
        try:
            self._socket.sendto(datagram, _KERNEL)
        except OSError as error:
            raise _refused(request, error.errno or 0) from error

    def _receive(self, sequences: range, request: Request) -> Iterator[Reply]:
        """Yield replies to *sequences* without end; late ones to earlier requests are dropped."""
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                datagram, (sender, _) = self._socket.recvfrom(_DATAGRAM_BYTES)
            except TimeoutError as error:
                raise _refused(request, errno.ETIMEDOUT) from error
            except OSError as error:
                raise _refused(request, error.errno or 0) from error
            if sender != 0:
                continue
            yield from (reply for reply in parse_replies(datagram) if reply.sequence in sequences)


def claim_pid(data_socket: socket.socket) -> None:
    """Register this process as the audit daemon, the records to arrive on *data_socket*, which is not read.

    No acknowledgement is asked for, since it would lie among the records; the kernel decides within the send, and only
    a refusal leaves a message. A claim by the process that is registered already succeeds.

    Raises:
        KernelError: refused; errno EEXIST: another daemon lives.
    """
    request = messages.set_status(pid=os.getpid())
    message = pack_request(request, _CLAIM_SEQUENCE, is_acknowledged=False)
    try:
        data_socket.sendto(message, _KERNEL)
    except OSError as error:
        raise _refused(request, error.errno or 0) from error
    code = _take_claim_error(data_socket)
    with AuditControl() as control:
        if code == errno.EPERM:
            raise control.refusal(request, code)
        holder = control.status().pid
    if holder == os.getpid():
        return
    if code in (0, errno.EEXIST):
        raise KernelError("register as the audit daemon", errno.EEXIST, f"another one, pid {holder}, is registered")
    raise _refused(request, code)


def release_pid() -> None:
    """Unregister this process as the audit daemon; nothing happens if it is not registered.

    Raises:
        KernelError: refused.
    """
    with AuditControl() as control:
        if control.status().pid == os.getpid():
            control.set_status(pid=0)


def _take_claim_error(data_socket: socket.socket) -> int:
    """Take the refusal of a claim off *data_socket* and return its errno; 0: none is there. Records stay."""
    try:
        replies = parse_replies(data_socket.recv(_DATAGRAM_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return 0
    if not replies or replies[0].kind != NLMSG_ERROR or replies[0].sequence != _CLAIM_SEQUENCE:
        return 0
    data_socket.recv(_DATAGRAM_BYTES, socket.MSG_DONTWAIT)
    return -replies[0].code


def _refused(request: Request, code: int, *, is_locked: bool = False) -> KernelError:
    return KernelError(request.title, code, explain(request.kind, code, is_locked=is_locked))
