"""Pitfalls of contents: links, types, names, and files that change while they are read."""

import hashlib
import operator
import os
import socket
import stat
import threading
import time
from contextlib import closing, contextmanager
from functools import partial

import pytest

LONG = "n" * 250
STRANGE = ("two\nlines", "\x1b[2Jclears", "n" * 255)
NO_TEXT, SHOWN = b"\xff\xfe", r"\xff\xfe"


@pytest.fixture
def outside(corner):
    """A directory that nobody watches, on the same file system."""
    path = corner.watched.folder / f"outside-{corner.root.name}"
    path.mkdir()
    return path


@pytest.fixture
def secret(outside, opens):
    """A file outside of which the kernel tells whether anybody opened it."""
    (outside / "file").write_text("the secret")
    opens.watch(outside)
    return outside / "file"


def test_a_write_through_a_name_elsewhere_is_told(corner, outside):
    """Pitfall 12."""
    (outside / "other").write_text("one")
    os.link(outside / "other", corner.root / "linked")
    corner.forget(1)

    with (outside / "other").open("a") as file:
        file.write(" and two")
    corner.wait_for_actions({"linked": ["updated"]})

    assert corner.changes[-1].after["sha256"] == hashlib.sha256(b"one and two").hexdigest()


def test_a_file_that_is_a_link_every_other_moment_never_leads_to_the_secret(corner, secret, opens):
    """Pitfall 14."""
    for number in range(200):
        (corner.root / "new").write_text(f"a file {number}")
        (corner.root / "new").rename(corner.root / "file")
        (corner.root / "new").symlink_to(secret)
        (corner.root / "new").rename(corner.root / "file")
    corner.settle()

    assert opens.paths == set()
    assert corner.changes[-1].file["type"] == "symlink"


def test_a_directory_that_is_a_link_every_other_moment_never_leads_to_the_secret(corner, secret, opens):
    """Pitfall 15."""
    (corner.root / "directory").mkdir()
    for number in range(100):
        (corner.root / "directory" / "file").write_text(f"a file {number}")
        (corner.root / "directory").rename(corner.root / "aside")
        (corner.root / "directory").symlink_to(secret.parent)
        (corner.root / "directory").unlink()
        (corner.root / "aside").rename(corner.root / "directory")
    corner.settle()

    assert opens.paths == set()
    assert hashlib.sha256(b"the secret").hexdigest() not in {change.file.get("sha256") for change in corner.changes}


def test_where_a_link_leads_is_its_content(corner):
    """Pitfall 16."""
    (corner.root / "link").symlink_to("nowhere")
    corner.forget(1)

    (corner.root / "new").symlink_to("link")
    (corner.root / "new").rename(corner.root / "link")
    updated = corner.wait_for("updated", corner.root / "link")
    corner.settle()

    assert corner.actions == {"link": ["updated"]}
    assert (updated.before["target_path"], updated.after["target_path"]) == ("nowhere", "link")


def test_what_is_no_file_is_told_and_not_opened(corner, opens):
    """Pitfall 17."""
    known = corner.know(fifo="a file", device="a file", socket="a file")
    opens.watch(corner.root)

    with corner.suspended(), closing(socket.socket(socket.AF_UNIX)) as server:
        for path in known.values():
            path.unlink()
        os.mkfifo(known["fifo"])
        os.mknod(known["device"], 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        server.bind(f"/proc/self/fd/{os.open(corner.root, os.O_PATH)}/socket")
    corner.wait_for_actions({name: ["updated"] for name in known})

    types = {os.path.basename(change.path): change.after["type"] for change in corner.changes}
    assert types == {"fifo": "fifo", "device": "char_device", "socket": "socket"}
    assert opens.paths.isdisjoint(known.values())


def test_a_file_that_changes_while_it_is_read_has_no_hash_that_it_never_had(corner, rewriter):
    """Pitfalls 18 and 19: it is rewritten and cut off all the time."""
    path = corner.root / "rewritten"

    with rewriter(path) as contents:
        corner.wait_for("created", path)
        # The load of this test, not a wait for anything.
        time.sleep(0.4)
    corner.watched.wait_for_present_hash(path)

    told = {(change.file["size"], change.file["sha256"]) for change in corner.changes if "sha256" in change.file}
    # A file that grows has the hash of its beginning, also in the midst of a write.
    possible = {
        (size, hashlib.sha256(content()[:size]).hexdigest()) for size, _ in told for content in (bytes, *contents)
    }
    assert told <= possible


@pytest.fixture
def rewriter():
    """Write a file anew all the time, and cut it off; gives ways to make all that was ever written."""

    @contextmanager
    def rewrite(path):
        contents, stops = [], threading.Event()

        def write():
            with path.open("wb", buffering=0) as file:
                while not stops.wait(0.001):
                    contents.append(partial(operator.mul, os.urandom(16), 60_000))
                    content = contents[-1]()
                    os.pwrite(file.fileno(), content, 0)
                    file.truncate(len(content) // 2)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield contents
        finally:
            stops.set()
            thread.join()

    return rewrite


def test_names_of_all_kinds_are_one_line_each(corner):
    """Pitfall 42."""
    for name in (*STRANGE, os.fsdecode(NO_TEXT)):
        (corner.root / name).touch()
    directory = os.open(corner.root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(LONG, dir_fd=directory)
        directory, parent = os.open(LONG, os.O_RDONLY, dir_fd=directory), directory
        os.close(parent)
    os.close(os.open("end", os.O_CREAT, dir_fd=directory))
    os.close(directory)
    deepest = "/".join([str(corner.root), *[LONG] * 20, "end"])
    corner.wait_for("created", deepest)
    corner.settle()

    assert len(deepest) > 4096
    assert corner.actions.keys() >= {*STRANGE, SHOWN}
    assert not any(byte < 32 or byte == 127 for line in corner.watched.lines.lines for byte in line)
