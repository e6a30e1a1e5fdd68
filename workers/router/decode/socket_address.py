"""From SOCKADDR's hex to family, address, port or path."""

import socket
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

from auditline.workers.common.tables.lookup import architecture_word, socket_family_name
from auditline.workers.router.decode.text import to_text

_UNIX, _INET, _AX25, _IPX, _X25, _INET6, _NETLINK, _PACKET = 1, 2, 3, 4, 9, 10, 16, 17
_CAN, _BLUETOOTH, _ALG, _VSOCK, _XDP = 29, 31, 38, 40, 44
_LITTLE_ENDIAN_BIT = 0x40000000
"""Source: include/uapi/linux/audit.h, __AUDIT_ARCH_LE."""

ByteOrder = Literal["little", "big"]
Address = dict[str, str | bytes]
"""family, and what the family has of addr, port, path and more; saddr (hex) where that is not all that there is.

`exact` has the bytes of a path whose text does not give them back.
"""


def decode_socket_address(raw: bytes, architecture: str | None) -> Address:
    """Return the parts of a `struct sockaddr` as the kernel of *architecture* lays it out.

    Never fails: what is too short or of a family that we do not know keeps its bytes as hex in `saddr`; so do families
    whose structures have more than is shown.
    Source: include/uapi/linux/{un,in,in6,netlink,vm_sockets,if_packet,if_alg,if_xdp,can,x25,ax25,ipx}.h,
    include/net/bluetooth/.
    """
    if len(raw) < 2:
        return {"family": "unknown", "saddr": raw.hex()}
    order = byte_order(architecture)
    family = int.from_bytes(raw[:2], order)
    decode = _DECODERS.get(family)
    decoded = decode(raw, order) if decode is not None else None
    if decoded is None:
        return {"family": _family_name(family), "saddr": raw.hex()}
    if family not in _SHOWN_WHOLE:
        decoded["saddr"] = raw.hex()
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
    """Return the path as ss prints it: an abstract name begins with `@`.

    What comes after a path's NUL is no part of it. An abstract name is counted, not terminated, but some programs
    pass the whole structure: the NULs at its end are in `exact` only.
    """
    name = raw[2:]
    if not name.strip(b"\0"):
        return {}
    is_abstract = name[:1] == b"\0"
    shown = b"@" + name[1:].rstrip(b"\0") if is_abstract else name.split(b"\0", 1)[0]
    text, is_readable_form = to_text(shown)
    if is_abstract:
        return {"path": text} | ({"exact": name} if is_readable_form or name.endswith(b"\0") else {})
    return {"path": text} | ({"exact": shown} if is_readable_form or shown[:1] == b"@" else {})


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


def _packet(raw: bytes, order: ByteOrder) -> Address | None:
    if len(raw) < 12:
        return None
    address: Address = {
        "protocol": f"0x{int.from_bytes(raw[2:4], 'big'):04x}",
        "interface": str(int.from_bytes(raw[4:8], order, signed=True)),
    }
    if hardware := raw[12 : 12 + min(raw[11], 8)]:
        address["addr"] = hardware.hex(":")
    return address


def _can(raw: bytes, order: ByteOrder) -> Address | None:
    return None if len(raw) < 8 else {"interface": str(int.from_bytes(raw[4:8], order, signed=True))}


def _xdp(raw: bytes, order: ByteOrder) -> Address | None:
    if len(raw) < 12:
        return None
    return {"interface": str(int.from_bytes(raw[4:8], order)), "queue": str(int.from_bytes(raw[8:12], order))}


def _alg(raw: bytes, order: ByteOrder) -> Address | None:  # noqa: ARG001
    if len(raw) < 25:
        return None
    return {"type": _words(raw[2:16]), "name": _words(raw[24:])}


def _bluetooth(raw: bytes, order: ByteOrder) -> Address | None:
    """Return what a structure of this length has: each of Bluetooth's protocols has one of its own.

    Numbers of L2CAP are little-endian on every host, and addresses are written from their end.
    """
    length = len(raw)
    if length == _HCI_BYTES:
        return {"interface": str(int.from_bytes(raw[2:4], order)), "port": str(int.from_bytes(raw[4:6], order))}
    if length == _SCO_BYTES:
        return {"addr": raw[7:1:-1].hex(":")}
    if length == _RFCOMM_BYTES:
        return {"addr": raw[7:1:-1].hex(":"), "port": str(raw[8])}
    if length == _L2CAP_BYTES:
        return {"addr": raw[9:3:-1].hex(":"), "port": str(int.from_bytes(raw[2:4], "little"))}
    return None


_HCI_BYTES, _SCO_BYTES, _RFCOMM_BYTES, _L2CAP_BYTES = 6, 8, 10, 14


def _x25(raw: bytes, order: ByteOrder) -> Address | None:  # noqa: ARG001
    return None if len(raw) < 3 else {"addr": _words(raw[2:18])}


def _ax25(raw: bytes, order: ByteOrder) -> Address | None:  # noqa: ARG001
    if len(raw) < 9:
        return None
    # Each letter is shifted by a bit; the last byte has the number of the station in four bits.
    call = bytes(byte >> 1 for byte in raw[2:8]).decode("ascii").rstrip()
    return {"addr": f"{call}-{raw[8] >> 1 & 15}"}


def _ipx(raw: bytes, order: ByteOrder) -> Address | None:  # noqa: ARG001
    if len(raw) < 14:
        return None
    return {"addr": f"{raw[4:8].hex()}:{raw[8:14].hex()}", "port": str(int.from_bytes(raw[2:4], "big"))}


def _words(raw: bytes) -> str:
    return to_text(raw.split(b"\0", 1)[0])[0]


_SHOWN_WHOLE = frozenset({_UNIX, _INET, _INET6, _NETLINK, _VSOCK})
"""Families of which everything that counts is in the members."""
_DECODERS: Mapping[int, Callable[[bytes, ByteOrder], Address | None]] = {
    _UNIX: _unix,
    _INET: _inet,
    _INET6: _inet6,
    _NETLINK: _netlink,
    _VSOCK: _vsock,
    _PACKET: _packet,
    _CAN: _can,
    _XDP: _xdp,
    _ALG: _alg,
    _BLUETOOTH: _bluetooth,
    _X25: _x25,
    _AX25: _ax25,
    _IPX: _ipx,
}
