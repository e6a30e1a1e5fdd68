"""Reads many datagrams per system call, with no work per record but slicing its text."""

import ctypes
import errno
import socket
import sys
from array import array
from mmap import mmap

from auditline.workers.audit.netlink import (
    AUDIT_FIRST_USER_MSG,
    HEADER_BYTES,
    LONGEST_PAYLOAD_BYTES,
    MOST_RECORDS,
    Count,
    Datagram,
    PlainReceiver,
    Received,
    Receiver,
    Sieve,
    check_receive_error,
)

_SENDER_BYTES = 12
"""struct sockaddr_nl: u16 family, u16 padding, u32 port, u32 groups."""


class _iovec(ctypes.Structure):  # noqa: N801, the C library's names: bits/types/struct_iovec.h
    _fields_ = (("iov_base", ctypes.c_void_p), ("iov_len", ctypes.c_size_t))


class _msghdr(ctypes.Structure):  # noqa: N801, bits/socket.h
    _fields_ = (
        ("msg_name", ctypes.c_void_p),
        ("msg_namelen", ctypes.c_uint32),
        ("msg_iov", ctypes.c_void_p),
        ("msg_iovlen", ctypes.c_size_t),
        ("msg_control", ctypes.c_void_p),
        ("msg_controllen", ctypes.c_size_t),
        ("msg_flags", ctypes.c_int),
    )


class _mmsghdr(ctypes.Structure):  # noqa: N801, bits/socket.h
    _fields_ = (("msg_hdr", _msghdr), ("msg_len", ctypes.c_uint))


class BatchReceiver:
    """Reads up to 256 datagrams per recvmmsg.

    Each message has two pieces of memory: the headers of all lie side by side, so that one strided view is the
    array of types, and each text has a slot of its own.
    """

    def __init__(self, fd: int, count: Count, *, kernel_only: bool = True) -> None:
        self._fd = fd
        self._kernel_only = kernel_only
        self._sieve = Sieve(count, kernel_only=kernel_only)
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._headers = bytearray(HEADER_BYTES * MOST_RECORDS)
        # A slice of a map is bytes at once; one of a bytearray or a memoryview costs twice as much.
        self._slots = mmap(-1, LONGEST_PAYLOAD_BYTES * MOST_RECORDS)
        self._senders = bytearray(_SENDER_BYTES * MOST_RECORDS)
        self._messages = (_mmsghdr * MOST_RECORDS)()
        self._iovecs = (_iovec * (2 * MOST_RECORDS))()
        for index in range(MOST_RECORDS):
            self._lay_out(index)
        words = memoryview(self._messages).cast("B").cast("I")
        stride = ctypes.sizeof(_mmsghdr) // 4
        self._lengths = words[_mmsghdr.msg_len.offset // 4 :: stride]
        self._flags = words[_msghdr.msg_flags.offset // 4 :: stride]
        self._types = memoryview(self._headers).cast("H")[2 :: HEADER_BYTES // 2]
        self._ports = memoryview(self._senders).cast("I")[1 :: _SENDER_BYTES // 4]
        self._starts = range(0, len(self._slots), LONGEST_PAYLOAD_BYTES)
        self._shifted = range(-HEADER_BYTES, len(self._slots), LONGEST_PAYLOAD_BYTES)
        """The same less the header, so that a datagram's length added to it is where its text ends."""

    def _lay_out(self, index: int) -> None:
        header, text = self._iovecs[2 * index], self._iovecs[2 * index + 1]
        header.iov_base, header.iov_len = _address(self._headers) + HEADER_BYTES * index, HEADER_BYTES
        text.iov_base, text.iov_len = _address(self._slots) + LONGEST_PAYLOAD_BYTES * index, LONGEST_PAYLOAD_BYTES
        message = self._messages[index].msg_hdr
        message.msg_name, message.msg_namelen = _address(self._senders) + _SENDER_BYTES * index, _SENDER_BYTES
        message.msg_iov, message.msg_iovlen = ctypes.addressof(header), 2

    def receive(self) -> Received | None:
        """See `Receiver`."""
        count = self._receive_datagrams()
        if count == 0:
            return None
        lengths = self._lengths[:count].tolist()
        if self._needs_sieve(count, lengths):
            return self._sift(count, lengths)
        slots = self._slots
        places = zip(self._starts, self._shifted, lengths, strict=False)
        texts = [slots[start : shifted + length] for start, shifted, length in places]
        # Two scans of a throw-away join are far cheaper than one look at each text.
        together = b"".join(texts)
        if b"\0" in together or b"\n" in together:
            return self._sift(count, lengths)
        types = _little_endian(self._types[:count].tobytes())
        return Received(types, b"\0".join(texts), count, count == MOST_RECORDS)

    def close(self) -> None:
        """See `Receiver`."""
        self._slots.close()

    def _receive_datagrams(self) -> int:
        while True:
            count: int = self._recvmmsg(self._fd, self._messages, MOST_RECORDS, socket.MSG_DONTWAIT, None)
            if count >= 0:
                return count
            error_number = ctypes.get_errno()
            if error_number == errno.EAGAIN:
                return 0
            # ctypes does not call again by itself after a signal.
            check_receive_error(error_number, self._sieve)

    def _needs_sieve(self, count: int, lengths: list[int]) -> bool:
        """Whether any datagram is other than nearly all are.

        AUDIT_REPLACE is not looked for: its payload, a pid, holds a NUL, which sends the batch to the sieve.
        """
        return (
            (self._kernel_only and any(self._ports[:count]))
            or any(self._flags[:count])
            or min(lengths) < HEADER_BYTES
            or min(memoryview(self._types[:count].tobytes()).cast("H").tolist()) < AUDIT_FIRST_USER_MSG
        )

    def _sift(self, count: int, lengths: list[int]) -> Received:
        datagrams = []
        for index, length in enumerate(lengths):
            start = self._starts[index]
            payload = self._slots[start : start + max(0, length - HEADER_BYTES)]
            is_truncated = bool(self._flags[index] & socket.MSG_TRUNC)
            datagrams.append(Datagram(self._ports[index], self._types[index], payload, length, is_truncated))
        return self._sieve.sift(datagrams, is_full=count == MOST_RECORDS)


def make_receiver(fd: int, count: Count, *, kernel_only: bool = True) -> Receiver:
    """Return the fastest receiver that this C library allows.

    *count* is called with the names of `SOCKET_COUNTERS`. Without *kernel_only* anybody's datagrams are taken.
    """
    if hasattr(ctypes.CDLL(None), "recvmmsg"):
        return BatchReceiver(fd, count, kernel_only=kernel_only)
    return PlainReceiver(fd, count, kernel_only=kernel_only)


def _address(memory: bytearray | mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _little_endian(types: bytes) -> bytes:
    if sys.byteorder == "little":
        return types
    swapped = array("H", types)
    swapped.byteswap()
    return swapped.tobytes()
