"""What the service itself writes inside a watched directory is no event, or there would be no end of them."""

import subprocess

import pytest

HEALTH = "[health]\nperiod_seconds = 0.1\n"
PERIODS = 5
"""So many health events later, what fed itself would have grown."""


@pytest.fixture
def is_quiet(watched, wait_until):
    """Wait until it is walked, and for some more lines; they would be events themselves."""

    def wait():
        wait_until(lambda: any(entry["path"] in (str(watched.root), str(watched.folder)) for entry in watched.coverage))
        told = len(watched.lines.health)
        wait_until(lambda: len(watched.lines.health) >= told + PERIODS)

    return wait


@pytest.fixture
def mount_again():
    """Mount a directory a second time."""
    mounted = []

    def mount(source, target):
        source.mkdir(parents=True, exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        command = ["mount", "--bind", str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(target)

    yield mount
    for target in reversed(mounted):
        subprocess.run(["umount", "-l", str(target)], check=True)


@pytest.mark.parametrize("backend", ["fanotify", "fanotify-filesystem", "inotify", "poll"])
def test_state_run_and_segments_directories_within_the_watch_are_no_events(watched, is_quiet, backend):
    """Pitfall 1."""
    segments = watched.folder / "segments"
    tables = f'[outputs.segments]\nenabled = true\ndirectory = "{segments}"\nsegment_bytes = 4096\n{HEALTH}'
    watched.start({"path": watched.folder, "backend": backend}, tables=tables)

    (watched.root / "file").write_text("is told")
    watched.wait_for("created", watched.root / "file")
    (segments / "notes.txt").write_text("no segment, is told")
    watched.wait_for("created", segments / "notes.txt")
    is_quiet()
    watched.settle()

    assert len(list(segments.glob("*.jsonl"))) > 1
    assert watched.actions == {f"{watched.root}/file": ["created"], f"{segments}/notes.txt": ["created"]}


def test_the_file_that_stdout_is_sent_to_is_no_event_whatever_its_name(watched, is_quiet):
    output = watched.root / "output.jsonl"
    output.touch()
    watched.start(into=output, tables=HEALTH)

    is_quiet()
    output.rename(watched.root / "renamed")
    (watched.root / "output.jsonl").write_text("somebody else's, is told")
    watched.wait_for("created", watched.root / "output.jsonl")
    is_quiet()
    watched.settle()

    assert watched.actions == {f"{watched.root}/output.jsonl": ["created"]}


def test_a_restart_finds_nothing_in_what_it_wrote_itself(watched, is_quiet):
    segments = watched.folder / "segments"
    tables = f'[outputs.segments]\nenabled = true\ndirectory = "{segments}"\n{HEALTH}'
    watched.start({"path": watched.folder}, tables=tables)
    is_quiet()
    watched.stop()

    watched.start({"path": watched.folder}, tables=tables)
    is_quiet()

    # The configuration is written anew by each start of these tests.
    assert watched.actions.keys() <= {f"{watched.folder}/service/auditline.toml"}


def test_our_directories_mounted_a_second_time_in_the_watched_one_are_no_events(watched, is_quiet, mount_again):
    for ours in ("state", "run", "state/baselines"):
        mount_again(watched.folder / "service" / ours, watched.root / "inner" / ours.replace("/", "-"))
    watched.start(tables=HEALTH)

    (watched.root / "inner" / "file").write_text("is told")
    watched.wait_for("created", watched.root / "inner" / "file")
    is_quiet()
    watched.settle()

    assert watched.actions == {f"{watched.root}/inner/file": ["created"]}


def test_segments_mounted_a_second_time_in_the_watched_directory_are_no_events(watched, is_quiet, mount_again):
    segments = watched.folder / "segments"
    mount_again(segments, watched.root / "again")
    watched.start(
        tables=f'[outputs.segments]\nenabled = true\ndirectory = "{segments}"\nsegment_bytes = 4096\n{HEALTH}'
    )

    (watched.root / "again" / "file").write_text("is told")
    watched.wait_for("created", watched.root / "again" / "file")
    is_quiet()
    watched.settle()

    assert len(list(segments.glob("*.jsonl"))) > 1
    assert watched.actions == {f"{watched.root}/again/file": ["created"]}


def test_a_watched_directory_that_is_the_segments_directory_tells_of_all_but_segments(watched, is_quiet):
    tables = f'[outputs.segments]\nenabled = true\ndirectory = "{watched.root}"\nsegment_bytes = 4096\n{HEALTH}'
    watched.start(tables=tables)

    (watched.root / "file").write_text("is told")
    watched.wait_for("created", watched.root / "file")
    is_quiet()
    watched.settle()

    assert len(list(watched.root.glob("*.jsonl"))) > 1
    assert watched.actions == {f"{watched.root}/file": ["created"]}


def test_watches_in_our_own_directories_tell_nothing_and_that_is_said(watched, is_quiet):
    ours = [watched.folder / "service" / name for name in ("state", "state/baselines", "run")]

    watched.start(*({"path": path} for path in (*ours, watched.root)), tables=HEALTH, is_walked=False)
    (watched.root / "file").write_text("is told or found")
    is_quiet()
    watched.settle()

    assert set(watched.actions) <= {f"{watched.root}/file"}
    assert all(f"{path} is our own directory" in watched.run.stderr for path in ours)


def test_our_state_directory_watched_under_another_path_tells_nothing(watched, is_quiet, mount_again):
    mount_again(watched.folder / "service" / "state", watched.folder / "again")

    watched.start({"path": watched.folder / "again"}, {"path": watched.root}, tables=HEALTH, is_walked=False)
    is_quiet()
    watched.settle()

    assert watched.actions == {}
    assert f"{watched.folder}/again is our own directory" in watched.run.stderr


def test_what_stderr_is_sent_to_is_no_event(watched, is_quiet, wait_until):
    into = watched.root / "diagnostics"
    into.touch()
    watched.start(prefix=("sh", "-c", f'exec "$@" 2>>"{into}"', "sh"), tables=HEALTH)

    watched.worker("hasher 1").kill()
    wait_until(lambda: into.stat().st_size)
    (watched.root / "file").write_text("is told")
    watched.wait_for("created", watched.root / "file")
    is_quiet()
    watched.settle()

    assert watched.actions == {f"{watched.root}/file": ["created"]}
