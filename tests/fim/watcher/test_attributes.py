"""Attributes that `lstat` does not tell: extended ones and the flags of chattr."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditline.workers.common.attributes import flag_words, unpack_xattrs


def set_flag(flag: str, path: Path) -> None:
    done = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no flags can be set here: {done.stderr}")


@pytest.fixture
def unprotected(watched: Path) -> Iterator[None]:
    """Take the flags away when the test is over, so that all can be deleted."""
    yield
    subprocess.run(["chattr", "-R", "-ia", watched], capture_output=True, check=False)


@pytest.mark.parametrize("hashes", [("sha256",), ()])
def test_an_extended_attribute_of_a_file_is_told_by_its_name(start, watched, hashes):
    file = watched / "file"
    file.write_text("text")
    running = start(hashes=hashes)

    os.setxattr(file, "user.mark", b"seen")
    running.settle()

    [change] = running.changes
    assert change.action == "attributes_modified"
    assert change.before.xattrs == b""
    assert [xattr.name for xattr in unpack_xattrs(change.after.xattrs)] == [b"user.mark"]


def test_one_of_a_directory_is_told_and_no_other_path_with_it(start, watched):
    (watched / "d").mkdir()
    (watched / "d" / "file").write_text("text")
    running = start()

    os.setxattr(watched / "d", "user.mark", b"seen")
    running.settle()

    [change] = running.changes
    assert (change.action, os.path.basename(change.path)) == ("attributes_modified", b"d")
    assert [xattr.value for xattr in unpack_xattrs(change.after.xattrs)] == [b"seen"]


def test_one_of_a_symbolic_link_is_its_own(start, watched):
    (watched / "file").write_text("text")
    (watched / "link").symlink_to("file")
    running = start()

    os.setxattr(watched / "link", "security.mark", b"seen", follow_symlinks=False)
    running.settle()

    [change] = running.changes
    assert (change.action, os.path.basename(change.path)) == ("attributes_modified", b"link")


@pytest.mark.usefixtures("unprotected")
@pytest.mark.parametrize("name", ["file", "d"])
def test_a_flag_that_was_set_meanwhile_is_found_by_the_next_start(start, watched, name):
    (watched / "file").write_text("text")
    (watched / "d").mkdir()
    start().forget_all()
    set_flag("+i", watched / name)

    running = start()

    [change] = running.changes
    assert (change.action, os.path.basename(change.path)) == ("attributes_modified", os.fsencode(name))
    assert flag_words(change.after.flags) == ["immutable"]


def test_they_go_with_what_is_renamed(start, watched):
    (watched / "d").mkdir()
    (watched / "d" / "file").write_text("text")
    for path in (watched / "d", watched / "d" / "file"):
        os.setxattr(path, "user.mark", b"seen")
    running = start()

    (watched / "d").rename(watched / "e")
    (watched / "e" / "file").rename(watched / "file")
    running.settle()

    assert running.told == [("moved", "e"), ("moved", "file")]
    assert all(change.before.xattrs == change.after.xattrs != b"" for change in running.changes)
