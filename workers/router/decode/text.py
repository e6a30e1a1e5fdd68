"""From a record's value to text: quotes, hex, and bytes that are not UTF-8."""

import binascii
import re

NULL_VALUES = frozenset({"", "?", "?,", "(null)", '""'})
"""How the kernel and user space write "nothing"; such fields are left out."""

_HEX = re.compile(r"(?:[0-9A-F]{2})+")


def is_hex(value: str) -> bool:
    """True if *value* has the form in which the kernel encodes: pairs of upper-case hex digits.

    Source: kernel/audit.c, audit_log_n_hex().
    """
    return _HEX.fullmatch(value) is not None


def decode_hex(value: str) -> bytes:
    """Return the bytes of an even number of hex digits."""
    return binascii.unhexlify(value)


def to_text(raw: bytes) -> tuple[str, bool]:
    r"""Return *raw* as text, and True if it had to be written in a readable form because it is not UTF-8.

    The readable form has `\xNN` for each byte that is not part of valid UTF-8; it is for people. The exact
    bytes have to be kept beside it.
    """
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), True


def surrogates_to_text(text: str) -> tuple[str, bool]:
    """The same for text that was read with `surrogateescape`."""
    if text.isascii():
        return text, False
    return to_text(text.encode("utf-8", "surrogateescape"))


def unquote(value: str) -> str:
    """Return what stands between a pair of double quotes, or *value* itself."""
    if len(value) > 1 and value[0] == '"' and value[-1] == '"':
        return value[1:-1]
    return value
