"""From a record's text to its fields: `key=value` pairs as they stand there, not yet decoded."""

import re
from collections.abc import Iterable, Iterator

GROUP_SEPARATOR = "\x1d"
"""auditd puts it between a record and the names it adds (log_format = ENRICHED)."""

# Every pattern here runs over text that others choose, up to a megabyte of it: a key is looked for only where a word
# begins, or the time would grow with the square of the length. (Possessive quantifiers would be shorter, but
# CPython 3.11.2 gets them wrong inside of groups.) Only ASCII's white space ends a value: what Unicode has beyond it,
# and the control characters that str.split() takes for it, belong to somebody's text.
_KEY = r"A-Za-z0-9_\-\[\]"
# What has a dot in its name is no field: whoever reads documents would take the name for a path.
_PAIR = re.compile(rf"""(?<![{_KEY}.])(?P<key>[{_KEY}]+)=(?P<value>"[^"]*"|'[^']*'|[^\s"']\S*|)""", re.ASCII)
_MODE = r" \((?:enforce|complain|kill|unconfined|user|prompt|mixed|-)\)"
"""What AppArmor puts behind the name of a profile, which may have blanks.

Source: security/apparmor/label.c, label_modename(); security/apparmor/policy.c, aa_profile_mode_names.
"""
_PAIR_OR_LABEL = re.compile(
    rf"""(?<![{_KEY}.])(?=[{_KEY}])(?P<key>(?P<label>(?:subj|obj)(?=[=_]))?[{_KEY}]*)"""
    rf"""=(?P<value>"[^"]*"|'[^']*'|(?(label)[^\s"'][^"'=]*?{_MODE}(?=\s|$)|(?!))|[^\s"']\S*|)""",
    re.ASCII,
)

# In user-space text an unquoted value may hold blanks (`op=adding group to /etc/group id=1001`): it goes on
# over words that are not themselves the beginning of a pair. Old authentication modules put a colon between two pairs.
_USER_KEY = r"A-Za-z0-9_\-"
_USER_PAIR = re.compile(
    rf"""(?<![{_USER_KEY}.{GROUP_SEPARATOR}])([{_USER_KEY}]+)"""
    r"""=("[^"]*"(?=[\s,)]|$)|\S*(?:[ ]+(?!(?::[ ]+)?[^\s=]+=)[^\s]+)*)""",
    re.ASCII,
)

_SELINUX_AVC = re.compile(r"avc:\s+(\w+)\s+\{([^}]*)\}\s+for\s+")

_ADDED_NAME = re.compile(r"""[A-Z0-9_\-]+=(?:\{[^'}]*\}|"[^"']*"|[^\s"']*)(?:\s+|$)""")

_KERNEL_FIELD = re.compile(r"(?:^|\s)[a-z][a-z0-9_\-]*=")
_QUOTED = re.compile(r'"[^"]*"')

_OLD_PREFIXES = ("user ", "login ", "tty ")
"""Kernels before 3.0 began such records with a word.  Source: kernel/audit.c, audit_receive_msg()."""


def split_enrichment(
    body: str, *, is_from_user_space: bool = False, is_of_system_call: bool = True
) -> tuple[str, dict[str, str]]:
    """Return a record without the names that auditd added to it, and these names by lower-case key.

    What the kernel writes of a system call has no separator of its own: control characters in it are encoded. Other
    kernel records hold some names as they are, such as a network interface's; there the last separator counts, and
    only if no further field of the kernel follows. User space sends what it likes between the quotes of `msg='…'`;
    there the record must have ended before the last separator, and nothing but upper-case pairs may follow.
    """
    if GROUP_SEPARATOR not in body:
        return body, {}
    if is_from_user_space:
        record, _, added = body.rpartition(GROUP_SEPARATOR)
        has_ended = "msg='" not in record or record.rstrip().endswith("'")
        if not has_ended or not _is_all_added(added):
            return body, {}
    elif is_of_system_call:
        record, _, added = body.partition(GROUP_SEPARATOR)
    else:
        record, _, added = body.rpartition(GROUP_SEPARATOR)
        if _KERNEL_FIELD.search(_QUOTED.sub("", added)) is not None:
            return body, {}
    return record, {key.lower(): value.strip('"') for key, value in _PAIR.findall(added)}


def _is_all_added(text: str) -> bool:
    position = 0
    while match := _ADDED_NAME.match(text, position):
        position = match.end()
    return 0 < position == len(text)


def kernel_fields(body: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a kernel record; SELinux' `avc: denied { read }` becomes seresult and seperms."""
    if body.startswith("avc:") and (match := _SELINUX_AVC.match(body)) is not None:
        yield "seresult", match[1]
        yield "seperms", ",".join(match[2].split())
        body = body[match.end() :]
    for match in _pairs_of(body).finditer(body):
        yield match["key"], match["value"]


def _pairs_of(body: str) -> re.Pattern[str]:
    """Return what finds the pairs of a kernel record: one that knows AppArmor's labels takes half as long again."""
    return _PAIR_OR_LABEL if " (" in body else _PAIR


def text_without_fields(body: str) -> str:
    """Return what is no pair in a kernel record: nothing, in one that is whole."""
    if body.startswith("avc:") and (match := _SELINUX_AVC.match(body)) is not None:
        body = body[match.end() :]
    return _between(_pairs_of(body), body)


def without_old_prefix(body: str) -> str:
    """Return a record without the word that old kernels put before the first pair of some."""
    for prefix in _OLD_PREFIXES:
        body = body.removeprefix(prefix)
    return body


def split_user_record(body: str) -> tuple[str, str | None, bool]:
    """Return the kernel's part of a user-space record, what its sender wrote inside `msg='…'`, and if that ends.

    The text between the quotes ends at the record's last quote. Without `msg='` all is the first part.
    """
    head, separator, text = without_old_prefix(body).partition("msg='")
    if not separator:
        return head, None, True
    inside, quote, behind = text.rpartition("'")
    return (head + behind, inside, True) if quote else (head, text, False)


def sender_fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of what a user-space sender wrote."""
    if text.startswith("avc:") and (match := _SELINUX_AVC.match(text)) is not None:
        yield "seresult", match[1]
        yield "seperms", ",".join(match[2].split())
        text = text[match.end() :]
    is_old = "(hostname=" in text or text.startswith("avc:")
    for match in _USER_PAIR.finditer(text):
        value = match[2].rstrip(" ")
        yield match[1], _without_old_punctuation(value) if is_old else value


def sender_text_without_fields(text: str) -> str:
    """Return what is no pair in what a user-space sender wrote: all if there is none, else without punctuation."""
    if text.startswith("avc:") and (match := _SELINUX_AVC.match(text)) is not None:
        text = text[match.end() :]
    rest = _between(_USER_PAIR, text)
    return rest if rest == text else rest.strip(" :,()")


def _between(pairs: re.Pattern[str], text: str) -> str:
    """Return the text between pairs as it stands there, but for the blanks around each stretch."""
    stretches, position = [], 0
    for match in pairs.finditer(text):
        stretches.append(text[position : match.start()].strip(" "))
        position = match.end()
    if not position:
        return text if text.strip(" ") else ""
    stretches.append(text[position:].strip(" "))
    return " ".join(stretch for stretch in stretches if stretch)


def _without_old_punctuation(value: str) -> str:
    """Old pluggable authentication modules wrote `(hostname=?, addr=?, terminal=ssh res=success)`.

    Managers of objects write `avc:  received policyload notice (seqno=2)` still.
    """
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


def with_new_names(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield an AVC's pairs; before Linux 5.16 it had the number of an IPC object as `key`, which is no rule's key.

    Source: security/lsm_audit.c, dump_common_audit_data().
    """
    for key, value in pairs:
        yield ("ipc_key" if key == "key" else key), value


def login_body(body: str) -> str:
    """Return a LOGIN record with the pairs of older kernels (`old auid=`) spelled as newer ones do (`old-auid=`)."""
    for older, newer in _OLD_LOGIN_KEYS:
        body = body.replace(older, newer)
    return body
