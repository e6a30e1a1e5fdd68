"""Outputs of a running service, each with a filter of its own."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

CONFIGURATION = """
[state]
directory = "{folder}/state"
[run]
directory = "{folder}/run"
[audit]
socket = "stdin"
resolve_ids = false
[fim]
watch = []
[outputs.segments]
enabled = true
directory = "{folder}/segments"
[[outputs.segments.include]]
field = "audit.kernel.actor.attrs.auid"
regex = "[13579]$"
[[outputs.segments.include]]
field = "audit.health"
exists = true
[outputs.segments.add]
tags = ["odd"]
[outputs.stdout]
schema = "ecs"
[[outputs.stdout.exclude]]
field = "event.dataset"
equals = "auditd"
"""
COUNT = 4000


def login(number):
    return (
        f"type=USER_LOGIN msg=audit({1_700_000_000 + number // 1000}.{number % 1000:03}:{number}): "
        f"pid=1 uid=0 auid={1000 + number} ses=1 msg='op=login acct=\"a\" res=success'\n"
    ).encode()


@pytest.fixture
def service(tmp_path):
    """Start a service that reads lines from its standard input; it is gone at the end."""
    configuration = tmp_path / "auditline.toml"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path))
    configuration.chmod(0o600)
    command = [sys.executable, "-m", "auditline.workers.supervisor", "run", "--config", str(configuration)]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=log)
    with process:
        yield process
        process.kill()


@pytest.fixture
def events(tmp_path):
    """Return the events in the segments, and those on stdout."""

    def read():
        files = (segments(tmp_path), [tmp_path / "out"])
        return [[json.loads(line) for path in paths for line in path.read_bytes().splitlines()] for paths in files]

    return read


def segments(folder: Path):
    return sorted((folder / "segments").glob("*.jsonl"))


def router_of(service):
    return next(filter(is_router, psutil.Process(service.pid).children()), None)


def is_router(process):
    # One that has just ended, as some do at a start, has no command line.
    with suppress(psutil.Error):
        return process.cmdline()[:1] == ["auditline: router"]
    return False


def test_each_output_has_its_own_events_once_though_the_router_is_killed(service, events, tmp_path, wait_until):
    wait_until(lambda: router_of(service), 60)
    service.stdin.write(b"".join(map(login, range(COUNT // 2))))
    service.stdin.flush()
    wait_until(lambda: segments(tmp_path) and segments(tmp_path)[0].stat().st_size, 60)
    router_of(service).send_signal(signal.SIGKILL)
    service.stdin.write(b"".join(map(login, range(COUNT // 2, COUNT))))
    service.stdin.close()

    assert service.wait(100) == 0

    in_segments, on_stdout = events()
    logins = [event for event in in_segments if "kernel" in event["audit"]]
    found = sorted(int(event["audit"]["kernel"]["actor"]["attrs"]["auid"]) for event in logins)
    assert found == list(range(1001, 1000 + COUNT, 2))
    assert {tuple(event["tags"]) for event in in_segments} == {("odd",)}
    assert {event["event"]["dataset"] for event in on_stdout} == {"auditline.health"}
    balance = on_stdout[-1]["audit"]["health"]["balance"]["outputs"]
    assert {name: counts["events"] for name, counts in balance.items()} == {
        name: counts["written"] + counts["filtered"] + counts["pending"] for name, counts in balance.items()
    }
    assert balance["stdout"]["filtered"] >= COUNT
    assert balance["segments"]["filtered"] >= COUNT // 2
