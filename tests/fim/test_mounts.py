"""What mountinfo says, and what of it is visible at and beneath a directory."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.workers.common.bus import Waiter
from auditline.workers.fim.mounts import Mount, Mounts, MountTree, parse_mounts

ROOT = Mount(1, 0, b"8:1", b"/", b"/", b"ext4", b"/dev/sda1")
FIELD = st.binary(min_size=1, max_size=20).filter(lambda field: b"\0" not in field)


def mount_of(identity: int, point: bytes, *, on: int = 1, root: bytes = b"/", device: bytes = b"0:50") -> Mount:
    return Mount(identity, on, device, root, point, b"tmpfs", b"none")


def escape(field: bytes) -> bytes:
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in field)


def line_of(mount: Mount, optional: bytes = b"") -> bytes:
    start = b"%d %d %b %b %b rw,relatime " % (
        mount.identity, mount.parent, mount.device, escape(mount.root), escape(mount.point),
    )  # fmt: skip
    return start + optional + b"- %b %b rw\n" % (escape(mount.type), escape(mount.source))


class TestParsing:
    def test_a_line_is_a_mount(self):
        text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"

        assert parse_mounts(text) == [Mount(36, 35, b"98:0", b"/mnt1", b"/mnt2", b"ext3", b"/dev/root")]

    def test_blanks_and_the_like_are_octal(self):
        text = rb"36 35 98:0 / /a\040b\011c\012d\134e rw - ext3 /dev/a\040b rw"

        [mount] = parse_mounts(text)

        assert mount.point == b"/a b\tc\nd\\e"
        assert mount.source == b"/dev/a b"

    def test_a_source_may_be_empty(self):
        [mount] = parse_mounts(b"36 35 98:0 / /mnt rw - tmpfs  rw")

        assert mount.source == b""

    def test_a_line_of_another_form_is_left_out(self):
        assert parse_mounts(b"x\n36 35 98:0 / /mnt rw ext3 none rw\n\n" + line_of(ROOT)) == [ROOT]

    @given(st.binary())
    def test_no_text_is_too_odd(self, text):
        mounts = parse_mounts(text)

        assert set(MountTree(mounts).beneath(b"/")) <= set(mounts)

    @given(FIELD, FIELD, FIELD, FIELD, st.sampled_from([b"", b"shared:1 ", b"shared:1 master:2 - x "]))
    def test_what_the_kernel_writes_is_read(self, root, point, kind, source, optional):
        mount = Mount(7, 1, b"0:5", root, b"/" + point, kind, source)

        read = parse_mounts(line_of(mount, optional.replace(b"- x ", b"")))

        assert read == [mount]


class TestTree:
    def test_a_path_is_on_the_mount_that_is_nearest(self):
        inner, outer = mount_of(3, b"/a/b", on=2), mount_of(2, b"/a")
        tree = MountTree([ROOT, outer, inner])

        assert [tree.over(path) for path in (b"/", b"/ab", b"/a", b"/a/x", b"/a/b", b"/a/b/c")] == [
            ROOT, ROOT, outer, outer, inner, inner,
        ]  # fmt: skip

    def test_of_two_at_one_place_the_last_one_is_seen(self):
        lower, upper = mount_of(2, b"/a"), mount_of(3, b"/a", on=2)
        tree = MountTree([ROOT, lower, upper])

        assert tree.over(b"/a") is upper
        assert tree.beneath(b"/") == [upper]
        assert tree.is_stacked(upper)
        assert not tree.is_stacked(lower)

    def test_what_lies_beneath_a_later_mount_is_not_seen(self):
        hidden, above = mount_of(2, b"/a/b"), mount_of(3, b"/a")
        tree = MountTree([ROOT, hidden, above])

        assert tree.over(b"/a/b/c") is above
        assert tree.beneath(b"/") == [above]

    def test_only_what_is_beneath_the_path_is_given(self):
        mounts = [mount_of(2, b"/a"), mount_of(3, b"/a/b", on=2), mount_of(4, b"/ab"), mount_of(5, b"/c")]
        tree = MountTree([ROOT, *mounts])

        assert tree.beneath(b"/a") == [mounts[1]]

    def test_a_directory_mounted_onto_itself_is_what_it_was(self):
        itself = Mount(2, 1, b"8:1", b"/a/b", b"/a/b", b"ext4", b"/dev/sda1")
        other = Mount(3, 1, b"8:1", b"/x", b"/c", b"ext4", b"/dev/sda1")
        tree = MountTree([ROOT, itself, other])

        assert tree.origin(itself) is ROOT
        assert tree.origin(other) is other

    def test_with_another_root_directory_what_is_above_it_is_not_listed(self):
        mount = mount_of(7, b"/a", on=3)
        tree = MountTree([mount])

        assert tree.over(b"/a/b") is mount
        assert tree.over(b"/b") is None
        assert tree.beneath(b"/") == [mount]

    @given(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 9), st.lists(st.sampled_from("ab"), max_size=3).map("/".join)),
            max_size=12,
        )
    )
    def test_mounts_in_a_circle_end(self, given_mounts):
        mounts = [mount_of(one, b"/" + point.encode(), on=other) for one, other, point in given_mounts]
        tree = MountTree(mounts)

        seen = tree.beneath(b"/")

        assert len({mount.identity for mount in seen}) == len(seen)
        assert all(tree.origin(mount) in mounts for mount in seen)


def tmpfs(mount, place: Path) -> Path:
    place.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "size=1m", "none", place)
    return place


class TestMounts:
    @pytest.fixture
    def mounts(self):
        opened = Mounts()
        yield opened
        opened.close()

    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path.resolve()

    def test_a_root_with_nothing_mounted_is_on_something(self, mounts, folder):
        places = mounts.places(os.fsencode(folder))

        assert places.keys() == {os.fsencode(folder)}
        assert not places[os.fsencode(folder)].is_point

    def test_what_is_mounted_is_found_under_its_name(self, mounts, folder, mount):
        place = tmpfs(mount, folder / "a b\n\xe9")

        found = mounts.places(os.fsencode(folder))[os.fsencode(place)]

        assert found.is_point
        assert found.shown == "tmpfs none"

    def test_the_same_mounted_again_has_the_same_key_and_another_of_its_kind_has_not(self, mounts, folder, mount):
        first, again, other = tmpfs(mount, folder / "a"), folder / "b", tmpfs(mount, folder / "c")
        again.mkdir()
        mount("--bind", first, again)

        places = mounts.places(os.fsencode(folder))

        keys = [places[os.fsencode(place)].key for place in (first, again, other)]
        assert keys[0] == keys[1] != keys[2]

    def test_another_part_of_a_file_system_has_another_key(self, mounts, folder, mount):
        for name in ("one", "two", "a", "b"):
            (folder / name).mkdir()
        mount("--bind", folder / "one", folder / "a")
        mount("--bind", folder / "two", folder / "b")

        places = mounts.places(os.fsencode(folder))

        assert len({mounted.key for mounted in places.values()}) == 3

    def test_a_change_is_told_once(self, mounts, folder, mount):
        is_known_at_first = not mounts.have_changed()
        mounts.places(os.fsencode(folder))
        before = mounts.have_changed()

        tmpfs(mount, folder / "a")
        after = [mounts.have_changed(), mounts.have_changed()]
        mounts.places(os.fsencode(folder))

        assert not is_known_at_first
        assert not before
        assert after == [True, True]
        assert not mounts.have_changed()

    def test_who_waits_is_woken(self, mounts, folder, mount):
        mounts.places(os.fsencode(folder))
        tmpfs(mount, folder / "a")

        began = time.monotonic()
        ready = Waiter().wait([], [], 10, urgent=[mounts.fd])

        assert ready == {mounts.fd}
        assert time.monotonic() - began < 5

    def test_an_unmount_is_told(self, mounts, folder, mount):
        place = tmpfs(mount, folder / "a")
        mounts.places(os.fsencode(folder))

        subprocess.run(["umount", place], check=True)

        assert mounts.have_changed()
        assert mounts.places(os.fsencode(folder)).keys() == {os.fsencode(folder)}
