"""`auditline run` whose workers, or all of it, belong to another user than root."""

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from auditline.workers.common import errors
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.language import parse_rules

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]

NOBODY = 65534
BE_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
RULE = "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k overheard"
AS_USER = f'user = "{pwd.getpwuid(NOBODY).pw_name}"'
WITH_SEGMENTS = '[outputs.segments]\nenabled = true\ndirectory = "{}"\n'
TITLES = ("control", "router", "names", "audit reader")


def owners(folder: Path) -> set[int]:
    """Whose the folder is and everything in it, but the locks: those are the supervisor's."""
    return {path.stat().st_uid for path in (folder, *folder.rglob("*")) if path.name != "lock"}


@pytest.fixture
def readable_python():
    """Skip the test if the user cannot read this interpreter's modules: workers import some as that user."""
    trial = [*BE_NOBODY, "head", "--bytes=1", os.__file__, errors.__file__]
    if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"uid {NOBODY} may not read {os.__file__} or {errors.__file__}")


@pytest.fixture
def start_as(readable_python, kernel_audit, start_run, public_folder, wait_until):
    """Start the service with `[run] user` in the same folders as before, and wait for its rules and its workers."""

    def start(user):
        tables = WITH_SEGMENTS.format(public_folder / "log")
        run = start_run("service", public_folder, run=user, tables=tables)
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
        wait_until(lambda: run.has_all(TITLES))
        return run

    return start


@pytest.fixture
def stop():
    def end(run):
        run.process.send_signal(signal.SIGTERM)
        return run.wait(6)

    return end


def test_workers_are_the_user_and_hold_only_what_they_need(start_as, open_denied, wait_until, stop):
    run = start_as(AS_USER)

    open_denied("/root/as-nobody")
    wait_until(lambda: "/root/as-nobody" in run.opened_names)

    statuses = {title: run.status_of(title) for title in TITLES}
    ids = {value for status in statuses.values() for value in status["Uid"].split()}
    assert ids == {str(NOBODY)}
    held = {title: int(status["CapEff"], 16) for title, status in statuses.items()}
    assert held == {"control": 1 << 30 | 1 << 12 | 1 << 2, "router": 0, "names": 0, "audit reader": 0}
    for folder in (run.folder / "state", run.folder / "run", run.folder.parent / "log"):
        assert owners(folder) == {NOBODY}
    assert stop(run) == 0


@pytest.mark.parametrize("title", TITLES)
def test_a_killed_worker_starts_again_as_the_user(start_as, open_denied, wait_until, stop, title):
    run = start_as(AS_USER)
    killed = run.worker(title)

    killed.kill()
    wait_until(lambda: run.pid_of(title) not in (0, killed.pid))
    open_denied("/root/after-a-kill")

    wait_until(lambda: "/root/after-a-kill" in run.opened_names)
    wait_until(lambda: run.has_all(TITLES))
    assert run.status_of(title)["Uid"].split()[1] == str(NOBODY)
    assert stop(run) == 0
    assert "given up" not in run.stderr


def test_the_user_can_be_changed_from_start_to_start(kernel_audit, start_as, open_denied, wait_until, stop):
    status, rules = kernel_audit.status(), kernel_audit.list_rules()

    for number, user in enumerate((AS_USER, AS_USER, "", AS_USER, "")):
        run = start_as(user)
        open_denied(f"/root/start-{number}")
        wait_until(lambda run=run, number=number: f"/root/start-{number}" in run.opened_names)
        wait_until(lambda run=run: run.counters("router"))
        assert stop(run) == 0
        assert "cannot be" not in run.stderr

    after = kernel_audit.status()
    assert list(map(comparable, kernel_audit.list_rules())) == list(map(comparable, rules))
    assert (after.enabled, after.pid, after.backlog_limit) == (status.enabled, status.pid, status.backlog_limit)
    log = (run.folder.parent / "log").glob("*.jsonl")
    lines = b"".join(path.read_bytes() for path in sorted(log))
    assert all(b"/root/start-%d" % number in lines for number in range(5))


@pytest.fixture
def home(public_folder):
    """A home of nobody's, with a runtime directory as logind makes it."""
    for folder in (public_folder / "home", public_folder / "runtime"):
        folder.mkdir(mode=0o700)
        os.chown(folder, NOBODY, NOBODY)
    return public_folder / "home"


@pytest.fixture
def start_as_nobody(start_run, home):
    """Start it as a user without any right but *capabilities*."""
    # setpriv itself can still start what nobody may not reach; what is imported then tells.
    trial = [*BE_NOBODY, sys.executable, "-c", "import auditline.workers.common.errors"]
    if subprocess.run(trial, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip(f"uid {NOBODY} may not enter a folder above {sys.executable}")

    def start(*capabilities, **choices):
        named = ",".join(f"+{name}" for name in capabilities)
        ambient = (f"--inh-caps={named}", f"--ambient-caps={named}") if named else ()
        prefix = (*BE_NOBODY, *ambient)
        return start_run("home", home.parent, prefix=prefix, **choices)

    return start


def test_without_root_it_says_once_what_it_cannot_do_and_keeps_to_the_users_directories(
    start_as_nobody, home, wait_until, stop
):
    runtime = home.parent / "runtime"
    run = start_as_nobody(environment={"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "PATH": os.environ["PATH"]})
    wait_until(lambda: run.pid_of("router"))

    code = stop(run)

    assert code == 0
    first, second, third = (line for line in run.stderr.splitlines() if "WARNING supervisor: " in line)
    assert "CAP_AUDIT_CONTROL is missing: run as root or grant the capability" in first
    assert "CAP_AUDIT_READ" in first
    assert first.endswith("; file changes are reported all the same")
    assert "CAP_DAC_READ_SEARCH is missing: files that uid 65534 may not read" in second
    assert "fanotify cannot be used, because CAP_SYS_ADMIN is missing" in third
    assert run.health["reason"] == "state"
    assert owners(home / ".local" / "state" / "auditline") == {NOBODY}
    assert owners(runtime / "auditline") == {NOBODY}
    assert sorted(path.name for path in home.iterdir()) == [".local"]


def test_without_root_and_without_audit_health_events_come_each_period(start_as_nobody, wait_until, stop):
    run = start_as_nobody(audit="enabled = false", tables="[health]\nperiod_seconds = 0.2")

    wait_until(lambda: sum("health" in event["audit"] for event in run.events) > 2)

    assert {process["name"] for process in run.health["processes"]} == {"supervisor", "router", "names"}
    assert stop(run) == 0
    assert [line.split(": ", 1)[1] for line in run.stderr.splitlines() if " WARNING " in line] == [
        "audit.enabled is false and nothing is watched: only health events are written"
    ]
    assert " ERROR " not in run.stderr


def test_a_user_who_may_only_listen_listens(start_as_nobody, kernel_audit, open_denied, wait_until, stop):
    before = kernel_audit.list_rules()
    kernel_audit.set_status(enabled=1)
    (rule,) = parse_rules(RULE, "test").rules
    kernel_audit.add_rule(compile_rule(rule))
    run = start_as_nobody("audit_read", "net_admin")
    wait_until(lambda: run.pid_of("audit reader"))

    wait_until(lambda: (open_denied("/root/overheard"), "/root/overheard" in run.opened_names)[1])

    assert "listening by multicast" in run.stderr
    assert kernel_audit.status().pid == 0
    assert stop(run) == 0
    assert len(kernel_audit.list_rules()) == len(before) + 1
