"""From one record to its decoded fields."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from auditline.workers.common.tables.lookup import architecture_name, errno_name, signal_name, syscall_name
from auditline.workers.router.decode import types
from auditline.workers.router.decode.fields import (
    kernel_fields,
    login_body,
    sender_fields,
    sender_text_without_fields,
    split_enrichment,
    split_user_record,
    text_without_fields,
    without_old_prefix,
)
from auditline.workers.router.decode.text import NULL_VALUES, decode_hex, is_hex, surrogates_to_text, to_text, unquote

ENCODED_FIELDS = frozenset(
    {
        "acct", "cmd", "comm", "cwd", "dir", "exe", "file", "grp", "info", "key", "name", "new-chardev", "new-disk",
        "new-fs", "ocomm", "old-chardev", "old-disk", "old-fs", "path", "peer", "proctitle", "profile", "requested",
        "root_dir", "sw", "target", "vm", "watch",
    }
)  # fmt: skip
"""Fields that the kernel (audit_log_untrustedstring) or libaudit (audit_encode_nv_string) writes in quotes if it
is plain, and in upper-case hex otherwise. Source: the audit field dictionary, format "encoded"."""

_ENCODED_IN: dict[int, frozenset[str]] = {types.TTY: frozenset({"data"}), types.USER_TTY: frozenset({"data"})}

LAST_KEYS: dict[int, tuple[str, ...]] = {
    types.SYSCALL: ("key",),
    types.PATH: ("nametype", "objtype", "rdev"),
    types.CWD: ("cwd",),
    types.PROCTITLE: ("proctitle",),
    types.SOCKADDR: ("saddr",),
    types.IPC: ("mode",),
    types.IPC_SET_PERM: ("mode",),
    types.MQ_OPEN: ("mq_curmsgs",),
    types.MQ_SENDRECV: ("abs_timeout_nsec",),
    types.MQ_NOTIFY: ("sigev_signo",),
    types.MQ_GETSETATTR: ("mq_curmsgs",),
    types.FD_PAIR: ("fd1",),
    types.OBJ_PID: ("ocomm",),
    types.MMAP: ("flags",),
    types.CAPSET: ("cap_pe",),
    types.OPENAT2: ("resolve",),
    types.KERN_MODULE: ("name",),
}
"""A field, or one of several by age of the kernel, that every whole record of a type has near its end; a record
without it was cut. Source: kernel/auditsc.c, audit_log_exit() and what it calls."""

_ARCHITECTURE = re.compile(r"[0-9a-f]{1,8}")
_ARGUMENT = re.compile(r"a[0-9]+(?:\[[0-9]+\])?")
_EXECVE_KEY = re.compile(r"argc|a[0-9]{1,9}(?:_len|\[[0-9]{1,9}\])?")
"""Long arguments go on in further records, which begin with an argument, its length or a piece of it."""
UNSET = "unset"
UNSET_NUMBERS = frozenset({"4294967295", "-1"})
_UNSET_FIELDS = frozenset({"auid", "old-auid", "oauid", "sauid", "ses", "oses"})
_KERNEL_OWN_FIELDS = frozenset({"pid", "uid", "auid", "ses", "subj", "key"})
"""What only the kernel says of a user-space record's sender. Source: kernel/audit.c, audit_log_common_recv_msg()."""


@dataclass(slots=True)
class Fields:
    """A record's decoded fields in the order of the record."""

    text: dict[str, str] = field(default_factory=dict)
    further: list[tuple[str, str]] = field(default_factory=list)
    """Fields that came before with another value, and those in which a sender speaks for the kernel."""
    undecodable: dict[str, bytes] = field(default_factory=dict)
    """The exact bytes of those fields whose text is not UTF-8."""
    enrichment: dict[str, str] = field(default_factory=dict)
    """Names of ids that auditd wrote behind the record, by field."""
    rest: str = ""
    """Text that is in no field."""
    warnings: list[str] = field(default_factory=list)
    is_truncated: bool = False


def decode_record(record_type: int, body: str) -> Fields:
    """Return the fields of one record; what cannot be decoded is kept as it stands.

    *body* is what follows `audit(…): `, read as UTF-8 with surrogateescape. Fields that say nothing (`?`,
    `(null)`) are left out.
    """
    decoded = Fields()
    is_from_user_space = types.is_from_user_space(record_type)
    body, decoded.enrichment = split_enrichment(body, is_from_user_space=is_from_user_space)
    if record_type in types.OF_SYSTEM_CALLS:
        _decode_system_call_record(record_type, body, decoded)
    elif is_from_user_space:
        _decode_user_record(record_type, body, decoded)
    else:
        body = without_old_prefix(body)
        if record_type == types.LOGIN:
            body = login_body(body)
        _take_pairs(record_type, kernel_fields(body), decoded)
        decoded.rest = surrogates_to_text(text_without_fields(body))[0]
        if body.count('"') % 2:
            _note_damage("a quoted value does not end", decoded)
    _name_numbers(record_type, decoded)
    return decoded


def _decode_system_call_record(record_type: int, body: str, decoded: Fields) -> None:
    """Decode what nobody but the kernel writes, in a form that is known: whatever differs from it is damage."""
    keys = _take_pairs(record_type, kernel_fields(body), decoded)
    last_keys = LAST_KEYS.get(record_type)
    if last_keys is not None and not any(key in keys for key in last_keys):
        _note_damage(f"no field {last_keys[0]}", decoded)
    if record_type == types.EXECVE:
        if not keys:
            _note_damage("no field argc", decoded)
        for key in keys:
            if _EXECVE_KEY.fullmatch(key) is None:
                _note_damage(f"{key} is no argument", decoded)
    if body.count('"') % 2:
        _note_damage("a quoted value does not end", decoded)
    elif len(keys) != len(body.split()) and text_without_fields(body):
        _note_damage("text that is no field", decoded)
    for key, _ in decoded.further:
        _note_damage(f"{key} comes twice", decoded)


def _decode_user_record(record_type: int, body: str, decoded: Fields) -> None:
    head, text, has_end = split_user_record(body)
    _take_pairs(record_type, kernel_fields(head), decoded)
    rest = text_without_fields(head)
    if text is not None:
        _take_claims(record_type, text, decoded)
        rest = f"{rest} {sender_text_without_fields(text)}".strip()
    decoded.rest = surrogates_to_text(rest)[0]
    if not has_end:
        _note_damage("msg does not end", decoded)


def _take_claims(record_type: int, text: str, decoded: Fields) -> None:
    """Take what a sender wrote: it comes second, and nothing of it becomes the kernel's word on who the sender is."""
    claims = Fields()
    _take_pairs(record_type, sender_fields(text), claims)
    for key, value in (*claims.text.items(), *claims.further):
        if (key, value) == ("acct", "?"):
            # libaudit quotes it even where there is no account to name.
            continue
        if key not in decoded.text and key not in _KERNEL_OWN_FIELDS:
            decoded.text[key] = value
            if key in claims.undecodable:
                decoded.undecodable[key] = claims.undecodable[key]
        elif decoded.text.get(key) != value:
            decoded.further.append((key, value))


def _take_pairs(record_type: int, pairs: Iterable[tuple[str, str]], decoded: Fields) -> list[str]:
    """Decode *pairs* and return their keys."""
    keys = []
    is_of_system_call = record_type in types.OF_SYSTEM_CALLS
    for key, value in pairs:
        keys.append(key)
        if value in NULL_VALUES and (value[:1] != '"' or not is_of_system_call):
            if not value and is_of_system_call:
                _note_damage(f"{key} has no value", decoded)
            continue
        text, exact = _decode_value(record_type, key, value, decoded)
        if key not in decoded.text:
            decoded.text[key] = text
            if exact is not None:
                decoded.undecodable[key] = exact
        elif decoded.text[key] != text:
            decoded.further.append((key, text))
    return keys


def _note_damage(warning: str, decoded: Fields) -> None:
    decoded.warnings.append(warning)
    decoded.is_truncated = True


def _decode_value(record_type: int, key: str, value: str, decoded: Fields) -> tuple[str, bytes | None]:
    """Return a value as text, and its exact bytes where that is only a readable form of them."""
    if value[0] in "\"'":
        value = unquote(value)
    elif _is_encoded(record_type, key):
        if is_hex(value):
            return _decode_bytes(record_type, key, decode_hex(value))
        if record_type in types.OF_SYSTEM_CALLS:
            _note_damage(f"{key} is neither quoted nor hexadecimal", decoded)
    text, is_readable_form = surrogates_to_text(value)
    return text, value.encode("utf-8", "surrogateescape") if is_readable_form else None


def _is_encoded(record_type: int, key: str) -> bool:
    if record_type == types.EXECVE:
        return _ARGUMENT.fullmatch(key) is not None
    return key in ENCODED_FIELDS or key in _ENCODED_IN.get(record_type, ())


def _decode_bytes(record_type: int, key: str, raw: bytes) -> tuple[str, bytes | None]:
    if key == "proctitle":
        raw = raw.rstrip(b"\0").replace(b"\0", b" ")
    if record_type == types.EXECVE and "[" in key:
        # A piece of a long argument may begin in the middle of a character: joined first, decoded then.
        return "", raw
    text, is_readable_form = to_text(raw)
    return text, raw if is_readable_form else None


def _name_numbers(record_type: int, decoded: Fields) -> None:
    fields = decoded.text
    for key in _UNSET_FIELDS & fields.keys():
        if fields[key] in UNSET_NUMBERS:
            fields[key] = UNSET
    if record_type in (types.SYSCALL, types.SECCOMP, types.URINGOP):
        _name_system_call(fields, decoded.warnings)
    if record_type in (types.SECCOMP, types.ANOM_ABEND) and (name := signal_name(_number(fields.get("sig")))):
        fields["sig"] = name
    if "exit" in fields:
        fields["exit"] = exit_name(fields["exit"])


def _name_system_call(fields: dict[str, str], warnings: list[str]) -> None:
    word = fields.get("arch")
    if word is None:
        return
    if _ARCHITECTURE.fullmatch(word) is None:
        warnings.append(f"arch is {word}, wanted a hexadecimal number")
        return
    name = architecture_name(int(word, 16))
    if name is None:
        return
    fields["arch"] = name
    if "syscall" in fields:
        fields["syscall"] = syscall_name(name, _number(fields["syscall"])) or fields["syscall"]


def exit_name(value: str) -> str:
    """Return the errno name for a negative exit (`-13`: `EACCES`), any other value as it stands."""
    if value.startswith("-"):
        return errno_name(_number(value[1:])) or value
    return value


def _number(text: str | None) -> int:
    """Return a decimal number, -1 where it is none: no table holds that."""
    if text is not None and text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    return -1
