"""`auditline run | head -n 1`: the reader of stdout goes away, and so does the service, without a word too many."""

import subprocess
import time

import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture
def head():
    """`head -n 1`, whose input is what the service writes to."""
    process = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def test_the_service_follows_its_reader_with_exit_0_and_no_traceback(
    kernel_audit, head, start_run, open_denied, wait_until
):
    before = kernel_audit.list_rules()
    run = start_run(stdout=head.stdin.fileno())
    head.stdin.close()
    wait_until(lambda: "audit rules of ours are loaded" in run.stderr)

    open_denied("/etc/gshadow")
    line = head.stdout.readline()
    wait_until(lambda: "its reader has gone" in run.stderr)
    start = time.monotonic()
    code = run.wait()

    assert code == 0
    assert time.monotonic() - start < 1
    assert line.startswith(b'{"@timestamp":"')
    levels = [said.split()[1] for said in run.stderr.splitlines()]
    assert set(levels) <= {"INFO", "WARNING"}
    assert kernel_audit.list_rules() == before
