"""What a process may do: capabilities, user, and dying with its parent.

Numbers: linux/capability.h, linux/prctl.h. Unprivileged processes use the same calls: what they cannot drop they do
not have.
"""

import ctypes
import errno
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from auditline.workers.common.errors import AuditlineError, SettingsError


class Capability(IntEnum):
    """The capabilities that one of our processes may need."""

    DAC_READ_SEARCH = 2
    FOWNER = 3
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_ADMIN = 12
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    AUDIT_CONTROL = 30
    AUDIT_READ = 37


class PrivilegeError(AuditlineError):
    """The kernel did not let a process lower its privileges; it must not go on with those it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user that processes can switch to."""

    name: str
    user_id: int
    group_id: int
    groups: tuple[int, ...]


_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITY_BITS = 64

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    """One 32-bit half of a process's three sets; the kernel takes two."""

    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def find_account(name: str) -> Account:
    """Return the user *name* with its groups. Asks the name service, so only the supervisor calls it, at start.

    Raises:
        SettingsError: there is no such user.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise SettingsError([f"run.user must be a user of this host, not {name!r}"]) from error
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Account(name=name, user_id=entry.pw_uid, group_id=entry.pw_gid, groups=groups)


def held_capabilities() -> frozenset[int]:
    """Return the numbers of the capabilities that this process may use (its permitted set)."""
    low, high = _read_sets()
    permitted = low.permitted | high.permitted << 32
    return frozenset(number for number in range(_CAPABILITY_BITS) if permitted >> number & 1)


def lower_privileges(
    keep: Iterable[Capability], *, account: Account | None, death_signal: int, parent_pid: int
) -> None:
    """Keep *keep* alone of the capabilities, become *account*, get *death_signal* when the parent ends.

    Nothing that is executed later gains anything (no_new_privs). A process whose parent is gone already ends here.
    The order matters: the user is switched while we still may, and setresuid clears the death signal.

    Raises:
        PrivilegeError: the kernel refused.
    """
    kept = held_capabilities() & {int(capability) for capability in keep}
    _drop_bounding_set(kept)
    if account is not None:
        _switch_user(account)
    _write_sets(kept)
    _prctl("PR_CAP_AMBIENT", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)
    die_with_parent(death_signal, parent_pid)


def give_up(capabilities: Iterable[int]) -> None:
    """Go on without *capabilities*, held or not.

    Raises:
        PrivilegeError: the kernel refused.
    """
    _write_sets(held_capabilities().difference(capabilities))


def die_with_parent(death_signal: int, parent_pid: int) -> None:
    """Get *death_signal* when the thread that forked us ends; end at once if *parent_pid* is not our parent any more.

    Raises:
        PrivilegeError: the kernel refused.
    """
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent_pid:
        os._exit(0)


def _drop_bounding_set(kept: frozenset[int]) -> None:
    for number in range(_CAPABILITY_BITS):
        if number in kept or _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) != 1:
            continue
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
            continue
        if ctypes.get_errno() != errno.EPERM:
            raise _refusal("PR_CAPBSET_DROP")
        # Without CAP_SETPCAP the bounding set stays; no_new_privs keeps it from being of use.
        return


def _switch_user(account: Account) -> None:
    if os.getresuid() == (account.user_id,) * 3 and os.getresgid() == (account.group_id,) * 3:
        return
    _prctl("PR_SET_KEEPCAPS", _PR_SET_KEEPCAPS, 1)
    try:
        os.setgroups(account.groups)
        os.setresgid(account.group_id, account.group_id, account.group_id)
        os.setresuid(account.user_id, account.user_id, account.user_id)
    except OSError as error:
        raise PrivilegeError(f"cannot become the user {account.name!r}: {error.strerror}") from error
    _prctl("PR_SET_KEEPCAPS", _PR_SET_KEEPCAPS, 0)


def _read_sets() -> tuple[_Sets, _Sets]:
    header = _Header(_CAPABILITY_VERSION_3, 0)
    halves = (_Sets * 2)()
    if _libc.capget(ctypes.byref(header), halves) != 0:
        raise _refusal("capget")
    return halves[0], halves[1]


def _write_sets(kept: frozenset[int]) -> None:
    """Make *kept* the effective and permitted set; nothing is inheritable."""
    bits = sum(1 << number for number in kept)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    halves = (_Sets * 2)(*(_Sets(part, part, 0) for part in (bits & 0xFFFFFFFF, bits >> 32)))
    if _libc.capset(ctypes.byref(header), halves) != 0:
        raise _refusal("capset")


def _prctl(name: str, option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        raise _refusal(name)


def _refusal(call: str) -> PrivilegeError:
    return PrivilegeError(f"{call}: {os.strerror(ctypes.get_errno())}")
