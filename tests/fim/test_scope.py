import logging
import os
import pickle
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditline.plugins.outputs.segment_files import SegmentWriter
from auditline.workers.common.own_files import OwnFiles, find_own_files, is_segment_name
from auditline.workers.common.settings import RunSettings, SegmentsSettings, Settings, StateSettings, WatchSettings
from auditline.workers.common.watch_plan import WatchPlan, plan_watches
from auditline.workers.fim.scope import Scope

SEGMENT = b"auditline-000000000001-0123abcd.jsonl"


@pytest.fixture
def folder(tmp_path):
    """A folder whose own path has no symbolic link."""
    return tmp_path.resolve()


def scope_of(path: Path, own: OwnFiles | None = None, **plan) -> Scope:
    return Scope(WatchPlan(path=os.fsencode(path), **plan), own or OwnFiles())


def settings_of(state: Path, run: Path, *segments: Path) -> Settings:
    outputs = tuple(
        SegmentsSettings(name=f"segments{n}", directory=path, enabled=True) for n, path in enumerate(segments)
    )
    for path in (state, run, *segments):
        path.mkdir(parents=True, exist_ok=True)
    return Settings(state=StateSettings(directory=state), run=RunSettings(directory=run), outputs=outputs)


def own_of(state: Path, run: Path, *segments: Path) -> OwnFiles:
    return find_own_files(settings_of(state, run, *segments), [])


# What a watch covers


def test_a_directory_is_watched_with_all_that_is_beneath(folder):
    scope = scope_of(folder)

    assert scope.root == os.fsencode(folder)
    assert scope.single is None
    assert scope.enters(b"")
    assert scope.enters(b"a/b")
    assert scope.reports(b"")
    assert scope.reports(b"a/b/c")


def test_without_recursion_only_what_is_directly_in_it_is_reported(folder):
    scope = scope_of(folder, recursive=False)

    assert scope.enters(b"")
    assert not scope.enters(b"a")
    assert scope.reports(b"a")
    assert not scope.reports(b"a/b")


@pytest.mark.parametrize(
    ("max_depth", "entered", "reported"),
    [
        (1, [b""], [b"", b"a"]),
        (2, [b"", b"a"], [b"", b"a", b"a/b"]),
        (3, [b"", b"a", b"a/b"], [b"", b"a", b"a/b", b"a/b/c"]),
        (0, [b"", b"a", b"a/b", b"a/b/c"], [b"", b"a", b"a/b", b"a/b/c"]),
    ],
)
def test_directories_so_many_steps_below_are_entries_but_not_entered(folder, max_depth, entered, reported):
    scope = scope_of(folder, max_depth=max_depth)
    paths = [b"", b"a", b"a/b", b"a/b/c"]

    assert [path for path in paths if scope.enters(path)] == entered
    assert [path for path in paths if scope.reports(path)] == reported


def test_what_is_not_recursive_has_no_depth(folder):
    scope = scope_of(folder, recursive=False, max_depth=3)

    assert not scope.enters(b"a")


def test_of_one_file_system_mount_points_are_entries_but_not_entered(folder):
    scope = scope_of(folder, one_filesystem=True)
    before = scope.enters(b"a/mnt/b")

    scope.set_mount_points([b"", b"a/mnt"])

    assert before
    assert scope.enters(b"")
    assert scope.enters(b"a")
    assert not scope.enters(b"a/mnt")
    assert not scope.enters(b"a/mnt/b")
    assert scope.reports(b"a/mnt")
    assert not scope.reports(b"a/mnt/b")


def test_mount_points_are_entered_unless_one_file_system_is_wanted(folder):
    scope = scope_of(folder)

    scope.set_mount_points([b"a"])

    assert scope.enters(b"a/b")


def test_a_file_is_watched_in_its_directory_as_the_only_name(folder):
    (folder / "a").touch()

    scope = scope_of(folder / "a")

    assert scope.root == os.fsencode(folder)
    assert scope.single == b"a"
    assert scope.enters(b"")
    assert not scope.enters(b"a")
    assert scope.reports(b"a")
    assert not scope.reports(b"")
    assert not scope.reports(b"b")
    assert not scope.reports(b"a/a")


def test_the_root_of_the_host_can_be_watched():
    scope = scope_of(Path("/"))

    assert scope.root == b"/"
    assert scope.absolute(b"") == b"/"
    assert scope.absolute(b"etc/passwd") == b"/etc/passwd"


def test_a_file_directly_beneath_the_root_of_the_host_can_be_watched():
    scope = scope_of(Path("/auditline-is-not-here"))

    assert scope.root == b"/"
    assert scope.absolute(b"auditline-is-not-here") == b"/auditline-is-not-here"


def test_a_path_that_becomes_a_directory_needs_another_scope(folder):
    path = folder / "later"
    before = scope_of(path)
    was_outdated = before.is_outdated()

    path.mkdir()

    assert not was_outdated
    assert before.is_outdated()
    assert not scope_of(path).is_outdated()


def test_a_directory_that_is_replaced_by_a_file_or_a_link_needs_another_scope(folder):
    path = folder / "directory"
    path.mkdir()
    scope = scope_of(path)

    path.rmdir()
    while_missing = scope.is_outdated()
    path.symlink_to(folder)

    assert not while_missing
    assert scope.is_outdated()
    assert scope_of(path).single == b"directory"


# Patterns


def test_what_is_excluded_is_not_reported_and_directories_not_entered(folder):
    scope = scope_of(folder, exclude=("/skip$",))

    assert not scope.enters(b"a/skip")
    assert not scope.reports(b"a/skip")
    assert scope.reports(b"a/keep")


def test_nothing_beneath_an_excluded_directory_is_reported(folder):
    scope = scope_of(folder, exclude=("/skip$",))

    assert not scope.enters(b"skip/a/b")
    assert not scope.reports(b"skip/a/b/c")


def test_include_leaves_directories_to_be_entered(folder):
    scope = scope_of(folder, include=(r"glob:**/*.conf",))

    assert scope.enters(b"a")
    assert not scope.reports(b"a")
    assert scope.reports(b"a/b.conf")


def test_patterns_see_the_whole_path(folder):
    scope = scope_of(folder, include=(f"^{folder}/a",))

    assert scope.reports(b"a")
    assert not scope.reports(b"b/a")


def test_a_root_that_is_excluded_is_not_watched(folder):
    scope = scope_of(folder, exclude=(f"^{folder}$",))

    assert not scope.enters(b"")
    assert not scope.reports(b"")
    assert not scope.reports(b"a")


def test_patterns_hold_for_single_files(folder):
    assert not scope_of(folder / "a", exclude=("/a$",)).reports(b"a")


def test_a_path_deeper_than_the_stack_is_decided(folder):
    scope = scope_of(folder)

    assert scope.reports(b"/".join([b"d"] * 5000))


def test_many_directories_are_not_remembered_for_ever(folder):
    scope = scope_of(folder)

    entered = [scope.enters(b"%d" % number) for number in range(10_000)]

    assert all(entered)
    assert len(scope._entered) < 5000


# Inner watches


def test_what_another_watch_owns_is_left_alone(folder):
    inner = ((os.fsencode(folder / "a" / "ssl"), 0),)
    scope = scope_of(folder, inner=inner)

    assert not scope.enters(b"a/ssl")
    assert not scope.reports(b"a/ssl")
    assert not scope.reports(b"a/ssl/x/y")
    assert scope.reports(b"a/sslx")


def test_of_a_flat_inner_watch_what_lies_deeper_is_still_ours(folder):
    scope = scope_of(folder, inner=((os.fsencode(folder / "a"), 1),))

    assert scope.enters(b"a")
    assert not scope.reports(b"a")
    assert not scope.reports(b"a/x")
    assert scope.enters(b"a/x")
    assert scope.reports(b"a/x/y")


def test_of_an_inner_watch_of_a_certain_depth_what_lies_deeper_is_still_ours(folder):
    scope = scope_of(folder, inner=((os.fsencode(folder / "a"), 2),))

    paths = [b"a", b"a/x", b"a/x/y", b"a/x/y/z", b"ax"]

    assert [path for path in paths if scope.reports(path)] == [b"a/x/y/z", b"ax"]


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("ab"), max_size=3).map("/".join), st.booleans(), st.integers(0, 2)),
        max_size=5,
    ),
    st.lists(st.sampled_from("ab"), max_size=5).map("/".join),
)
def test_no_path_is_reported_by_two_watches(tree, watches, path):
    plans = plan_watches(
        [WatchSettings(path=tree / name, recursive=recursive, max_depth=depth) for name, recursive, depth in watches]
    ).plans
    path = os.fsencode(str(tree / path))

    reporters = [plan for plan in plans if reports(Scope(plan, OwnFiles()), path)]

    assert len(reporters) <= 1


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """All directories that the names `a` and `b` make, three deep."""
    top = tmp_path_factory.mktemp("tree").resolve()
    for number in range(8):
        top.joinpath(*(f"{number:03b}".replace("0", "a").replace("1", "b"))).mkdir(parents=True)
    return top


def reports(scope: Scope, path: bytes) -> bool:
    prefix = scope.root + b"/"
    return scope.reports(b"" if path == scope.root else path[len(prefix) :]) and (path + b"/").startswith(prefix)


# Our own files


def test_state_and_run_directory_are_not_entered_and_not_reported(folder):
    own = own_of(folder / "var" / "state", folder / "run")
    scope = scope_of(folder, own)

    assert scope.enters(b"var")
    assert not scope.enters(b"var/state")
    assert not scope.reports(b"var/state")
    assert not scope.reports(b"run/counters/audit.page")
    assert scope.reports(b"var/stateful")


@pytest.mark.parametrize("within", ["", "baselines", "baselines/deeper"])
def test_of_a_watch_in_our_state_directory_nothing_is_reported_and_that_is_said(folder, caplog, within):
    own = own_of(folder / "state", folder / "run")
    watched = folder / "state" / within
    watched.mkdir(parents=True, exist_ok=True)

    with caplog.at_level(logging.WARNING):
        scope = scope_of(watched, own)

    assert not scope.enters(b"")
    assert not scope.reports(b"")
    assert not scope.reports(b"x")
    assert f"{watched} is our own directory {folder}/state, or in it: nothing of it is reported" in caplog.text


def test_a_file_in_our_state_directory_is_not_reported_either(folder):
    own = own_of(folder / "state", folder / "run")
    scope = scope_of(folder / "state" / "host-id", own)

    assert not scope.reports(b"host-id")


def test_our_directories_are_known_behind_symbolic_links(folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    own = own_of(folder / "link" / "state", folder / "run")
    scope = scope_of(folder / "real", own)

    assert not scope.enters(b"state")


def test_of_a_segments_directory_only_segments_are_ours(folder):
    own = own_of(folder / "state", folder / "run", folder / "log" / "segments")
    scope = scope_of(folder / "log", own)

    assert scope.enters(b"segments")
    assert not scope.reports(b"segments/" + SEGMENT)
    assert scope.reports(b"segments/auditline-notes.jsonl")
    assert scope.reports(b"segments/other")
    assert scope.reports(SEGMENT)
    assert scope.reports(b"segments/deeper/" + SEGMENT)


def test_a_watched_directory_may_be_the_segments_directory_itself(folder):
    scope = scope_of(folder / "log", own_of(folder / "state", folder / "run", folder / "log"))

    assert not scope.reports(SEGMENT)
    assert scope.reports(b"other")


def test_the_output_s_own_segments_are_known_by_their_names(folder):
    segment = SegmentWriter(folder, 1)
    os.close(segment.descriptor)

    assert is_segment_name(os.fsencode(segment.path.name))


def test_what_stdout_writes_to_is_ours_under_whatever_name(folder):
    with (folder / "events.jsonl").open("w") as stdout:
        own = find_own_files(settings_of(folder / "state", folder / "run"), [stdout.fileno()])
    os.link(folder / "events.jsonl", folder / "second-name")
    (folder / "other").touch()
    scope = scope_of(folder, own)

    assert scope.is_own((folder / "events.jsonl").lstat())
    assert scope.is_own((folder / "second-name").lstat())
    assert not scope.is_own((folder / "other").lstat())


def test_a_pipe_or_nothing_at_all_as_stdout_is_no_file_of_ours(folder):
    reader, writer = os.pipe()
    os.close(reader)
    own = find_own_files(settings_of(folder / "state", folder / "run"), [writer, 9999])
    os.close(writer)

    assert own.file_identities == frozenset()


def test_own_files_can_be_handed_to_another_process(folder):
    own = own_of(folder / "state", folder / "run", folder / "log")

    assert pickle.loads(pickle.dumps(own)) == own


def mount_again(mount, source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    mount("--bind", source, target)


@pytest.mark.parametrize("ours", ["state", "run", "state/baselines"])
def test_our_directories_are_not_opened_where_they_are_mounted_a_second_time(folder, mount, ours):
    (folder / "state" / "baselines").mkdir(parents=True)
    own = own_of(folder / "state", folder / "run")
    watched = folder / "watched"
    watched.mkdir()
    mount_again(mount, folder / ours, watched / "again")
    scope = scope_of(watched, own)

    assert scope.enters(b"again")
    assert not scope.opens(b"again", (watched / "again").stat())
    assert scope.opens(b"", watched.stat())


def test_a_watch_of_our_state_directory_under_another_path_opens_nothing(folder, mount):
    own = own_of(folder / "state", folder / "run")
    mount_again(mount, folder / "state", folder / "watched")
    scope = scope_of(folder / "watched", own)

    assert not scope.opens(b"", (folder / "watched").stat())


def test_segments_are_ours_where_their_directory_is_mounted_a_second_time_and_only_as_long(folder, mount):
    own = own_of(folder / "state", folder / "run", folder / "log")
    watched = folder / "watched"
    watched.mkdir()
    mount_again(mount, folder / "log", watched / "again")
    scope = scope_of(watched, own)
    is_opened = scope.opens(b"again", (watched / "again").stat())
    while_mounted = scope.reports(b"again/" + SEGMENT), scope.reports(b"again/other")

    subprocess.run(["umount", watched / "again"], check=True)
    scope.opens(b"again", (watched / "again").stat())

    assert is_opened
    assert while_mounted == (False, True)
    assert scope.reports(b"again/" + SEGMENT)


def test_a_directory_that_got_the_inode_of_one_of_ours_is_not_ours(folder):
    own = own_of(folder / "state", folder / "run")
    other = folder / "other"
    (folder / "run").rename(other)

    assert scope_of(folder, own).opens(b"other", other.stat())
