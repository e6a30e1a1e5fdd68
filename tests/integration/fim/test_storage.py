"""The baseline on a full disk, and a damaged one: nothing is missed, and it is said."""

import os

import pytest

STATE_MEGABYTES = 16


@pytest.fixture
def state(watched, small_disk):
    """The state directory as a disk of its own, with room for a baseline and twice its changes."""
    return small_disk("service/state", STATE_MEGABYTES)


@pytest.fixture
def baseline(watched):
    """Where the baseline of `root` is."""
    return watched.folder / "service" / "state" / "baselines" / f"{watched.source}.sqlite"


def test_what_changes_while_the_disk_is_full_is_told_once_there_is_room(watched, state, wait_until):
    root = watched.root
    for name in ("written", "removed", "other-mode"):
        (root / name).write_text(name)
    watched.start()

    state.fill()
    (root / "written").write_text("once more")
    (root / "removed").unlink()
    (root / "other-mode").chmod(0o600)
    for number in range(500):
        watched.put(root / f"{number}", str(number))
    wait_until(lambda: "changes wait until they can be stored" in watched.run.stderr)
    state.make_room()
    watched.wait_for_paths("created", {f"{root}/{number}" for number in range(500)})
    watched.settle()

    told = watched.actions
    assert told[f"{root}/written"] == ["updated"]
    assert told[f"{root}/removed"] == ["deleted"]
    assert told[f"{root}/other-mode"] == ["attributes_modified"]
    assert {len(actions) for actions in told.values()} == {1}
    assert len(told) == 503
    assert "given up" not in watched.run.stderr
    storage = watched.wait_for_coverage("storage")
    assert storage["start"] < storage["end"]


def test_a_disk_that_is_full_during_the_first_walk_only_delays_it(watched, state, wait_until):
    for number in range(4000):
        os.close(os.open(f"{watched.root}/{'long-name' * 10}-{number}", os.O_CREAT))
    (state.path / "ballast").write_bytes(bytes((STATE_MEGABYTES << 20) - 300_000))

    watched.start(is_walked=False)
    wait_until(lambda: "changes wait until they can be stored" in watched.run.stderr, 20)
    state.make_room()
    watched.wait_until_walked()
    (watched.root / "file").write_text("one")
    watched.wait_for("created", watched.root / "file")
    watched.settle()

    assert watched.actions == {f"{watched.root}/file": ["created"]}


@pytest.mark.parametrize("damage", ["middle", "no-database"])
def test_a_damaged_baseline_is_kept_aside_and_made_anew_and_said(watched, baseline, damage):
    for number in range(300):
        (watched.root / f"file-{number}").write_text(str(number))
    watched.start()
    watched.stop()
    whole = baseline.read_bytes()
    damaged = {
        "middle": whole[:8192] + os.urandom(len(whole) - 8192),
        "no-database": b"this is no database\n" * 100,
    }[damage]
    baseline.write_bytes(damaged)

    watched.start()
    rebuilt = watched.wait_for_coverage("baseline_rebuilt")
    (watched.root / "file-7").write_text("another")
    watched.wait_for("updated", watched.root / "file-7")
    watched.settle()

    assert rebuilt["path"] == str(watched.root)
    assert watched.actions == {f"{watched.root}/file-7": ["updated"]}
    aside = [path for path in baseline.parent.iterdir() if ".damaged-" in path.name]
    assert damaged in [path.read_bytes() for path in aside]
    assert "is damaged: " in watched.run.stderr


def test_baselines_are_readable_for_the_group_at_most(watched, baseline):
    watched.start()

    modes = {path.stat().st_mode & 0o777 for path in baseline.parent.iterdir() if path.is_file()}

    assert modes <= {0o640, 0o600}
    assert baseline.parent.stat().st_mode & 0o777 == 0o750
