"""A running service of whose outputs one cannot have its directory."""

import json
import signal
import subprocess
import sys

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
[outputs.stdout]
enabled = false
[outputs.segments]
enabled = {has_other}
directory = "{folder}/segments"
[outputs.hindered]
type = "segments"
directory = "{folder}/file/segments"
enabled = true
"""
LOGIN = b"type=USER_LOGIN msg=audit(1700000000.001:%d): pid=1 uid=0 auid=1000 ses=1 msg='op=login res=success'\n"


@pytest.fixture
def start(tmp_path):
    """Start a service that reads lines from its standard input, one of whose outputs is below a file."""
    (tmp_path / "file").touch()
    started = []

    def run(*, has_other):
        configuration = tmp_path / "auditline.toml"
        configuration.write_text(CONFIGURATION.format(folder=tmp_path, has_other=str(has_other).lower()))
        configuration.chmod(0o600)
        command = [sys.executable, "-m", "auditline.workers.supervisor", "run", "--config", str(configuration)]
        with (tmp_path / "log").open("wb") as log:
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log))
        return started[-1]

    yield run
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def serials(tmp_path):
    """Return the serials of the events in the segments of a directory."""

    def read(folder):
        paths = sorted((tmp_path / folder).glob("*.jsonl"))
        lines = [line for path in paths for line in path.read_bytes().splitlines()]
        sequences = [json.loads(line)["audit"].get("kernel", {}).get("sequence") for line in lines]
        return [sequence for sequence in sequences if sequence is not None]

    return read


def test_the_other_outputs_get_all_events_and_it_gets_them_once_it_can(tmp_path, start, serials, wait_until):
    service = start(has_other=True)
    service.stdin.write(b"".join(LOGIN % number for number in range(1, 51)))
    service.stdin.flush()
    wait_until(lambda: len(serials("segments")) == 50)
    log = (tmp_path / "log").read_text()
    assert f"outputs.hindered: {tmp_path}/file/segments cannot be used: Not a directory" in log
    assert "outputs.hindered: detached" in log

    (tmp_path / "file").unlink()
    wait_until(lambda: "outputs.hindered: attached again" in (tmp_path / "log").read_text())
    service.stdin.write(LOGIN % 51)
    service.stdin.flush()
    wait_until(lambda: serials("file/segments") == [51])
    service.send_signal(signal.SIGTERM)

    assert service.wait(10) == 0
    assert serials("segments") == list(range(1, 52))


def test_as_the_only_output_it_makes_the_events_wait(tmp_path, start, serials, wait_until):
    service = start(has_other=False)
    service.stdin.write(b"".join(LOGIN % number for number in range(1, 51)))
    service.stdin.flush()
    wait_until(lambda: "outputs.hindered: " in (tmp_path / "log").read_text())

    (tmp_path / "file").unlink()
    wait_until(lambda: len(serials("file/segments")) == 50)
    service.send_signal(signal.SIGTERM)

    assert service.wait(10) == 0
    assert serials("file/segments") == list(range(1, 51))
