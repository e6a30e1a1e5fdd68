"""Pitfalls of btrfs: subvolumes and snapshots, which have device numbers of their own."""

import os
import shutil
import subprocess

import pytest

from auditline.workers.fim.listing import Listing

IMAGE_BYTES = 128 << 20


@pytest.fixture
def btrfs(corner, tmp_path):
    """A file system in the corner, and how to work with its subvolumes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a btrfs")
    for program in ("mkfs.btrfs", "btrfs", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing")
    image, point = tmp_path / "image", corner.root / "btrfs"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.btrfs", "--quiet", "--mixed", str(image)], check=True)
    point.mkdir()
    corner.forget(1)
    done = subprocess.run(["mount", "-o", "loop", image, point], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a btrfs: {done.stderr.strip()}")
    corner.wait_for_coverage("mount")
    corner.settle()
    corner.drop_changes()

    yield lambda *arguments: subprocess.run(
        ["btrfs", "subvolume", *map(str, arguments)], check=True, capture_output=True
    )
    subprocess.run(["umount", "-l", str(point)], check=True)


def test_subvolumes_and_snapshots_are_directories_like_others(corner, btrfs):
    """Pitfall 36."""
    point = corner.root / "btrfs"
    btrfs("create", point / "one")
    (point / "one" / "file").touch()
    corner.wait_for("created", point / "one" / "file")

    btrfs("snapshot", point / "one", point / "two")
    corner.wait_for("created", point / "two" / "file")
    with (point / "two" / "file").open("r+") as file:
        file.write("another")
    corner.wait_for("updated", point / "two" / "file")
    btrfs("delete", point / "two")
    corner.wait_for("deleted", point / "two" / "file")
    corner.settle()

    assert corner.actions["btrfs/one/file"] == ["created"]
    assert corner.actions["btrfs/two/file"] == ["created", "updated", "deleted"]


def test_what_is_made_in_a_directory_between_opening_and_watching_it_is_listed(corner, btrfs):
    """Pitfall 36: only what was there when the directory was opened is listed, unless it is asked for again."""
    new = corner.root / "btrfs" / "new"
    new.mkdir()
    descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY)

    (new / "file").touch()
    listing = Listing(descriptor, os.fstat(descriptor))
    entries = listing.read()
    listing.close()

    assert [name for name, _ in entries] == [b"file"]
