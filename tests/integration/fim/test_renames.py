"""Renames: within the watch, into it, out of it, of files and of whole directories."""

import os
import shutil

import pytest


@pytest.fixture
def make_tree():
    """Make three levels of three directories each, with three files in every one; return all paths below."""

    def make(top):
        for first in "abc":
            for second in "abc":
                directory = top / first / second
                directory.mkdir(parents=True)
                for third in "abc":
                    (directory / third).write_text(f"{first}{second}{third}")
        return {str(path) for path in top.rglob("*")}

    return make


def assert_moved(actions, old, new):
    """Say that *old* is gone and *new* is there: as two events, or as one with both names."""
    assert actions.get(new) in (["created"], ["moved"])
    assert actions.get(old) == (["deleted"] if actions[new] == ["created"] else None)


def test_renamed_files_are_told_under_both_names(watched, exchange):
    names = ("old", "one", "other", "left", "right")
    old, one, other, left, right = (watched.root / name for name in names)
    for path in (old, one, other, left, right):
        path.write_text(path.name)
    watched.start()

    with watched.suspended():
        old.rename(watched.root / "new")
        one.rename(other)
        exchange(left, right)
    watched.wait_for_paths("updated", {str(other), str(left), str(right)})
    watched.settle()

    actions = watched.actions
    assert_moved(actions, str(old), f"{watched.root}/new")
    assert actions[str(other)] == actions[str(left)] == actions[str(right)] == ["updated"]
    # That it was renamed is said with what it replaced.
    assert str(one) not in actions


def test_what_comes_in_is_created_and_what_goes_out_is_deleted(watched, make_tree):
    outside = watched.folder / "outside"
    coming, going = make_tree(outside / "coming"), make_tree(watched.root / "going")
    watched.start()

    (outside / "coming").rename(watched.root / "come")
    (watched.root / "going").rename(outside / "gone")
    come = {path.replace(f"{outside}/coming", f"{watched.root}/come") for path in coming}
    watched.wait_for_paths("created", come)
    watched.wait_for_paths("deleted", going)
    (outside / "gone" / "a" / "b" / "c").write_text("nobody's business")
    (watched.root / "come" / "a" / "b" / "c").write_text("ours")
    watched.wait_for("updated", watched.root / "come" / "a" / "b" / "c")
    watched.settle()

    expected = {path: ["created"] for path in come | {f"{watched.root}/come"}}
    expected |= {path: ["deleted"] for path in going | {f"{watched.root}/going"}}
    expected[f"{watched.root}/come/a/b/c"].append("updated")
    assert watched.actions == expected


def test_all_in_a_renamed_directory_is_told_and_watched_under_the_new_name(watched, make_tree):
    make_tree(watched.root / "old")
    watched.start()

    (watched.root / "old").rename(watched.root / "new")
    watched.wait_for("moved", watched.root / "new")
    watched.settle()
    (watched.root / "new" / "b" / "c" / "a").write_text("another")
    (watched.root / "new" / "c" / "fresh").mkdir()
    watched.wait_for("updated", watched.root / "new" / "b" / "c" / "a")
    watched.wait_for("created", watched.root / "new" / "c" / "fresh")
    watched.settle()

    assert watched.actions == {
        f"{watched.root}/new": ["moved"],
        f"{watched.root}/new/b/c/a": ["updated"],
        f"{watched.root}/new/c/fresh": ["created"],
    }


def test_a_directory_renamed_there_and_back_leaves_everything_watched(watched, make_tree):
    make_tree(watched.root / "here")
    watched.start()

    with watched.suspended():
        (watched.root / "here").rename(watched.root / "there")
        (watched.root / "there").rename(watched.root / "here")
    watched.settle()
    (watched.root / "here" / "a" / "a" / "a").write_text("another")
    watched.wait_for("updated", watched.root / "here" / "a" / "a" / "a")
    watched.settle()

    assert watched.actions == {f"{watched.root}/here/a/a/a": ["updated"]}


def test_two_directories_that_change_places_are_two_updates(watched, exchange):
    one, other = watched.root / "one", watched.root / "other"
    for directory in (one, other):
        directory.mkdir()
        (directory / "file").write_text(directory.name)
    (other / "alone").write_text("alone")
    watched.start()

    with watched.suspended():
        exchange(one, other)
    watched.wait_for("updated", one)
    watched.wait_for("updated", other)
    watched.settle()
    for directory in (one, other):
        (directory / "file").write_text(f"once more {directory.name}")
    watched.settle()

    assert watched.actions == {str(path): ["updated"] for path in (one, other, one / "file", other / "file")}
    came_from = {change.path: change.document["auditline"]["change"].get("moved_from") for change in watched.changes}
    assert came_from[str(one)] == str(other)
    assert came_from[str(other)] == str(one)


def test_a_directory_renamed_over_an_empty_one_is_one_update(watched, make_tree):
    make_tree(watched.root / "new")
    (watched.root / "current").mkdir()
    watched.start()

    (watched.root / "new").rename(watched.root / "current")
    change = watched.wait_for("updated", watched.root / "current")
    watched.settle()

    assert watched.actions == {f"{watched.root}/current": ["updated"]}
    assert change.document["auditline"]["change"]["moved_from"] == f"{watched.root}/new"


def test_of_a_removed_tree_all_paths_are_told_with_their_last_values(watched, make_tree):
    paths = make_tree(watched.root / "tree") | {f"{watched.root}/tree"}
    watched.start()

    shutil.rmtree(watched.root / "tree")
    watched.wait_for_paths("deleted", paths)
    watched.settle()

    assert watched.actions == {path: ["deleted"] for path in paths}
    sizes = {change.file.get("size") for change in watched.changes if change.file["type"] == "file"}
    assert sizes == {3}


def test_a_directory_removed_and_made_again_with_other_content_is_compared(watched, make_tree):
    make_tree(watched.root / "tree")
    watched.start()

    with watched.suspended():
        shutil.rmtree(watched.root / "tree")
        (watched.root / "tree" / "a" / "a").mkdir(parents=True)
        (watched.root / "tree" / "a" / "a" / "a").write_text("another")
        (watched.root / "tree" / "a" / "new").write_text("new")
    watched.wait_for("created", watched.root / "tree" / "a" / "new")
    watched.wait_for("deleted", watched.root / "tree" / "c" / "c" / "c")
    watched.settle()

    actions = watched.actions
    assert actions[f"{watched.root}/tree/a/a/a"] == ["updated"]
    assert actions[f"{watched.root}/tree/a/b"] == ["deleted"]
    assert {path for path, told in actions.items() if told == ["created"]} == {f"{watched.root}/tree/a/new"}


def test_a_file_without_a_name_is_told_once_it_has_one(watched):
    path = watched.root / "file"
    watched.start()

    descriptor = os.open(watched.root, os.O_TMPFILE | os.O_WRONLY, 0o644)
    os.write(descriptor, b"content")
    watched.settle()
    # Python follows the link only where a directory is named; that of an absolute path does not matter.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    os.close(descriptor)
    created = watched.wait_for("created", path)
    watched.settle()

    assert watched.actions == {str(path): ["created"]}
    assert created.file["size"] == 7
