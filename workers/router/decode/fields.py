"""From a record's text to its fields: `key=value` pairs as they stand there, not yet decoded."""

import re
from collections.abc import Iterator

_PAIR = re.compile(r"""([A-Za-z0-9_.\-\[\]]+)=("[^"]*"|'[^']*'|[^\s"']\S*|)""")

# In user-space text an unquoted value may hold blanks (`op=adding group to /etc/group id=1001`): it goes on
# over words that are not themselves the beginning of a pair.
_USER_PAIR = re.compile(r"""([A-Za-z0-9_.\-]+)=("[^"]*"|\S*(?:[ ]+(?![^\s=]+=)[^\s]+)*)""")

_SELINUX_AVC = re.compile(r"avc:\s+(\w+)\s+\{\s*([^}]*?)\s*\}\s+for\s+")

# Atomic groups, or text made of many `A="` would take exponential time.
_ENRICHMENT = re.compile(r"""(?>[A-Z0-9_\-]+=(?>"[^"]*"|\S*)(?>\s+|$))+""")

GROUP_SEPARATOR = "\x1d"
"""auditd puts it between a record and the names it adds (log_format = ENRICHED)."""


def split_enrichment(body: str) -> tuple[str, dict[str, str]]:
    """Return a record without the names that auditd added to it, and these names by lower-case key.

    The last separator counts, and only if nothing but upper-case pairs follow, because user-space
    senders can put one into their own text.
    """
    if GROUP_SEPARATOR not in body:
        return body, {}
    record, _, added = body.rpartition(GROUP_SEPARATOR)
    if _ENRICHMENT.fullmatch(added) is None:
        return body, {}
    return record, {key.lower(): value.strip('"') for key, value in _PAIR.findall(added)}


def kernel_fields(body: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a kernel record; SELinux' `avc: denied { read }` becomes seresult and seperms."""
    if body.startswith("avc:"):
        match = _SELINUX_AVC.match(body)
        if match is not None:
            yield "seresult", match[1]
            yield "seperms", ",".join(match[2].split())
            body = body[match.end() :]
    for match in _PAIR.finditer(body):
        yield match[1], match[2]


def user_fields(body: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a user-space record: those that the kernel put first, then those inside `msg='…'`.

    The text between the quotes is whatever a privileged process sent. It ends at the record's last quote, and
    what looks like the kernel's own pairs in it comes second, so that it cannot overwrite them.
    """
    head, separator, text = body.partition("msg='")
    if not separator:
        yield from kernel_fields(body)
        return
    yield from kernel_fields(head)
    inside, quote, behind = text.rpartition("'")
    for match in _USER_PAIR.finditer(inside if quote else text):
        yield match[1], _without_old_punctuation(match[2].rstrip())
    if quote and behind:
        yield from kernel_fields(behind)


def _without_old_punctuation(value: str) -> str:
    """Old pluggable authentication modules wrote `(hostname=?, addr=?, terminal=ssh res=success)`."""
    if value.endswith(",") and not value.startswith('"'):
        return value[:-1]
    if value.endswith(")") and "(" not in value:
        return value[:-1]
    return value


_OLD_LOGIN_KEYS = (
    ("old auid=", "old-auid="),
    ("new auid=", "auid="),
    ("old ses=", "old-ses="),
    ("new ses=", "ses="),
)


def login_body(body: str) -> str:
    """Return a LOGIN record with the pairs of older kernels (`old auid=`) spelled as newer ones do (`old-auid=`)."""
    for older, newer in _OLD_LOGIN_KEYS:
        body = body.replace(older, newer)
    return body
