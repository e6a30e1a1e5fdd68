"""What `security.capability` says, as `getcap -n` prints it."""

import struct

# Source: linux/capability.h, struct vfs_ns_cap_data.
_REVISIONS = {0x01000000: struct.Struct("<3I"), 0x02000000: struct.Struct("<5I"), 0x03000000: struct.Struct("<6I")}
_REVISION_MASK = 0xFF000000
_IS_EFFECTIVE = 0x000001

NAMES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip
"""By number, without `cap_`. Source: linux/capability.h."""


def capabilities_text(value: bytes) -> str | None:
    """Return such as `cap_net_raw=ep [rootid=1000]`; None: *value* is of no known form."""
    if len(value) < 4:  # the first number
        return None
    magic = int.from_bytes(value[:4], "little")
    layout = _REVISIONS.get(magic & _REVISION_MASK)
    if layout is None or layout.size != len(value) or magic & ~_REVISION_MASK & ~_IS_EFFECTIVE:
        return None
    _, *numbers = layout.unpack(value)
    rootid = numbers.pop() if len(numbers) % 2 and len(numbers) > 1 else 0
    permitted, inheritable = numbers[0], numbers[1]
    if len(numbers) > 2:  # the upper halves
        permitted, inheritable = permitted | numbers[2] << 32, inheritable | numbers[3] << 32
    text = _text(permitted, inheritable, is_effective=bool(magic & _IS_EFFECTIVE))
    return f"{text} [rootid={rootid}]" if rootid else text


def _text(permitted: int, inheritable: int, *, is_effective: bool) -> str:
    """Return the sets as `cap_to_text(3)` does: what most have first, then what others have more or less."""
    groups: dict[str, list[int]] = {}
    for number in range(64):
        flags = ("i" if inheritable >> number & 1 else "") + ("p" if permitted >> number & 1 else "")
        if flags and is_effective:
            flags = f"e{flags}"
        if number < len(NAMES) or flags:
            groups.setdefault(flags, []).append(number)
    base = max(groups, key=lambda flags: (len(groups[flags]), -_rank(flags)))
    text = f"={base}" if base else ""
    for flags in sorted(groups, key=_rank, reverse=True):
        if flags != base:
            text += f" {','.join(map(_name, groups[flags]))}{_difference(flags, base, is_first=not text)}"
    return text.strip() or "="


def _difference(flags: str, base: str, *, is_first: bool) -> str:
    if is_first:
        return f"={flags}"
    more = "".join(letter for letter in flags if letter not in base)
    less = "".join(letter for letter in base if letter not in flags)
    return (f"+{more}" if more else "") + (f"-{less}" if less else "")


def _rank(flags: str) -> int:
    """Return the number that libcap has for a combination of sets."""
    return sum({"e": 1, "p": 2, "i": 4}[letter] for letter in flags)


def _name(number: int) -> str:
    return f"cap_{NAMES[number]}" if number < len(NAMES) else str(number)
