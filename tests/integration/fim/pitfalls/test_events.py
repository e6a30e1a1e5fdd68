"""Pitfalls of what the kernel says and does not say about files: order, merging, directories made at once."""

import mmap
import os
import shutil
import time

import pytest

TREES = 100


def test_every_directory_and_file_of_trees_made_at_once_is_told(corner):
    """Pitfall 2."""
    corner.settle()

    for number in range(TREES):
        directory = corner.root / f"a{number}" / "b" / "c" / "d"
        directory.mkdir(parents=True)
        (directory / "file").touch()
    paths = [path.relative_to(corner.root) for path in corner.root.rglob("*")]

    assert len(paths) == 5 * TREES
    corner.wait_for_actions({str(path): ["created"] for path in paths}, 30)


def test_no_file_is_lost_while_the_watcher_stands_still(corner):
    """Pitfall 3."""
    names = [f"{number}" for number in range(500)]

    with corner.suspended():
        fill_queue(corner.root)
        for name in names:
            (corner.root / name).touch()
    corner.wait_for_actions({name: ["created"] for name in names}, 30)

    # Only inotify has a queue with an end.
    assert len([gap for gap in corner.coverage if gap["reason"] == "overflow"]) == (corner.backend == "inotify")


def fill_queue(directory):
    """Make as many events as inotify keeps, which all cancel each other out."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as limit:
        count = int(limit.read())
    for number in range(count // 2):
        path = directory / f"{number % 2}-gone"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.unlink(path)


def test_a_file_deleted_and_made_again_is_modified_and_one_made_and_deleted_is_nothing(corner):
    """Pitfall 5."""
    known = corner.know(again="one")

    with corner.suspended():
        known["again"].unlink()
        known["again"].write_text("another")
        (corner.root / "momentary").write_text("for a moment")
        (corner.root / "momentary").unlink()

    corner.wait_for_actions({"again": ["updated"]})


def test_of_a_removed_tree_every_path_is_told_whole(corner):
    """Pitfall 6."""
    for directory in ("a/b/c", "a/b/d", "a/e/f"):
        (corner.root / directory).mkdir(parents=True)
        (corner.root / directory / "file").write_text(directory)
    paths = {str(path.relative_to(corner.root)) for path in corner.root.rglob("*")}
    corner.forget(len(paths))

    shutil.rmtree(corner.root / "a")

    corner.wait_for_actions({path: ["deleted"] for path in paths})


def test_what_is_written_through_a_mapping_is_told_when_that_is_gone(corner):
    """Pitfall 24."""
    known = corner.know(mapped="0" * 5000)

    with known["mapped"].open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[100] = ord("1")
        mapping.flush()
    updated = corner.wait_for("updated", known["mapped"])
    corner.settle()

    assert corner.actions == {"mapped": ["updated"]}
    assert "sha256" in updated.before


def test_who_never_closes_a_file_is_told_from_time_to_time(corner):
    """Pitfall 25."""
    path = corner.root / "log"

    start = time.monotonic()
    with path.open("ab", buffering=0) as log:
        # The load of this test, not a wait for anything.
        while (elapsed_seconds := time.monotonic() - start) < 1.5:
            log.write(b"a line\n")
            time.sleep(0.01)
        written = path.stat().st_size
        corner.wait_for_size(path, written)

    # What is polled is listed so often; the longest delay else.
    most_often_seconds = corner.by_sight(1, 0.2)
    assert {change.action for change in corner.changes[1:]} <= {"updated"}
    assert len(corner.changes) <= elapsed_seconds / most_often_seconds + 3


def test_truncation_by_path_is_told(corner):
    """Pitfall 24, the other call that opens and closes nothing."""
    known = corner.know(cut="0123456789")

    os.truncate(known["cut"], 4)
    updated = corner.wait_for("updated", known["cut"])

    assert (updated.before["size"], updated.after["size"]) == (10, 4)


def test_a_time_of_modification_that_is_set_back_hides_nothing(corner):
    """Pitfall 26."""
    known = corner.know(forged="one")
    times = known["forged"].stat()

    with corner.suspended():
        known["forged"].write_text("two")
        os.utime(known["forged"], ns=(times.st_atime_ns, times.st_mtime_ns))
    updated = corner.wait_for("updated", known["forged"])
    corner.settle()

    assert corner.actions == {"forged": ["updated"]}
    assert updated.before.keys() == {"ctime", "sha256"}


@pytest.mark.parametrize("content", ["the same", "another!"])
def test_an_inode_number_used_again_is_not_the_same_file(corner, content):
    """Pitfall 29."""
    known = corner.know(old="the same")
    inode = known["old"].stat().st_ino

    with corner.suspended():
        known["old"].unlink()
        (corner.root / "new").write_text(content)
    corner.wait_for_actions({"old": ["deleted"], "new": ["created"]})

    if (corner.root / "new").stat().st_ino != inode:
        pytest.skip("this file system did not use the inode number again")


def test_a_file_without_a_name_is_told_once_it_has_one(corner):
    """Pitfall 41."""
    descriptor = os.open(corner.root, os.O_TMPFILE | os.O_WRONLY, 0o644)
    os.write(descriptor, b"content")
    corner.settle()

    # Python follows the link only where a directory is named; that of an absolute path does not matter.
    os.link(f"/proc/self/fd/{descriptor}", corner.root / "file", src_dir_fd=descriptor)
    os.close(descriptor)
    created = corner.wait_for("created", corner.root / "file")
    corner.settle()

    assert corner.actions == {"file": ["created"]}
    assert created.file["size"] == 7
