"""From SOCKADDR's hex to family, address, port or path."""

import socket
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

from auditline.workers.common.tables.lookup import architecture_word, socket_family_name

_UNIX, _INET, _INET6, _NETLINK, _VSOCK = 1, 2, 10, 16, 40
_LITTLE_ENDIAN_BIT = 0x40000000
"""Source: include/uapi/linux/audit.h, __AUDIT_ARCH_LE."""

ByteOrder = Literal["little", "big"]
Address = dict[str, str | bytes]
"""family, and what the family has of addr, port, path, flow, scope, groups; saddr (hex) where it is not understood."""


def decode_socket_address(raw: bytes, architecture: str | None) -> Address:
    """Return the parts of a `struct sockaddr` as the kernel of *architecture* lays it out.

    A path stays bytes, because it may be no UTF-8. Never fails: what is too short or of a family that we do not
    know keeps its bytes as hex in `saddr`.
    Source: include/uapi/linux/{un,in,in6,netlink,vm_sockets}.h.
    """
    if len(raw) < 2:
        return {"family": "unknown", "saddr": raw.hex()}
    order = byte_order(architecture)
    family = int.from_bytes(raw[:2], order)
    decode = _DECODERS.get(family)
    decoded = decode(raw, order) if decode is not None else None
    if decoded is None:
        return {"family": _family_name(family), "saddr": raw.hex()}
    return {"family": _family_name(family), **decoded}


@cache
def byte_order(architecture: str | None) -> ByteOrder:
    """Return the byte order of an architecture by name; little-endian where it is not known."""
    word = None if architecture is None else architecture_word(architecture)
    return "little" if word is None or word & _LITTLE_ENDIAN_BIT else "big"


_FAMILY_NAMES: Mapping[int, str] = {_UNIX: "unix", _INET: "ipv4", _INET6: "ipv6", _NETLINK: "netlink", _VSOCK: "vsock"}
"""The names that Auditbeat uses where they differ from the kernel's."""


def _family_name(family: int) -> str:
    return _FAMILY_NAMES.get(family) or socket_family_name(family) or str(family)


def _unix(raw: bytes, order: ByteOrder) -> Address | None:  # noqa: ARG001 (one signature for all families)
    path = raw[2:]
    if not path.strip(b"\0"):
        return {}
    if path[:1] == b"\0":
        # An abstract name is counted, not terminated, and some programs pass the whole structure.
        return {"path": b"@" + path[1:].rstrip(b"\0")}
    return {"path": path.split(b"\0", 1)[0]}


def _inet(raw: bytes, order: ByteOrder) -> Address | None:  # noqa: ARG001
    if len(raw) < 8:
        return None
    return {"addr": socket.inet_ntop(socket.AF_INET, raw[4:8]), "port": str(int.from_bytes(raw[2:4], "big"))}


def _inet6(raw: bytes, order: ByteOrder) -> Address | None:
    if len(raw) < 24:
        return None
    address: Address = {
        "addr": socket.inet_ntop(socket.AF_INET6, raw[8:24]),
        "port": str(int.from_bytes(raw[2:4], "big")),
    }
    if flow := int.from_bytes(raw[4:8], "big"):
        address["flow"] = str(flow)
    if len(raw) >= 28 and (scope := int.from_bytes(raw[24:28], order)):
        address["scope"] = str(scope)
    return address


def _netlink(raw: bytes, order: ByteOrder) -> Address | None:
    if len(raw) < 12:
        return None
    return {"port": str(int.from_bytes(raw[4:8], order)), "groups": str(int.from_bytes(raw[8:12], order))}


def _vsock(raw: bytes, order: ByteOrder) -> Address | None:
    if len(raw) < 12:
        return None
    return {"port": str(int.from_bytes(raw[4:8], order)), "addr": str(int.from_bytes(raw[8:12], order))}


_DECODERS: Mapping[int, Callable[[bytes, ByteOrder], Address | None]] = {
    _UNIX: _unix,
    _INET: _inet,
    _INET6: _inet6,
    _NETLINK: _netlink,
    _VSOCK: _vsock,
}
