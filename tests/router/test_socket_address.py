"""Addresses of every family, whole, short, and of hosts of either byte order."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.tables.lookup import architecture_name, architecture_word
from auditline.workers.router.decode import types
from auditline.workers.router.decode.facts import gather_facts
from auditline.workers.router.decode.socket_address import byte_order, decode_socket_address
from auditline.workers.router.event import Event

LOOPBACK = socket.inet_pton(socket.AF_INET6, "::1")
SCOPED = socket.inet_pton(socket.AF_INET6, "fe80::1")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("020001BBC0000201", {"family": "ipv4", "addr": "192.0.2.1", "port": "443"}),
        ("020001BBC00002010000000000000000", {"family": "ipv4", "addr": "192.0.2.1", "port": "443"}),
        ("0200", None),
        ("020001BB", None),
        ("020001BBC00002", None),
        ("0A00", None),
        ("0A0001BB00000000" + LOOPBACK.hex()[:-2], None),
        ("0A0001BB00000000" + LOOPBACK.hex(), {"family": "ipv6", "addr": "::1", "port": "443"}),
        (
            "0A0001BB00000005" + LOOPBACK.hex() + "00000000",
            {"family": "ipv6", "addr": "::1", "port": "443", "flow": "5"},
        ),
        (
            "0A0001BB00000000" + SCOPED.hex() + "02000000",
            {"family": "ipv6", "addr": "fe80::1", "port": "443", "scope": "2"},
        ),
        ("0100", {"family": "unix"}),
        ("010000", {"family": "unix"}),
        ("01000000000000", {"family": "unix"}),
        ("01002F72756E2F7800", {"family": "unix", "path": "/run/x"}),
        ("01002F72756E2F78", {"family": "unix", "path": "/run/x"}),
        ("01002F72756E2F780025252525", {"family": "unix", "path": "/run/x"}),
        ("01007265", {"family": "unix", "path": "re"}),
        ("01002FFF", {"family": "unix", "path": "/\\xff", "exact": b"/\xff"}),
        ("010000616263", {"family": "unix", "path": "@abc"}),
        ("010000610062", {"family": "unix", "path": "@a\0b"}),
        ("01000061626300000000", {"family": "unix", "path": "@abc", "exact": b"\0abc\0\0\0\0"}),
        ("010000FF", {"family": "unix", "path": "@\\xff", "exact": b"\0\xff"}),
        ("010040616263", {"family": "unix", "path": "@abc", "exact": b"@abc"}),
        ("100000000700000001000000", {"family": "netlink", "port": "7", "groups": "1"}),
        ("1000000007000000", None),
        ("28000000630000000200000000000000", {"family": "vsock", "port": "99", "addr": "2"}),
        ("280000006300", None),
        ("1100", None),
        ("1D00", None),
        ("2C0000000100", None),
        ("26006861736800", None),
        ("1F0001", None),
        ("0900", None),
        ("0300", None),
        ("0400", None),
        ("00000000000000000000000000000000", None),
        ("FFFF0102", None),
        ("02", None),
        ("", None),
    ],
)
def test_addresses_of_all_families(address: str, wanted: dict[str, bytes | str] | None):
    raw = bytes.fromhex(address)

    decoded = decode_socket_address(raw, "x86_64")

    if wanted is None:
        assert decoded["saddr"] == raw.hex()
        assert decoded.keys() == {"family", "saddr"}
    else:
        assert decoded == wanted


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (
            struct.pack("<HHiHBB8s", 17, 0x0008, 3, 1, 0, 6, bytes([2, 0, 0, 0, 0, 1])),
            {"family": "packet", "protocol": "0x0800", "interface": "3", "addr": "02:00:00:00:00:01"},
        ),
        (
            struct.pack("<HHiHBB", 17, 0x0300, 0, 0, 0, 0),
            {"family": "packet", "protocol": "0x0003", "interface": "0"},
        ),
        (struct.pack("<HxxiII", 29, 2, 0, 0), {"family": "can", "interface": "2"}),
        (struct.pack("<HHIII", 44, 0, 4, 1, 0), {"family": "xdp", "interface": "4", "queue": "1"}),
        (
            struct.pack("<H14sII64s", 38, b"skcipher", 0, 0, b"cbc(aes)"),
            {"family": "alg", "type": "skcipher", "name": "cbc(aes)"},
        ),
        (struct.pack("<HHH", 31, 0, 1), {"family": "bluetooth", "interface": "0", "port": "1"}),
        (struct.pack("<H6s", 31, bytes(range(1, 7))), {"family": "bluetooth", "addr": "06:05:04:03:02:01"}),
        (
            struct.pack("<H6sBx", 31, bytes(range(1, 7)), 5),
            {"family": "bluetooth", "addr": "06:05:04:03:02:01", "port": "5"},
        ),
        (
            struct.pack("<HH6sHBx", 31, 25, bytes(range(1, 7)), 0, 0),
            {"family": "bluetooth", "addr": "06:05:04:03:02:01", "port": "25"},
        ),
        (struct.pack("<H16s", 9, b"1234567"), {"family": "x25", "addr": "1234567"}),
        (
            struct.pack("<H7si", 3, bytes(letter << 1 for letter in b"DL1ABC") + bytes([14]), 0),
            {"family": "ax25", "addr": "DL1ABC-7"},
        ),
        (
            struct.pack(">HHI6sBB", 0x0400, 1105, 0x0A, bytes([0, 0, 0, 0, 0, 1]), 0, 0),
            {"family": "ipx", "addr": "0000000a:000000000001", "port": "1105"},
        ),
    ],
)
def test_rare_families_are_shown_beside_their_bytes(address: bytes, wanted: dict[str, str]):
    decoded = decode_socket_address(address, "x86_64")

    assert decoded == wanted | {"saddr": address.hex()}


@pytest.mark.parametrize(
    ("address", "family"),
    [
        ("0200", "ipv4"),
        ("0A00", "ipv6"),
        ("1100", "packet"),
        ("2600", "alg"),
        ("1D00", "can"),
        ("2C00", "xdp"),
        ("0900", "x25"),
        ("1F00", "bluetooth"),
        ("0000", "unspec"),
        ("FF7F", "32767"),
        ("02", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_family_has_its_name_and_a_new_one_its_number(address: str, family: str):
    assert decode_socket_address(bytes.fromhex(address), None)["family"] == family


@pytest.mark.parametrize(
    ("architecture", "order"),
    [
        ("x86_64", "little"),
        ("i386", "little"),
        ("aarch64", "little"),
        ("arm", "little"),
        ("ppc64le", "little"),
        ("mipsel", "little"),
        ("s390x", "big"),
        ("s390", "big"),
        ("ppc64", "big"),
        ("ppc", "big"),
        ("mips", "big"),
        ("sparc64", "big"),
        ("m68k", "big"),
        ("parisc", "big"),
        ("armeb", "big"),
        (None, "little"),
        ("c0009999", "little"),
    ],
)
def test_each_architecture_has_its_byte_order(architecture: str | None, order: str):
    assert byte_order(architecture) == order


def test_addresses_of_a_big_endian_host_are_read_as_it_wrote_them():
    assert decode_socket_address(struct.pack(">HHI8x", 2, 80, 0xC0000201), "s390x") == {
        "family": "ipv4",
        "addr": "192.0.2.1",
        "port": "80",
    }
    assert decode_socket_address(struct.pack(">HHII", 16, 0, 7, 1), "s390x")["port"] == "7"
    assert decode_socket_address(struct.pack(">HHI16sI", 10, 80, 0, SCOPED, 2), "ppc64")["scope"] == "2"


def test_every_architecture_of_the_table_has_a_byte_order_that_its_word_says():
    for word in (0xC000003E, 0x80000016, 0x40000003, 0x14):
        name = architecture_name(word)
        assert name is not None
        assert architecture_word(name) == word
        assert byte_order(name) == ("little" if word & 0x40000000 else "big")


@given(raw=st.binary(max_size=140), architecture=st.sampled_from(["x86_64", "s390x", None]))
def test_whatever_bytes_an_address_is_none_is_lost_in_silence(raw: bytes, architecture: str | None):
    decoded = decode_socket_address(raw, architecture)

    assert "family" in decoded
    assert all(isinstance(value, str | bytes) for value in decoded.values())


@pytest.mark.parametrize("text", ["", "0", "02000", "xyz", "0200ZZ", "٠٢", '"x"'])
def test_an_address_that_is_not_hexadecimal_is_damage(text: str):
    event = Event("audit(1.000:1", None, "1", "000", 1)
    event.types.append(types.SOCKADDR)
    event.bodies.append(f"saddr={text}")

    facts = gather_facts(event)

    assert "truncated_record" in facts.reasons
