"""From one record to its decoded fields."""

import re
from dataclasses import dataclass, field

from auditline.workers.common.tables.lookup import architecture_name, errno_name, signal_name, syscall_names
from auditline.workers.router.decode import types
from auditline.workers.router.decode.fields import kernel_fields, login_body, split_enrichment, user_fields
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

_LAST_KEYS: dict[int, str] = {
    types.CWD: "cwd",
    types.PROCTITLE: "proctitle",
    types.SOCKADDR: "saddr",
    types.EXECVE: "argc",
    types.PATH: "name",
    types.SYSCALL: "exe",
}
"""A field that every whole record of a type has; a record without it was cut."""

_ARGUMENT = re.compile(r"a\d+(?:\[\d+\])?")
UNSET = "unset"
_UNSET_NUMBERS = frozenset({"4294967295", "-1"})


@dataclass(slots=True)
class Fields:
    """A record's decoded fields in the order of the record."""

    text: dict[str, str] = field(default_factory=dict)
    undecodable: dict[str, bytes] = field(default_factory=dict)
    """The exact bytes of those fields whose text is not UTF-8."""
    enrichment: dict[str, str] = field(default_factory=dict)
    """Names of ids that auditd wrote behind the record, by field."""
    warnings: list[str] = field(default_factory=list)
    is_truncated: bool = False


def decode_record(record_type: int, body: str) -> Fields:
    """Return the fields of one record; what cannot be decoded is kept as it stands, with a warning.

    *body* is what follows `audit(…): `, read as UTF-8 with surrogateescape. Fields that say nothing (`?`,
    `(null)`) are left out. Of fields that come twice the first counts.
    """
    decoded = Fields()
    body, decoded.enrichment = split_enrichment(body)
    if types.is_complete_alone(record_type):
        pairs = user_fields(body)
    else:
        pairs = kernel_fields(login_body(body) if record_type == types.LOGIN else body)
    raw: dict[str, str] = {}
    for key, value in pairs:
        raw.setdefault(key, value)
    _note_truncation(record_type, body, raw, decoded)
    for key, value in raw.items():
        if value not in NULL_VALUES:
            _decode_field(record_type, key, value, decoded)
    _name_numbers(record_type, decoded)
    return decoded


def _note_truncation(record_type: int, body: str, raw: dict[str, str], decoded: Fields) -> None:
    last_key = _LAST_KEYS.get(record_type)
    if last_key is not None and last_key not in raw and not (last_key == "argc" and _ARGUMENT.match(next(iter(raw), ""))):
        decoded.warnings.append(f"no field {last_key}")
        decoded.is_truncated = True
    elif record_type < types.USER_FIRST2 and body.count('"') % 2 and not types.is_complete_alone(record_type):
        decoded.warnings.append("a quoted value does not end")
        decoded.is_truncated = True


def _decode_field(record_type: int, key: str, value: str, decoded: Fields) -> None:
    if value[0] in "\"'":
        _put_text(key, unquote(value) if value[0] == '"' else value.strip("'"), decoded)
    elif _is_encoded(record_type, key) and is_hex(value):
        _put_bytes(record_type, key, decode_hex(value), decoded)
    else:
        _put_text(key, value, decoded)


def _is_encoded(record_type: int, key: str) -> bool:
    if record_type == types.EXECVE:
        return _ARGUMENT.fullmatch(key) is not None
    return key in ENCODED_FIELDS or key in _ENCODED_IN.get(record_type, ())


def _put_text(key: str, value: str, decoded: Fields) -> None:
    if value in NULL_VALUES:
        return
    text, is_readable_form = surrogates_to_text(value)
    decoded.text[key] = text
    if is_readable_form:
        decoded.undecodable[key] = value.encode("utf-8", "surrogateescape")


def _put_bytes(record_type: int, key: str, raw: bytes, decoded: Fields) -> None:
    if key == "proctitle":
        raw = raw.rstrip(b"\0").replace(b"\0", b" ")
    if record_type == types.EXECVE and "[" in key:
        # A piece of a long argument may begin in the middle of a character: joined first, decoded then.
        decoded.undecodable[key] = raw
        decoded.text[key] = ""
        return
    text, is_readable_form = to_text(raw)
    decoded.text[key] = text
    if is_readable_form:
        decoded.undecodable[key] = raw


def _name_numbers(record_type: int, decoded: Fields) -> None:
    fields = decoded.text
    for key in ("auid", "old-auid", "ses"):
        if fields.get(key) in _UNSET_NUMBERS:
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
    try:
        name = architecture_name(int(word, 16))
    except ValueError:
        warnings.append(f"arch is {word}, wanted a hexadecimal number")
        return
    if name is None:
        return
    fields["arch"] = name
    if "syscall" in fields:
        fields["syscall"] = syscall_names(name).get(_number(fields["syscall"]), fields["syscall"])


def exit_name(value: str) -> str:
    """Return the errno name for a negative exit (`-13`: `EACCES`), any other value as it stands."""
    if value.startswith("-"):
        return errno_name(-_number(value)) or value
    return value


def _number(text: str | None) -> int:
    """Return a decimal number, -1 where it is none: no table holds that."""
    try:
        return int(text or "")
    except ValueError:
        return -1
