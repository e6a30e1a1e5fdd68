"""Rules of the list `exclude` keep records from being made: events come all the same, and nothing is called missing."""

import signal

import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture
def start_excluding(kernel_audit, start_run, wait_until, tmp_path):
    """Start the service with rules that keep records of these types of uid 65534 out."""

    def start(*types: str):
        rules = tmp_path / "exclude.rules"
        rules.write_text("".join(f"-a always,exclude -F uid=65534 -F msgtype={name}\n" for name in types))
        run = start_run(audit=f"rules_files = ['{rules}']", tables="[health]\nperiod_seconds = 0.5\n")
        wait_until(lambda: "audit rules of ours are loaded" in run.stderr)
        return run

    return start


def opens_of(run):
    """All opens of uid 65534: without a PATH there is no name to know ours by."""
    return [event for event in run.events if event["audit"].get("kernel", {}).get("key") == "open"]


EXCLUDED = [
    ("EOE", "PROCTITLE"),
    ("PATH",),
    *(pytest.param(types, marks=pytest.mark.soak) for types in [("EOE",), ("PROCTITLE",), ("CWD", "EOE")]),
]


@pytest.mark.parametrize("types", EXCLUDED)
def test_events_without_records_that_a_rule_keeps_out_come_and_are_complete(
    start_excluding, open_denied, wait_until, types
):
    run = start_excluding(*types)

    open_denied(*(f"/root/{number}-excluded" for number in range(20)))
    wait_until(lambda: len(opens_of(run)) >= 20)
    wait_until(lambda: run.health.get("counters", {}).get("control_exclude_rules"))
    run.process.send_signal(signal.SIGTERM)

    assert run.wait(6) == 0
    assert [event["auditline"] for event in opens_of(run) if not event["auditline"]["complete"]] == []
    last = [event for event in run.events if "health" in event["audit"]][-1]
    assert last["auditline"]["detail"]["exclude_rules"]
    assert last["audit"]["health"]["loss"]["incomplete"] == 0


@pytest.mark.soak
def test_where_all_records_of_somebody_are_kept_out_no_serial_is_missing(start_excluding, open_denied, wait_until):
    run = start_excluding("SYSCALL", "CWD", "PATH", "PROCTITLE", "EOE")

    open_denied(*(f"/root/{number}-unseen" for number in range(20)))
    wait_until(lambda: run.counters("control").get("exclude_rules") == 5)
    run.process.send_signal(signal.SIGTERM)

    assert run.wait(6) == 0
    assert run.opened_names == []
    assert run.health["loss"]["serial_gaps"] == 0
