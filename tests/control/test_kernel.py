"""Requests to the real kernel."""

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from auditline.workers.common.errors import KernelError
from auditline.workers.control import messages
from auditline.workers.control.compile import comparable, compile_rule
from auditline.workers.control.kernel import NETLINK_AUDIT, AuditControl, claim_pid, release_pid
from auditline.workers.control.language import parse_rules

pytestmark = pytest.mark.kernel
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000


def compiled(text: str) -> bytes:
    (rule,) = parse_rules(text, "test").rules
    return compile_rule(rule)


def keyed(number: int) -> bytes:
    return compiled(f"-a always,exit -F arch=b64 -S swapoff -F uid=65534 -k test-{number}")


def ours(control: AuditControl) -> list[bytes]:
    return [rule for rule in control.list_rules() if b"test-" in rule]


def error_in_child(prepare: Callable[[], None], *, forks: bool = False) -> str:
    """Return what the kernel's refusal of a status request says in a child that has called *prepare*."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            if forks and (grandchild := os.fork()):
                os.waitpid(grandchild, 0)
                os._exit(0)
            with AuditControl() as control:
                control.status()
        except BaseException as error:  # noqa: BLE001  # pytest must not run on in the child
            os.write(write_fd, str(error).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


@pytest.fixture
def data_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as opened:
        opened.bind((0, 0))
        yield opened


def test_status_is_read(kernel_audit: AuditControl) -> None:
    status = kernel_audit.status()

    assert status.enabled in (0, 1)
    assert status.features & messages.FEATURE_BACKLOG_WAIT_TIME


@pytest.mark.parametrize("count", [0, 1, 200])
def test_listing_is_complete_and_in_order(kernel_audit: AuditControl, count: int) -> None:
    rules = [keyed(number) for number in range(count)]

    codes = kernel_audit.change([messages.add_rule(rule) for rule in rules])

    assert codes == [0] * count
    assert [comparable(rule) for rule in ours(kernel_audit)] == [comparable(rule) for rule in rules]


def test_prepended_rule_comes_first_and_is_deleted_like_any_other(kernel_audit: AuditControl) -> None:
    kernel_audit.add_rule(keyed(1))
    kernel_audit.add_rule(keyed(2), is_prepended=True)
    order = [b"test-2" in rule for rule in ours(kernel_audit)]
    kernel_audit.delete_rule(messages.with_prepend_flag(keyed(2), is_prepended=True))

    assert order == [True, False]
    assert len(ours(kernel_audit)) == 1


def test_refused_request_tells_why_and_stops_none_behind_it(kernel_audit: AuditControl) -> None:
    kernel_audit.add_rule(keyed(1))

    codes = kernel_audit.change([messages.add_rule(keyed(1)), messages.add_rule(keyed(2))])

    assert codes == [-errno.EEXIST, 0]
    with pytest.raises(KernelError, match="add audit rule: the rule is loaded already"):
        kernel_audit.add_rule(keyed(1))
    with pytest.raises(KernelError, match="delete audit rule: the rule is not loaded"):
        kernel_audit.delete_rule(keyed(3))
    with pytest.raises(KernelError, match="failure=7: the kernel takes no such value"):
        kernel_audit.set_status(failure=7)


def test_status_fields_are_set(kernel_audit: AuditControl) -> None:
    kernel_audit.set_status(enabled=1, rate_limit=77)

    status = kernel_audit.status()
    assert (status.enabled, status.rate_limit) == (1, 77)


def test_claim_registers_without_touching_the_records(kernel_audit: AuditControl, data_socket: socket.socket) -> None:
    claim_pid(data_socket)
    registered = kernel_audit.status().pid
    kernel_audit.set_status(enabled=1)
    kernel_audit.set_status(rate_limit=0)
    data_socket.settimeout(2)
    first_kind = int.from_bytes(data_socket.recv(9000)[4:6], sys.byteorder)
    release_pid()

    assert registered == os.getpid()
    assert first_kind == 1305
    assert kernel_audit.status().pid == 0


def test_second_daemon_is_told_who_the_first_is(kernel_audit: AuditControl, data_socket: socket.socket) -> None:
    claim_pid(data_socket)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as rival:
                claim_pid(rival)
        except KernelError as error:
            is_told = error.errno == errno.EEXIST and f"pid {os.getppid()}" in str(error)
            code = 0 if is_told else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert kernel_audit.status().pid == os.getpid()
    release_pid()


def test_dead_daemon_does_not_stand_in_the_way(kernel_audit: AuditControl, data_socket: socket.socket) -> None:
    pid = os.fork()
    if pid == 0:
        claim_pid(data_socket)
        os._exit(0)
    os.waitpid(pid, 0)
    # Our copy of its socket keeps it alive for the kernel.
    assert not kernel_audit.clear_dead_pid()

    data_socket.close()

    assert kernel_audit.status().pid == pid
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as successor:
        claim_pid(successor)
        assert kernel_audit.status().pid == os.getpid()
        release_pid()


def test_refusals_of_privilege_and_namespace_name_the_remedy(kernel_audit: AuditControl) -> None:
    assert kernel_audit.status().pid == 0

    assert "CAP_AUDIT_CONTROL is missing" in error_in_child(lambda: os.setresuid(65534, 65534, 65534))
    assert "user namespace" in error_in_child(lambda: unshare(CLONE_NEWUSER))
    assert "--pid=host" in error_in_child(lambda: unshare(CLONE_NEWPID), forks=True)
