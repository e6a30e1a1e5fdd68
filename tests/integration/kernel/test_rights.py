"""`auditline run` without the rights or the namespaces that the kernel's audit wants: what is missing is named."""

import os
import signal

import psutil
import pytest

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lay down"),
]

USER = ("unshare", "--user", "--map-root-user")
PID = ("unshare", "--pid", "--fork", "--kill-child=SIGTERM")
NETWORK = ("unshare", "--net")
MULTICAST = 'socket = "multicast"'


def without(*capabilities: str) -> tuple[str, ...]:
    dropped = ",".join(f"-{name}" for name in capabilities)
    return ("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}")


@pytest.mark.parametrize(
    ("prefix", "cause", "consequence"),
    [
        (USER, "this process is in a user namespace of its own", "only health events are written"),
        (without("audit_control", "audit_read"), "CAP_AUDIT_CONTROL is missing", "needs CAP_AUDIT_READ"),
        (without("audit_control"), "CAP_AUDIT_CONTROL is missing", "listening by multicast"),
        (without("net_admin"), "CAP_NET_ADMIN is missing", "bursts of events may be lost"),
    ],
)
def test_what_is_missing_is_named_with_its_consequence_and_the_service_goes_on(
    kernel_audit, start_run, wait_until, prefix, cause, consequence
):
    before = kernel_audit.list_rules()
    run = start_run(prefix=prefix)
    wait_until(lambda: cause in run.stderr)
    wait_until(lambda: run.pid_of("router"))

    run.process.send_signal(signal.SIGTERM)

    assert run.wait(6) == 0
    (line,) = [line for line in run.stderr.splitlines() if "WARNING supervisor" in line and cause in line]
    assert consequence in line
    assert run.health["reason"] == "state"
    assert kernel_audit.list_rules() == before


def test_in_another_pid_namespace_it_says_so_and_listens_beside(kernel_audit, start_run, wait_until):
    kernel_audit.set_status(enabled=1)
    run = start_run(prefix=PID)
    wait_until(lambda: "the kernel answers only the initial pid namespace" in run.stderr)
    # Its own joining is in a record that a listener hears.
    wait_until(lambda: any("kernel" in event["audit"] for event in run.events))

    # `unshare` passes no signal on.
    (supervisor,) = psutil.Process(run.pid).children()
    supervisor.terminate()
    run.wait(6)

    assert "listening by multicast" in run.stderr


NEEDLESS = ("audit_read", "audit_write", "dac_read_search")


@pytest.mark.parametrize(
    "prefix", [NETWORK, *(pytest.param(without(name), marks=pytest.mark.soak) for name in NEEDLESS)]
)
def test_what_the_audit_daemon_does_not_need_may_be_missing(kernel_audit, start_run, open_denied, wait_until, prefix):
    run = start_run(prefix=prefix)
    wait_until(lambda: "audit rules of ours are loaded" in run.stderr)

    open_denied("/root/without-it")

    wait_until(lambda: "/root/without-it" in run.opened_names)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(6) == 0
    assert "is missing" not in run.stderr


@pytest.mark.soak
def test_a_listener_in_another_network_namespace_says_that_it_is_deaf(kernel_audit, start_run, wait_until):
    kernel_audit.set_status(enabled=1)
    run = start_run(prefix=NETWORK, audit=MULTICAST)

    wait_until(lambda: "deaf: the audit multicast group has given no record" in run.stderr, 20)

    run.process.send_signal(signal.SIGTERM)
    assert run.wait(6) == 0
