"""File changes beside audited system calls while every process is killed in turn: nothing is missed or told twice."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from auditline.workers.common.hashes import unpack_digests
from auditline.workers.fim.baseline import Baseline

pytestmark = pytest.mark.kernel

WRITER = Path(__file__).parent / "writer.py"
OPENER = Path(__file__).parents[1] / "load" / "opener.py"
FILES = 500
WRITES_PER_SECOND = 200
BATCH_RECORDS = 256
SEGMENTS = '[outputs.segments]\nenabled = true\ndirectory = "{}"\n'


class Load:
    """What changes files and opens names."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        """What is opened."""
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, script: Path, *arguments: object) -> None:
        self.processes.append(subprocess.Popen([sys.executable, "-S", str(script), *map(str, arguments)]))

    def wait(self) -> None:
        """Wait until all is done."""
        for process in self.processes:
            assert process.wait(60) == 0

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def load(watched, chance):
    """Begin to write files and to open names, both for so many seconds."""
    load, closed = Load(), watched.folder / "closed"
    closed.mkdir(mode=0o700)

    def start(seconds, *, opens_per_second):
        writes, opens = int(seconds * WRITES_PER_SECOND), int(seconds * opens_per_second)
        load.names = {f"{closed}/name-{number}" for number in range(opens)}
        load.start(WRITER, watched.root, FILES, WRITES_PER_SECOND, writes, chance.randrange(1 << 32))
        load.start(OPENER, closed, "name", opens_per_second, opens)
        return load

    yield start
    load.end()


@pytest.fixture
def start_loaded(kernel_audit, watched, wait_until):
    """Start the service with rules, segments and a watch of 500 files."""
    for number in range(FILES):
        (watched.root / f"{number}").write_text(str(number))

    def start():
        segments = watched.folder / "segments"
        watched.start(audit="", tables=SEGMENTS.format(segments), fim={"debounce_seconds": 0.2, "max_delay_seconds": 2})
        wait_until(lambda: "audit rules of ours are loaded" in watched.run.stderr)
        return segments

    return start


@pytest.fixture
def kill(watched, wait_until):
    """Kill the process of a title that has not been killed yet, once there is one."""
    killed: set[int] = set()

    def kill(title):
        wait_until(lambda: watched.run.pid_of(title) not in {0, *killed})
        worker = watched.worker(title)
        killed.add(worker.pid)
        worker.kill()

    return kill


def content_hashes(directory):
    """The present hash of each file."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def by_path(lines):
    """The changes of each path, in order."""
    changes = defaultdict(list)
    for line in lines:
        if "file" in line["audit"]:
            changes[line["audit"]["file"]["path"]].append(line)
    return changes


def assert_last_events_have_the_present_hashes(changes, present):
    last = {path: lines[-1]["audit"]["file"] for path, lines in changes.items()}
    gone = {path for path, file in last.items() if file["action"] == "deleted"}
    assert gone.isdisjoint(present)
    assert {path: file.get("sha256") for path, file in last.items() if path not in gone} == {
        path: present.get(path) for path in last if path not in gone
    }


def assert_changes_of_each_path_follow_from_one_another(changes):
    for lines in changes.values():
        for earlier, later in itertools.pairwise(lines):
            was, now = earlier["audit"]["file"], later["audit"]["file"]
            assert (was["action"] == "deleted") == (now["action"] == "created"), (earlier, later)
            before = later["auditline"]["change"].get("before", {})
            assert {key: was.get(key) for key in before if key in was} == {
                key: value for key, value in before.items() if key in was
            }, (earlier, later)


def assert_each_event_is_there_once(lines):
    assert [identity for identity, count in Counter(line["event"]["id"] for line in lines).items() if count > 1] == []
    contents = Counter(
        json.dumps([line["audit"]["file"], line["auditline"]["change"]], sort_keys=True)
        for line in lines
        if "file" in line["audit"]
    )
    assert [content for content, count in contents.items() if count > 1] == []


def assert_baseline_equals_a_fresh_walk(watched):
    baseline = Baseline.open(watched.folder / "service" / "state" / "baselines", watched.source, bytes(watched.root))
    try:
        known = {path: state for path in baseline.known_beneath(b"") if (state := baseline.known(path))}
        assert baseline.last_number == baseline.done_number
    finally:
        baseline.close()
    found = {os.fsencode(path.name): path.lstat() for path in watched.root.iterdir()}
    assert {path: attributes_of(state) for path, state in known.items()} == {
        path: (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_size,
            status.st_ino,
            status.st_dev,
            status.st_nlink,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        for path, status in found.items()
    }
    assert {f"{watched.root}/{os.fsdecode(path)}": unpack_digests(state.hashes) for path, state in known.items()} == {
        path: {"sha256": digest} for path, digest in content_hashes(watched.root).items()
    }


def attributes_of(state):
    return (
        state.mode,
        state.uid,
        state.gid,
        state.size,
        state.inode,
        state.device,
        state.links,
        state.mtime_ns,
        state.ctime_ns,
    )


@pytest.mark.parametrize(
    ("rounds", "seconds", "opens_per_second"),
    [
        pytest.param(1, 6, 1000, id="short"),
        *(pytest.param(3, 30, 2000, id=f"long-{number}", marks=pytest.mark.soak) for number in range(3)),
    ],
)
def test_kills_in_turn_under_load_cost_no_change_and_double_none(
    watched, start_loaded, load, at_moments, kill, rounds, seconds, opens_per_second
):
    segments = start_loaded()
    running = load(seconds, opens_per_second=opens_per_second)

    titles = (watched.title, "hasher 1", "router", "audit reader")
    for title in at_moments(rounds * titles, seconds - 0.5):
        kill(title)
    running.wait()
    watched.settle()
    watched.stop()

    lines = watched.run.lines_of(segments)
    changes = by_path(lines)
    assert_last_events_have_the_present_hashes(changes, content_hashes(watched.root))
    assert_changes_of_each_path_follow_from_one_another(changes)
    assert_each_event_is_there_once(lines)
    assert_baseline_equals_a_fresh_walk(watched)
    opened = Counter(watched.run.names_in(lines))
    assert len(running.names - opened.keys()) <= rounds * BATCH_RECORDS
    assert max(opened[name] for name in running.names) == 1
    assert "given up" not in watched.run.stderr
