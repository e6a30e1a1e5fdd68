"""`auditline run` whose workers, or all of it, belong to another user than root."""

import os
import pwd
import signal
from pathlib import Path

import pytest

from auditline.workers.control.compile import comparable

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]

NOBODY = 65534
AS_USER = f'user = "{pwd.getpwuid(NOBODY).pw_name}"'
WITH_SEGMENTS = '[outputs.segments]\nenabled = true\ndirectory = "{}"\n'
TITLES = ("control", "router", "names", "audit reader")


def owners(folder: Path) -> set[int]:
    """Whose the folder is and everything in it, but the locks: those are the supervisor's."""
    return {path.stat().st_uid for path in (folder, *folder.rglob("*")) if path.name != "lock"}


def status_of(process) -> dict[str, str]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture
def start_as(kernel_audit, start_run, public_folder, wait_until):
    """Start the service with `[run] user` in the same folders as before, and wait for its rules."""

    def start(user):
        tables = WITH_SEGMENTS.format(public_folder / "log")
        run = start_run("service", public_folder, run=user, tables=tables)
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
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
    workers = {title: run.worker(title) for title in TITLES}

    open_denied("/root/as-nobody")
    wait_until(lambda: "/root/as-nobody" in run.opened_names)

    ids = {value for process in workers.values() for value in status_of(process)["Uid"].split()}
    assert ids == {str(NOBODY)}
    held = {title: int(status_of(process)["CapEff"], 16) for title, process in workers.items()}
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
    assert status_of(run.worker(title))["Uid"].split()[1] == str(NOBODY)
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
