"""What happens to files, directories and symbolic links becomes events, as root and as a user on an own directory."""

import hashlib
import os
import stat

import pytest


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_life_of_a_file(each_watched):
    watched, path = each_watched, each_watched.root / "file"
    watched.start()

    path.write_text("one")
    created = watched.wait_for("created", path)
    path.write_text("two, longer")
    updated = watched.wait_for("updated", path)
    path.chmod(0o600)
    changed = watched.wait_for("attributes_modified", path)
    path.unlink()
    deleted = watched.wait_for("deleted", path)

    assert watched.actions == {str(path): ["created", "updated", "attributes_modified", "deleted"]}
    assert {change.detected_by for change in watched.changes} == {"event"}
    assert (created.before, created.after) == ({}, {})
    assert created.file["sha256"] == sha256("one")
    assert updated.before.keys() == updated.after.keys() == {"size", "mtime", "ctime", "sha256"}
    assert (updated.before["size"], updated.after["size"]) == (3, 11)
    assert (updated.before["sha256"], updated.after["sha256"]) == (sha256("one"), sha256("two, longer"))
    assert changed.before == {"mode": "0644", "ctime": updated.file["ctime"]}
    assert changed.after == {"mode": "0600", "ctime": changed.file["ctime"]}
    assert deleted.file == changed.file | {"action": "deleted"}
    assert deleted.before.items() >= {"mode": "0600", "size": 11, "sha256": sha256("two, longer")}.items()
    assert deleted.after == {}


def test_the_life_of_a_directory(each_watched):
    watched, path = each_watched, each_watched.root / "directory"
    watched.start()

    path.mkdir()
    created = watched.wait_for("created", path)
    path.chmod(0o700)
    changed = watched.wait_for("attributes_modified", path)
    (path / "file").write_text("within")
    within = watched.wait_for("created", path / "file")
    (path / "file").unlink()
    path.rmdir()
    deleted = watched.wait_for("deleted", path)

    assert watched.actions == {
        str(path): ["created", "attributes_modified", "deleted"],
        str(path / "file"): ["created", "deleted"],
    }
    assert created.file["type"] == "dir"
    assert created.file.keys().isdisjoint({"size", "sha256", "hashed"})
    assert (changed.before["mode"], changed.after["mode"]) == ("0755", "0700")
    assert within.file["sha256"] == sha256("within")
    assert (deleted.file["type"], deleted.file["mode"]) == ("dir", "0700")


def test_the_life_of_a_symbolic_link(each_watched):
    watched, path = each_watched, each_watched.root / "link"
    watched.start()

    path.symlink_to("nowhere")
    created = watched.wait_for("created", path)
    with watched.suspended():
        path.unlink()
        path.symlink_to("link")
    updated = watched.wait_for("updated", path)
    path.unlink()
    deleted = watched.wait_for("deleted", path)

    assert watched.actions == {str(path): ["created", "updated", "deleted"]}
    assert (created.file["type"], created.file["target_path"]) == ("symlink", "nowhere")
    assert created.file.keys().isdisjoint({"size", "sha256", "hashed"})
    assert (updated.before["target_path"], updated.after["target_path"]) == ("nowhere", "link")
    assert deleted.file["target_path"] == "link"


def test_a_file_made_anew_before_anybody_looked_is_updated_and_one_that_came_and_went_is_no_event(each_watched):
    watched, path = each_watched, each_watched.root / "file"
    path.write_text("one")
    watched.start()

    with watched.suspended():
        path.unlink()
        path.write_text("another")
        (watched.root / "momentary").write_text("for a moment")
        (watched.root / "momentary").unlink()
    updated = watched.wait_for("updated", path)
    watched.settle()

    assert watched.actions == {str(path): ["updated"]}
    assert (updated.before["sha256"], updated.after["sha256"]) == (sha256("one"), sha256("another"))


def test_a_save_by_rename_is_an_update_also_with_the_same_content(each_watched):
    watched, path, same = each_watched, each_watched.root / "file", each_watched.root / "same"
    for file in (path, same):
        file.write_text("one")
    watched.start()

    with watched.suspended():
        watched.put(path, "two")
        watched.put(same, "one")
    updated = watched.wait_for("updated", path)
    replaced = watched.wait_for("updated", same)

    assert watched.actions == {str(path): ["updated"], str(same): ["updated"]}
    assert updated.before["inode"] != updated.after["inode"] == str(path.stat().st_ino)
    assert (updated.before["sha256"], updated.after["sha256"]) == (sha256("one"), sha256("two"))
    assert "inode" in replaced.before
    assert "sha256" not in replaced.before


def test_content_is_compared_whatever_the_times_say(watched):
    path, same = watched.root / "file", watched.root / "same"
    for file in (path, same):
        file.write_text("one")
    times = path.stat()
    watched.start()

    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    updated = watched.wait_for("updated", path)
    same.write_text("one")
    rewritten = watched.wait_for("attributes_modified", same)

    assert updated.before.keys() == {"ctime", "sha256"}
    assert updated.after["sha256"] == sha256("two")
    assert rewritten.before.keys() == {"mtime", "ctime"}


def test_times_and_modes_and_links_are_attributes(watched):
    path = watched.root / "file"
    path.write_text("one")
    watched.start()

    os.utime(path, (1_000_000_000, 1_000_000_000))
    touched = watched.wait_for("attributes_modified", path)
    path.chmod(0o4755)
    setuid = watched.wait_for("attributes_modified", path)
    os.link(path, watched.root / "another")
    watched.wait_for("created", watched.root / "another")
    path.chmod(0o755)
    linked = watched.wait_for("attributes_modified", path)

    assert touched.after["mtime"] == "2001-09-09T01:46:40.000Z"
    assert touched.before.keys() == {"mtime", "ctime"}
    assert setuid.after["mode"] == "4755"
    assert linked.before.items() >= {"mode": "4755", "links": 1}.items()
    assert linked.after.items() >= {"mode": "0755", "links": 2}.items()


def test_a_type_that_changes_is_an_update(each_watched):
    watched = each_watched
    for name in ("to-directory", "to-link", "to-fifo"):
        (watched.root / name).write_text("a file")
    (watched.root / "to-file").mkdir()
    (watched.root / "to-file" / "within").write_text("goes")
    watched.start()

    with watched.suspended():
        for name in ("to-directory", "to-link", "to-fifo", "to-file/within"):
            (watched.root / name).unlink()
        (watched.root / "to-directory").mkdir()
        (watched.root / "to-directory" / "within").write_text("comes")
        (watched.root / "to-link").symlink_to("to-fifo")
        os.mkfifo(watched.root / "to-fifo")
        (watched.root / "to-file").rmdir()
        (watched.root / "to-file").write_text("no directory")
    watched.wait_for("created", watched.root / "to-directory" / "within")
    watched.settle()

    assert watched.actions == {
        f"{watched.root}/to-directory": ["updated"],
        f"{watched.root}/to-directory/within": ["created"],
        f"{watched.root}/to-link": ["updated"],
        f"{watched.root}/to-fifo": ["updated"],
        f"{watched.root}/to-file": ["updated"],
        f"{watched.root}/to-file/within": ["deleted"],
    }
    types = {change.path.rpartition("-")[2]: change.file["type"] for change in watched.changes}
    assert {name: types[name] for name in ("directory", "link", "fifo", "file")} == {
        "directory": "dir",
        "link": "symlink",
        "fifo": "fifo",
        "file": "file",
    }
    assert [change.before["type"] for change in watched.changes if change.path.endswith("to-file")] == ["dir"]


def test_the_watched_directory_itself_has_events_of_its_attributes(watched):
    watched.start()

    watched.root.chmod(0o711)
    changed = watched.wait_for("attributes_modified", watched.root)

    assert (changed.before["mode"], changed.after["mode"]) == ("0755", "0711")
    assert stat.S_IMODE(watched.root.stat().st_mode) == 0o711


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_owner_is_shown_with_the_names(watched):
    path = watched.root / "file"
    path.write_text("one")
    watched.start()

    os.chown(path, 1, 2)
    changed = watched.wait_for("attributes_modified", path)

    assert changed.before.items() >= {"uid": 0, "gid": 0, "owner": "root", "group": "root"}.items()
    assert changed.after.items() >= {"uid": 1, "gid": 2, "owner": "daemon", "group": "bin"}.items()
    assert changed.file.items() >= changed.after.items()
