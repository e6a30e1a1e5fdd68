"""What a watch covers: include, exclude, single files, overlapping and default watches."""

import os
import re
import signal


def test_exclude_wins_over_include_and_include_does_not_hide_directories(watched):
    root = watched.root
    watched.start({"path": root, "include": [r"\.conf$"], "exclude": ["/secret", "glob:**/*.local.conf"]})

    for name in ("a.conf", "a.txt", "b.local.conf", "secret.conf", "deep/c.conf", "deep/c.txt", "secret/d.conf"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    (root / "last.conf").write_text("last")
    watched.wait_for("created", root / "last.conf")
    watched.wait_for("created", root / "deep" / "c.conf")

    assert watched.actions.keys() == {str(root / name) for name in ("a.conf", "deep/c.conf", "last.conf")}


def test_what_is_excluded_is_not_walked_either(watched):
    root = watched.root
    (root / "seen").write_text("seen")
    (root / "hidden").write_text("hidden")

    watched.start({"path": root, "exclude": ["/hidden$"]}, fim={"initial_events": True})
    watched.settle()

    assert watched.actions.keys() == {str(root), f"{root}/seen"}


def test_an_excluded_directory_of_many_files_gets_no_watch_and_is_not_read(watched, opens, count_watches):
    """Pitfall 50."""
    large = watched.root / "large"
    (watched.root / "small" / "inner").mkdir(parents=True)
    for number in range(100):
        (large / f"{number}").mkdir(parents=True)
    for number in range(10_000):
        os.close(os.open(f"{large}/{number % 100}/file-{number}", os.O_CREAT))
    for directory in (large, large / "7"):
        opens.watch(directory)

    watched.start({"path": watched.root, "exclude": ["/large(/|$)"], "backend": "inotify"})
    (large / "7" / "new").write_text("nobody's business")
    (watched.root / "small" / "inner" / "file").write_text("ours")
    watched.wait_for("created", watched.root / "small" / "inner" / "file")
    watched.settle()

    # The root, small, inner.
    assert count_watches(watched.worker(watched.title)) == 3
    assert opens.paths == {large / "7" / "new"}
    assert watched.actions.keys() == {f"{watched.root}/small/inner/file"}


def test_a_watch_that_is_not_recursive_sees_the_directory_alone(watched, count_watches):
    (watched.root / "inner").mkdir()
    watched.start({"path": watched.root, "recursive": False, "backend": "inotify"})

    (watched.root / "inner" / "file").write_text("too deep")
    (watched.root / "file").write_text("seen")
    (watched.root / "directory").mkdir()
    (watched.root / "directory" / "file").write_text("too deep")
    watched.wait_for("created", watched.root / "directory")
    watched.settle()

    assert watched.actions == {f"{watched.root}/file": ["created"], f"{watched.root}/directory": ["created"]}
    assert count_watches(watched.worker(watched.title)) == 1


def test_a_single_file_is_followed_over_all_that_may_happen_to_it(watched):
    """Pitfall 52."""
    path, beside = watched.root / "file", watched.root / "beside"
    path.write_text("one")
    watched.start({"path": path})

    path.write_text("another")
    watched.wait_for("updated", path)
    beside.write_text("nobody's business")
    beside.rename(path)
    replaced = watched.wait_for("updated", path)
    path.unlink()
    watched.wait_for("deleted", path)
    (watched.root / "directory").mkdir()
    (watched.root / "directory" / "file").write_text("nobody's business")
    path.write_text("anew")
    watched.wait_for("created", path)
    path.chmod(0o600)
    watched.wait_for("attributes_modified", path)

    assert watched.actions == {str(path): ["updated", "updated", "deleted", "created", "attributes_modified"]}
    assert "inode" in replaced.before


def test_a_single_file_and_the_directory_that_it_is_in_tell_each_change_once(watched):
    """Pitfall 52."""
    path = watched.root / "file"
    path.write_text("one")
    watched.start({"path": watched.root}, {"path": path})

    path.write_text("another")
    (watched.root / "beside").write_text("beside")
    watched.wait_for("updated", path)
    watched.wait_for("created", watched.root / "beside")
    watched.settle()

    assert watched.actions == {str(path): ["updated"], f"{watched.root}/beside": ["created"]}


def test_of_overlapping_watches_the_inner_one_tells_what_is_its_own(watched):
    inner = watched.root / "outer" / "inner"
    inner.mkdir(parents=True)
    watched.start({"path": watched.root}, {"path": inner, "exclude": [r"\.tmp$"]})

    (inner / "file").write_text("inner")
    (inner / "file.tmp").write_text("excluded there")
    (inner.parent / "file.tmp").write_text("outer")
    watched.wait_for("created", inner / "file")
    watched.wait_for("created", inner.parent / "file.tmp")
    watched.settle()
    watched.settle(inner)

    assert watched.actions == {f"{inner}/file": ["created"], f"{inner.parent}/file.tmp": ["created"]}
    assert watched.run.pid_of(f"fim {inner}")


def test_a_watch_by_a_link_is_that_of_the_real_directory_and_only_once(watched):
    (watched.folder / "link").symlink_to("watched")
    watched.start({"path": watched.folder / "link"}, {"path": watched.root}, is_walked=False)
    watched.wait_until_walked()

    (watched.root / "file").write_text("one")
    watched.wait_for("created", watched.root / "file")
    watched.settle()

    assert watched.actions == {f"{watched.root}/file": ["created"]}
    assert watched.watcher_titles == [f"auditline: {watched.title}"]
    assert f"{watched.folder}/link is {watched.root}" in watched.run.stderr


def test_without_a_configuration_the_five_directories_are_watched_each_once(watched, wait_until):
    usual = ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/etc")
    expected = {f"auditline: fim {os.path.realpath(path)}" for path in usual if os.path.exists(path)}
    # A [fim] without watches: only `watch = []` is none.
    run = watched.start_bare("[fim]\n")

    wait_until(lambda: set(watched.watcher_titles) == expected)
    assert len(watched.watcher_titles) == len(expected)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(6) == 0


def test_an_empty_list_of_watches_is_none(watched, wait_until):
    run = watched.start_bare("[fim]\nwatch = []\n[health]\nperiod_seconds = 0.2\n")

    wait_until(lambda: run.health)

    assert {process["name"] for process in run.health["processes"]} == {"supervisor", "router", "names"}


def test_a_reload_begins_new_watches_and_ends_those_that_are_gone(watched, wait_until):
    first, second = watched.folder / "first", watched.folder / "second"
    for directory in (first, second):
        directory.mkdir()
    run = watched.start({"path": watched.root}, {"path": first})
    kept = watched.worker(watched.title).pid

    config = run.folder / "auditline.toml"
    config.write_text(re.sub(f'"{first}"', f'"{second}"', config.read_text()))
    run.process.send_signal(signal.SIGHUP)
    watched.wait_until_walked(3)
    wait_until(lambda: not run.pid_of(f"fim {first}"))
    (first / "file").write_text("nobody's business")
    (second / "file").write_text("ours now")
    (watched.root / "file").write_text("as before")
    watched.wait_for("created", second / "file")
    watched.wait_for("created", watched.root / "file")
    watched.settle()

    assert watched.actions.keys() == {f"{second}/file", f"{watched.root}/file"}
    assert watched.worker(watched.title).pid == kept
