"""Pitfalls of mounts: over a watched directory, in it, gone and back, and overlays."""

import os
import subprocess

import pytest


class Mounts:
    """What a test mounts; all is unmounted at the end."""

    def __init__(self, wait_until):
        self._points = []
        self._wait_until = wait_until

    def mount(self, kind, point, options, source="auditline-test"):
        """Mount a file system, or skip the test."""
        command = ["mount", "-t", kind, "-o", options, source, str(point)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount {kind}: {done.stderr.strip()}")
        self._points.append(point)

    def bind(self, source, point):
        """Mount a directory a second time."""
        done = subprocess.run(["mount", "--bind", source, point], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        self._points.append(point)

    def unmount(self):
        """Unmount what was mounted last: whoever polls has it open for moments."""
        command = ["umount", str(self._points[-1])]
        self._wait_until(lambda: subprocess.run(command, check=False).returncode == 0)
        self._points.pop()

    def end(self):
        for point in reversed(self._points):
            subprocess.run(["umount", "-l", str(point)], check=False)


@pytest.fixture
def mounts(corner, wait_until):
    """Asks for the corner to be unmounted before it is taken away."""
    mounts = Mounts(wait_until)
    yield mounts
    mounts.end()


@pytest.fixture
def inner(corner):
    """A directory in which something is mounted, with a file that is hidden then."""
    path = corner.root / "inner"
    path.mkdir()
    (path / "beneath").write_text("one")
    corner.forget(2)
    return path


def test_a_mount_over_a_watched_directory_deletes_nothing_and_is_told(corner, mounts, inner):
    """Pitfall 31."""
    mounts.mount("tmpfs", inner, "size=1m,mode=755")
    corner.wait_for_coverage("mount")
    corner.wait_until_known(inner)
    (inner / "above").write_text("on the mounted one")
    corner.wait_for("created", inner / "above")
    mounts.unmount()
    corner.settle()
    (inner / "beneath").write_text("is watched as before")
    corner.wait_for("updated", inner / "beneath")

    assert corner.actions == {"inner/above": ["created"], "inner/beneath": ["updated"]}


def test_a_file_system_that_is_mounted_again_is_watched_again(corner, mounts, inner):
    """Pitfall 32."""
    source = corner.watched.folder / f"source-{corner.root.name}"
    source.mkdir()
    (source / "file").write_text("one")
    mounts.bind(source, inner)
    corner.wait_for_coverage("mount")
    corner.settle()
    mounts.unmount()
    corner.settle()

    (source / "meanwhile").write_text("while it was not mounted")
    mounts.bind(source, inner)
    corner.wait_for("created", inner / "meanwhile")
    (inner / "file").write_text("another")
    corner.wait_for("updated", inner / "file")

    assert corner.actions == {"inner/meanwhile": ["created"], "inner/file": ["updated"]}


def test_a_file_system_mounted_within_the_watch_is_watched(corner, mounts, inner):
    """Pitfall 33."""
    mounts.mount("tmpfs", inner, "size=1m,mode=755")
    corner.wait_for_coverage("mount")
    corner.wait_until_known(inner)

    (inner / "directory").mkdir()
    (inner / "directory" / "file").write_text("one")

    corner.wait_for_actions({"inner/directory": ["created"], "inner/directory/file": ["created"]})


def test_a_file_that_an_overlay_copies_up_is_one_update(corner, mounts, inner):
    """Pitfall 34."""
    parts = {name: corner.watched.folder / f"{name}-{corner.root.name}" for name in ("lower", "upper", "work")}
    for part in parts.values():
        part.mkdir()
    (parts["lower"] / "file").write_text("one")
    mounts.mount("overlay", inner, ",".join(f"{name}dir={path}" for name, path in parts.items()), "overlay")
    corner.wait_for_coverage("mount")
    corner.settle()

    with (inner / "file").open("a") as file:
        file.write(" and two")
    updated = corner.wait_for("updated", inner / "file")
    corner.settle()

    assert corner.actions == {"inner/file": ["updated"]}
    assert updated.after["size"] == 11


def test_the_host_side_of_an_overlay_s_upper_directory_tells_what_a_container_does(corner, mounts):
    """Pitfall 34, from the other side: the upper directory is what is watched."""
    upper = corner.root / "upper"
    upper.mkdir()
    corner.forget(1)
    parts = {name: corner.watched.folder / f"{name}-of-{corner.root.name}" for name in ("lower", "merged")}
    for part in parts.values():
        part.mkdir()
    work = corner.watched.folder / f"work-of-{corner.root.name}"
    work.mkdir()
    mounts.mount("overlay", parts["merged"], f"lowerdir={parts['lower']},upperdir={upper},workdir={work}", "overlay")

    (parts["merged"] / "file").write_text("by way of the overlay")
    corner.wait_for("created", upper / "file")
    corner.settle()

    # Mounting gives the directory an extended attribute.
    assert corner.actions.keys() <= {"upper", "upper/file"}
    assert corner.actions["upper/file"] == ["created"]


def test_what_is_done_by_way_of_a_bind_mount_is_told_under_the_watched_name(corner, mounts):
    """Pitfall 33, of the same directory under another name."""
    elsewhere = corner.watched.folder / f"elsewhere-{corner.root.name}"
    elsewhere.mkdir()
    mounts.bind(corner.root, elsewhere)

    (elsewhere / "file").write_text("one")
    (elsewhere / "file").rename(elsewhere / "renamed")
    corner.wait_for("created", corner.root / "renamed")
    os.truncate(elsewhere / "renamed", 1)

    corner.wait_for("updated", corner.root / "renamed")
