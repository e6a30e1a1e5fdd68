"""Extended attributes in documents: each value is read as what it is, or kept as it is, however it is made."""

import base64
import hashlib
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.attributes import Xattr, XattrKind, pack_xattrs
from auditline.workers.router.names import IdNames, NoNames
from auditline.workers.router.render.file_capabilities import NAMES, capabilities_text
from auditline.workers.router.render.file_xattrs import LONGEST_TOLD, MOST_TOLD, xattr_members

UNDEFINED = 0xFFFFFFFF
ACL = b"system.posix_acl_access"


def packed(**values: bytes) -> bytes:
    """Pack attributes; `__` stands for the dot."""
    named = sorted((name.replace("__", ".").encode(), value) for name, value in values.items())
    return pack_xattrs(Xattr(XattrKind.WHOLE, name, value, len(value)) for name, value in named)


def members_of(packed_xattrs: bytes, names: IdNames | None = None) -> dict[str, Any]:
    return xattr_members(packed_xattrs, names or NoNames())


def acl(*entries: tuple[int, int, int], version: int = 2) -> bytes:
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize("value", [b"system_u:object_r:etc_t:s0\0", b"system_u:object_r:etc_t:s0"])
def test_label_of_selinux_is_text_without_the_nul_at_its_end(value: bytes):
    assert members_of(packed(security__selinux=value)) == {"selinux": "system_u:object_r:etc_t:s0"}


@pytest.mark.parametrize("value", [b"a\0b", b"\xff", b"a\x1b[31m", "a\u202eb".encode()])
def test_label_that_is_no_readable_text_is_kept_as_it_is(value: bytes):
    xattr = {"name": "security.selinux", "base64": base64.b64encode(value).decode()}

    assert members_of(packed(security__selinux=value)) == {"xattrs": [xattr]}


def test_access_control_list_is_told_as_auditbeat_does(names: IdNames):
    value = acl(
        (1, 6, UNDEFINED),
        (2, 6, 700),
        (2, 4, 12345),
        (4, 4, UNDEFINED),
        (8, 5, 0),
        (16, 7, UNDEFINED),
        (32, 4, UNDEFINED),
    )

    assert members_of(packed(system__posix_acl_access=value), names)["posix_acl_access"] == [
        "user::rw-", "user:admin:rw-", "user:12345:r--", "group::r--", "group:root:r-x", "mask::rwx", "other::r--",
    ]  # fmt: skip


def test_default_list_of_a_directory_has_a_key_of_its_own():
    value = acl((1, 7, UNDEFINED), (4, 5, UNDEFINED), (32, 0, UNDEFINED))

    assert members_of(packed(system__posix_acl_default=value)) == {
        "posix_acl_default": ["user::rwx", "group::r-x", "other::---"]
    }


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\2\0\0",
        acl(),
        acl((1, 6, UNDEFINED))[:-1],
        acl((1, 6, UNDEFINED), version=1),
        acl((64, 6, 0)),
        acl((1, 8, 0)),
    ],
)
def test_what_is_no_access_control_list_is_kept_as_it_is(value: bytes):
    (xattr,) = members_of(packed(system__posix_acl_access=value))["xattrs"]

    assert base64.b64decode(xattr.get("base64", "")) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (bytes([1]) + bytes(20), f"digest:{'00' * 20}"),
        (bytes([4, 4]) + b"\xab" * 32, f"digest_ng:sha256:{'ab' * 32}"),
        (bytes([4, 6]), "digest_ng:sha512:"),
        (bytes([3, 2, 4, 1]), "signature:020401"),
        (bytes([5]) + b"x", "portable_signature:78"),
        (bytes([6]) + b"x", "verity_signature:78"),
    ],
)
def test_measurement_of_ima_is_its_type_and_hexadecimal(value: bytes, text: str):
    assert members_of(packed(security__ima=value)) == {"ima": text}


@pytest.mark.parametrize("value", [b"", b"\0", b"\2x", b"\x04", b"\x04\x63abc"])
def test_what_is_no_measurement_of_ima_is_kept_as_it_is(value: bytes):
    assert list(members_of(packed(security__ima=value))) == ["xattrs"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"text", {"value": "text"}),
        (b"", {"value": ""}),
        ("é".encode(), {"value": "é"}),
        (b"two\nlines", {"base64": "dHdvCmxpbmVz"}),
        (b"\xff", {"base64": "/w=="}),
    ],
)
def test_values_of_others_are_text_or_base64(value: bytes, told: dict[str, str]):
    assert members_of(packed(user__a=value)) == {"xattrs": [{"name": "user.a", **told}]}


def test_name_that_is_not_utf_8_is_readable_and_kept_exactly():
    xattrs = pack_xattrs([Xattr(XattrKind.WHOLE, b"user.\xff\n", b"1", 1)])

    assert members_of(xattrs) == {
        "xattrs": [{"name": "user.\\xff\n", "name_base64": base64.b64encode(b"user.\xff\n").decode(), "value": "1"}]
    }


def test_of_a_long_value_its_length_and_digest_are_told():
    value = b"x" * (LONGEST_TOLD + 1)

    (told,) = members_of(packed(user__a=value))["xattrs"]

    assert told == {"name": "user.a", "bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}


def test_what_was_never_read_whole_is_told_as_far_as_it_is_known():
    known = [
        Xattr(XattrKind.LONG, b"security.selinux", bytes(32), 70_000),
        Xattr(XattrKind.UNREADABLE, b"trusted.x"),
        Xattr(XattrKind.UNREADABLE, b""),
        Xattr(XattrKind.REST, b"", bytes(32), 5),
    ]

    assert members_of(pack_xattrs(known))["xattrs"] == [
        {"name": "security.selinux", "bytes": 70_000, "sha256": "00" * 32},
        {"name": "trusted.x", "unreadable": True},
        {"unreadable": True},
        {"others": 5, "sha256": "00" * 32},
    ]


def test_of_very_many_the_first_are_told_and_the_others_counted():
    many = packed(**{f"user__{number:04d}": b"1" for number in range(MOST_TOLD + 10)})

    told = members_of(many)["xattrs"]

    assert (len(told), told[-1]) == (MOST_TOLD + 1, {"others": 10})


@given(
    st.dictionaries(
        st.sampled_from(
            [b"security.selinux", ACL, b"system.posix_acl_default", b"security.capability", b"security.ima"]
        )
        | st.binary(min_size=1, max_size=20),
        st.binary(max_size=80),
        max_size=5,
    )
)
def test_whatever_they_hold_nothing_is_lost_and_all_of_it_is_json(values: dict[bytes, bytes]):
    xattrs = [Xattr(XattrKind.WHOLE, name, values[name], len(values[name])) for name in sorted(values)]

    members = members_of(pack_xattrs(xattrs))

    assert json.loads(json.dumps(members)) == members
    assert len(members) - ("xattrs" in members) + len(members.get("xattrs", [])) == len(values)


@given(st.binary(max_size=100))
def test_damaged_ones_are_an_error_and_never_a_crash(packed_xattrs: bytes):
    # AIDE ended with a segmentation fault where a damaged attribute was in its database (CVE-2025-54409).
    try:
        members = members_of(packed_xattrs)
    except ValueError:
        return

    json.dumps(members)


def capability(permitted: int, inheritable: int, *, effective: bool = False, rootid: int | None = None) -> bytes:
    low, high = 0xFFFFFFFF, 32
    revision = 0x02000000 if rootid is None else 0x03000000
    halves = (permitted & low, inheritable & low, permitted >> high, inheritable >> high)
    return struct.pack("<5I", revision | effective, *halves) + (b"" if rootid is None else struct.pack("<I", rootid))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (capability(1 << 13, 0, effective=True), "cap_net_raw=ep"),
        (capability(1 << 13, 0), "cap_net_raw=p"),
        (capability(1 << 13 | 1, 1 << 13 | 1, effective=True), "cap_chown,cap_net_raw=eip"),
        (capability(1 << 13, 1), "cap_chown=i cap_net_raw+p"),
        (capability((1 << 41) - 1, 0, effective=True), "=ep"),
        (capability((1 << 41) - 2, 0, effective=True), "=ep cap_chown-ep"),
        (capability(1 << 40, 0, effective=True), "cap_checkpoint_restore=ep"),
        (capability(1 << 13, 0, effective=True, rootid=1000), "cap_net_raw=ep [rootid=1000]"),
        (capability(1 << 13, 0, effective=True, rootid=0), "cap_net_raw=ep"),
        (capability(1 << 60, 0), "60=p"),
        (capability(0, 0), "="),
        (struct.pack("<3I", 0x01000001, 1 << 13, 0), "cap_net_raw=ep"),
    ],
)
def test_capabilities_are_told_as_getcap_prints_them(value: bytes, text: str):
    assert members_of(packed(security__capability=value)) == {"capabilities": text}


@pytest.mark.parametrize(
    "value",
    [b"", b"\1\0\0\2", capability(1, 1)[:-1], capability(1, 1) + b"\0", b"\2" + capability(1, 1)[1:], bytes(20)],
)
def test_what_are_no_capabilities_is_kept_as_it_is(value: bytes):
    assert capabilities_text(value) is None


@pytest.fixture
def getcap(tmp_path: Path) -> Callable[[bytes], str]:
    """Return what the real one prints for a value."""
    program = shutil.which("getcap", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip("getcap is not installed")
    file = tmp_path / "file"
    file.write_bytes(b"")

    def ask(value: bytes) -> str:
        os.setxattr(file, "security.capability", value)
        printed = subprocess.run([program, "-n", file], capture_output=True, text=True, check=True).stdout
        return printed.removeprefix(f"{file} ").strip()

    return ask


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_every_capability_has_the_name_that_getcap_gives_it(number: int, getcap: Callable[[bytes], str]):
    value = capability(1 << number, 0, effective=True)

    assert capabilities_text(value) == getcap(value)


@pytest.mark.parametrize("permitted", [0, 1, 0x21, (1 << 41) - 1, (1 << 41) - 3, 1 << 39])
@pytest.mark.parametrize("inheritable", [0, 1, 0x30, (1 << 41) - 1])
@pytest.mark.parametrize("effective", [True, False])
def test_any_sets_are_told_as_getcap_prints_them(
    permitted: int, inheritable: int, effective: bool, getcap: Callable[[bytes], str]
):
    value = capability(permitted, inheritable, effective=effective and bool(permitted | inheritable))

    assert capabilities_text(value) == getcap(value)
