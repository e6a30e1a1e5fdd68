"""Names as strange as the kernel allows: one whole line each, and the exact bytes kept."""

import base64
import os
import shutil

import pytest

LONG = "n" * 250
DEPTH = 20
"""So many directories with long names make a path of over 4096 bytes."""


def assert_nothing_is_raw(lines):
    """Say that no line has a byte that a terminal would obey."""
    assert not any(byte < 32 or byte == 127 for line in lines for byte in line)


@pytest.fixture
def deep(watched):
    """Open, and make where it is missing, the directory at the end of the deep path."""
    descriptors = []

    def open_deep():
        descriptor = os.open(watched.root, os.O_RDONLY)
        descriptors.append(descriptor)
        for _ in range(DEPTH):
            if LONG not in os.listdir(descriptor):
                os.mkdir(LONG, dir_fd=descriptor)
            descriptor = os.open(LONG, os.O_RDONLY, dir_fd=descriptor)
            descriptors.append(descriptor)
        return descriptor

    yield open_deep
    for descriptor in descriptors:
        os.close(descriptor)


NAMES = (
    "two\nlines",
    "\x1b[2Jclears",
    'quo"te\\',
    "tab\tand\rreturn",
    "{'%s' % 1} {} $(id)",
    "ü" * 127,
    "n" * 255,
    " ",
    "\u202ereversed",
    "-rf",
    "#1",
)


def test_a_strange_name_is_one_line_each_time_with_that_very_name(watched):
    paths = [watched.root / name for name in NAMES]
    watched.start()

    for path in paths:
        watched.put(path, "one")
    watched.wait_for_paths("created", set(map(str, paths)))
    for path in paths:
        path.chmod(0o600)
    watched.wait_for_paths("attributes_modified", set(map(str, paths)))
    for path in paths:
        path.unlink()
    watched.wait_for_paths("deleted", set(map(str, paths)))

    assert watched.actions == {str(path): ["created", "attributes_modified", "deleted"] for path in paths}
    assert_nothing_is_raw(watched.lines.lines)


def test_a_name_that_is_no_text_is_kept_byte_by_byte(watched, wait_until):
    names = [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc3", b"\xff\n\x1b", b"\xfe" * 255]
    root = os.fsencode(watched.root)
    watched.start()

    for name in names:
        os.mkdir(root + b"/" + name)
        os.symlink(name, root + b"/" + name + b"/link")
    wait_until(lambda: len(watched.changes) == 2 * len(names))

    lines = watched.lines.lines
    assert all(line.decode() for line in lines)
    assert_nothing_is_raw(lines)
    kept = [
        (entry["field"], base64.b64decode(entry["base64"]))
        for change in watched.changes
        for entry in change.document["auditline"]["undecodable"]
    ]
    made = {root + b"/" + name for name in names}
    links = {path + b"/link" for path in made}
    assert set(kept) == {*(("path", path) for path in made | links), *(("target_path", name) for name in names)}
    assert len(kept) == len(set(kept))
    assert len({change.path for change in watched.changes}) == 2 * len(names)


def test_paths_longer_than_the_kernel_takes_at_once_are_watched_like_others(watched, deep):
    watched.start()

    directory = deep()
    end = "/".join([str(watched.root), *[LONG] * DEPTH, "file"])
    with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory), "w", encoding="ascii") as file:
        file.write("one")
    created = watched.wait_for("created", end)
    with open(os.open("file", os.O_WRONLY, dir_fd=directory), "w", encoding="ascii") as file:
        file.write("another")
    watched.wait_for("updated", end)
    shutil.rmtree(watched.root / LONG)
    watched.wait_for("deleted", end)
    watched.settle()

    assert len(end) > 4096
    assert created.file["hashed"] is True
    prefixes = ["/".join([str(watched.root), *[LONG] * depth]) for depth in range(1, DEPTH + 1)]
    assert watched.actions == {end: ["created", "updated", "deleted"]} | {
        prefix: ["created", "deleted"] for prefix in prefixes
    }


def test_deep_paths_that_are_there_at_the_start_are_walked(watched, deep):
    directory = deep()
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    watched.start()

    os.unlink("file", dir_fd=directory)
    deleted = watched.wait_for("deleted", "/".join([str(watched.root), *[LONG] * DEPTH, "file"]))

    assert deleted.file["size"] == 0
    assert watched.coverage[0]["detail"]["directories"] >= DEPTH
