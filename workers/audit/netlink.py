"""The kernel's audit socket: how it is opened, and which of its datagrams are audit records."""

import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from auditline.workers.common.batch import BatchKind
from auditline.workers.common.errors import KernelError

logger = logging.getLogger(__name__)

# Numbers of linux/netlink.h, linux/audit.h and asm-generic/socket.h that Python's socket module lacks.
NETLINK_AUDIT = 9
AUDIT_NLGRP_READLOG = 1
SO_RCVBUFFORCE = 33
AUDIT_USER, AUDIT_LOGIN = 1005, 1006
AUDIT_FIRST_USER_MSG = 1100
AUDIT_REPLACE = 1329

DEFAULT_RECEIVE_BUFFER_BYTES = 64 * 1024 * 1024
"""With the kernel's default of 208 KiB a reader that stalls for a second loses records, uncounted."""
HEADER_BYTES = 16
"""struct nlmsghdr. Its length field is not used: unicast records have it without the header, multicast ones with it."""
LONGEST_PAYLOAD_BYTES = 8976
"""AUDIT_MESSAGE_MAX of kernel/audit.c is 8970; rounded up to keep slots aligned."""
MOST_RECORDS = 256
"""Records of one batch: more make no call cheaper, fewer make the next process's work dearer."""

SOCKET_COUNTERS = (
    "enobufs_total",
    "spoofed_total",
    "truncated_total",
    "short_datagrams_total",
    "replaced_nul_total",
    "rival_claims_total",
)
"""What a receiver counts besides the records that it gives."""

Count = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class DataSocket:
    """The socket that kernel records arrive on; close-on-exec, so it is inherited through fork only."""

    socket: socket.socket
    receive_buffer_bytes: int
    """What the kernel granted; it accounts twice as much, for its own overhead."""
    is_multicast: bool


@dataclass(frozen=True, slots=True)
class Received:
    """Records in order of arrival, in the form that *kind* says: see `BatchKind`."""

    types: bytes
    payload: bytes
    count: int
    is_full: bool
    """There was no room for more, so more is probably waiting."""
    kind: BatchKind = BatchKind.RECORDS


class Receiver(Protocol):
    """Takes what the kernel's socket has, without waiting."""

    def receive(self) -> Received | None:
        """Return what is there, at most `MOST_RECORDS`; None if nothing is.

        The count is 0 if all that was there were no audit records.

        Raises:
            KernelError: the socket cannot be read at all.
        """

    def close(self) -> None:
        """Let go of memory and of descriptors of its own; the socket stays open."""


def open_data_socket(*, multicast: bool, receive_buffer_bytes: int = DEFAULT_RECEIVE_BUFFER_BYTES) -> DataSocket:
    """Open the socket for kernel records: the only reader of the kernel, or (*multicast*) one listener of many.

    Unicast gives nothing until a pid is registered on it.

    Raises:
        KernelError: EPERM: multicast needs CAP_AUDIT_READ; EPROTONOSUPPORT: a kernel without audit.
    """
    name = "the audit multicast group" if multicast else "the audit socket"
    data_socket = None
    try:
        data_socket = _open_bound(AUDIT_NLGRP_READLOG if multicast else 0)
        if multicast:
            # Whoever joins or leaves is a record (1335), but of our own joining we may hear nothing, because it is made
            # just before we are in: this one shows the reader that the group can be heard here.
            _open_bound(AUDIT_NLGRP_READLOG).close()
        granted = _grow_receive_buffer(data_socket, receive_buffer_bytes)
    except OSError as error:
        if data_socket is not None:
            data_socket.close()
        raise KernelError(f"open {name}", error.errno or 0, error.strerror or str(error)) from error
    return DataSocket(data_socket, granted, multicast)


def receive_buffer_bytes(fd: int) -> int:
    """Return how large the receive buffer of the socket *fd* was granted, without the kernel's doubling."""
    with socket.socket(fileno=os.dup(fd)) as borrowed:
        return borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def is_record_type(message_type: int) -> bool:
    """Whether a netlink message of that type is an audit record, not an acknowledgement or an answer about status.

    Source: linux/audit.h: 1000-1099 are commands, but 1005 and 1006 are records.
    """
    if message_type in (AUDIT_USER, AUDIT_LOGIN):
        return True
    return message_type >= AUDIT_FIRST_USER_MSG and message_type != AUDIT_REPLACE


class Datagram(NamedTuple):
    """One datagram, looked at on its own."""

    sender_port: int
    message_type: int
    payload: bytes
    length: int
    """Bytes with the header; a payload exists from `HEADER_BYTES` on."""
    is_truncated: bool


class Sieve:
    """Lets audit records of the kernel through; everything else is counted by *count* and told."""

    def __init__(self, count: Count, *, kernel_only: bool) -> None:
        self._count = count
        self._kernel_only = kernel_only
        self._told: dict[str, int] = {}

    def sift(self, datagrams: Sequence[Datagram], *, is_full: bool) -> Received:
        """Return the records among *datagrams*."""
        records = [datagram for datagram in datagrams if self._is_record(datagram)]
        types = b"".join(record.message_type.to_bytes(2, "little") for record in records)
        payload = b"\0".join([self._clean(record) for record in records])
        return Received(types, payload, len(records), is_full)

    def count_overflow(self) -> None:
        """Count that the kernel found no room in the socket's buffer (ENOBUFS): it lost records."""
        self._note(
            logging.ERROR, "enobufs_total", "the audit socket's buffer was full: the kernel dropped records unseen"
        )

    def _is_record(self, datagram: Datagram) -> bool:
        if self._kernel_only and datagram.sender_port != 0:
            text = "dropped a message that netlink port %d sent to the audit socket, as if it were the kernel"
            self._note(logging.WARNING, "spoofed_total", text, datagram.sender_port)
            return False
        if datagram.length < HEADER_BYTES:
            text = "dropped a datagram of %d bytes, shorter than a netlink header"
            self._note(logging.WARNING, "short_datagrams_total", text, datagram.length)
            return False
        if datagram.message_type == AUDIT_REPLACE:
            rival = int.from_bytes(datagram.payload[:4], "little")
            text = "another audit daemon (pid %d) tried to take over from us"
            self._note(logging.WARNING, "rival_claims_total", text, rival)
        return is_record_type(datagram.message_type)

    def _clean(self, record: Datagram) -> bytes:
        """Return the text without what old kernels put at its end.

        NUL separates records in a batch, so one inside a text, which no known kernel sends, becomes `?`.
        """
        if record.is_truncated:
            text = "a record of type %d was longer than %d bytes and is kept without its end"
            self._note(logging.WARNING, "truncated_total", text, record.message_type, LONGEST_PAYLOAD_BYTES)
        payload = record.payload.rstrip(b"\0\n")
        if b"\0" in payload:
            text = "a record of type %d held a NUL, now '?'"
            self._note(logging.WARNING, "replaced_nul_total", text, record.message_type)
            payload = payload.replace(b"\0", b"?")
        return payload

    def _note(self, level: int, counter: str, text: str, *arguments: object) -> None:
        self._count(counter, 1)
        times = self._told[counter] = self._told.get(counter, 0) + 1
        if times == 1 or times % 1000 == 0:
            logger.log(level, "%s (%d times so far)", text % arguments, times)


class PlainReceiver:
    """Reads one datagram per call: for a C library without recvmmsg, at two to three times the cost."""

    def __init__(self, fd: int, count: Count, *, kernel_only: bool = True) -> None:
        # A descriptor of our own, because the socket object closes the one it is given.
        self._socket = socket.socket(fileno=os.dup(fd))
        self._sieve = Sieve(count, kernel_only=kernel_only)

    def receive(self) -> Received | None:
        """See `Receiver`."""
        datagrams: list[Datagram] = []
        while len(datagrams) < MOST_RECORDS:
            try:
                datagrams.append(self._receive_one())
            except BlockingIOError:
                break
            except OSError as error:
                check_receive_error(error.errno or 0, self._sieve)
        if not datagrams:
            return None
        return self._sieve.sift(datagrams, is_full=len(datagrams) == MOST_RECORDS)

    def close(self) -> None:
        """See `Receiver`."""
        self._socket.close()

    def _receive_one(self) -> Datagram:
        data, _, flags, sender = self._socket.recvmsg(HEADER_BYTES + LONGEST_PAYLOAD_BYTES, 0, socket.MSG_DONTWAIT)
        sender_port = sender[0] if self._socket.family == socket.AF_NETLINK else 0
        message_type = int.from_bytes(data[4:6], "little")
        return Datagram(sender_port, message_type, data[HEADER_BYTES:], len(data), bool(flags & socket.MSG_TRUNC))


def check_receive_error(error_number: int, sieve: Sieve) -> None:
    """Count an ENOBUFS and return if receiving can go on after that error.

    Raises:
        KernelError: it cannot.
    """
    if error_number == errno.ENOBUFS:
        sieve.count_overflow()
    elif error_number != errno.EINTR:
        raise KernelError("read the audit socket", error_number, os.strerror(error_number))


def _open_bound(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


def _grow_receive_buffer(data_socket: socket.socket, wanted_bytes: int) -> int:
    """Return the size granted, which without CAP_NET_ADMIN is at most net.core.rmem_max."""
    try:
        data_socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted_bytes)
    except PermissionError:
        data_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted_bytes)
    return data_socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
