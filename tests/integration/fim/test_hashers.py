"""The pool: large files beside small ones, hashers that die, and a file that is the death of each."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

HUGE_BYTES = 1 << 40
"""A sparse file of that size is hashed for minutes and takes no room."""
LIMIT = {"max_file_bytes": 1 << 42}
TITLES = ("hasher 1", "hasher 2")


@pytest.fixture
def make_huge():
    """Make a file that a hasher is busy with until the end of the test."""

    def make(path):
        with path.open("wb") as file:
            file.truncate(HUGE_BYTES)

    return make


@pytest.fixture
def holder_of(watched, wait_until):
    """Wait until a hasher has a file open, and return that hasher."""

    def opened_by(process):
        links = Path(f"/proc/{process.pid}/fd").iterdir()
        try:
            return {os.readlink(link) for link in links}
        except OSError:
            return set()

    def find(path):
        found: list[Any] = []

        def has_it():
            hashers = filter(None, (watched.run.worker(title) for title in TITLES))
            found[:] = [process for process in hashers if str(path) in opened_by(process)]
            return bool(found)

        wait_until(has_it)
        return found[0]

    return find


def test_a_file_that_three_hashers_died_of_is_quarantined_and_said_and_the_rest_goes_on(watched, make_huge, holder_of):
    """Pitfall 56."""
    path, beside = watched.root / "poison", watched.root / "beside"
    watched.start(fim=LIMIT)

    make_huge(path)
    for _ in range(3):
        holder = holder_of(path)
        holder.kill()
        holder.wait(5)
    created = watched.wait_for("created", path)
    beside.write_text("beside")
    told = watched.wait_for("created", beside)
    watched.settle()

    assert created.document["auditline"]["hash_reason"] == "quarantined"
    assert "sha256" not in created.file
    assert watched.actions == {str(path): ["created"], str(beside): ["created"]}
    assert told.file["sha256"] == hashlib.sha256(b"beside").hexdigest()
    (quarantine,) = [entry for entry in watched.coverage if entry["reason"] == "quarantine"]
    assert quarantine["path"] == str(path)
    assert watched.counters()["files_quarantined_total"] == 1
    assert watched.counters()["hashers_lost_total"] == 3


def test_what_a_dead_hasher_had_in_hand_is_hashed_by_another(watched, make_huge, holder_of, wait_until):
    path = watched.root / "large"
    watched.start(fim=LIMIT)

    make_huge(path)
    first = holder_of(path)
    first.kill()
    first.wait(5)
    second = holder_of(path)
    os.truncate(path, 5)
    created = watched.wait_for("created", path)

    assert second.pid != first.pid
    assert created.file["sha256"] == hashlib.sha256(bytes(5)).hexdigest()
    assert watched.counters()["hash_jobs_repeated_total"] >= 1


def test_a_huge_file_holds_up_nobody_even_where_there_is_but_one_hasher(watched, make_huge, holder_of):
    """Pitfall 21."""
    watched.start(fim=LIMIT, hasher={"processes": 1})

    make_huge(watched.root / "huge")
    holder_of(watched.root / "huge")
    for number in range(500):
        (watched.root / f"small-{number}").write_text(str(number))
    watched.wait_for_paths("created", {f"{watched.root}/small-{number}" for number in range(500)}, seconds=5)

    assert f"{watched.root}/huge" not in watched.actions
    assert holder_of(watched.root / "huge")


def test_a_huge_file_in_hand_does_not_delay_the_end(watched, make_huge, holder_of):
    watched.start(fim=LIMIT)
    make_huge(watched.root / "huge")
    holder_of(watched.root / "huge")

    watched.stop()

    assert watched.actions == {}


def test_hashers_serve_all_watchers_and_find_those_that_come_again(watched, wait_until):
    other = watched.folder / "other"
    other.mkdir()
    watched.start({"path": watched.root}, {"path": other}, hasher={"processes": 1})

    killed = watched.worker(f"fim {other}")
    killed.kill()
    wait_until(lambda: watched.run.pid_of(f"fim {other}") not in (0, killed.pid))
    for directory in (watched.root, other):
        (directory / "file").write_text("one")
    mine, others = (watched.wait_for("created", directory / "file") for directory in (watched.root, other))

    assert mine.file["sha256"] == others.file["sha256"] == hashlib.sha256(b"one").hexdigest()


def test_a_hasher_that_dies_with_many_small_files_in_hand_costs_none(watched, wait_until):
    paths = [watched.root / f"{number}" for number in range(3000)]
    watched.start(hasher={"processes": 2})

    for number, path in enumerate(paths):
        watched.put(path, str(number))
        if number in (500, 1500, 2500):
            watched.worker("hasher 1").kill()
    watched.wait_for_paths("created", set(map(str, paths)), seconds=20)
    watched.settle()

    assert watched.actions == {str(path): ["created"] for path in paths}
    assert all(change.file["hashed"] for change in watched.changes)
    assert watched.counters().get("files_quarantined_total", 0) == 0


def test_a_file_that_changes_all_the_time_never_holds_up_the_others(watched):
    changing = watched.root / "changing"
    changing.write_bytes(bytes(1 << 20))
    watched.start(fim={"debounce_seconds": 0, "max_delay_seconds": 0.2}, hasher={"processes": 1})

    with changing.open("r+b", buffering=0) as file:
        for number in range(300):
            os.pwrite(file.fileno(), os.urandom(4096), number % 256 * 4096)
            (watched.root / f"small-{number}").write_text(str(number))
        watched.wait_for_paths("created", {f"{watched.root}/small-{number}" for number in range(300)})

    watched.wait_for_present_hash(changing)


def test_a_file_cut_short_while_it_is_read_is_told_as_it_is_in_the_end(watched, make_huge, holder_of):
    path = watched.root / "cut"
    watched.start(fim=LIMIT, hasher={"processes": 1})

    make_huge(path)
    hasher = holder_of(path)
    os.truncate(path, 0)
    created = watched.wait_for("created", path)
    watched.settle()

    assert created.file["size"] == 0
    assert created.file["sha256"] == hashlib.sha256(b"").hexdigest()
    assert watched.run.pid_of("hasher 1") == hasher.pid
