"""What is said once at start about this host: what keeps us from seeing all, or costs more than needed; the remedy."""

import os
from collections.abc import Iterator
from pathlib import Path

from auditline.workers.audit.netlink import NETLINK_AUDIT
from auditline.workers.common.privileges import Capability, held_capabilities
from auditline.workers.common.settings import WITHOUT_FANOTIFY, FimSettings

COMMAND_LINE_FILE = Path("/proc/cmdline")
NETLINK_FILE = Path("/proc/net/netlink")
USER_MAP_FILE = Path("/proc/self/uid_map")

_READ_LOG_GROUP_BIT = 1


def find_notices() -> list[str]:
    """Return what is to be said about reading kernel events here; call it before our own socket is in the table."""
    return [*_audit_was_off(_read(COMMAND_LINE_FILE)), *_copied_records(_read(NETLINK_FILE))]


def find_watch_notices(settings: FimSettings) -> Iterator[str]:
    """Give what is to be said about watching files with the rights that we have."""
    held = held_capabilities()
    if Capability.DAC_READ_SEARCH not in held:
        yield (
            f"CAP_DAC_READ_SEARCH is missing: files that uid {os.geteuid()} may not read are reported without hashes,"
            " and directories that it may not enter not at all; run as root or grant the capability"
        )

    if all(watch.backend in WITHOUT_FANOTIFY for watch in settings.watch):
        return
    if Capability.SYS_ADMIN not in held or _is_in_user_namespace(_read(USER_MAP_FILE)):
        cause = "CAP_SYS_ADMIN is missing: run as root or grant the capability"
        if Capability.SYS_ADMIN in held:
            cause = "CAP_SYS_ADMIN does not count in a user namespace: run outside of it"
        yield (
            f"fanotify cannot be used, because {cause}; until then inotify tells of changes in files, which does not"
            " say who made them, and loses some when there are very many at once: then everything is compared"
        )
    elif Capability.SYS_PTRACE not in held and settings.actor != "off":
        yield (
            "CAP_SYS_PTRACE is missing: of other users' processes that change files it is not known which program they"
            " run; run as root or grant the capability"
        )


def find_actor_notices(actor: str, *, has_rules: bool) -> Iterator[str]:
    """Give what is to be said about who changes files, by `fim.actor` and whether rules of ours can be loaded."""
    if actor == "audit" and not has_rules:
        yield (
            'fim.actor is "audit", but no audit rule can be loaded here, so it is as with "auto"; that takes'
            " audit.enabled = true, CAP_AUDIT_CONTROL, and no other audit daemon that owns the kernel's audit"
        )


def _audit_was_off(command_line: str) -> Iterator[str]:
    """Processes that were there before audit was first switched on have no audit context: kernel/auditsc.c."""
    if not {"audit=1", "audit=on"} & set(command_line.split()):
        yield (
            "audit was off when this host was booted, so processes that are older than its first use are not audited;"
            " add audit=1 to the kernel's command line"
        )


def _copied_records(netlink_table: str) -> Iterator[str]:
    """Rows of /proc/net/netlink: sk, protocol, port id, groups (hexadecimal), ..."""
    rows = (line.split() for line in netlink_table.splitlines()[1:])
    if any(len(row) > 3 and row[1] == str(NETLINK_AUDIT) and _is_in_read_log_group(row[3]) for row in rows):
        yield (
            "another process is in the kernel's audit multicast group, most likely systemd-journald: it copies every"
            " record to its journal; systemctl mask --now systemd-journald-audit.socket spares that"
        )


def _is_in_user_namespace(user_map: str) -> bool:
    """Source: user_namespaces(7): the initial namespace maps all 2^32 - 1 ids to themselves."""
    return bool(user_map) and user_map.split() != ["0", "0", "4294967295"]


def _is_in_read_log_group(groups: str) -> bool:
    try:
        return bool(int(groups, 16) & _READ_LOG_GROUP_BIT)
    except ValueError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
