"""`auditline status`, `test output` and `check-shipper` beside real services, without the kernel's audit."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import psutil
import pytest

from auditline.workers.common.errors import Exit

SHAPE = {
    "version", "pid", "since", "state", "processes", "counters", "loss", "outputs", "watches", "kernel", "cursors",
}  # fmt: skip
TABLES = """
[[fim.watch]]
path = "{folder}/watched"
[outputs.stdout]
enabled = false
[outputs.segments]
enabled = true
directory = "{folder}/segments"
cursors = ["{folder}/cursor"]
[fim]
"""
BROKEN = """
[[fim.watch]]
path = "{folder}/nowhere"
[fim]
[outputs.es]
type = "elasticsearch"
hosts = ["http://127.0.0.1:{port}"]
flush_seconds = 0.05
retry_min_seconds = 0.1
"""
NOBODY, DAEMON = 65534, 1


def auditline(*words, run=None):
    """Run a command with the configuration of *run*."""
    config = ["--config", str(run.folder / "auditline.toml")] if run else []
    command = [sys.executable, "-m", "auditline.workers.supervisor", *words, *config]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def status_of(run):
    return json.loads(auditline("status", "--json", run=run).stdout)


def has_settled(run):
    status = status_of(run)
    return all(watch["state"] == "watching" and watch["files"] == 3 for watch in status["watches"].values())


def connects(path, user_id, group_id):
    """Say whether a process of that user and group alone may connect to a socket."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgroups([])
            os.setresgid(group_id, group_id, group_id)
            os.setresuid(user_id, user_id, user_id)
            code = socket.socket(socket.AF_UNIX).connect_ex(str(path))
        finally:
            os._exit(min(code, 255))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture(scope="module")
def service(start_run_of_module, tmp_path_factory, wait_until):
    """One that watches a directory with two files and writes segments."""
    folder = tmp_path_factory.mktemp("s")
    (folder / "watched").mkdir()
    for name in ("one", "two"):
        (folder / "watched" / name).write_text("content\n")
    run = start_run_of_module("run", folder, audit="enabled = false", tables=TABLES.format(folder=folder))
    wait_until((run.folder / "run" / "status.sock").exists)
    wait_until(lambda: has_settled(run), seconds=60)
    return run


@pytest.fixture(scope="module")
def broken(start_run_of_module, tmp_path_factory, wait_until):
    """One whose watched path is missing and whose server is not there."""
    folder = tmp_path_factory.mktemp("b")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    tables = BROKEN.format(folder=folder, port=port)
    run = start_run_of_module(
        "run", folder, audit="enabled = false", tables=f"[health]\nperiod_seconds = 0.2\n{tables}"
    )
    wait_until((run.folder / "run" / "status.sock").exists)
    wait_until(lambda: status_of(run)["outputs"]["es"]["last_error"], seconds=60)
    return run


def test_a_service_that_is_well_says_so_and_ends_with_0(service):
    said = auditline("status", run=service)

    first, *_ = said.stdout.splitlines()
    assert (said.returncode, said.stderr) == (0, "")
    assert first.startswith(f"auditline 0.1.0, pid {service.pid}, up ")
    assert first.endswith(": OK")
    assert str(service.folder.parent / "watched") in said.stdout


def test_json_has_the_documented_keys_and_no_others(service):
    said = auditline("status", "--json", run=service)

    status = json.loads(said.stdout)
    assert (said.returncode, said.stderr, status["state"]) == (0, "", "ok")
    assert set(status) == SHAPE
    assert status["pid"] == service.pid
    assert {"name", "pid", "state", "restarts", "cpu_seconds", "rss_bytes"} <= set(status["processes"][0])
    assert [process["name"] for process in status["processes"][:2]] == ["supervisor", "router"]
    assert set(status["kernel"]) == {"mode", "enabled", "pid", "backlog", "lost", "rules"}
    assert status["kernel"]["mode"] == "off"
    assert set(status["loss"].values()) == {0}


def test_outputs_and_watches_are_told(service):
    status = status_of(service)

    output = status["outputs"]["segments"]
    watch = status["watches"][str(service.folder.parent / "watched")]
    assert (output["type"], output["state"], output["pending"]) == ("segments", "attached", 0)
    assert set(output) == {"type", "state", "events", "pending", "lag_seconds", "last_error", "cursor"}
    assert output["cursor"]["segment"].startswith("auditline-")
    assert set(watch) == {"backend", "reason", "state", "files"}


def test_the_cursor_of_a_reader_is_told_with_what_it_has_not_read(service):
    cursor = str(service.folder.parent / "cursor")
    before = status_of(service)["cursors"][cursor]
    auditline("read", "--cursor", cursor, run=service)

    after = status_of(service)["cursors"][cursor]

    assert (before["lag_bytes"] > 0, before["age_seconds"]) == (True, None)
    assert after["lag_bytes"] == 0
    assert after["age_seconds"] < 60


def test_a_router_that_is_stopped_is_told_with_what_is_known(service, wait_until):
    router = service.worker("router")
    router.send_signal(signal.SIGSTOP)
    wait_until(lambda: router.status() == psutil.STATUS_STOPPED)
    # Who asks within a fifth of a second after somebody else is given the same answer.
    wait_until(lambda: auditline("status", run=service).returncode != Exit.OK)

    text = auditline("status", run=service)
    told = auditline("status", "--json", run=service)
    router.send_signal(signal.SIGCONT)

    status = json.loads(told.stdout)
    assert (text.returncode, told.returncode, status["state"]) == (4, 4, "degraded")
    assert f"! router (pid {router.pid}) is stopped by a signal" in text.stdout
    assert told.stderr.startswith(f"auditline: router (pid {router.pid}) is stopped by a signal")
    assert status["outputs"]["segments"]["events"] > 0
    wait_until(lambda: status_of(service)["state"] == "ok")


def test_clients_that_are_silent_or_send_anything_do_no_harm(service):
    path = str(service.folder / "run" / "status.sock")
    with ExitStack() as opened:
        clients = [opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(12)]
        for number, client in enumerate(clients):
            client.connect(path)
            client.sendall(b"\0" * (number % 3) * 20)

        said = auditline("status", run=service)

    assert (said.returncode, said.stderr) == (0, "")
    assert service.process.poll() is None


def test_where_no_service_runs_it_ends_with_3(tmp_path, service):
    config = tmp_path / "other.toml"
    config.write_text(f'[run]\ndirectory = "{tmp_path}/run"\n')

    said = auditline("status", "--json", "--config", str(config))

    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr == f"auditline: not running: nobody answers at {tmp_path}/run/status.sock\n"


def test_what_is_wrong_comes_first_with_its_reason(broken):
    said = auditline("status", run=broken)

    first, *rest = said.stdout.splitlines()
    reasons = "\n".join(line for line in rest if line.startswith("  ! "))
    assert said.returncode == 4
    assert first.endswith(": DEGRADED")
    assert f"{broken.folder.parent}/nowhere is not there" in reasons
    assert "outputs.es cannot deliver now: ConnectionError: " in reasons


def test_events_that_a_server_has_not_taken_are_told(broken, wait_until):
    wait_until(lambda: status_of(broken)["outputs"]["es"]["pending"] >= 2)
    output = status_of(broken)["outputs"]["es"]

    assert (output["type"], output["state"]) == ("elasticsearch", "waiting")
    assert output["lag_seconds"] > 0
    assert set(output["cursor"]) == {"audit", "fim", "health"}


def test_destinations_that_work_are_told_beside_a_running_service(service):
    before = sorted(path.name for path in (service.folder.parent / "segments").iterdir())

    said = auditline("test", "output", run=service)

    directory = service.folder.parent / "segments"
    assert said.returncode == 0
    assert said.stdout.startswith(f"ok    outputs.segments: {directory} takes files, ")
    assert sorted(path.name for path in directory.iterdir()) == before


def test_a_destination_that_is_not_there_is_told_with_the_remedy(broken):
    said = auditline("test", "output", run=broken)

    lines = said.stdout.splitlines()
    assert said.returncode == 1
    assert lines[0] == "ok    outputs.stdout: stdout is what `auditline run` writes to; nothing was written there"
    assert lines[1].startswith("FAIL  outputs.es: http://127.0.0.1:")
    assert lines[1].endswith(
        "Connection refused; nothing listens there: check host and port in hosts, and that the server runs"
    )


def test_what_a_shipper_meets_is_told(service):
    said = auditline("check-shipper", run=service)

    directory = service.folder.parent / "segments"
    assert said.returncode == 0
    assert f"to follow     {directory}/auditline-*.jsonl" in said.stdout
    assert "longest line  " in said.stdout
    assert str(service.folder.parent / "cursor") in said.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a service as another user")
def test_the_group_of_the_services_user_may_ask_and_nobody_else(start_run, public_folder, wait_until):
    run = start_run("run", public_folder, audit="enabled = false", run='user = "nobody"')
    path = run.folder / "run" / "status.sock"
    wait_until(lambda: run.counters("router"))

    group, others = connects(path, DAEMON, NOBODY), connects(path, DAEMON, DAEMON)

    assert (group, others) == (True, False)
    assert not connects(run.folder / "run" / "bus.sock", DAEMON, NOBODY)
    assert auditline("status", run=run).returncode == 0
