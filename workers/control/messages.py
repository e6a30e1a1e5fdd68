"""Audit requests and the kernel's answers as bytes on a netlink socket; no socket is touched here.

Source of all numbers and layouts: include/uapi/linux/audit.h and include/uapi/linux/netlink.h.
"""

import struct
from dataclasses import dataclass

from auditline.workers.control.compile import FLAG_PREPEND, HEADER_BYTES

NLMSG_ERROR = 2
NLMSG_DONE = 3
AUDIT_GET = 1000
AUDIT_SET = 1001
AUDIT_ADD_RULE = 1011
AUDIT_DEL_RULE = 1012
AUDIT_LIST_RULES = 1013
AUDIT_TRIM = 1014
AUDIT_MAKE_EQUIV = 1015
AUDIT_SET_FEATURE = 1018

FEATURE_BACKLOG_WAIT_TIME = 2
"""A bit of `KernelStatus.features`."""

_NLM_F_REQUEST = 1
_NLM_F_ACK = 4
_HEADER = struct.Struct("=IHHII")
_CODE = struct.Struct("=i")
_BUFLEN = struct.Struct("=I")
_BUFLEN_OFFSET = 1036
_STATUS_WORDS = 11
_LEAST_STATUS_WORDS = 8
_STATUS_FIELDS = {
    "enabled": (1, 0x01),
    "failure": (2, 0x02),
    "pid": (3, 0x04),
    "rate_limit": (4, 0x08),
    "backlog_limit": (5, 0x10),
    "backlog_wait_time": (9, 0x20),
}
"""Name of a field that can be set: its word in struct audit_status, its bit in the mask."""
_RESET_BITS = {"lost": 0x40, "backlog_wait_time_actual": 0x80}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStatus:
    """What AUDIT_GET tells; a field that this kernel does not know is None."""

    enabled: int
    """0 off, 1 on, 2 locked until the next boot."""
    failure: int
    """0 silent, 1 log, 2 panic."""
    pid: int
    """The registered daemon; stays when it dies, until the next undeliverable record or claim."""
    rate_limit: int
    backlog_limit: int
    lost: int
    backlog: int
    features: int
    backlog_wait_time: int | None
    """In ticks of the kernel (jiffies)."""
    backlog_wait_time_actual: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """One request; *title* names it in messages to people."""

    kind: int
    payload: bytes
    title: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One message of the kernel; *code* is that of an NLMSG_ERROR, else 0."""

    kind: int
    sequence: int
    code: int
    payload: bytes


def set_status(**fields: int) -> Request:
    """Return the request that sets *fields*, named as in `KernelStatus`."""
    words = [0] * _STATUS_WORDS
    for name, value in fields.items():
        word, bit = _STATUS_FIELDS[name]
        words[word] = value
        words[0] |= bit
    wanted = " ".join(f"{name}={value}" for name, value in fields.items())
    return Request(AUDIT_SET, struct.pack(f"={_STATUS_WORDS}I", *words), f"set audit status {wanted}")


def reset_counter(name: str) -> Request:
    """Return the request that sets a counter of `KernelStatus` to 0; its code is the old value."""
    words = [_RESET_BITS[name], *[0] * (_STATUS_WORDS - 1)]
    return Request(AUDIT_SET, struct.pack(f"={_STATUS_WORDS}I", *words), f"reset audit status {name}")


def add_rule(rule: bytes, *, is_prepended: bool | None = None) -> Request:
    """Return the request that loads *rule*; *is_prepended* None: as the rule's own flag says."""
    if is_prepended is not None:
        rule = with_prepend_flag(rule, is_prepended=is_prepended)
    return Request(AUDIT_ADD_RULE, rule, "add audit rule")


def delete_rule(rule: bytes) -> Request:
    """Return the request that takes *rule* out, wherever in its list it is."""
    # The kernel compares the flag too, and no loaded rule has it: with it the answer is ENOENT.
    return Request(AUDIT_DEL_RULE, with_prepend_flag(rule, is_prepended=False), "delete audit rule")


def with_prepend_flag(rule: bytes, *, is_prepended: bool) -> bytes:
    """Return *rule* with the flag of its first word set or cleared."""
    (flags,) = _BUFLEN.unpack_from(rule)
    flags = flags | FLAG_PREPEND if is_prepended else flags & ~FLAG_PREPEND
    return _BUFLEN.pack(flags) + rule[_BUFLEN.size :]


def pack_request(request: Request, sequence: int, *, is_acknowledged: bool) -> bytes:
    """Return *request* as a netlink message, padded so that another may follow it in the same datagram."""
    flags = _NLM_F_REQUEST | (_NLM_F_ACK if is_acknowledged else 0)
    header = _HEADER.pack(_HEADER.size + len(request.payload), request.kind, flags, sequence, 0)
    return header + request.payload + bytes(-len(request.payload) % 4)


def parse_replies(datagram: bytes) -> list[Reply]:
    """Read the messages of one datagram; what is damaged ends it."""
    replies = []
    offset = 0
    while len(datagram) - offset >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            break
        payload = datagram[offset + _HEADER.size : offset + length]
        if kind == NLMSG_ERROR and len(payload) < _CODE.size:
            break
        code = _CODE.unpack_from(payload)[0] if kind == NLMSG_ERROR else 0
        replies.append(Reply(kind, sequence, code, payload))
        offset += (length + 3) & ~3
    return replies


def parse_status(payload: bytes) -> KernelStatus | None:
    """Read struct audit_status as far as it came (32 bytes on old kernels, longer on newer ones); None: too short."""
    words = struct.unpack_from(f"={len(payload) // 4}I", payload)
    if len(words) < _LEAST_STATUS_WORDS:
        return None
    features, wait_time, wait_time_actual = (*words[_LEAST_STATUS_WORDS:_STATUS_WORDS], None, None, None)[:3]
    return KernelStatus(
        enabled=words[1],
        failure=words[2],
        pid=words[3],
        rate_limit=words[4],
        backlog_limit=words[5],
        lost=words[6],
        backlog=words[7],
        features=features or 0,
        backlog_wait_time=wait_time,
        backlog_wait_time_actual=wait_time_actual,
    )


def parse_listed_rule(payload: bytes) -> bytes | None:
    """Return a rule of a listing without the padding behind its strings; None: too short."""
    if len(payload) < HEADER_BYTES:
        return None
    (buflen,) = _BUFLEN.unpack_from(payload, _BUFLEN_OFFSET)
    rule = payload[: HEADER_BYTES + buflen]
    return rule if len(rule) == HEADER_BYTES + buflen else None
