"""What the kernel's refusal of an audit request means, and what to do about it."""

import errno
import os
from pathlib import Path

from auditline.workers.control.messages import AUDIT_ADD_RULE, AUDIT_DEL_RULE, AUDIT_SET

CAP_AUDIT_CONTROL = 30
"""Bit of the capability sets in /proc/self/status. Source: include/uapi/linux/capability.h."""

_TEXTS = {
    errno.ECONNREFUSED: "this process is in a user namespace of its own (a rootless container): run it in the host's",
    errno.EPROTONOSUPPORT: "this kernel has no audit: it was built without CONFIG_AUDIT or started with audit=0",
    errno.EOPNOTSUPP: "this kernel does not know the request",
    errno.ETIMEDOUT: "the kernel did not answer in time; its audit queue is probably over backlog_limit",
    errno.ENOBUFS: "answers were lost because the socket was full; ask again",
    errno.ENOMEM: "the kernel has no memory for it",
}
_SET_TEXTS = {
    errno.EEXIST: "another audit daemon is registered: stop it, or listen beside it by multicast",
    errno.EACCES: "another living audit daemon is registered, and only it can unregister itself",
    errno.EINVAL: "the kernel takes no such value",
}
_ADD_TEXTS = {
    errno.EEXIST: "the rule is loaded already",
    errno.ENOENT: "the file, the directory, or the directory of the file does not exist",
    errno.EACCES: "this process may not search the directories of its path",
    errno.EINVAL: "the kernel does not take this combination of fields, operators and values",
    errno.E2BIG: "the kernel does not take a key or a path this long",
    errno.ENOSPC: "the kernel's limit of watches is reached: raise fs.inotify.max_user_watches",
}
_DELETE_TEXTS = {errno.ENOENT: "the rule is not loaded"}
_TEXTS_OF_KIND = {AUDIT_SET: _SET_TEXTS, AUDIT_ADD_RULE: _ADD_TEXTS, AUDIT_DEL_RULE: _DELETE_TEXTS}


def explain(kind: int, code: int, *, is_locked: bool = False) -> str:
    """Return cause and remedy for errno *code* of a request of *kind* (AUDIT_SET …), for a line in the log."""
    if code == errno.EPERM:
        return _explain_not_permitted(is_locked=is_locked)
    return _TEXTS_OF_KIND.get(kind, {}).get(code) or _TEXTS.get(code) or os.strerror(code)


def has_audit_control() -> bool:
    """Tell whether this process has CAP_AUDIT_CONTROL in effect, as /proc/self/status shows it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    sets = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return bool(int(sets.get("CapEff", "0"), 16) >> CAP_AUDIT_CONTROL & 1)


def _explain_not_permitted(*, is_locked: bool) -> str:
    if is_locked:
        return "the audit configuration is locked until the next boot (enabled=2)"
    if not has_audit_control():
        return "CAP_AUDIT_CONTROL is missing: run as root or grant the capability"
    return "the kernel answers only the initial pid namespace: share the host's (such as docker run --pid=host)"
