"""Watched paths and directories that are not there, not yet, not any more, or may not be read."""

import os
import shutil
import subprocess

import pytest


def test_a_directory_that_appears_later_is_watched_from_then_on(watched, wait_until):
    """Pitfall 51."""
    late = watched.folder / "late"
    watched.start({"path": late}, is_walked=False)
    missing = watched.wait_for_coverage("missing")

    (late / "inner").mkdir(parents=True)
    (late / "inner" / "early").write_text("made with it")
    watched.wait_for("created", late / "inner" / "early")
    (late / "inner" / "file").write_text("made later")
    watched.wait_for("created", late / "inner" / "file")
    watched.settle(late)

    assert missing["path"] == str(late)
    assert watched.actions == {
        str(path): ["created"] for path in (late, late / "inner", late / "inner" / "early", late / "inner" / "file")
    }
    assert f"{late} is not there" in watched.run.stderr


def test_a_watched_directory_that_vanishes_and_comes_again(watched):
    (watched.root / "inner").mkdir()
    (watched.root / "inner" / "file").write_text("one")
    paths = {str(path) for path in (watched.root, *watched.root.rglob("*"))}
    watched.start()

    shutil.rmtree(watched.root)
    watched.wait_for_paths("deleted", paths)
    watched.wait_for_coverage("missing")
    (watched.root / "inner").mkdir(parents=True)
    (watched.root / "inner" / "file").write_text("another")
    watched.wait_for_paths("created", paths)
    (watched.root / "inner" / "file").write_text("is watched again")
    watched.wait_for("updated", watched.root / "inner" / "file")
    watched.settle()

    assert watched.actions == {path: ["deleted", "created"] for path in paths - {f"{watched.root}/inner/file"}} | {
        f"{watched.root}/inner/file": ["deleted", "created", "updated"]
    }


def test_another_directory_in_the_place_of_the_watched_one_is_compared_with_it(watched):
    for name in ("same", "other", "gone"):
        (watched.root / name).write_text(name)
    watched.start()

    new = watched.folder / "new"
    new.mkdir()
    (new / "other").write_text("something else")
    (new / "came").write_text("came")
    with watched.suspended():
        watched.root.rename(watched.folder / "old")
        new.rename(watched.root)
    watched.wait_for("created", watched.root / "came")
    watched.wait_for("deleted", watched.root / "gone")
    (watched.root / "later").write_text("is watched")
    watched.wait_for("created", watched.root / "later")
    (watched.folder / "old" / "same").write_text("nobody's business")
    watched.settle()

    actions = watched.actions
    assert {name: actions[f"{watched.root}/{name}"] for name in ("same", "other", "gone", "came")} == {
        "same": ["deleted"],
        "other": ["updated"],
        "gone": ["deleted"],
        "came": ["created"],
    }
    assert watched.wait_for_coverage("replaced")["path"] == str(watched.root)


@pytest.fixture
def mount_over():
    """Mount an empty file system over a directory."""
    mounted = []

    def mount(directory):
        command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "auditline-test", str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
        mounted.append(directory)

    def unmount():
        subprocess.run(["umount", "-l", str(mounted.pop())], check=True)

    yield mount, unmount
    while mounted:
        unmount()


def test_a_directory_that_may_not_be_read_any_more_is_not_taken_for_deleted(nobodys_watched):
    """Pitfall 44."""
    watched, closed = nobodys_watched, nobodys_watched.root / "closed"
    (closed / "inner").mkdir(parents=True)
    for path in (closed / "file", closed / "inner" / "file", closed / "removed"):
        path.write_text("one")
    watched.start()

    closed.chmod(0o000)
    watched.wait_for("attributes_modified", closed)
    unreadable = watched.wait_for_coverage("unreadable")
    watched.settle()
    while_closed = watched.actions
    closed.chmod(0o755)
    (closed / "file").write_text("two")
    (closed / "removed").unlink()
    (closed / "inner" / "file").write_text("three")
    watched.wait_for("updated", closed / "file")
    watched.wait_for("updated", closed / "inner" / "file")
    watched.wait_for("deleted", closed / "removed")

    assert unreadable["path"] == str(closed)
    assert while_closed == {str(closed): ["attributes_modified"]}
    assert watched.actions.keys() == {
        str(path) for path in (closed, closed / "file", closed / "inner" / "file", closed / "removed")
    }


def test_what_changed_in_a_directory_while_it_could_not_be_read_is_found_afterwards(nobodys_watched):
    watched, closed = nobodys_watched, nobodys_watched.root / "closed"
    closed.mkdir()
    for name in ("written", "removed"):
        (closed / name).write_text("one")
    descriptor = os.open(closed, os.O_RDONLY)
    watched.start()

    closed.chmod(0o000)
    watched.wait_for_coverage("unreadable")
    as_root(lambda: ((closed / "written").write_text("two"), (closed / "removed").unlink()))
    as_root((closed / "came").touch)
    watched.settle()
    while_closed = watched.actions
    closed.chmod(0o755)
    watched.wait_for("updated", closed / "written")
    watched.wait_for("deleted", closed / "removed")
    watched.wait_for("created", closed / "came")
    os.close(descriptor)

    assert while_closed == {str(closed): ["attributes_modified"]}


def as_root(act):
    os.seteuid(0)
    try:
        act()
    finally:
        os.seteuid(65534)


def test_a_known_directory_that_may_not_be_read_at_the_start_is_said_and_left_alone(nobodys_watched):
    watched, closed = nobodys_watched, nobodys_watched.root / "closed"
    closed.mkdir()
    (closed / "file").write_text("one")
    watched.start()
    watched.stop()
    closed.chmod(0o000)

    watched.start()
    unreadable = watched.wait_for_coverage("unreadable")
    watched.settle()
    while_closed = watched.actions
    closed.chmod(0o755)
    (closed / "file").write_text("another")
    watched.wait_for("updated", closed / "file")

    assert unreadable["path"] == str(closed)
    assert while_closed == {str(closed): ["attributes_modified"]}


def test_a_directory_that_could_never_be_read_is_learnt_without_events_once_it_may_be(nobodys_watched, wait_until):
    watched, closed = nobodys_watched, nobodys_watched.root / "closed"
    closed.mkdir()
    (closed / "file").write_text("one")
    closed.chmod(0o000)

    watched.start()
    begun = watched.wait_for_coverage("unreadable")
    closed.chmod(0o755)
    wait_until(lambda: watched.wait_for_coverage("unreadable").get("end"))
    watched.settle()
    learnt = watched.actions
    (closed / "file").write_text("another")
    watched.wait_for("updated", closed / "file")

    assert begun["path"] == str(closed)
    assert learnt == {str(closed): ["attributes_modified"]}


@pytest.mark.parametrize("backend", ["fanotify", "fanotify-filesystem", "inotify"])
def test_a_file_system_mounted_over_the_watched_directory_deletes_nothing_and_hides_nothing_for_good(
    watched, mount_over, wait_until, backend
):
    mount, unmount = mount_over
    (watched.root / "beneath").write_text("one")
    (watched.root / "removed").write_text("one")
    watched.start({"path": watched.root, "backend": backend})
    directory = os.open(watched.root, os.O_RDONLY)

    mount(watched.root)
    wait_until(
        lambda: actions_of(watched) == ["mounted over it: what is hidden is kept as it was known", "taken as found"]
    )
    (watched.root / "above").write_text("on the mounted one")
    watched.wait_for("created", watched.root / "above")
    os.unlink("removed", dir_fd=directory)
    os.close(directory)
    unmount()
    watched.wait_for("deleted", watched.root / "removed")
    (watched.root / "beneath").write_text("watched again")
    watched.wait_for("updated", watched.root / "beneath")

    assert watched.actions == {
        f"{watched.root}/above": ["created"],
        f"{watched.root}/removed": ["deleted"],
        f"{watched.root}/beneath": ["updated"],
    }
    assert actions_of(watched)[2:] == [
        "unmounted: what it held is gone with it",
        "compared with what was known before",
    ]
    assert all(entry["path"] == str(watched.root) for entry in watched.coverage if entry["reason"] == "mount")


def actions_of(watched):
    return [entry["action"] for entry in watched.coverage if entry["reason"] == "mount"]


def test_a_mount_that_is_missing_at_the_start_is_no_deletion(watched, mount_over):
    mount, unmount = mount_over
    mount(watched.root)
    for number in range(100):
        (watched.root / f"{number}").write_text("one")
    watched.start()
    watched.stop()
    unmount()

    watched.start()
    watched.settle()

    assert watched.actions == {}
    assert [entry["detail"]["hidden"] for entry in watched.coverage if entry["reason"] == "mount"] == [
        "tmpfs auditline-test",
        "tmpfs auditline-test",
    ]
