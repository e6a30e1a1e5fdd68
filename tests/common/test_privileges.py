"""Lowering privileges, seen from outside: /proc/self/status of a real child."""

import os
import pwd
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditline.workers.common.errors import SettingsError
from auditline.workers.common.privileges import (
    Account,
    Capability,
    PrivilegeError,
    die_with_parent,
    find_account,
    held_capabilities,
    lower_privileges,
)

NOBODY = Account(name="nobody", user_id=65534, group_id=65534, groups=(65534,))
InChild = Callable[[Callable[[], Any]], Any]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to drop and users to switch to")


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def lowered(*keep: Capability, account: Account | None = None) -> Callable[[], dict[str, str]]:
    def lower() -> dict[str, str]:
        lower_privileges(keep, account=account, death_signal=signal.SIGKILL, parent_pid=os.getppid())
        return status()

    return lower


@needs_root
def test_only_the_named_capability_is_kept(in_child: InChild) -> None:
    seen = in_child(lowered(Capability.AUDIT_CONTROL))

    only = f"{1 << Capability.AUDIT_CONTROL:016x}"
    assert (seen["CapPrm"], seen["CapEff"], seen["CapBnd"]) == (only, only, only)
    assert (seen["CapInh"], seen["CapAmb"]) == ("0" * 16, "0" * 16)
    assert seen["NoNewPrivs"] == "1"


@needs_root
def test_switching_the_user_keeps_the_named_capability(in_child: InChild) -> None:
    seen = in_child(lowered(Capability.AUDIT_READ, Capability.NET_ADMIN, account=NOBODY))

    wanted = f"{1 << Capability.AUDIT_READ | 1 << Capability.NET_ADMIN:016x}"
    assert (seen["CapPrm"], seen["CapEff"]) == (wanted, wanted)
    assert seen["Uid"].split() == ["65534"] * 4
    assert seen["Gid"].split() == ["65534"] * 4
    assert seen["Groups"] == "65534"


@needs_root
def test_a_program_run_later_by_root_without_capabilities_gets_none(in_child: InChild) -> None:
    def lower_and_run() -> str:
        lowered()()
        with os.popen("grep CapEff /proc/self/status") as pipe:
            return pipe.read()

    assert in_child(lower_and_run).split() == ["CapEff:", "0" * 16]


@needs_root
def test_an_unprivileged_process_lowers_itself_too(in_child: InChild) -> None:
    def lower_twice() -> dict[str, str]:
        lowered(account=NOBODY)()
        return lowered(Capability.AUDIT_CONTROL)()

    seen = in_child(lower_twice)

    assert (seen["CapPrm"], seen["NoNewPrivs"]) == ("0" * 16, "1")


@needs_root
def test_an_unprivileged_process_cannot_become_another_user(in_child: InChild) -> None:
    def become_root() -> str:
        lowered(account=NOBODY)()
        root = Account(name="root", user_id=0, group_id=0, groups=(0,))
        try:
            lower_privileges((), account=root, death_signal=signal.SIGKILL, parent_pid=os.getppid())
        except PrivilegeError as error:
            return str(error)
        return "became root"

    assert in_child(become_root) == "cannot become the user 'root': Operation not permitted"


@needs_root
def test_the_death_signal_survives_the_switch_of_the_user(in_child: InChild) -> None:
    def parent() -> int:
        read_fd, write_fd = os.pipe()
        if os.fork() == 0:
            middle(write_fd)
        os.close(write_fd)
        grandchild = int(os.read(read_fd, 20))
        # An end of file: the grandchild, the last one with the write end, is gone.
        return grandchild if os.read(read_fd, 1) == b"" else 0

    def middle(write_fd: int) -> None:
        read_fd, ready_fd = os.pipe()
        middle_pid = os.getpid()
        if os.fork() == 0:
            lower_privileges((), account=NOBODY, death_signal=signal.SIGTERM, parent_pid=middle_pid)
            os.write(write_fd, str(os.getpid()).encode())
            os.write(ready_fd, b"r")
            signal.pause()
        os.read(read_fd, 1)
        os._exit(0)

    assert in_child(parent) > 0


def test_a_process_whose_parent_is_gone_ends_at_once() -> None:
    pid = os.fork()
    if pid == 0:
        die_with_parent(signal.SIGKILL, parent_pid=1 if os.getppid() != 1 else 2)
        os._exit(9)

    _, wait_status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(wait_status) == 0


def test_held_capabilities_are_those_that_proc_tells() -> None:
    permitted = int(status()["CapPrm"], 16)

    assert held_capabilities() == {number for number in range(64) if permitted >> number & 1}


def test_a_user_is_found_with_its_groups() -> None:
    entry = pwd.getpwuid(os.getuid())

    account = find_account(entry.pw_name)

    assert (account.user_id, account.group_id) == (entry.pw_uid, entry.pw_gid)
    assert entry.pw_gid in account.groups


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(SettingsError, match=r"run\.user must be a user of this host, not 'no-such-user'"):
        find_account("no-such-user")
