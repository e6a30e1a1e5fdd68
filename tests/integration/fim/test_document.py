"""The event of a file: the reference's keys, and what `stat` and `hashlib` say."""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import xxhash

from auditline.workers.common.hashes import ALGORITHMS

SEED = json.loads((Path(__file__).parents[2] / "data" / "seed" / "file-created.json").read_text())
CONTENT = b"%superusers ALL=(ALL) NOPASSWD: ALL\n"


def written(seconds_ns):
    """A time as events have it."""
    moment = datetime.fromtimestamp(seconds_ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{seconds_ns // 10**6 % 1000:03d}Z"


def digest(name):
    """What others say of CONTENT."""
    family, _, bits = name.partition("_")
    if family == "blake2b":
        return hashlib.blake2b(CONTENT, digest_size=int(bits) // 8).hexdigest()
    if name == "xxh64":
        return xxhash.xxh64(CONTENT).hexdigest()
    return hashlib.new(name, CONTENT).hexdigest()


def make_file(path, mode=0o440):
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, mode)
    os.write(descriptor, CONTENT)
    os.close(descriptor)


def test_a_created_file_has_the_keys_of_the_reference_and_the_values_of_stat_and_hashlib(watched):
    path = watched.root / "superusers"
    watched.start(fim={"hashes": ["md5", "sha1", "sha256"]})

    make_file(path)
    created = watched.wait_for("created", path)

    status = path.stat()
    assert list(created.file) == list(SEED["audit"]["file"])
    assert created.file == {
        "action": "created",
        "type": "file",
        "path": str(path),
        "gid": 0,
        "uid": 0,
        "owner": "root",
        "group": "root",
        "inode": str(status.st_ino),
        "size": len(CONTENT),
        "mode": "0440",
        "mtime": written(status.st_mtime_ns),
        "ctime": written(status.st_ctime_ns),
        "atime": written(status.st_atime_ns),
        "hashed": True,
        "md5": digest("md5"),
        "sha1": digest("sha1"),
        "sha256": digest("sha256"),
    }
    assert list(created.document["audit"]) == ["file"]
    assert list(created.document) == ["@timestamp", "event", "host", "audit", "auditline"]
    ours = created.document["auditline"]
    assert (ours["complete"], ours["change"], ours["hash_state"]) == (True, {"detected_by": "event"}, "stable")
    assert ours["file"] == {"device": f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}", "links": 1}
    (line,) = [line for line in watched.lines.lines if b'"action":"created"' in line]
    assert line.startswith(b'{"@timestamp":"%s","event":{"id":"' % created.document["@timestamp"].encode())


def test_every_algorithm_gives_what_hashlib_gives(watched):
    path = watched.root / "file"
    watched.start(fim={"hashes": list(ALGORITHMS)})

    make_file(path)
    created = watched.wait_for("created", path)

    assert created.file["hashed"] is True
    found = created.file | created.document["auditline"].get("hashes", {})
    assert {name: found.get(name) for name in ALGORITHMS} == {name: digest(name) for name in ALGORITHMS}


def test_without_algorithms_changes_are_told_and_no_file_is_read(watched, opens):
    path = watched.root / "file"
    opens.watch(watched.root)
    watched.start(fim={"hashes": []})
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    watched.wait_for("created", path)
    paths = opens.paths

    os.write(descriptor, CONTENT)
    os.close(descriptor)
    updated = watched.wait_for("updated", path)

    assert updated.before.keys() == {"size", "mtime", "ctime"}
    assert updated.file.keys() == SEED["audit"]["file"].keys() - {"hashed", "md5", "sha1", "sha256"}
    # The test's own: the kernel has told no other one.
    assert paths - {watched.root} == {path}


def test_a_file_beyond_the_limit_is_told_without_hashes_and_why(watched):
    watched.start(fim={"max_file_bytes": 1000})

    for size in (1000, 1001):
        (watched.root / f"{size}").write_bytes(bytes(size))
    within = watched.wait_for("created", watched.root / "1000")
    beyond = watched.wait_for("created", watched.root / "1001")

    assert within.file["sha256"] == hashlib.sha256(bytes(1000)).hexdigest()
    assert within.document["auditline"]["hash_state"] == "stable"
    assert beyond.file["size"] == 1001
    assert beyond.file.keys().isdisjoint({"hashed", "sha256"})
    assert beyond.document["auditline"]["hash_reason"] == "too_large"


def test_the_time_of_the_last_access_is_not_changed_by_our_reading(watched):
    """Pitfall 59."""
    path = watched.root / "file"
    path.write_bytes(CONTENT)
    os.utime(path, (1_000_000_000, 1_000_000_001))
    watched.start()

    path.chmod(0o600)
    changed = watched.wait_for("attributes_modified", path)

    assert changed.file["atime"] == "2001-09-09T01:46:40.000Z"
    assert path.stat().st_atime == 1_000_000_000


def test_a_file_that_may_not_be_read_is_told_without_hashes_and_why(nobodys_watched):
    watched, path = nobodys_watched, nobodys_watched.root / "file"
    watched.start()

    make_file(path, mode=0o000)
    created = watched.wait_for("created", path)
    path.chmod(0o400)
    readable = watched.wait_for("attributes_modified", path)

    assert created.file["size"] == len(CONTENT)
    assert "sha256" not in created.file
    assert created.document["auditline"]["hash_reason"] == "forbidden"
    assert readable.file["sha256"] == digest("sha256")
    assert readable.document["auditline"]["hash_state"] == "stable"


def test_an_event_goes_to_segments_and_to_stdout_alike(watched):
    segments = watched.folder / "segments"
    watched.start(tables=f'[outputs.segments]\nenabled = true\ndirectory = "{segments}"\n')

    make_file(watched.root / "file")
    created = watched.wait_for("created", watched.root / "file")
    watched.stop()

    assert created.document in watched.run.lines_of(segments)


def test_health_events_know_watchers_and_hashers(watched, wait_until):
    watched.start(hasher={"processes": 2}, tables="[health]\nperiod_seconds = 0.2\n")

    make_file(watched.root / "file")
    watched.wait_for("created", watched.root / "file")
    told = len(watched.lines.health)
    wait_until(lambda: len(watched.lines.health) > told + 1)

    health = watched.lines.health[-1]
    names = {process["name"] for process in health["processes"]}
    assert names == {"supervisor", "router", "names", watched.source, "hasher-1", "hasher-2"}
    assert all(process["state"] == "started" for process in health["processes"])
