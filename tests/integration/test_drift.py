"""What somebody changes in the kernel's audit behind our back comes out as an event, and is put right on demand."""

import signal
import sys
from subprocess import run as run_program

import pytest

from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.language import parse_rules

pytestmark = pytest.mark.kernel

SILENCER = "-A never,exit -F arch=b64 -S openat -F uid=65534 -F key=silencer"
CHANGE = """
import sys
from auditline.workers.control.compile import compile_rule
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.language import parse_rules
with AuditControl() as control:
    if sys.argv[1] == "off":
        control.set_status(enabled=0)
    else:
        getattr(control, sys.argv[1])(compile_rule(parse_rules(sys.argv[2], "test").rules[0]))
"""


def change(*arguments: str) -> None:
    """Do it in another process, which is not one of the service's."""
    run_program([sys.executable, "-c", CHANGE, *arguments], check=True)


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return comparable(compile_rule(rule))


@pytest.fixture
def start_loaded(kernel_audit, start_run, wait_until):
    def start(**choices):
        run = start_run(**choices)
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
        return run

    return start


def drifts_of(run):
    return [event["audit"]["drift"] for event in run.events if "drift" in event["audit"]]


def stop(run):
    run.process.send_signal(signal.SIGTERM)
    return run.wait(6)


def test_a_rule_that_somebody_takes_out_is_an_event_with_who_did_it(start_loaded, kernel_audit, wait_until):
    run = start_loaded(audit="rules_files = []")
    (ours,) = [rule for rule in kernel_audit.list_rules() if b"open" in rule]

    change("delete_rule", "-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -k open")

    wait_until(lambda: drifts_of(run), 20)
    (drift,) = drifts_of(run)
    assert (drift["what"], drift["found"], drift["repaired"]) == ("rules", [], False)
    assert drift["wanted"] == ["-a always,exit -F arch=b64 -S openat -F exit=-EACCES -F uid=65534 -F key=open"]
    assert drift["actor"]["event"]["id"] in {event["event"]["id"] for event in run.events}
    assert comparable(ours) not in map(comparable, kernel_audit.list_rules())
    assert stop(run) == 0


def test_what_somebody_changes_is_repaired_on_demand(start_loaded, kernel_audit, open_denied, wait_until):
    run = start_loaded(audit="repair_rules = true")

    change("add_rule", SILENCER)
    change("off")

    wait_until(lambda: {drift["what"] for drift in drifts_of(run)} == {"rules", "enabled"}, 20)
    wait_until(lambda: (open_denied("/root/again"), "/root/again" in run.opened_names)[1])
    assert all(drift["repaired"] for drift in drifts_of(run))
    assert kernel_audit.status().enabled == 1
    assert compiled(SILENCER) not in map(comparable, kernel_audit.list_rules())
    assert stop(run) == 0
