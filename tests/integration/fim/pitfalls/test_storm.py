"""Four processes that change everything at once: afterwards all is known, and the events tell how it came about."""

import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from auditline.workers.common.hashes import unpack_digests
from auditline.workers.fim.rows import decode_row

STORM = Path(__file__).parent / "storm.py"
PROCESSES = 4
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}
ROWS = "SELECT directories.path, seen.* FROM seen JOIN directories ON directories.id = seen.directory"
KEPT = ("type", "mode", "uid", "gid", "inode", "size", "target_path", "sha256")
"""The keys of `audit.file` that are folded."""


class Known:
    """What is known of all paths, read from the database and folded from events, in the words of the events."""

    def __init__(self, states):
        self.states = dict(states)

    def fold(self, document):
        """Let what one event tells come true."""
        file, change = document["audit"]["file"], document["auditline"]["change"]
        path = file["path"]
        if file["action"] == "deleted":
            self.states.pop(path, None)
            return
        old = change.get("moved_from")
        if file["action"] == "moved":
            old = change["before"]["path"]
        if old is not None:
            self._carry(old, path)
        self.states[path] = {key: file[key] for key in KEPT if key in file}

    def _carry(self, old, new):
        for path in [path for path in self.states if path == old or path.startswith(f"{old}/")]:
            self.states[new + path[len(old) :]] = self.states.pop(path)


@pytest.fixture
def baseline_of(watched):
    """Read what the watcher of `root` has stored: states by path, as they are."""
    path = watched.folder / "service" / "state" / "baselines" / f"{watched.source}.sqlite"

    def read():
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = connection.execute(ROWS).fetchall()
        # What begins with NUL is hidden, but that the root lies in such a directory, without a name.
        whole = {b"/".join(filter(None, (directory.strip(b"\0"), row[1]))): row for directory, *row in rows}
        root = os.fsencode(watched.root)
        return {os.fsdecode(os.path.join(root, name).rstrip(b"/")): decode_row(row) for name, row in whole.items()}

    return read


def in_words(state):
    """Return of a stored state what events tell of it."""
    words = {
        "type": TYPES[stat.S_IFMT(state.mode)],
        "mode": f"{stat.S_IMODE(state.mode):04o}",
        "uid": state.uid,
        "gid": state.gid,
        "inode": str(state.inode),
    }
    if state.is_regular:
        words |= {"size": state.size} | unpack_digests(state.hashes)
    return words | ({} if state.target is None else {"target_path": os.fsdecode(state.target)})


def numbers(state):
    """Return of a stored state what `walk` gives."""
    common = (state.mode, state.uid, state.gid, state.inode, state.device)
    if state.is_directory:
        # Sizes and times of directories are no news: what is done in them is.
        return common
    content = unpack_digests(state.hashes).get("sha256") if state.is_regular else os.fsdecode(state.target)
    return *common, state.size, state.links, state.mtime_ns, state.ctime_ns, content


def walk(root):
    """Return what is there, by path, looked at without any of the code under test."""
    found = (os.path.join(directory, name) for directory, *names in os.walk(root) for name in names[0] + names[1])
    return {path: look(path) for path in (str(root), *found)}


def look(path):
    status = os.lstat(path)
    common = (status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_dev)
    if stat.S_ISDIR(status.st_mode):
        return common
    is_link = stat.S_ISLNK(status.st_mode)
    content = os.readlink(path) if is_link else hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return *common, status.st_size, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns, content


@pytest.fixture
def blow(watched, chance):
    """Let the storm blow; while it does and every second a hasher is killed, and once the watcher stands still."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(directories, count, pause_seconds):
        arguments = map(str, (watched.root, directories, count // PROCESSES, chance.randrange(1 << 32)))
        command = [sys.executable, "-S", str(STORM), *arguments]
        processes.extend(subprocess.Popen([*command, f"p{number}"]) for number in range(PROCESSES))
        with watched.suspended():
            kill_hashers(watched, pause_seconds, lambda: False)
        kill_hashers(watched, 300, lambda: all(process.poll() is not None for process in processes))
        assert [process.returncode for process in processes] == [0] * PROCESSES

    yield run
    for process in processes:
        process.kill()
        process.wait()


def kill_hashers(watched, seconds, has_ended):
    """Kill one each second, until the time is over or what is done has ended."""
    deadline, next_at = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < deadline and not has_ended():
        if time.monotonic() >= next_at:
            next_at += 1
            with suppress(psutil.Error):
                (watched.run.worker("hasher 1") or watched.worker("hasher 2")).kill()
        time.sleep(0.02)


@pytest.mark.parametrize("backend", ["fanotify", "fanotify-filesystem", "inotify", "poll"])
@pytest.mark.parametrize(
    ("directories", "count", "pause_seconds"),
    [
        pytest.param(50, 2_000, 0.5, id="breeze"),
        pytest.param(500, 20_000, 2, id="wind", marks=pytest.mark.soak),
        pytest.param(5_000, 200_000, 5, id="storm", marks=(pytest.mark.soak, pytest.mark.timeout(1800))),
    ],
)
def test_after_a_storm_all_is_known_and_the_events_lead_from_the_old_to_the_new(
    watched, baseline_of, blow, wait_until, backend, directories, count, pause_seconds
):
    for number in range(directories):
        (watched.root / f"{number}").mkdir()
        (watched.root / f"{number}" / "0").write_text(f"{number}")
    watched.comes_back = True
    watched.start({"path": watched.root, "backend": backend}, hasher={"processes": 2})
    known = Known({path: in_words(state) for path, state in baseline_of().items()})

    blow(directories, count, pause_seconds)
    present = walk(watched.root)
    with suppress(AssertionError):
        wait_until(lambda: {path: numbers(state) for path, state in baseline_of().items()} == present, 300)
    watched.stop()

    stored = baseline_of()
    assert {path: numbers(state) for path, state in stored.items()} == present
    for change in watched.lines.changes:
        known.fold(change.document)
    assert known.states == {path: in_words(state) for path, state in stored.items()}
    assert "given up" not in watched.run.stderr
