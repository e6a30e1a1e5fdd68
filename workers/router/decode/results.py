"""Whether what an event tells of succeeded: denials first, then the naming record, then the system call."""

from collections.abc import Sequence

from auditline.workers.router.decode import types
from auditline.workers.router.decode.records import Fields

_NOT_FAILURES = frozenset({"EINPROGRESS"})
"""A non-blocking connect that has begun."""


def find_result(records: Sequence[tuple[int, Fields]], naming: Fields, base: Fields) -> str:
    """Return success, fail or unknown.

    *naming* are the fields of the record that names the event, *base* those of the one that tells the subject. What a
    security module has denied has failed, whatever the system call returned and in whichever order the records came.
    """
    if any(_is_denial(kind, fields.text) for kind, fields in records):
        return "fail"
    word = naming.text.get("res") or base.text.get("success") or base.text.get("res") or naming.text.get("result")
    if word is None:
        return "unknown"
    if base.text.get("exit") in _NOT_FAILURES:
        return "success"
    word = word.lower()
    return "success" if word in ("yes", "1") or word.startswith("suc") else "fail"


def _is_denial(kind: int, fields: dict[str, str]) -> bool:
    """True for an access that was refused.

    A permissive SELinux says denied of what it lets pass, with `permissive=1`; a complaining AppArmor says ALLOWED;
    IPE names the rule that decided, and whether it is enforced.
    Source: security/selinux/avc.c, avc_audit_post_callback(); security/apparmor/audit.c; security/landlock/audit.c;
    security/ipe/audit.c.
    """
    if fields.get("seresult") == "denied":
        return fields.get("permissive") != "1"
    if kind == types.IPE_ACCESS:
        return fields.get("enforcing") == "1" and fields.get("rule", "").endswith("action=DENY")
    return fields.get("apparmor") == "DENIED" or kind == types.LANDLOCK_ACCESS
