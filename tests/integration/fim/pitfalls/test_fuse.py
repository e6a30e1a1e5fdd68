"""Pitfalls of file systems that are served by somebody else: no events, no inode numbers, errors of reading."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUSE = Path(__file__).parent / "fuse.py"


@pytest.fixture
def served(corner, wait_until):
    """A directory whose files are to be seen in `served` of the corner, which is watched."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("no file system in user space can be mounted here")
    directory = corner.watched.folder / f"served-{corner.root.name}"
    directory.mkdir()
    (directory / "file").write_text("one")
    point = corner.root / "served"
    point.mkdir()
    corner.forget(1)
    with subprocess.Popen([sys.executable, "-S", str(FUSE), str(point), str(directory)]) as server:
        try:
            wait_until(lambda: server.poll() is not None or os.path.ismount(point))
            if server.poll() is not None:
                pytest.skip("no file system in user space can be mounted here")
            corner.wait_for_coverage("mount")
            make_known(corner, directory)
            yield directory
        finally:
            subprocess.run(["umount", "-l", str(point)], check=False)


def make_known(corner, directory):
    """Return when what is there has been taken as known: what comes after that is told."""
    # By its name it is none of those that a test is told of: an earlier one may be told when a later one has been made.
    marker = directory / ".settled-marker"
    while not any(change.path.endswith("/served/.settled-marker") for change in corner.all_changes):
        marker.unlink(missing_ok=True)
        corner.settle()
        marker.touch()
        corner.settle()
    corner.drop_changes()


def appear(corner, directory, name):
    """Make a file that is found by the next poll, and wait for it."""
    path = corner.root / "served" / name
    (directory / name).touch()
    corner.wait_for("created", path)


def test_inode_numbers_that_are_others_each_time_are_no_changes(corner, served):
    """Pitfall 30."""
    for number in range(5):
        appear(corner, served, f"poll-{number}")

    assert corner.actions == {f"served/poll-{number}": ["created"] for number in range(5)}


def test_inode_numbers_that_are_others_each_time_have_no_file_read_again(corner, served):
    """Pitfall 30, what it costs."""
    for number in range(30):
        (served / f"kept-{number}").touch()
    appear(corner, served, "poll-0")
    appear(corner, served, "poll-1")
    read_before = corner.counters()["hash_jobs_submitted_total"]

    appear(corner, served, "poll-2")
    appear(corner, served, "poll-3")

    # New ones are read a second time, if they were read as soon as they were made.
    assert corner.counters()["hash_jobs_submitted_total"] - read_before <= 5


def test_with_inode_numbers_that_are_others_each_time_other_rights_are_no_other_file(corner, served):
    """Pitfall 30."""
    (served / "directory").mkdir()
    appear(corner, served, "poll-0")
    appear(corner, served, "poll-1")
    corner.drop_changes()

    (served / "file").chmod(0o600)
    (served / "directory" / "new").touch()
    corner.wait_for("created", corner.root / "served" / "directory" / "new")
    changed = corner.wait_for("attributes_modified", corner.root / "served" / "file")
    appear(corner, served, "poll-2")

    assert corner.actions == {
        "served/file": ["attributes_modified"],
        "served/directory/new": ["created"],
        "served/poll-2": ["created"],
    }
    assert "inode" not in changed.document["auditline"]["change"]["after"]


def test_what_another_client_changes_is_found_by_polling_and_that_is_said(corner, served):
    """Pitfall 35, with another kind of file server."""
    (served / "file").write_text("another")
    updated = corner.wait_for("updated", corner.root / "served" / "file")

    assert updated.file["sha256"] == hashlib.sha256(b"another").hexdigest()
    assert any(entry["reason"] == "backend" for entry in corner.coverage) or corner.backend == "poll"
    assert corner.counters()["polled_directories"] >= 1


def test_a_file_that_cannot_be_read_is_said_and_all_else_goes_on(corner, served):
    """Pitfall 45."""
    (served / "bad").write_text("nobody can read it")
    (served / "good").write_text("good")
    bad = corner.wait_for("created", corner.root / "served" / "bad")
    good = corner.wait_for("created", corner.root / "served" / "good")

    ours = bad.document["auditline"]
    assert (ours["hash_state"], ours["hash_reason"]) == ("partial", "read_error")
    assert good.file["sha256"] == hashlib.sha256(b"good").hexdigest()
