"""Pitfalls of attributes, and of what only a scan finds: the watches of this module are compared every second."""

import fcntl
import mmap
import os
import struct

import pytest

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NODUMP_FL, FS_IMMUTABLE_FL = 0x80086601, 0x40086602, 0x40, 0x10
ACL_READABLE_BY_NOBODY = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, identity)
    for tag, permissions, identity in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 65534),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
"""Owner, the user nobody, group, mask, others. Source: linux/posix_acl_xattr.h."""
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service=ep. Source: linux/capability.h, struct vfs_cap_data."""


@pytest.fixture(scope="module")
def watch_options():
    return {"rescan_seconds": 1}


@pytest.fixture
def change_flags():
    """Set and clear flags as `chattr` does; all are cleared at the end."""
    changed = []

    def change(path, flags):
        with path.open("rb") as file:
            before = bytearray(8)
            fcntl.ioctl(file, FS_IOC_GETFLAGS, before)
            (found,) = struct.unpack("l", before)
            try:
                fcntl.ioctl(file, FS_IOC_SETFLAGS, struct.pack("l", found & ~FS_IMMUTABLE_FL & ~FS_NODUMP_FL | flags))
            except OSError as error:
                pytest.skip(f"flags cannot be set here: {error.strerror}")
        changed.append(path)

    yield change
    for path in set(changed):
        change(path, 0)


def test_a_flag_of_chattr_is_found_by_the_next_scan(corner, change_flags):
    """Pitfall 22."""
    known = corner.know(flagged="one")

    change_flags(known["flagged"], FS_IMMUTABLE_FL if os.geteuid() == 0 else FS_NODUMP_FL)
    changed = corner.wait_for("attributes_modified", known["flagged"])

    assert "flags" not in changed.before
    assert changed.after["flags"] == ["immutable" if os.geteuid() == 0 else "nodump"]
    assert changed.detected_by == "scan"


def set_attribute(path, name, value):
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"{name} cannot be set here: {error.strerror}")


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("user.note", b"somebody's", "xattrs"),
        ("system.posix_acl_access", ACL_READABLE_BY_NOBODY, "posix_acl_access"),
        ("security.capability", CAPABILITY, "capabilities"),
    ],
    ids=["plain", "access list", "capability"],
)
def test_an_extended_attribute_is_named_in_the_difference(corner, name, value, key):
    """Pitfall 23."""
    known = corner.know(attributed="one")

    set_attribute(known["attributed"], name, value)
    changed = corner.wait_for("attributes_modified", known["attributed"])

    assert key in changed.after
    assert "sha256" not in changed.after


def test_an_extended_attribute_of_a_directory_is_named_in_the_difference(corner):
    """Pitfall 23, of directories."""
    (corner.root / "directory").mkdir()
    corner.forget(1)

    set_attribute(corner.root / "directory", "user.note", b"somebody's")
    changed = corner.wait_for("attributes_modified", corner.root / "directory")

    assert "xattrs" in changed.after


def test_a_writer_that_keeps_a_mapping_is_found_by_a_scan(corner):
    """Pitfall 24: a mapping that stays for minutes gives no event."""
    known = corner.know(mapped="0" * 5000)

    with known["mapped"].open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[100] = ord("1")
        mapping.flush()
        corner.wait_for("updated", known["mapped"])


def test_that_a_file_has_a_name_elsewhere_now_is_found_at_the_latest_by_a_scan(corner):
    """Pitfall 12: making the link is an event of that other directory."""
    known = corner.know(linked="one")

    os.link(known["linked"], corner.watched.folder / f"other-{corner.root.name}")
    linked = corner.wait_for("attributes_modified", known["linked"])

    assert (linked.before["links"], linked.after["links"]) == (1, 2)
