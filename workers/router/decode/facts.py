"""From the records of one event to its facts: decoded, merged, checked for what is missing."""

import re

from auditline.workers.router.decode import types
from auditline.workers.router.decode.arguments import join_arguments, to_command_line
from auditline.workers.router.decode.records import UNSET, UNSET_NUMBERS, Fields, decode_record
from auditline.workers.router.decode.results import find_result
from auditline.workers.router.decode.socket_address import decode_socket_address
from auditline.workers.router.decode.suspicious import find_suspicious
from auditline.workers.router.decode.text import decode_hex, surrogates_to_text, to_text
from auditline.workers.router.event import Event, Facts
from auditline.workers.router.names import id_kind

HIDING_CALLS = frozenset({"mq_open", "mq_unlink"})
"""Their parent directory counts in items= but is hidden. Source: fs/namei.c, AUDIT_INODE_HIDDEN."""

_PARTS = frozenset({types.PATH, types.SOCKADDR, types.EXECVE})

_SELINUX = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+(?::\S*)?", re.ASCII)
_SELINUX_PARTS = ("user", "role", "domain", "level", "category")
_DATA_ELSEWHERE = frozenset({"success", "res", "ses", "key", "items", "subj"})
_IDS_OF_SUBJECT = frozenset({"auid", "uid", "gid", "euid", "suid", "fsuid", "egid", "sgid", "fsgid", "old-auid"})
"""All else that ends like them is somebody's or something's else: ouid, oauid, sauid, obj_uid, uuid."""
_KEY_SEPARATOR = b"\x01"
"""The kernel joins the keys of several `-k` with it. Source: libaudit, AUDIT_KEY_SEPARATOR."""


def gather_facts(event: Event) -> Facts:
    """Return what the records of *event* say together. Never fails: what is damaged is kept and said."""
    records = [(kind, decode_record(kind, body)) for kind, body in zip(event.types, event.bodies, strict=True)]
    naming = _naming_record(records)
    system_call = next((fields for kind, fields in records if kind == types.SYSCALL), None)
    base = _base_record(naming, system_call)
    facts = Facts(record_type=naming[0], reasons=list(event.reasons))
    _take_base(base, facts)
    for kind, fields in records:
        facts.warnings.extend(fields.warnings)
        if kind == types.PATH:
            facts.path_names.append(_enriched_names(fields))
        else:
            facts.names.update(_enriched_names(fields))
        if fields is not base:
            _take_other(kind, fields, facts, is_naming=fields is naming[1])
        if kind not in types.OF_SYSTEM_CALLS:
            _take_the_rest(fields, facts)
    facts.names.update(_enriched_names(base))
    _take_arguments(records, facts)
    facts.result = find_result(records, naming[1], base)
    facts.undecodable = _undecodable(facts)
    facts.suspicious = find_suspicious(facts)
    _note_missing(event, records, system_call, facts)
    return facts


def _naming_record(records: list[tuple[int, Fields]]) -> tuple[int, Fields]:
    if records[0][0] in types.CHANGES_OF_TIME:
        return records[0]
    for record in records:
        if record[0] != types.SYSCALL and record[0] not in types.AUXILIARY:
            return record
    for record in records:
        if record[0] == types.SYSCALL:
            return record
    return records[0]


def _base_record(naming: tuple[int, Fields], system_call: Fields | None) -> Fields:
    """Return the record that tells the subject and the result; empty if only parts of a system call are there."""
    if system_call is not None:
        return system_call
    return Fields() if naming[0] in _PARTS else naming[1]


def _take_base(base: Fields, facts: Facts) -> None:
    for key, value in base.text.items():
        exact = base.undecodable.get(key)
        if key == "key":
            _add_keys(value, exact, facts)
        elif _is_of_subject(key):
            _set_id(key, value, exact, facts)
        elif key == "ses":
            facts.session = value
        elif key == "subj" and (context := selinux_context(value)):
            facts.selinux = context
        elif key not in _DATA_ELSEWHERE or key == "subj":
            _add_value(key, value, exact, facts)


def _take_the_rest(fields: Fields, facts: Facts) -> None:
    """Keep what a record has beside its fields, and what a sender says that is not its to say."""
    for key, value, exact in fields.further:
        _add_value(key, value, exact, facts)
    if fields.rest:
        _add_value("msg", fields.rest, fields.exact_rest, facts)


def _take_other(kind: int, fields: Fields, facts: Facts, *, is_naming: bool) -> None:
    if kind == types.PATH:
        _take_path(fields, facts)
    elif kind == types.SOCKADDR:
        _take_socket_address(fields, facts)
    elif kind != types.EXECVE:
        for key, value in fields.text.items():
            _merge(key, value, fields.undecodable.get(key), facts, is_naming=is_naming)


def _merge(key: str, value: str, exact: bytes | None, facts: Facts, *, is_naming: bool) -> None:
    """Add a field of a further record: nothing is overwritten, and nothing that differs is left out."""
    if key == "key":
        _add_keys(value, exact, facts)
    elif value == facts.ids.get(key) or (key in _DATA_ELSEWHERE and (is_naming or key != "subj")):
        return
    elif is_naming and _is_of_subject(key) and key not in facts.ids:
        _set_id(key, value, exact, facts)
    else:
        _add_value(key, value, exact, facts)


def _is_of_subject(key: str) -> bool:
    return key in _IDS_OF_SUBJECT


def _set_id(key: str, value: str, exact: bytes | None, facts: Facts) -> None:
    facts.ids[key] = UNSET if value in UNSET_NUMBERS else value
    if exact is not None:
        facts.exact[f"actor.attrs.{key}"] = exact


def _add_value(key: str, value: str, exact: bytes | None, facts: Facts) -> None:
    present = facts.data.get(key)
    place = f"data.{key}"
    if present is None:
        facts.data[key] = value
    elif isinstance(present, list):
        # Thousands of records may have the key: a signal to every process writes one for each.
        if (key, value, exact) in facts.listed:
            return
        place = f"{place}.{len(present)}"
        present.append(value)
        facts.listed.add((key, value, exact))
    elif present == value and facts.exact.get(place) == exact:
        return
    else:
        first = facts.exact.pop(place, None)
        if first is not None:
            facts.exact[f"{place}.0"] = first
        facts.data[key] = [present, value]
        facts.listed.update(((key, present, first), (key, value, exact)))
        place = f"{place}.1"
    if exact is not None:
        facts.exact[place] = exact


def _add_keys(text: str, exact: bytes | None, facts: Facts) -> None:
    """Add the keys in a record's key field; older tools wrote `key="key=NAME"`."""
    raw = text.encode() if exact is None else exact
    names = raw.split(_KEY_SEPARATOR)
    if len(names) > 1 and b"" in names:
        facts.exact["key"] = raw
    before = frozenset(facts.keys)
    for name in names:
        plain = name.removeprefix(b"key=") or name
        readable, is_readable_form = to_text(plain)
        if plain and readable not in before:
            if is_readable_form or plain != name:
                facts.exact[f"key.{len(facts.keys)}"] = name
            facts.keys.append(readable)


def _undecodable(facts: Facts) -> list[tuple[str, bytes]]:
    """Return the exact bytes by the places that they have in the document, in which a single key is no list."""
    if len(facts.keys) == 1 and "key.0" in facts.exact:
        facts.exact.setdefault("key", facts.exact.pop("key.0"))
    return list(facts.exact.items())


def _take_path(fields: Fields, facts: Facts) -> None:
    path: dict[str, str] = {}
    for key, value in fields.text.items():
        if key == "obj" and (context := selinux_context(value)):
            path.update((f"obj_{part}", text) for part, text in context.items())
        else:
            path[key] = value
    position = len(facts.paths)
    facts.exact.update((f"paths.{position}.{key}", raw) for key, raw in fields.undecodable.items())
    facts.paths.append(path)


def _take_socket_address(fields: Fields, facts: Facts) -> None:
    text = fields.text.get("saddr", "")
    try:
        raw = decode_hex(text)
    except ValueError:
        facts.warnings.append("saddr is not hexadecimal")
        facts.reasons.append("truncated_record")
        facts.socket["saddr"] = text
        return
    architecture = facts.value("arch")
    for key, value in decode_socket_address(raw, architecture).items():
        if isinstance(value, bytes):
            facts.exact["socket.path"] = value
        else:
            facts.socket[key] = value


def _take_arguments(records: list[tuple[int, Fields]], facts: Facts) -> None:
    pieces = [fields for kind, fields in records if kind == types.EXECVE]
    if not pieces:
        return
    joined = join_arguments(pieces)
    facts.arguments = joined.arguments
    if joined.count is not None:
        facts.data["argc"] = str(joined.count)
    facts.data["cmdline"] = to_command_line(joined.arguments)
    facts.exact.update((f"args.{position}", raw) for position, raw in joined.undecodable.items())
    if joined.missing:
        facts.reasons.append("argc_mismatch")
        facts.warnings.append(f"{joined.missing} of {joined.count} arguments are missing")
    if joined.cut:
        facts.reasons.append("argv_truncated")
        facts.warnings.extend(f"argument {position} lacks some of its pieces" for position in joined.cut)
    if joined.repeated:
        facts.reasons.append("truncated_record")
        facts.warnings.extend(f"argument {position} comes twice" for position in joined.repeated)


def selinux_context(text: str) -> dict[str, str]:
    """Return the parts of `user:role:domain:level:category`; empty if it is another module's label."""
    if _SELINUX.fullmatch(text) is None:
        return {}
    return dict(zip(_SELINUX_PARTS, text.split(":", len(_SELINUX_PARTS) - 1), strict=False))


def _enriched_names(fields: Fields) -> dict[tuple[str, str], str]:
    names = {}
    for key, name in fields.enrichment.items():
        number = fields.text.get(key)
        kind = id_kind(key)
        if number is not None and kind is not None and name not in ("unset", f"unknown({number})"):
            names[(kind, number)] = surrogates_to_text(name)[0]
    return names


def _note_missing(event: Event, records: list[tuple[int, Fields]], system_call: Fields | None, facts: Facts) -> None:
    """Say why records seem to be missing; an amendment is a part by its nature and is not judged."""
    if any(fields.is_truncated for _, fields in records):
        facts.reasons.append("truncated_record")
    if event.amends:
        return
    if system_call is not None:
        items = system_call.text.get("items", "0")
        paths = str(event.types.count(types.PATH))
        is_hidden = facts.value("syscall") in HIDING_CALLS and int(paths) < 2
        if items != paths and not is_hidden and not (event.may_lack and paths == "0"):
            facts.reasons.append("missing_path_items")
    elif facts.record_type in types.AUXILIARY:
        facts.reasons.append("syscall_missing")
    facts.reasons = list(dict.fromkeys(facts.reasons))
