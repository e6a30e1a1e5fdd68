"""From one record to its decoded fields."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from auditline.workers.common.tables.lookup import architecture_name, errno_name, signal_name, syscall_name
from auditline.workers.router.decode import types
from auditline.workers.router.decode.field_types import ENCODED, TITLE, field_types
from auditline.workers.router.decode.fields import (
    kernel_fields,
    login_body,
    sender_fields,
    sender_text_without_fields,
    split_enrichment,
    split_user_record,
    text_without_fields,
    with_new_names,
    without_old_prefix,
)
from auditline.workers.router.decode.text import NULL_VALUES, decode_hex, is_hex, surrogates_to_text, to_text, unquote

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
_EXECVE_KEY = re.compile(r"argc|a[0-9]{1,9}(?:_len|\[[0-9]{1,9}\])?")
"""Long arguments go on in further records, which begin with an argument, its length or a piece of it."""
UNSET = "unset"
UNSET_NUMBERS = frozenset({"4294967295", "-1"})
_KERNEL_OWN_FIELDS = frozenset({"pid", "uid", "auid", "ses", "subj", "key"})
"""What only the kernel says of a user-space record's sender. Source: kernel/audit.c, audit_log_common_recv_msg()."""


@dataclass(slots=True)
class Fields:
    """A record's decoded fields in the order of the record."""

    text: dict[str, str] = field(default_factory=dict)
    further: list[tuple[str, str, bytes | None]] = field(default_factory=list)
    """Fields that came before with another value, or in which a sender speaks for the kernel; exact bytes last."""
    undecodable: dict[str, bytes] = field(default_factory=dict)
    """The exact bytes of those fields whose text does not give them back: it is not UTF-8, or a title with blanks."""
    enrichment: dict[str, str] = field(default_factory=dict)
    """Names of ids that auditd wrote behind the record, by field."""
    rest: str = ""
    """Text that is in no field."""
    exact_rest: bytes | None = None
    """Its bytes, if they are not UTF-8."""
    warnings: list[str] = field(default_factory=list)
    is_truncated: bool = False


def decode_record(record_type: int, body: str) -> Fields:
    """Return the fields of one record; what cannot be decoded is kept as it stands.

    *body* is what follows `audit(…): `, read as UTF-8 with surrogateescape. Fields that say nothing (`?`,
    `(null)`) are left out.
    """
    decoded = Fields()
    is_from_user_space = types.is_from_user_space(record_type)
    is_of_system_call = record_type in types.OF_SYSTEM_CALLS
    body, decoded.enrichment = split_enrichment(
        body, is_from_user_space=is_from_user_space, is_of_system_call=is_of_system_call
    )
    if is_of_system_call:
        _decode_system_call_record(record_type, body, decoded)
    elif is_from_user_space:
        _decode_user_record(record_type, body, decoded)
    else:
        body = without_old_prefix(body)
        if record_type == types.LOGIN:
            body = login_body(body)
        pairs = kernel_fields(body)
        _take_pairs(record_type, with_new_names(pairs) if record_type == types.AVC else pairs, decoded)
        _take_rest(text_without_fields(body), decoded)
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
    elif (len(keys) != len(body.split()) and text_without_fields(body)) or _goes_on_behind_quotes(body):
        _note_damage("text that is no field", decoded)
    for key, _, _ in decoded.further:
        _note_damage(f"{key} comes twice", decoded)


def _goes_on_behind_quotes(body: str) -> bool:
    """True if something other than a blank follows a quoted value: parts of the record have gone."""
    behind = body.split('"')[2::2]
    return bool(behind) and (any(part[:1] != " " for part in behind[:-1]) or behind[-1][:1] not in ("", " "))


def _decode_user_record(record_type: int, body: str, decoded: Fields) -> None:
    head, text, has_end = split_user_record(body)
    _take_pairs(record_type, kernel_fields(head), decoded)
    rest = text_without_fields(head)
    if text is not None:
        _take_claims(record_type, text, decoded)
        rest = " ".join(filter(None, (rest, sender_text_without_fields(text))))
    _take_rest(rest, decoded)
    if not has_end:
        _note_damage("msg does not end", decoded)


def _take_rest(text: str, decoded: Fields) -> None:
    decoded.rest, decoded.exact_rest = _from_surrogates(text)


def _take_claims(record_type: int, text: str, decoded: Fields) -> None:
    """Take what a sender wrote: it comes second, and nothing of it becomes the kernel's word on who the sender is."""
    claims = Fields()
    _take_pairs(record_type, sender_fields(text), claims)
    of_text = ((key, value, claims.undecodable.get(key)) for key, value in claims.text.items())
    for key, value, exact in (*of_text, *claims.further):
        if (key, value) == ("acct", "?"):
            # libaudit quotes it even where there is no account to name.
            continue
        if key not in decoded.text and key not in _KERNEL_OWN_FIELDS:
            decoded.text[key] = value
            if exact is not None:
                decoded.undecodable[key] = exact
        elif (decoded.text.get(key), decoded.undecodable.get(key)) != (value, exact):
            decoded.further.append((key, value, exact))


def _take_pairs(record_type: int, pairs: Iterable[tuple[str, str]], decoded: Fields) -> list[str]:
    """Decode *pairs* and return their keys."""
    keys = []
    is_from_user_space = types.is_from_user_space(record_type)
    type_of = field_types(record_type).look_up
    for key, value in pairs:
        keys.append(key)
        # The kernel quotes an empty name; libaudit writes the same where there is nothing to name.
        if value in NULL_VALUES and (value[:1] != '"' or is_from_user_space):
            if not value and record_type in types.OF_SYSTEM_CALLS:
                _note_damage(f"{key} has no value", decoded)
            continue
        text, exact = _decode_value(record_type, type_of(key), key, value, decoded)
        if key not in decoded.text:
            decoded.text[key] = text
            if exact is not None:
                decoded.undecodable[key] = exact
        elif (decoded.text[key], decoded.undecodable.get(key)) != (text, exact):
            decoded.further.append((key, text, exact))
    return keys


def _note_damage(warning: str, decoded: Fields) -> None:
    decoded.warnings.append(warning)
    decoded.is_truncated = True


def _decode_value(
    record_type: int, kind: str | None, key: str, value: str, decoded: Fields
) -> tuple[str, bytes | None]:
    """Return a value as text, and its exact bytes where the text does not give them back."""
    if value[0] in "\"'":
        value = unquote(value)
    elif kind in (ENCODED, TITLE):
        if is_hex(value):
            return _decode_bytes(record_type, key, kind, decode_hex(value))
        if record_type in types.OF_SYSTEM_CALLS:
            _note_damage(f"{key} is neither quoted nor hexadecimal", decoded)
    if kind == TITLE:
        return title_text(value.encode("utf-8", "surrogateescape"))
    return (value, None) if value.isascii() else _from_surrogates(value)


def _from_surrogates(text: str) -> tuple[str, bytes | None]:
    readable, is_readable_form = surrogates_to_text(text)
    return readable, text.encode("utf-8", "surrogateescape") if is_readable_form else None


def _decode_bytes(record_type: int, key: str, kind: str | None, raw: bytes) -> tuple[str, bytes | None]:
    if kind == TITLE:
        return title_text(raw)
    if record_type == types.EXECVE and "[" in key:
        # A piece of a long argument may begin in the middle of a character: joined first, decoded then.
        return "", raw
    text, is_readable_form = to_text(raw)
    return text, raw if is_readable_form else None


def title_text(raw: bytes) -> tuple[str, bytes | None]:
    """Return a title with blanks between its parts, and its exact bytes unless each blank is a NUL there."""
    text, is_readable_form = to_text(raw.rstrip(b"\0").replace(b"\0", b" "))
    return text, raw if is_readable_form or b" " in raw or raw.endswith(b"\0") else None


def title_list(exact: bytes) -> list[str] | None:
    """Return the parts of a title between its NULs, which give its bytes back; None if it is not UTF-8."""
    try:
        return exact.decode("utf-8").split("\0")
    except UnicodeDecodeError:
        return None


def _name_numbers(record_type: int, decoded: Fields) -> None:
    """Give numbers the names that their fields' types have."""
    fields, kinds = decoded.text, field_types(record_type)
    for key in kinds.keys() & fields.keys():
        kind, value = kinds[key], fields[key]
        if kind == "unset_id" and value in UNSET_NUMBERS:
            fields[key] = UNSET
        elif kind == "exit":
            fields[key] = exit_name(value)
        elif kind == "signal":
            fields[key] = signal_name(_number(value)) or value
        elif kind == "architecture":
            _name_system_call(fields, decoded.warnings)


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
