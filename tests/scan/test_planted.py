"""Changes of every kind in one tree: each is reported with the right attributes, and nothing else is."""

import os
import shutil
import subprocess

import pytest

from auditline.workers.common.errors import Exit

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw=ep, as setcap stores it. Source: linux/capability.h, struct vfs_cap_data."""
ACL = bytes.fromhex("0200000001000600ffffffff0200040064000000040004 00ffffffff10000400ffffffff20000400ffffffff")
"""user:100:r-- beside the mode. Source: linux/posix_acl_xattr.h."""


def keep_times(path, change):
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_content(path):
    keep_times(path, lambda each: each.write_text("CONTENT"))


def longer(path):
    keep_times(path, lambda each: each.write_text("content and more"))


def written_anew(path):
    os.utime(path, ns=(1_000_000_000, 1_000_000_000))


def mode(path):
    path.chmod(0o600)


def set_user_id(path):
    path.chmod(0o4644)


def set_group_id(path):
    path.chmod(0o2644)


def sticky(path):
    path.chmod(0o1644)


def owner(path):
    os.chown(path, 12, -1)


def group(path):
    os.chown(path, -1, 13)


def attribute(path):
    os.setxattr(path, "user.note", b"hello")


def capability(path):
    os.setxattr(path, "security.capability", CAPABILITY)


def access_list(path):
    os.setxattr(path, "system.posix_acl_access", ACL)


def hard_link(path):
    os.link(path, path.with_name("other-name"))


def to_link(path):
    path.unlink()
    path.symlink_to("elsewhere")


def to_directory(path):
    path.unlink()
    path.mkdir()


def to_fifo(path):
    path.unlink()
    os.mkfifo(path)


def to_device(path):
    path.unlink()
    os.mknod(path, 0o020644, os.makedev(1, 3))


def immutable(path):
    subprocess.run(["chattr", "+i", path], check=True)


CHANGED = {
    other_content: {"sha256"},
    longer: {"size", "sha256"},
    written_anew: {"mtime"},
    mode: {"mode"},
    set_user_id: {"mode", "setuid"},
    set_group_id: {"mode", "setgid"},
    sticky: {"mode"},
    owner: {"owner", "uid"},
    group: {"group", "gid"},
    attribute: {"xattrs"},
    capability: {"capabilities"},
    access_list: {"posix_acl_access"},
    hard_link: {"links"},
    to_link: {"type", "mode", "size", "mtime", "target_path", "sha256"},
    to_fifo: {"type", "size", "mtime", "sha256"},
    to_device: {"type", "size", "mtime", "rdev", "sha256"},
    immutable: {"flags"},
}
NAMES = [b"plain", b"with space", b"line\nfeed", b"esc\x1b[31m", b"\xff\xfe", "ümlaut".encode(), b"-n", b"a" * 255]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners and make devices")
@pytest.mark.parametrize("change", CHANGED)
def test_a_change_is_reported_with_its_attributes_and_no_other(scanned, change):
    path = scanned.tree / "directory" / "file"
    scanned.run("--init")
    change(path)

    code = scanned.run()
    if change is immutable:
        subprocess.run(["chattr", "-i", path], check=True)

    assert code == Exit.DIFFERENCES
    assert "directory/file" in scanned.found
    assert scanned.attributes.keys() == CHANGED[change]


def test_a_file_that_becomes_a_directory_is_a_change_of_type(scanned):
    scanned.run("--init")
    to_directory(scanned.tree / "directory" / "file")

    scanned.run()

    assert {"type", "mode"} <= scanned.attributes.keys()
    assert scanned.found == ["directory/file"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_whatever_bytes_is_found_added_changed_and_removed(scanned, name):
    path = os.fsencode(scanned.tree) + b"/" + name
    scanned.run("--init")
    ends = []
    for content in ("one", "other"):
        with open(path, "w") as file:
            file.write(content)
        scanned.run()
        ends.append(scanned.last_line)
        scanned.run("--update")
    os.unlink(path)

    scanned.run()

    assert [*ends, scanned.last_line] == [
        "auditline: 1 added, 0 removed, 0 changed, 0 unreadable of 6",
        "auditline: 0 added, 0 removed, 1 changed, 0 unreadable of 6",
        "auditline: 0 added, 1 removed, 0 changed, 0 unreadable of 5",
    ]


def test_a_link_that_leads_elsewhere_is_a_change_of_its_target(scanned):
    scanned.run("--init")
    link = scanned.tree / "link"
    link.unlink()
    link.symlink_to("directory")

    scanned.run()

    assert scanned.attributes["target_path"] == "script -> directory"


def test_two_files_that_have_changed_places_are_two_changes(scanned):
    scanned.run("--init")
    one, other, aside = scanned.tree / "script", scanned.tree / "directory" / "file", scanned.tree / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)

    scanned.run()

    assert scanned.found == ["directory/file", "script"]


def test_a_copy_of_a_whole_tree_put_in_its_place_differs_in_nothing_that_counts(scanned):
    scanned.run("--init")
    shutil.copytree(scanned.tree, scanned.tree.with_name("copy"), symlinks=True)
    shutil.rmtree(scanned.tree)
    scanned.tree.with_name("copy").rename(scanned.tree)

    code = scanned.run()

    assert code == Exit.OK
