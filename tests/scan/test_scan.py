"""`auditline scan`: what it approves, what it finds, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from auditline.workers.common.errors import Exit


def test_without_an_approved_state_it_says_how_to_make_one(scanned):
    code = scanned.run()

    assert code == Exit.FAILURE
    assert f"{scanned.tree}: nothing is approved yet: see `auditline scan --init`" in scanned.err


def test_what_was_approved_and_has_not_changed_is_no_difference(scanned):
    scanned.run("--init")

    code = scanned.run()

    assert code == Exit.OK
    assert scanned.last_line == "auditline: 0 added, 0 removed, 0 changed, 0 unreadable of 5"


def test_added_removed_and_changed_paths_are_differences(scanned):
    scanned.run("--init")
    (scanned.tree / "new").write_text("new")
    (scanned.tree / "link").unlink()
    (scanned.tree / "directory" / "file").write_text("other")

    code = scanned.run()

    assert code == Exit.DIFFERENCES
    assert scanned.last_line == "auditline: 1 added, 1 removed, 1 changed, 0 unreadable of 5"
    assert scanned.found == ["new", "link", "directory/file"]


def test_a_directory_that_is_gone_takes_all_that_was_in_it_along(scanned):
    scanned.run("--init")
    (scanned.tree / "directory").rename(scanned.tree / "other")

    scanned.run()

    assert sorted(scanned.found) == ["directory", "directory/file", "other", "other/file"]


def test_a_file_in_the_place_of_a_directory_is_a_change_and_what_was_in_it_is_removed(scanned):
    scanned.run("--init")
    (scanned.tree / "directory" / "file").unlink()
    (scanned.tree / "directory").rmdir()
    (scanned.tree / "directory").write_text("a file")

    scanned.run()

    assert scanned.last_line == "auditline: 0 added, 1 removed, 1 changed, 0 unreadable of 4"
    assert scanned.attributes["type"] == "dir -> file"


def test_other_content_with_the_old_times_put_back_is_found(scanned):
    path = scanned.tree / "directory" / "file"
    scanned.run("--init")
    before = path.stat()
    path.write_text("CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    code = scanned.run()

    assert code == Exit.DIFFERENCES
    assert list(scanned.attributes) == ["sha256"]


def test_each_attribute_is_told_before_and_after(scanned):
    scanned.run("--init")
    (scanned.tree / "script").chmod(0o4755)

    scanned.run()

    assert scanned.attributes == {"mode": "0644 -> 4755", "setuid": "- -> yes"}


def test_what_is_updated_is_no_difference_any_more_and_what_comes_after_is(scanned):
    scanned.run("--init")
    (scanned.tree / "new").write_text("new")
    (scanned.tree / "link").unlink()
    updated = scanned.run("--update")
    after_update = scanned.run()
    (scanned.tree / "new").write_text("newer")

    code = scanned.run()

    assert (updated, after_update, code) == (Exit.OK, Exit.OK, Exit.DIFFERENCES)
    assert scanned.found == ["new"]


def test_a_part_of_the_tree_is_compared_and_updated_alone(scanned):
    scanned.run("--init")
    (scanned.tree / "directory" / "file").write_text("other")
    (scanned.tree / "script").write_text("other")
    scanned.run("--update", str(scanned.tree / "directory"))

    scanned.run()

    assert scanned.found == ["script"]


def test_files_that_may_run_with_others_rights_come_first(scanned):
    scanned.run("--init")
    for name, mode in (("a", 0o644), ("b", 0o755), ("c", 0o4755)):
        (scanned.tree / name).write_text(name)
        (scanned.tree / name).chmod(mode)

    scanned.run()

    assert scanned.found == ["c", "b", "a"]


def test_no_name_reaches_the_terminal_as_it_is_or_forges_a_line(scanned):
    scanned.run("--init")
    name = b"x\n  added\x1b[31m\xff"
    (scanned.tree / os.fsdecode(name)).write_text("content")

    scanned.run()

    assert scanned.found == ["x\\n  added\\x1b[31m\\udcff"]
    assert "\x1b" not in scanned.out


def test_as_json_it_is_the_document_that_the_service_would_write(scanned):
    scanned.run("--init")
    (scanned.tree / "script").write_text("other")

    code = scanned.run("--format", "jsonl")

    [document] = map(json.loads, scanned.out.splitlines())
    assert code == Exit.DIFFERENCES
    assert document["audit"]["file"]["path"] == str(scanned.tree / "script")
    assert document["audit"]["file"]["action"] == "updated"
    assert document["auditline"]["change"]["detected_by"] == "scan"


def test_everything_is_read_when_that_is_wanted(scanned):
    scanned.run("--init")

    scanned.run("--deep")

    assert ", 17 B read" in scanned.out


def test_a_damaged_baseline_is_told_in_a_sentence(scanned):
    scanned.run("--init")
    [baseline] = (scanned.state / "baselines").glob("*.sqlite")
    baseline.with_name(f"{baseline.name}-wal").unlink(missing_ok=True)
    baseline.write_bytes(baseline.read_bytes()[:5000])

    code = scanned.run()

    assert code == Exit.FAILURE
    assert f"baseline {baseline}" in scanned.err
    assert "Traceback" not in scanned.err


def test_an_older_copy_of_the_baseline_is_told_and_not_believed(scanned):
    scanned.run("--init")
    [baseline] = (scanned.state / "baselines").glob("*.sqlite")
    older = baseline.read_bytes()
    (scanned.tree / "new").write_text("new")
    scanned.run("--update")
    baseline.write_bytes(older)

    code = scanned.run()

    assert code == Exit.FAILURE
    assert "an older copy was put in its place" in scanned.err


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2, 0.3, 0.4])
def test_a_kill_while_it_approves_leaves_the_state_before_or_the_one_after(scanned, seconds):
    for number in range(300):
        (scanned.tree / f"file-{number}").write_text("before")
    scanned.run("--init")
    for number in range(300):
        (scanned.tree / f"file-{number}").write_text("after, longer")
    command = [sys.executable, "-m", "auditline.workers.supervisor", "scan", "--config", str(scanned.configuration)]
    with subprocess.Popen([*command, "--update"], stdout=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)

    code = scanned.run()

    assert scanned.last_line in {
        "auditline: 0 added, 0 removed, 300 changed, 0 unreadable of 305",
        "auditline: 0 added, 0 removed, 0 changed, 0 unreadable of 305",
    }
    assert code in {Exit.OK, Exit.DIFFERENCES}
