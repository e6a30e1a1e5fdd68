"""What must not be opened is not: FIFOs, devices, sockets, and secrets behind a link that was put in between."""

import hashlib
import os
import socket
import stat

import pytest

SECRET = "the secret"
TYPES = {
    "fifo": "fifo",
    "character": "char_device",
    "block": "block_device",
    "socket": "socket",
    "link": "symlink",
    "regular": "file",
}


@pytest.fixture
def sockets():
    made = []

    def bind(path):
        made.append(socket.socket(socket.AF_UNIX))
        made[-1].bind(str(path))

    yield bind
    for one in made:
        one.close()


@pytest.fixture
def make_specials(sockets):
    """Make one of each kind, and a regular file that will be opened."""

    def make(directory):
        os.mkfifo(directory / "fifo")
        if os.geteuid() == 0:
            # /dev/zero, which has no end, and a disk that is not there.
            os.mknod(directory / "character", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
            os.mknod(directory / "block", 0o600 | stat.S_IFBLK, os.makedev(7, 250))
        sockets(directory / "socket")
        (directory / "link").symlink_to("fifo")
        # The kernel tells who opened this one: its silence about the others is worth something.
        (directory / "regular").write_text("read me")

    return make


@pytest.fixture
def secret(watched, opens):
    """A file outside, in a directory that is laid into the way; whether it was opened is heard."""
    directory = watched.folder / "outside"
    directory.mkdir()
    (directory / "file").write_text(SECRET)
    opens.watch(directory)
    return directory / "file"


def test_of_all_kinds_of_files_only_regular_ones_are_opened(watched, make_specials, opens):
    directory = watched.root / "directory"
    directory.mkdir()
    opens.watch(directory)
    watched.start()

    make_specials(directory)
    watched.wait_for("created", directory / "regular")
    watched.settle()
    for name in ("fifo", "socket", "regular"):
        (directory / name).chmod(0o640)
    watched.wait_for("attributes_modified", directory / "fifo")
    watched.settle()

    # The test itself has opened the regular one, to write it.
    assert opens.paths - {directory} == {directory / "regular"}
    files = {os.path.basename(change.path): change.file for change in watched.changes}
    assert {name: file["type"] for name, file in files.items()} == {name: TYPES[name] for name in os.listdir(directory)}
    assert {name for name, file in files.items() if "sha256" in file or "size" in file} == {"regular"}


def test_the_first_walk_opens_regular_files_only(watched, make_specials, opens):
    directory = watched.root / "directory"
    directory.mkdir()
    make_specials(directory)
    opens.watch(directory)

    watched.start()

    assert opens.paths - {directory} == {directory / "regular"}
    assert watched.actions == {}


def test_a_fifo_put_in_the_place_of_a_file_that_waits_for_a_hasher_is_not_opened(watched, opens, wait_until):
    path = watched.root / "file"
    watched.start(hasher={"processes": 1})

    with watched.suspended("hasher 1"):
        path.write_text("a file")
        wait_until(lambda: watched.counters()["hash_jobs_submitted_total"])
        path.unlink()
        os.mkfifo(path)
        opens.watch(watched.root)
    created = watched.wait_for("created", path)
    watched.settle()

    assert created.file["type"] == "fifo"
    assert path not in opens.paths
    assert watched.actions == {str(path): ["created"]}


def test_a_link_put_in_the_place_of_a_file_that_waits_for_a_hasher_is_not_followed(watched, secret, opens, wait_until):
    path = watched.root / "file"
    watched.start(hasher={"processes": 1})

    with watched.suspended("hasher 1"):
        path.write_text("a file")
        wait_until(lambda: watched.counters()["hash_jobs_submitted_total"])
        (watched.root / "link").symlink_to(secret)
        (watched.root / "link").rename(path)
    watched.wait_for("created", path)
    watched.settle()

    assert watched.actions[str(path)] == ["created"]
    assert watched.changes[-1].file["type"] == "symlink"
    assert opens.paths == set()


def test_a_link_put_in_the_place_of_a_directory_whose_file_waits_for_a_hasher_is_not_followed(
    watched, secret, opens, wait_until
):
    directory = watched.root / "directory"
    directory.mkdir()
    watched.start(hasher={"processes": 1})

    with watched.suspended("hasher 1"):
        (directory / "file").write_text("a file")
        wait_until(lambda: watched.counters()["hash_jobs_submitted_total"])
        directory.rename(watched.root / "moved")
        directory.symlink_to(secret.parent)
    watched.wait_for("moved", watched.root / "moved")
    watched.wait_for("created", directory)
    watched.wait_for("created", watched.root / "moved" / "file")
    watched.settle()

    assert opens.paths == set()
    assert hashlib.sha256(SECRET.encode()).hexdigest().encode() not in b"".join(watched.lines.lines)


def test_files_that_are_links_every_other_moment_never_lead_to_the_secret(watched, secret, opens):
    watched.start(fim={"debounce_seconds": 0})

    for number in range(300):
        path = watched.root / f"file-{number % 10}"
        (watched.root / "new").write_text(f"a file {number}")
        (watched.root / "new").rename(path)
        (watched.root / "new").symlink_to(secret)
        (watched.root / "new").rename(path)
    watched.settle()

    assert opens.paths == set()
    assert hashlib.sha256(SECRET.encode()).hexdigest().encode() not in b"".join(watched.lines.lines)
    last = {change.path: change.file["type"] for change in watched.changes}
    assert {last[f"{watched.root}/file-{number}"] for number in range(10)} == {"symlink"}


def test_links_to_directories_are_told_and_not_entered(watched, secret, opens):
    (watched.root / "to-outside").symlink_to(secret.parent)
    watched.start()

    (watched.root / "to-itself").symlink_to(".")
    watched.wait_for("created", watched.root / "to-itself")
    secret.write_text("another secret")
    (secret.parent / "new").mkdir()
    watched.settle()

    assert watched.actions == {f"{watched.root}/to-itself": ["created"]}
    # The test itself wrote it.
    assert opens.paths <= {secret}
