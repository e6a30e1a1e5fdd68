"""`auditline run` on the real kernel: events arrive, kills cost nothing, the kernel is left as it was."""

import os
import signal
import time

import pytest

from auditline.workers.control.compile import comparable

pytestmark = pytest.mark.kernel

TITLES = ("control", "audit reader", "router", "names")


def state_of(control):
    """What must be the same before and after a run."""
    status = control.status()
    fields = ("enabled", "failure", "pid", "rate_limit", "backlog_limit", "backlog_wait_time")
    return {name: getattr(status, name) for name in fields}, list(map(comparable, control.list_rules()))


@pytest.fixture
def start_loaded(kernel_audit, start_run, wait_until):
    """Start a service and wait for its rules and its workers."""

    def start(*arguments, **choices):
        before = len(kernel_audit.list_rules())
        run = start_run(*arguments, **choices)
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
        wait_until(lambda: run.has_all(TITLES))
        assert len(kernel_audit.list_rules()) >= before
        return run

    return start


def test_a_denied_open_is_on_stdout_within_a_second(start_loaded, open_denied, wait_until):
    run = start_loaded()

    start = time.monotonic()
    open_denied("/etc/gshadow")
    wait_until(lambda: "/etc/gshadow" in run.opened_names)

    assert time.monotonic() - start < 1
    (event,) = [event for event in run.events if event["audit"].get("kernel", {}).get("key") == "open"]
    assert event["audit"]["kernel"]["action"] == "opened-file"
    assert event["auditline"]["complete"]


def test_a_term_signal_leaves_the_kernel_as_it_was(kernel_audit, start_loaded, open_denied, wait_until, are_gone):
    before = state_of(kernel_audit)
    run = start_loaded()
    family = run.family()
    open_denied("/etc/gshadow")
    wait_until(lambda: run.opened_names)

    run.process.send_signal(signal.SIGTERM)
    code = run.wait(5)

    assert code == 0
    assert state_of(kernel_audit) == before
    assert are_gone(family)
    left = sorted(path.name for path in (run.folder / "run").rglob("*"))
    assert left == ["counters", "lock"]
    assert not (run.folder / "state" / "kernel-state.json").exists()


@pytest.mark.parametrize("seconds", [0, 0.1, 0.2, 0.3, 0.5])
def test_a_term_signal_during_the_start_leaves_the_kernel_as_it_was(kernel_audit, start_run, wait_until, seconds):
    before = state_of(kernel_audit)
    run = start_run()
    wait_until(lambda: "WARNING supervisor" in run.stderr)
    time.sleep(seconds)  # the point of the test: a moment of the start

    run.process.send_signal(signal.SIGTERM)

    assert run.wait(5) == 0
    assert state_of(kernel_audit) == before


@pytest.mark.parametrize("title", ["audit reader", "router", "control"])
def test_a_worker_killed_three_times_costs_no_event(start_loaded, open_denied, wait_until, title):
    run = start_loaded()
    names = [f"/root/{number}-{title.replace(' ', '-')}" for number in range(12)]
    killed: list[int] = []

    for number, name in enumerate(names):
        open_denied(name)
        if number % 4 == 0:
            wait_until(lambda: run.pid_of(title) not in (0, *killed))
            killed.append(run.pid_of(title))
            os.kill(killed[-1], signal.SIGKILL)

    wait_until(lambda: set(names) <= set(run.opened_names), 20)
    by_id = {event["event"]["id"]: event for event in run.events}
    assert sorted(name for name in run.names_in([*by_id.values()]) if name in names) == sorted(names)
    # What a router had written to the pipe when it was killed comes again, as the same event.
    assert len(by_id) == len(run.events) or title == "router"
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(5) == 0


def test_when_the_supervisor_is_killed_the_kernel_is_restored_and_nobody_stays(
    kernel_audit, start_loaded, start_run, wait_until, are_gone
):
    before = state_of(kernel_audit)
    run = start_loaded()
    family = run.family()

    start = time.monotonic()
    os.kill(run.pid, signal.SIGKILL)
    # This waits for the end of stdout, too.
    assert run.wait(5) == -signal.SIGKILL
    wait_until(lambda: are_gone(family[1:]))

    assert time.monotonic() - start < 2
    assert state_of(kernel_audit) == before
    again = start_run()
    wait_until(lambda: "audit rules of ours are loaded" in again.stderr)
    again.process.send_signal(signal.SIGTERM)
    assert again.wait(5) == 0


def test_what_a_killed_supervisor_and_control_leave_is_restored_by_the_next_run(
    kernel_audit, start_loaded, start_run, wait_until
):
    before = state_of(kernel_audit)
    run = start_loaded()
    control = run.worker("control")
    control.suspend()
    os.kill(run.pid, signal.SIGKILL)
    control.kill()
    run.wait(5)
    assert state_of(kernel_audit) != before

    again = start_run()
    wait_until(lambda: "audit rules of ours are loaded" in again.stderr)
    again.process.send_signal(signal.SIGTERM)

    assert again.wait(5) == 0
    assert state_of(kernel_audit) == before


def test_a_hanging_control_cannot_keep_the_kernel_changed(kernel_audit, start_loaded):
    before = state_of(kernel_audit)
    run = start_loaded()
    run.worker("control").suspend()

    run.process.send_signal(signal.SIGTERM)

    assert run.wait(5) == 0
    assert state_of(kernel_audit) == before


def test_a_second_service_listens_beside_the_first_and_leaves_the_rules_alone(
    kernel_audit, start_loaded, start_run, open_denied, wait_until
):
    first = start_loaded()
    loaded = state_of(kernel_audit)

    second = start_run("second")
    wait_until(lambda: second.worker("audit reader") is not None)
    wait_until(lambda: "listening by multicast" in second.stderr)
    wait_until(lambda: (open_denied("/etc/gshadow"), "/etc/gshadow" in second.opened_names)[1])

    assert "owns the kernel's audit" in second.stderr
    assert state_of(kernel_audit) == loaded
    second.process.send_signal(signal.SIGTERM)
    assert second.wait(5) == 0
    assert state_of(kernel_audit) == loaded
    first.process.send_signal(signal.SIGTERM)
    assert first.wait(5) == 0


def test_the_end_of_stdouts_reader_ends_the_service_and_the_next_start_delivers_the_rest(
    kernel_audit, start_loaded, start_run, open_denied, wait_until
):
    before = state_of(kernel_audit)
    run = start_loaded()
    # The thread that follows stdout lives on the same descriptor; what it is given instead ends at once.
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), run.process.stdout.fileno())
    open_denied("/root/while-it-goes", "/root/while-it-goes-too")

    assert run.process.wait(5) == 0
    assert state_of(kernel_audit) == before
    again = start_run()
    wait_until(lambda: "/root/while-it-goes-too" in again.opened_names)
    again.process.send_signal(signal.SIGTERM)
    assert again.wait(5) == 0


def test_a_hangup_loads_what_a_changed_rules_file_says(kernel_audit, start_loaded, wait_until, tmp_path):
    rules = tmp_path / "more.rules"
    rules.touch()
    run = start_loaded(audit=f'rules_files = ["{rules}"]')
    before = len(kernel_audit.list_rules())
    rules.write_text("-a always,exit -F arch=b64 -S mkdir -F uid=65534 -k made\n")

    run.process.send_signal(signal.SIGHUP)

    wait_until(lambda: len(kernel_audit.list_rules()) == before + 1)
    rules.write_text("-a nonsense\n")
    run.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "more.rules:1" in run.stderr)
    assert len(kernel_audit.list_rules()) == before + 1
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(5) == 0


def test_processes_of_the_service_have_no_capability_that_they_do_not_need(start_loaded):
    run = start_loaded()

    effective = {title: int(run.status_of(title)["CapEff"], 16) for title in TITLES}

    assert effective == {"control": 1 << 30 | 1 << 12 | 1 << 2, "audit reader": 0, "router": 0, "names": 0}


def test_the_balance_holds_over_a_kill_of_everything_and_the_next_start(
    kernel_audit, start_loaded, open_denied, wait_until
):
    every_second = "[health]\nperiod_seconds = 1"
    run = start_loaded(tables=every_second)
    first = [f"/root/{number}-before" for number in range(8)]
    for name in first[:4]:
        open_denied(name)
    run.worker("router").suspend()
    for name in first[4:]:
        open_denied(name)
    wait_until(lambda: first[-1].encode() in run.journal)
    for process in reversed(run.family()):
        process.kill()
    run.wait()
    counted = run.counters("audit")["records_received_total"]

    again = start_loaded(tables=every_second)
    second = [f"/root/{number}-after" for number in range(4)]
    for name in second:
        open_denied(name)

    wait_until(
        lambda: (
            set(second) <= set(again.opened_names) and again.health and again.health["balance"]["records"]["open"] == 0
        )
    )
    records = again.health["balance"]["records"]
    assert records["received"] >= counted + 4 * len(second)
    assert records["received"] == records["written"] + records["filtered"] + records["dropped"]
    assert set(first) <= set(run.opened_names + again.opened_names)
    again.process.send_signal(signal.SIGTERM)
    assert again.wait(5) == 0
