"""From numbers in fields to the kernel's words for them, where the document keeps the number."""

from collections.abc import Callable
from functools import cache
from typing import Any

from auditline.workers.router.decode.field_types import field_types
from auditline.workers.router.decode.values import decoder
from auditline.workers.router.event import Facts

Words = str | list[str]

_SECCOMP_ACTIONS = {
    0x00000000: "SECCOMP_RET_KILL_THREAD",
    0x00030000: "SECCOMP_RET_TRAP",
    0x00050000: "SECCOMP_RET_ERRNO",
    0x7FC00000: "SECCOMP_RET_USER_NOTIF",
    0x7FF00000: "SECCOMP_RET_TRACE",
    0x7FFC0000: "SECCOMP_RET_LOG",
    0x7FFF0000: "SECCOMP_RET_ALLOW",
    0x80000000: "SECCOMP_RET_KILL_PROCESS",
}
"""Source: include/uapi/linux/seccomp.h; the lower 16 bits are data."""
_NETFILTER_FAMILIES = {
    0: "NFPROTO_UNSPEC",
    1: "NFPROTO_INET",
    2: "NFPROTO_IPV4",
    3: "NFPROTO_ARP",
    5: "NFPROTO_NETDEV",
    7: "NFPROTO_BRIDGE",
    10: "NFPROTO_IPV6",
    12: "NFPROTO_DECNET",
}
"""Source: include/uapi/linux/netfilter.h."""
_FANOTIFY_RESPONSES = {1: "FAN_ALLOW", 2: "FAN_DENY"}
"""Source: include/uapi/linux/fanotify.h."""
_CAPABILITIES = 64
"""How many bits a set of them has."""


def interpret_fields(facts: Facts) -> dict[str, Words]:
    """Return words for those of an event's fields whose type has some, by the name of the field.

    A set is a list, of which what has no name is one hexadecimal number at the end. A number that has no name, and
    whatever is no number, is left out; of a field with several values, the first is taken.
    """
    kinds = field_types(facts.record_type)
    found: dict[str, Words] = {}
    for key in kinds.keys() & facts.data.keys():
        interpret = _INTERPRETERS.get(kinds[key])
        if interpret is not None and (words := interpret(facts.value(key) or "")):
            found[key] = words
    return dict(sorted(found.items()))


def _seccomp_action(text: str) -> str | None:
    number = _number(text, 16)
    return None if number is None else _SECCOMP_ACTIONS.get(number & 0xFFFF0000)


def _netfilter_family(text: str) -> str | None:
    number = _number(text, 10)
    return None if number is None else _NETFILTER_FAMILIES.get(number)


def _fanotify_response(text: str) -> str | None:
    number = _number(text, 10)
    return None if number is None else _FANOTIFY_RESPONSES.get(number)


def _capability(text: str) -> str | None:
    number = _number(text, 10)
    return None if number is None else _capability_name(number)


def _capabilities(text: str) -> list[str]:
    number = _number(text, 16) or 0
    bits = [bit for bit in range(_CAPABILITIES) if number >> bit & 1]
    rest = sum(1 << bit for bit in bits if _capability_name(bit) is None)
    return [name for bit in bits if (name := _capability_name(bit))] + ([hex(rest)] if rest else [])


def _personality(text: str) -> Any:
    number = _number(text, 16)
    return None if number is None else decoder("set.personality", "")(number)


@cache
def _capability_name(number: int) -> str | None:
    name = decoder("enum.capability", "")(number)
    return name if isinstance(name, str) and name.startswith("CAP_") else None


def _number(text: str, base: int) -> int | None:
    """Return a number of up to 64 bits; `0x` may stand before hexadecimal digits."""
    digits = text.removeprefix("0x") if base == 16 else text
    if not digits.isalnum() or not digits.isascii() or len(digits) > 16:
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None


_INTERPRETERS: dict[str, Callable[[str], Words | None]] = {
    "seccomp_action": _seccomp_action,
    "netfilter_family": _netfilter_family,
    "fanotify_response": _fanotify_response,
    "capability": _capability,
    "capabilities": _capabilities,
    "personality": _personality,
}
