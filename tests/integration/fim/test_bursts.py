"""Much at once: whole trees, more events than the kernel keeps, and writers that never stop."""

import os
import time

import pytest

TREES = 200


def test_every_directory_of_trees_made_at_once_is_told_and_watched(watched):
    watched.start()

    for number in range(TREES):
        directory = watched.root / f"a{number}" / "b" / "c" / "d"
        directory.mkdir(parents=True)
        (directory / "file").touch()
    paths = {str(path) for path in watched.root.rglob("*")}
    watched.wait_for_paths("created", paths, seconds=30)
    (watched.root / "a7" / "b" / "c" / "d" / "later").write_text("is watched")
    watched.wait_for("created", watched.root / "a7" / "b" / "c" / "d" / "later")

    assert len(paths) == 5 * TREES
    told = watched.actions
    assert {path: told[path] for path in paths} == {path: ["created"] for path in paths}
    assert told.keys() == paths | {f"{watched.root}/a7/b/c/d/later"}


def test_trees_that_are_filled_while_they_are_found_are_told_completely(watched):
    watched.start(fim={"debounce_seconds": 0})

    for number in range(50):
        (watched.root / f"{number}").mkdir()
        for name in range(20):
            (watched.root / f"{number}" / f"{name}").touch()
            (watched.root / f"{number}" / f"{name}-d").mkdir()
    paths = {str(path) for path in watched.root.rglob("*")}
    watched.wait_for_paths("created", paths, seconds=30)
    watched.settle()

    assert watched.actions == {path: ["created"] for path in paths}


@pytest.mark.parametrize("count", [20_000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_more_events_than_the_kernel_keeps_cost_no_file_and_are_told_once(watched, count):
    # The queue of fanotify has no end.
    watched.start({"path": watched.root, "backend": "inotify"})

    with watched.suspended():
        for number in range(count):
            os.close(os.open(f"{watched.root}/{number}", os.O_CREAT | os.O_WRONLY, 0o644))
    watched.wait_for_paths("created", {f"{watched.root}/{number}" for number in range(count)}, seconds=60)
    watched.wait_for_coverage("overflow")
    watched.settle()

    assert len(watched.changes) == count
    (overflow,) = [entry for entry in watched.coverage if entry["reason"] == "overflow"]
    assert overflow["path"] == str(watched.root)
    assert overflow["start"] <= overflow["end"]


def test_a_change_of_each_kind_is_found_behind_an_overflow(watched):
    for name in ("written", "removed", "other-mode"):
        (watched.root / name).write_text(name)
    watched.start({"path": watched.root, "backend": "inotify"})

    with watched.suspended():
        _overflow(watched.root)
        (watched.root / "written").write_text("once more")
        (watched.root / "removed").unlink()
        (watched.root / "other-mode").chmod(0o600)
        (watched.root / "deep" / "er").mkdir(parents=True)
        (watched.root / "deep" / "er" / "file").write_text("new")
    watched.wait_for_coverage("overflow")
    (watched.root / "deep" / "er" / "later").write_text("is watched")
    watched.wait_for("created", watched.root / "deep" / "er" / "later")
    watched.settle()

    assert watched.actions == {
        f"{watched.root}/written": ["updated"],
        f"{watched.root}/removed": ["deleted"],
        f"{watched.root}/other-mode": ["attributes_modified"],
        f"{watched.root}/deep": ["created"],
        f"{watched.root}/deep/er": ["created"],
        f"{watched.root}/deep/er/file": ["created"],
        f"{watched.root}/deep/er/later": ["created"],
    }


def _overflow(directory):
    """Make more events than fit, which all cancel each other out."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as limit:
        count = int(limit.read())
    for number in range(count // 2):
        path = f"{directory}/{number % 2}-gone"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.unlink(path)


def test_a_writer_that_does_not_stop_has_at_most_one_event_in_each_longest_delay(watched):
    path, delay_seconds = watched.root / "log", 0.5
    watched.start(fim={"debounce_seconds": 0.2, "max_delay_seconds": delay_seconds})

    start = time.monotonic()
    with path.open("ab", buffering=0) as log:
        # The load of this test, not a wait for anything.
        while (elapsed_seconds := time.monotonic() - start) < 2.5:
            log.write(b"a line\n")
            time.sleep(0.05)
    while_writing = watched.actions[str(path)]
    watched.wait_for_present_hash(path)

    told = [change for change in watched.changes if change.path == str(path)]
    assert while_writing[:2] == ["created", "updated"]
    assert len(told) <= elapsed_seconds / delay_seconds + 2
    assert {change.action for change in told[1:]} == {"updated"}


def test_a_file_written_in_many_steps_is_one_event_once_it_is_quiet(watched):
    path = watched.root / "file"
    watched.start(fim={"debounce_seconds": 0.5, "max_delay_seconds": 30})

    with path.open("ab", buffering=0) as file:
        for _ in range(1000):
            file.write(b"a piece of it\n")
    path.chmod(0o600)
    created = watched.wait_for("created", path)
    watched.settle()

    assert watched.actions == {str(path): ["created"]}
    assert (created.file["size"], created.file["mode"]) == (14_000, "0600")


def test_the_last_event_of_a_file_rewritten_all_the_time_has_its_last_hash(watched):
    paths = [watched.root / f"file-{number}" for number in range(5)]
    watched.start(fim={"debounce_seconds": 0})

    start = time.monotonic()
    while time.monotonic() - start < 1:
        for path in paths:
            path.write_bytes(os.urandom(200_000))

    watched.wait_for_present_hash(*paths)
