"""Extended attributes as a document has them: those whose meaning is known by their own names, all others in a list."""

import base64
import hashlib
import struct
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from auditline.workers.common.attributes import Xattr, XattrKind, unpack_xattrs
from auditline.workers.router.decode.text import to_text
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_capabilities import capabilities_text

MOST_TOLD = 64
"""So many are told one by one, of the rest only how many there are."""
LONGEST_TOLD = 1024
"""Of longer values length and digest are told."""
_LARGEST_CACHED = 300

# Source: linux/posix_acl_xattr.h, linux/posix_acl.h.
_ACL_VERSION = 2
_ACL_HEAD, _ACL_ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_ACL_TAGS = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
_ACL_NAMED = {0x02: "uid", 0x08: "gid"}
_MOST_RIGHTS = 0o7
_UNDEFINED_ID = 0xFFFFFFFF

# Source: security/integrity/integrity.h, enum evm_ima_xattr_type; linux/hash_info.h.
_IMA_TYPES = {1: "digest", 3: "signature", 4: "digest_ng", 5: "portable_signature", 6: "verity_signature"}
_IMA_WITH_ALGORITHM = 4
_IMA_ALGORITHMS = (
    "md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224", "rmd128", "rmd256", "rmd320", "wp256",
    "wp384", "wp512", "tgr128", "tgr160", "tgr192", "sm3", "streebog256", "streebog512", "sha3-256", "sha3-384",
    "sha3-512",
)  # fmt: skip


def xattr_members(packed: bytes, names: IdNames) -> dict[str, Any]:
    """Return `selinux`, `posix_acl_access` and so on, and `xattrs`, the list of all others.

    Raises:
        ValueError: *packed* is damaged.
    """
    members, others = (_sort_cached if len(packed) <= _LARGEST_CACHED else _sort)(packed)
    members = dict(members)
    for key, entries in members.items():
        if isinstance(entries, tuple):
            members[key] = [_acl_text(entry, names) for entry in entries]
    if others:
        members["xattrs"] = [_described(xattr) for xattr in others[:MOST_TOLD]]
        if left := sum(_count(xattr) for xattr in others[MOST_TOLD:]):
            members["xattrs"].append({"others": left})
    return members


def _sort(packed: bytes) -> tuple[dict[str, Any], tuple[Xattr, ...]]:
    """Return what has a meaning by the document's keys, and the others."""
    members: dict[str, Any] = {}
    others: list[Xattr] = []
    for xattr in unpack_xattrs(packed):
        known = _DECODERS.get(xattr.name) if xattr.kind is XattrKind.WHOLE else None
        decoded = known[1](xattr.value) if known is not None else None
        if known is None or decoded is None or known[0] in members:
            others.append(xattr)
        else:
            members[known[0]] = decoded
    return members, tuple(others)


_sort_cached = lru_cache(maxsize=1024)(_sort)


def _label(value: bytes) -> str | None:
    """Return a label of a security module, without the NUL at its end."""
    return _plain_text(value.removesuffix(b"\0"))


def _acl_entries(value: bytes) -> tuple[tuple[int, int, int], ...] | None:
    """Return tag, rights and id of each entry; None: that is no access control list."""
    if len(value) < _ACL_HEAD.size or (len(value) - _ACL_HEAD.size) % _ACL_ENTRY.size:
        return None
    if _ACL_HEAD.unpack_from(value)[0] != _ACL_VERSION:
        return None
    entries = tuple(_ACL_ENTRY.iter_unpack(value[_ACL_HEAD.size :]))
    if not entries or any(tag not in _ACL_TAGS or rights > _MOST_RIGHTS for tag, rights, _ in entries):
        return None
    return entries


def _acl_text(entry: tuple[int, int, int], names: IdNames) -> str:
    tag, rights, number = entry
    who = "" if number == _UNDEFINED_ID else str(number)
    if tag in _ACL_NAMED:
        who = names.name(_ACL_NAMED[tag], who)
    letters = "".join(letter if rights & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
    return f"{_ACL_TAGS[tag]}:{who}:{letters}"


def _ima_text(value: bytes) -> str | None:
    """Return type, algorithm where it is said, and the rest in hexadecimal, with colons."""
    word = _IMA_TYPES.get(value[0]) if value else None
    if word is None:
        return None
    if value[0] != _IMA_WITH_ALGORITHM:
        return f"{word}:{value[1:].hex()}"
    if len(value) < 2 or value[1] >= len(_IMA_ALGORITHMS):  # type and algorithm
        return None
    return f"{word}:{_IMA_ALGORITHMS[value[1]]}:{value[2:].hex()}"


_DECODERS: dict[bytes, tuple[str, Callable[[bytes], Any]]] = {
    b"security.selinux": ("selinux", _label),
    b"system.posix_acl_access": ("posix_acl_access", _acl_entries),
    b"system.posix_acl_default": ("posix_acl_default", _acl_entries),
    b"security.capability": ("capabilities", capabilities_text),
    b"security.ima": ("ima", _ima_text),
}
"""Key and decoder, by the attribute's name."""


def _described(xattr: Xattr) -> dict[str, Any]:
    name, is_lossy = to_text(xattr.name)
    described: dict[str, Any] = {"name": name} if xattr.name else {}
    if is_lossy:
        described["name_base64"] = base64.b64encode(xattr.name).decode()
    if xattr.kind is XattrKind.UNREADABLE:
        return described | {"unreadable": True}
    if xattr.kind is XattrKind.REST:
        return {"others": xattr.length, "sha256": xattr.value.hex()}
    if xattr.kind is XattrKind.LONG:
        return described | {"bytes": xattr.length, "sha256": xattr.value.hex()}
    if xattr.length > LONGEST_TOLD:
        return described | {"bytes": xattr.length, "sha256": hashlib.sha256(xattr.value).hexdigest()}
    text = _plain_text(xattr.value)
    return described | ({"base64": base64.b64encode(xattr.value).decode()} if text is None else {"value": text})


def _count(xattr: Xattr) -> int:
    return xattr.length if xattr.kind is XattrKind.REST else 1


def _plain_text(value: bytes) -> str | None:
    """Return what can be read as it stands; None: it is no UTF-8, or has characters that show nothing."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    is_plain = text.isprintable() or not any(unicodedata.category(each).startswith("C") for each in text)
    return text if is_plain else None
