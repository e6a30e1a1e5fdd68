"""From SOCKADDR's hex to family, address, port or path."""

import socket
from collections.abc import Callable, Mapping

from auditline.workers.common.tables.lookup import socket_family_name

_UNIX, _INET, _INET6, _NETLINK, _VSOCK = 1, 2, 10, 16, 40

Address = dict[str, str | bytes]
"""family, and what the family has of addr, port, path, flow, scope, groups; saddr (hex) where it is not understood."""

BIG_ENDIAN_ARCHITECTURES = frozenset({"s390x", "s390", "ppc64", "ppc", "sparc64", "sparc", "m68k", "parisc", "mips"})


def decode_socket_address(raw: bytes, architecture: str | None) -> Address:
    """Return the parts of a `struct sockaddr` as the kernel of *architecture* lays it out.

    A path that is not UTF-8 stays bytes. Never fails: what is too short or of a family that we do not know
    keeps its bytes as hex in `saddr`.
    Source: include/uapi/linux/{un,in,in6,netlink,vm_sockets}.h.
    """
    if len(raw) < 2:
        return {"family": "unknown", "saddr": raw.hex()}
    order = "big" if architecture in BIG_ENDIAN_ARCHITECTURES else "little"
    family = int.from_bytes(raw[:2], "big" if order == "big" else "little")
    decode = _DECODERS.get(family)
    decoded = decode(raw, order) if decode is not None else None
    if decoded is None:
        return {"family": _family_name(family), "saddr": raw.hex()}
    return {"family": _family_name(family), **decoded}


_FAMILY_NAMES: Mapping[int, str] = {_UNIX: "unix", _INET: "ipv4", _INET6: "ipv6", _NETLINK: "netlink", _VSOCK: "vsock"}
"""The names that Auditbeat uses where they differ from the kernel's."""


def _family_name(family: int) -> str:
    return _FAMILY_NAMES.get(family) or socket_family_name(family) or str(family)


def _unix(raw: bytes, order: str) -> Address | None:  # noqa: ARG001 (one signature for all families)
    path = raw[2:]
    if path[:1] == b"\0":
        # An abstract name is counted, not terminated; the kernel pads the record to the whole structure.
        return {"path": b"@" + path[1:].rstrip(b"\0")} if path.strip(b"\0") else {}
    return {"path": path.split(b"\0", 1)[0]}


def _inet(raw: bytes, order: str) -> Address | None:  # noqa: ARG001
    if len(raw) < 8:
        return None
    return {"addr": socket.inet_ntop(socket.AF_INET, raw[4:8]), "port": str(int.from_bytes(raw[2:4], "big"))}


def _inet6(raw: bytes, order: str) -> Address | None:
    if len(raw) < 24:
        return None
    address: Address = {
        "addr": socket.inet_ntop(socket.AF_INET6, raw[8:24]),
        "port": str(int.from_bytes(raw[2:4], "big")),
    }
    if flow := int.from_bytes(raw[4:8], "big"):
        address["flow"] = str(flow)
    if scope := _integer(raw[24:28], order):
        address["scope"] = str(scope)
    return address


def _netlink(raw: bytes, order: str) -> Address | None:
    if len(raw) < 12:
        return None
    return {"port": str(_integer(raw[4:8], order)), "groups": str(_integer(raw[8:12], order))}


def _vsock(raw: bytes, order: str) -> Address | None:
    if len(raw) < 12:
        return None
    return {"port": str(_integer(raw[4:8], order)), "addr": str(_integer(raw[8:12], order))}


def _integer(raw: bytes, order: str) -> int:
    return int.from_bytes(raw, "big" if order == "big" else "little")


_DECODERS: Mapping[int, Callable[[bytes, str], Address | None]] = {
    _UNIX: _unix,
    _INET: _inet,
    _INET6: _inet6,
    _NETLINK: _netlink,
    _VSOCK: _vsock,
}
