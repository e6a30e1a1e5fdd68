"""Two services on one kernel: the second one says who is there, the first one says who came, and goes on unharmed."""

import signal

import pytest

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    ("socket", "said"),
    [("unicast", "stop it"), pytest.param("auto", "listening by multicast", marks=pytest.mark.soak)],
)
def test_the_first_of_two_services_is_unharmed_and_tells_of_the_second(
    kernel_audit, start_run, open_denied, wait_until, socket, said
):
    first = start_run()
    wait_until(lambda: "audit rules of ours are loaded" in first.stderr)
    rules = kernel_audit.list_rules()

    second = start_run("second", audit=f'socket = "{socket}"')
    wait_until(lambda: said in second.stderr)
    names = [f"/root/{number}-beside" for number in range(10)]
    open_denied(*names)
    wait_until(lambda: set(names) <= set(first.opened_names))
    second.process.send_signal(signal.SIGTERM)
    second.wait(6)

    assert f"pid {first.pid}" in second.stderr
    assert f"another audit daemon (pid {second.pid}) tried to take over from us" in first.stderr
    assert kernel_audit.status().pid == first.pid
    assert kernel_audit.list_rules() == rules
    open_denied("/root/afterwards")
    wait_until(lambda: "/root/afterwards" in first.opened_names)
    first.process.send_signal(signal.SIGTERM)
    assert first.wait(6) == 0
    assert all(count == 0 for kind, count in first.health["loss"].items())
