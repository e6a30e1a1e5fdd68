"""What happens while nobody watches, and what a start tells."""

import hashlib
import os

import pytest


@pytest.fixture
def make_files(watched):
    """Make files and directories, and return all their paths."""

    def make(count=20):
        for number in range(count):
            directory = watched.root / f"directory-{number % 5}"
            directory.mkdir(exist_ok=True)
            (directory / f"{number}").write_text(str(number))
        (watched.root / "link").symlink_to("directory-1")
        return {str(path) for path in (watched.root, *watched.root.rglob("*"))}

    return make


def test_the_first_walk_is_one_event_and_later_ones_compare(watched, make_files):
    paths = make_files()

    watched.start()
    watched.settle()
    first = [*watched.coverage]
    watched.stop()
    watched.start()
    watched.settle()

    assert [entry["reason"] for entry in first] == ["first_walk"]
    assert first[0]["path"] == str(watched.root)
    assert first[0]["start"] <= first[0]["end"]
    assert first[0]["detail"]["files"] == 20
    assert sum(first[0]["detail"][kind] for kind in ("files", "directories", "others")) == len(paths)
    assert [entry["reason"] for entry in watched.coverage] == ["restart"]
    assert watched.actions == {}


def test_with_initial_events_the_first_walk_tells_each_path_once(watched, make_files):
    paths = make_files()

    watched.start(fim={"initial_events": True})
    watched.settle()
    initial = watched.actions
    watched.stop()
    watched.start(fim={"initial_events": True})
    watched.settle()

    assert initial == {path: ["initial_scan"] for path in paths}
    assert watched.actions == {}


def test_ten_changes_in_ten_ways_while_nobody_watched_are_ten_right_events(watched):
    """Pitfall 53."""
    root = watched.root
    texts = ("written", "same-size", "removed", "other-mode", "touched", "replaced", "to-link", "to-directory")
    for name in texts:
        (root / name).write_text(name)
    times = (root / "same-size").stat()
    (root / "link").symlink_to("written")
    watched.start()
    watched.stop()

    (root / "written").write_text("something longer")
    (root / "same-size").write_text("emas-size")
    os.utime(root / "same-size", ns=(times.st_atime_ns, times.st_mtime_ns))
    (root / "removed").unlink()
    (root / "other-mode").chmod(0o400)
    os.utime(root / "touched", (1, 1))
    (root / "new").write_text("replaced")
    (root / "new").rename(root / "replaced")
    (root / "to-link").unlink()
    (root / "to-link").symlink_to("written")
    (root / "to-directory").unlink()
    (root / "to-directory").mkdir()
    (root / "link").unlink()
    (root / "link").symlink_to("touched")
    (root / "created").write_text("created")
    watched.start()
    watched.settle()

    assert watched.actions == {
        f"{root}/written": ["updated"],
        f"{root}/same-size": ["updated"],
        f"{root}/removed": ["deleted"],
        f"{root}/other-mode": ["attributes_modified"],
        f"{root}/touched": ["attributes_modified"],
        f"{root}/replaced": ["updated"],
        f"{root}/to-link": ["updated"],
        f"{root}/to-directory": ["updated"],
        f"{root}/link": ["updated"],
        f"{root}/created": ["created"],
    }
    assert {change.detected_by for change in watched.changes} == {"scan"}
    told = {os.path.basename(change.path): change for change in watched.changes}
    assert told["same-size"].before.keys() == {"ctime", "sha256"}
    assert told["removed"].file["sha256"] == hashlib.sha256(b"removed").hexdigest()
    assert told["removed"].before["size"] == 7
    assert told["other-mode"].before["mode"] == "0644"
    assert told["touched"].after["mtime"] == "1970-01-01T00:00:01.000Z"
    assert told["replaced"].before.keys() >= {"inode"}
    assert told["to-link"].after.items() >= {"type": "symlink", "target_path": "written"}.items()
    assert told["link"].before["target_path"] == "written"


def test_trees_that_came_and_went_while_nobody_watched_are_told_path_by_path(watched):
    (watched.root / "went" / "a" / "b").mkdir(parents=True)
    (watched.root / "went" / "a" / "b" / "file").write_text("went")
    went = {str(path) for path in watched.root.rglob("*")}
    watched.start()
    watched.stop()

    (watched.root / "went").rename(watched.root / "came")
    came = {str(path) for path in watched.root.rglob("*")}
    watched.start()
    watched.settle()

    assert watched.actions == {path: ["deleted"] for path in went} | {path: ["created"] for path in came}


def test_what_a_killed_watcher_missed_is_found_by_its_successor(watched, wait_until):
    (watched.root / "file").write_text("one")
    watched.start()
    killed = watched.worker(watched.title)

    with watched.suspended():
        (watched.root / "file").write_text("two")
        (watched.root / "new").write_text("new")
        killed.kill()
    restarted = watched.wait_for_coverage("restart")
    watched.settle()

    assert watched.actions == {f"{watched.root}/file": ["updated"], f"{watched.root}/new": ["created"]}
    assert restarted["start"] < restarted["end"]
    assert watched.run.pid_of(watched.title) != killed.pid


def test_an_interrupted_first_walk_stays_silent(watched, make_files, wait_until):
    make_files(200)
    watched.start(hasher={"processes": 1}, is_walked=False)
    with watched.suspended("hasher 1"):
        killed = watched.worker(watched.title)
        wait_until(lambda: watched.counters().get("hash_jobs_submitted_total"))
        killed.kill()
        wait_until(lambda: watched.run.pid_of(watched.title) not in (0, killed.pid))
    watched.wait_until_walked()
    watched.settle()

    assert watched.actions == {}
    assert [entry["reason"] for entry in watched.coverage] == ["first_walk"]


def test_what_was_not_handed_over_before_the_end_is_told_by_the_next_start_unaltered(watched, wait_until):
    watched.start()

    with watched.suspended("router"):
        (watched.root / "file").write_text("one")
        os.mkfifo(watched.root / "fifo")
        wait_until(lambda: watched.counters().get("changes_recorded_total") == 2)
        watched.kill_everything()
    (watched.root / "file").unlink()
    watched.start()
    watched.settle()

    told = [change for change in watched.changes if change.path.endswith("/file")]
    assert [change.action for change in told] == ["created", "deleted"]
    assert [change.detected_by for change in told] == ["event", "scan"]
    assert told[0].file["sha256"] == hashlib.sha256(b"one").hexdigest()
    assert watched.actions[f"{watched.root}/fifo"] == ["created"]


def test_another_algorithm_hashes_all_anew_and_says_so(watched, make_files):
    make_files()
    watched.start()
    watched.stop()

    watched.start(fim={"hashes": ["sha256", "sha1"]})
    watched.settle()

    files = [path for path in watched.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert watched.actions == {str(path): ["config_change"] for path in files}
    assert {change.path: change.file["sha1"] for change in watched.changes} == {
        str(path): hashlib.sha1(path.read_bytes()).hexdigest() for path in files
    }


def test_a_change_just_before_the_end_is_told_before_the_end(watched):
    watched.start(fim={"debounce_seconds": 2.0, "max_delay_seconds": 10.0})
    (watched.root / "file").write_text("one")

    watched.stop()

    assert watched.actions == {f"{watched.root}/file": ["created"]}
