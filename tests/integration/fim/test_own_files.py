"""What the service itself writes inside a watched directory is no event, or there would be no end of them."""

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


def test_state_run_and_segments_directories_within_the_watch_are_no_events(watched, is_quiet):
    segments = watched.folder / "segments"
    tables = f'[outputs.segments]\nenabled = true\ndirectory = "{segments}"\nsegment_bytes = 4096\n{HEALTH}'
    watched.start({"path": watched.folder}, tables=tables)

    (watched.root / "file").write_text("is told")
    watched.wait_for("created", watched.root / "file")
    (segments / "notes.txt").write_text("no segment, is told")
    watched.wait_for("created", segments / "notes.txt")
    is_quiet()
    watched.settle()

    assert len(list(segments.glob("*.jsonl"))) > 1
    assert watched.actions == {f"{watched.root}/file": ["created"], f"{segments}/notes.txt": ["created"]}


def test_the_file_that_stdout_is_sent_to_is_no_event(watched, is_quiet):
    output = watched.root / "output.jsonl"
    output.touch()
    watched.start(into=output, tables=HEALTH)

    (watched.root / "file").write_text("is told")
    watched.wait_for("created", watched.root / "file")
    is_quiet()
    watched.settle()

    assert watched.actions == {f"{watched.root}/file": ["created"]}


def test_the_file_that_stdout_is_sent_to_is_known_by_itself_not_by_its_name(watched, is_quiet):
    output = watched.root / "output.jsonl"
    output.touch()
    watched.start(into=output, tables=HEALTH)

    output.rename(watched.root / "renamed")
    (watched.root / "output.jsonl").write_text("somebody else's")
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
