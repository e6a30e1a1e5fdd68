"""Ways on which what the service writes might come back to it as an event, and cause the next one."""

import subprocess

import pytest

HEALTH = "[health]\nperiod_seconds = 0.1\n"
PERIODS = 8
"""So many health events later, what fed itself would have grown."""


@pytest.fixture
def is_quiet(watched, wait_until):
    """Wait for some more lines; they would be events themselves."""

    def wait():
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


@pytest.mark.parametrize("ours", ["state", "run", "state/baselines"])
def test_our_directories_mounted_a_second_time_in_the_watched_one_are_no_events(watched, is_quiet, mount_again, ours):
    mount_again(watched.folder / "service" / ours, watched.root / "inner" / "again")
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


@pytest.mark.parametrize("ours", ["state", "state/baselines", "run"])
def test_a_watch_in_our_own_directories_tells_nothing_and_that_is_said(watched, is_quiet, ours):
    path = watched.folder / "service" / ours

    watched.start({"path": path}, {"path": watched.root}, tables=HEALTH, is_walked=False)
    (watched.root / "file").write_text("is told or found")
    is_quiet()
    watched.settle()

    assert set(watched.actions) <= {f"{watched.root}/file"}
    assert f"{path} is our own directory" in watched.run.stderr


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
