"""Pitfalls of renames: of files and directories, over others, in and out of what is watched."""

import os

import pytest


@pytest.mark.parametrize("files", [200, pytest.param(10_000, marks=(pytest.mark.soak, pytest.mark.timeout(600)))])
def test_a_renamed_directory_is_one_event_and_its_files_are_known_under_the_new_name(corner, files):
    """Pitfall 7."""
    old, new = corner.root / "old", corner.root / "new"
    (old / "deep").mkdir(parents=True)
    for number in range(files):
        (old / "deep" / f"{number}").write_text(f"{number}")
    paths = {str(path.relative_to(corner.root)) for path in corner.root.rglob("*")}
    corner.forget(len(paths))

    old.rename(new)
    each = {path: ["deleted"] for path in paths} | {f"new{path[3:]}": ["created"] for path in paths}
    renamed = corner.by_sight({"new": ["moved"]}, each)
    corner.wait_for_actions(renamed, 120)
    (new / "deep" / "7").write_text("another")
    updated = corner.wait_for("updated", new / "deep" / "7")
    corner.settle()

    renamed.setdefault("new/deep/7", []).append("updated")
    assert corner.actions == renamed
    assert "sha256" in updated.before


def test_a_moved_directory_is_told_with_its_old_name(corner):
    """Pitfall 7, the one event."""
    if not corner.sees_renames:
        pytest.skip("a poll sees no renames")
    (corner.root / "old").mkdir()
    corner.forget(1)

    (corner.root / "old").rename(corner.root / "new")
    moved = corner.wait_for("moved", corner.root / "new")

    assert moved.before["path"] == str(corner.root / "old")
    assert moved.file["type"] == "dir"


def test_a_file_renamed_again_and_again_is_one_move_from_its_first_name(corner):
    """Pitfall 7, of a file."""
    known = corner.know(first="one")

    with corner.suspended():
        known["first"].rename(corner.root / "second")
        (corner.root / "second").rename(corner.root / "third")
    corner.wait_for_actions(corner.renamed("first", "third"))

    told = corner.changes[-1]
    assert told.before.get("path") == corner.by_sight(str(known["first"]), None)


def test_a_file_renamed_there_and_back_is_nothing(corner):
    """Pitfall 7, and back."""
    known = corner.know(here="one")

    with corner.suspended():
        known["here"].rename(corner.root / "there")
        (corner.root / "there").rename(known["here"])
    corner.settle()

    assert corner.actions == {}


def test_a_file_that_another_one_is_renamed_over_is_replaced_in_one_event(corner):
    """Pitfall 8."""
    known = corner.know(old="one", new="two")
    inodes = [str(known[name].stat().st_ino) for name in ("old", "new")]

    known["new"].rename(known["old"])
    replaced = corner.wait_for("updated", known["old"])
    corner.settle()

    assert corner.actions == {"old": ["updated"]} | corner.by_sight({}, {"new": ["deleted"]})
    assert [replaced.before["inode"], replaced.after["inode"]] == inodes
    assert replaced.before["sha256"] != replaced.after["sha256"]


def test_two_files_that_change_places_are_two_updates(corner, exchange):
    """Pitfall 9."""
    known = corner.know(left="one", right="another")

    exchange(known["left"], known["right"])
    corner.wait_for_actions({"left": ["updated"], "right": ["updated"]})

    assert {change.path: change.file["size"] for change in corner.changes} == {
        str(known["left"]): 7,
        str(known["right"]): 3,
    }


def test_two_directories_that_change_places_are_two_updates(corner, exchange):
    """Pitfall 9."""
    for name in ("left", "right"):
        (corner.root / name).mkdir()
        (corner.root / name / name).touch()
    corner.forget(4)

    with corner.undisturbed():
        exchange(corner.root / "left", corner.root / "right")
    each_file = {
        "left/left": ["deleted"],
        "left/right": ["created"],
        "right/right": ["deleted"],
        "right/left": ["created"],
    }
    corner.wait_for_actions({"left": ["updated"], "right": ["updated"]} | corner.by_sight({}, each_file))


def test_what_comes_in_is_created_and_what_goes_out_is_deleted(corner):
    """Pitfalls 10 and 11, of files."""
    known = corner.know(going="one")
    outside = corner.watched.folder / f"outside-{corner.backend}"

    known["going"].rename(outside)
    corner.wait_for_actions({"going": ["deleted"]})
    outside.rename(corner.root / "coming")
    corner.wait_for_actions({"going": ["deleted"], "coming": ["created"]})


def test_a_directory_that_goes_out_and_comes_in_is_told_path_by_path(corner):
    """Pitfalls 10 and 11, of directories."""
    (corner.root / "going" / "deep").mkdir(parents=True)
    (corner.root / "going" / "deep" / "file").write_text("one")
    corner.forget(3)
    outside = corner.watched.folder / f"directory-{corner.backend}"

    (corner.root / "going").rename(outside)
    gone = {path: ["deleted"] for path in ("going", "going/deep", "going/deep/file")}
    corner.wait_for_actions(gone)
    (outside / "deep" / "file").write_text("nobody's business")
    outside.rename(corner.root / "coming")
    come = {path: ["created"] for path in ("coming", "coming/deep", "coming/deep/file")}
    corner.wait_for_actions(gone | come)
    (corner.root / "coming" / "deep" / "file").write_text("ours")

    corner.wait_for_actions(gone | come | {"coming/deep/file": ["created", "updated"]})


def test_a_rotated_file_is_moved_and_the_new_one_is_created(corner):
    """Pitfall 38, renaming without the program."""
    known = corner.know(log="old lines")

    with corner.suspended():
        known["log"].rename(corner.root / "log.1")
        known["log"].write_text("new lines")

    rotated = corner.by_sight({"log.1": ["moved"], "log": ["created"]}, {"log.1": ["created"], "log": ["updated"]})
    corner.wait_for_actions(rotated)


def test_an_atomic_save_is_one_update_of_its_target(corner):
    """Pitfall 40, without a program: a temporary file that is synced and renamed."""
    known = corner.know(target="one")

    with (corner.root / ".target.tmp").open("w") as file:
        file.write("another")
        file.flush()
        os.fsync(file.fileno())
    (corner.root / ".target.tmp").rename(known["target"])

    corner.wait_for_actions({"target": ["updated"]})


def test_a_save_by_way_of_a_backup_is_one_update_of_its_target(corner):
    """Pitfall 40, the other dance: rename the file away, write it anew, remove the old one."""
    known = corner.know(target="one")

    with corner.suspended():
        known["target"].rename(corner.root / "target~")
        known["target"].write_text("another")
        (corner.root / "target~").unlink()

    corner.wait_for_actions({"target": ["updated"]})


def test_names_that_take_turns_in_one_burst_end_as_they_are(corner):
    """Pitfalls 7 and 29: a name is used again at once for another file."""
    known = corner.know(first="one", second="another")

    with corner.suspended():
        known["second"].rename(corner.root / "third")
        known["first"].rename(known["second"])
        known["first"].write_text("new")
    if corner.sees_renames:
        corner.wait_for_actions({"third": ["moved"], "second": ["moved"], "first": ["created"]})

    for path, size in (("first", 3), ("second", 3), ("third", 7)):
        corner.wait_for_size(corner.root / path, size)
