"""What this kernel writes for odd arguments, names and addresses, decoded: it must be what the program passed."""

import base64
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

RUN = "{AS_USER}os.execv('/bin/true', [bytes.fromhex(argument) for argument in sys.argv[1:]])"
TOUCH = "{AS_USER}os.chdir('/'); os.open(bytes.fromhex(sys.argv[1]), os.O_RDONLY)"
# Imported first: the user may not be able to reach the interpreter's files.
CONNECT = """import ctypes, socket
{AS_USER}
opened, address = socket.socket(socket.AF_UNIX), bytes.fromhex(sys.argv[1])
ctypes.CDLL(None).connect(opened.fileno(), address, len(address))
"""
Record = Callable[[str, str, Sequence[bytes]], list[dict[str, Any]]]

LONG = b"z" * 54_000
IN_PIECES = " ".join(["é" * 2000] * 6).encode()


@pytest.mark.parametrize(
    "arguments",
    [
        [b"true", b"", b"x"],
        [b"true", b"a", b"", b"b", b""],
        [b"true", b"", b""],
        [b"true", b"?", b"(null)", b'""', b"a=b", b"a0=x", b"argc=9"],
        [b"true", b'say "hi"', b"two words", b"tab\there", "café".encode(), b"\\back", b"it's", b"new\nline"],
        [b"true", b"\x1b[31m", b"\xc2\x9b", b"del\x7f", b"\x01\x1d"],
        [b"true", b"DEADBEEF", b"41", b"deadbeef"],
        [b"true", LONG],
        [b"true", b"q" * 7000, b"mid dle", b"w" * 9000, b" ".join([b"abc"] * 3000), b"end"],
        [b"true", *(b"%d" % number for number in range(900))],
        [b"true", *[b""] * 1500, b"last"],
        [b"true", IN_PIECES, b"", IN_PIECES],
        [b"true", *(b"e" * length for length in range(7470, 7520, 7)), b"", b"h"],
    ],
    ids=range(13),
)
def test_arguments_are_what_was_passed(record_events: Record, arguments: list[bytes]):
    documents = record_events("execve", RUN, arguments)

    execve = documents[-1]
    assert execve["auditline"]["decoded"]["args"] == [argument.decode() for argument in arguments]
    assert execve["auditline"]["complete"] is True
    assert execve["audit"]["kernel"]["data"]["argc"] == str(len(arguments))
    # The kernel cuts the title after 128 bytes, be it within a character.
    assert {entry["field"] for entry in execve["auditline"].get("undecodable", [])} <= {"data.proctitle"}


def test_arguments_that_are_not_utf_8_keep_their_bytes(record_events: Record):
    arguments = [b"true", b"\xff\xfe", b"plain", b"\xc3" + b"\xa9" * 9000, b"\xff" * 9000]

    execve = record_events("execve", RUN, arguments)[-1]

    exact = {entry["field"]: base64.b64decode(entry["base64"]) for entry in execve["auditline"]["undecodable"]}
    exact.pop("data.proctitle")
    assert exact == {"args.1": arguments[1], "args.3": arguments[3], "args.4": arguments[4]}
    assert execve["auditline"]["decoded"]["args"][1:3] == ["\\xff\\xfe", "plain"]


@pytest.mark.parametrize(
    "name",
    [b"plain", b"with space", b'quo"te', b"back\\slash", b"new\nline", "café".encode(), b"\x1b[31m", b"\xc2\x9b", b"?",
     b"(null)", b"41414141", b"type=SYSCALL msg=audit(1.1:1):", b"a=b", b"x" * 255, "\u202eabc".encode(),
     b"\x7f", b"'"],
    ids=range(17),
)  # fmt: skip
def test_names_are_what_was_opened(record_events: Record, name: bytes):
    path = b"/nowhere-" + name

    document = record_events("openat", TOUCH, [path])[-1]

    assert document["audit"]["kernel"]["thing"]["primary"] == path.decode()
    assert document["audit"]["kernel"]["paths"][-1]["name"] == path.decode()
    assert document["auditline"]["complete"] is True


@pytest.mark.parametrize("name", [b"?", b"(null)", b"-", b"41", b"."])
def test_odd_relative_names_are_what_was_opened(record_events: Record, name: bytes):
    document = record_events("openat", TOUCH, [name])[-1]

    assert document["audit"]["kernel"]["paths"][0]["name"] == name.decode()


IPV6_LOOPBACK = bytes(15) + b"\x01"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (struct.pack("<H2s4s8x", 2, b"\x00\x50", b"\xc0\x00\x02\x01"),
         {"family": "ipv4", "addr": "192.0.2.1", "port": "80"}),
        (struct.pack("<H2s4s16sI", 10, b"\x01\xbb", bytes(4), IPV6_LOOPBACK, 3),
         {"family": "ipv6", "addr": "::1", "port": "443", "scope": "3"}),
        (struct.pack("<H", 1) + b"/run/x\0", {"family": "unix", "path": "/run/x"}),
        (struct.pack("<H", 1) + b"relative", {"family": "unix", "path": "relative"}),
        (struct.pack("<H", 1) + b"\0abstract", {"family": "unix", "path": "@abstract"}),
        (struct.pack("<H", 1), {"family": "unix"}),
        (struct.pack("<HHII", 16, 0, 7, 1), {"family": "netlink", "port": "7", "groups": "1"}),
        (struct.pack("<HHIII", 40, 0, 99, 2, 0), {"family": "vsock", "port": "99", "addr": "2"}),
        (struct.pack("<H14s", 38, b"hash"), {"family": "alg", "saddr": (b"\x26\0hash" + bytes(10)).hex()}),
        (b"\x02", {"family": "unknown", "saddr": "02"}),
        (b"\x02\x00\x00", {"family": "ipv4", "saddr": "020000"}),
    ],
    ids=range(11),
)  # fmt: skip
def test_addresses_are_what_was_connected_to(record_events: Record, address: bytes, wanted: dict[str, str]):
    document = record_events("connect", CONNECT, [address])[-1]

    assert document["audit"]["kernel"]["socket"] == wanted
