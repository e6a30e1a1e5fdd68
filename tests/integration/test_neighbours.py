"""`auditline run` beside others who have to do with the kernel's audit: a second one, and auditctl."""

import signal

import pytest

from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.language import parse_rules

pytestmark = pytest.mark.kernel

FOREIGN = "-a always,exit -F arch=b64 -S swapon -F uid=65534 -k foreign"


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return comparable(compile_rule(rule))


@pytest.fixture
def start_loaded(kernel_audit, start_run, wait_until):
    def start(*arguments, **choices):
        run = start_run(*arguments, **choices)
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
        return run

    return start


@pytest.fixture
def loaded(kernel_audit):
    return lambda: [comparable(rule) for rule in kernel_audit.list_rules()]


def stop(run):
    run.process.send_signal(signal.SIGTERM)
    return run.wait(6)


def test_a_second_instance_in_the_same_directories_ends_with_75_and_disturbs_nobody(
    start_loaded, start_run, open_denied, wait_until, loaded
):
    first = start_loaded()
    before = loaded()

    second = start_run()
    code = second.wait()
    open_denied("/root/for-the-first")

    assert code == 75
    (line,) = second.stderr.splitlines()
    assert f"is in use by another instance of auditline, pid {first.pid}" in line
    assert loaded() == before
    wait_until(lambda: "/root/for-the-first" in first.opened_names)
    assert stop(first) == 0


def test_a_second_instance_elsewhere_reports_others_but_not_itself(
    start_loaded, start_run, open_denied, wait_until, tmp_path
):
    state = tmp_path / "second" / "state"
    state.mkdir(parents=True, mode=0o750)
    watched = f"-a always,exit -F arch=b64 -S openat -S unlink -F dir={state} -k second"
    first = start_loaded(audit=f"rules_files = ['{rules_file(tmp_path, watched)}']")

    second = start_run("second", tables="[health]\nperiod_seconds = 0.5")
    wait_until(lambda: second.pid_of("audit reader"))
    wait_until(lambda: (open_denied("/root/for-both"), "/root/for-both" in second.opened_names)[1])
    wait_until(lambda: "second" in keys_of(first))
    wait_until(lambda: second.health.get("balance", {}).get("records", {}).get("filtered"))

    assert "second" not in keys_of(second)
    assert stop(second) == 0
    assert stop(first) == 0


def rules_file(folder, text):
    path = folder / "site.rules"
    path.write_text(f"{text}\n")
    return path


def keys_of(run):
    return {event["audit"].get("kernel", {}).get("key") for event in run.events}


def test_what_others_load_meanwhile_stays_and_what_they_take_out_is_told(
    kernel_audit, start_loaded, open_denied, wait_until, loaded
):
    before = loaded()
    run = start_loaded()
    ours = [rule for rule in loaded() if rule not in before]

    kernel_audit.add_rule(compiled(FOREIGN))
    for rule in ours:
        kernel_audit.delete_rule(rule)
    kernel_audit.set_status(enabled=0)

    wait_until(lambda: "somebody switched the kernel's audit off" in run.stderr)
    wait_until(lambda: f"{len(ours)} of our {len(ours)} audit rules are not loaded any more" in run.stderr, 20)
    kernel_audit.set_status(enabled=1)
    run.process.send_signal(signal.SIGHUP)
    wait_until(lambda: set(ours) <= set(loaded()))
    open_denied("/root/again")
    wait_until(lambda: "/root/again" in run.opened_names)
    assert stop(run) == 0
    assert loaded() == [*before, compiled(FOREIGN)]
