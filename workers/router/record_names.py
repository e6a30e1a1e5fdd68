"""Record types by name and number, also those that no table knows: a log of a newer kernel loses nothing."""

from functools import lru_cache

from auditline.workers.common.tables.lookup import record_type_name, record_type_number

MAX_UNKNOWN_NAMES = 4096
"""Further unknown names in logs share one number, so that a hostile log cannot fill the memory."""

_unknown_numbers: dict[str, int] = {}
_unknown_names: dict[int, str] = {}
_OVERFLOW = -1
_LAST_NUMBER = 65535
"""A netlink message's type has 16 bits."""


@lru_cache(maxsize=1024)
def type_number(name: str) -> int:
    """Return the number of a record type as a log spells it; a name that nobody knows gets a negative number."""
    known = record_type_number(name)
    if known is not None:
        return known
    if name.isascii() and name.isdigit() and int(name) <= _LAST_NUMBER:
        return int(name)
    word = name.lower()
    if word not in _unknown_numbers:
        if len(_unknown_numbers) >= MAX_UNKNOWN_NAMES:
            return _OVERFLOW
        number = _OVERFLOW - 1 - len(_unknown_numbers)
        _unknown_numbers[word] = number
        _unknown_names[number] = word
    return _unknown_numbers[word]


def type_name(number: int) -> str:
    """Return the name in lower case, as `audit.kernel.record_type` has it."""
    if number >= 0:
        return record_type_name(number)
    return _unknown_names.get(number, "unknown")
