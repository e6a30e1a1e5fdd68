"""How the kernel was found, written down before it is changed, so that the next start can put it back if we cannot."""

import base64
import errno
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest
from pathlib import Path

from auditline.workers.common.disk import replace_file
from auditline.workers.common.errors import StorageError
from auditline.workers.common.host import boot_id
from auditline.workers.control.compile import HEADER_BYTES, comparable
from auditline.workers.control.hurry import MANY_RULES, put_back, quick_deletions
from auditline.workers.control.kernel import AuditControl
from auditline.workers.control.messages import (
    AUDIT_ADD_RULE,
    AUDIT_DEL_RULE,
    KernelStatus,
    Request,
    add_rule,
    delete_rule,
    set_status,
)
from auditline.workers.control.refusals import explain

NOTE_FILE = "kernel-state.json"
"""Its name in the state directory."""
MAX_NOTE_BYTES = 1 << 26
"""A larger file is not one of ours: 10,000 rules take 15 MB."""

_FIELDS = ("enabled", "failure", "rate_limit", "backlog_limit", "backlog_wait_time")
_VERSION = 1
_LIST_BYTES = 4
"""A compiled rule begins with the number of its list."""
# The reader, which shares the dead supervisor's socket, needs a moment to die of its SIGKILL.
_DEAD_PID_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelNote:
    """What has to be undone."""

    boot_id: str
    supervisor_pid: int
    """Who was registered when the note was last written."""
    fields: Mapping[str, int]
    """Status fields as they were found, by their name in `KernelStatus`."""
    rules: tuple[bytes, ...] = ()
    """Ours, in the form that `comparable` gives; may hold some that are not loaded."""
    removed_rules: tuple[bytes, ...] = ()
    """Others', taken out because our rules files say -D."""
    rcu_expedited: str | None = None
    """As it was found, if it may be changed: see `hurry.py`."""
    found_rules: tuple[bytes, ...] = ()
    """If any were taken out: all of others, in the order in which they were loaded."""


def note_of(status: KernelStatus, supervisor_pid: int) -> KernelNote:
    """Return the note for a kernel found as *status* says, without any rule of ours."""
    fields = {name: getattr(status, name) for name in _FIELDS}
    known = {name: value for name, value in fields.items() if value is not None}
    return KernelNote(boot_id=boot_id(), supervisor_pid=supervisor_pid, fields=known)


def read_note(path: Path) -> KernelNote | None:
    """Return the note at *path*; None: there is none, or it is of another boot (then it is removed).

    Raises:
        StorageError: it is damaged or cannot be read.
    """
    try:
        with path.open("rb") as file:
            note = _decode(file.read(MAX_NOTE_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StorageError(f"{path} must hold the kernel's saved audit state, but is damaged: {error!r}") from error
    if note.boot_id != boot_id():
        # The kernel began anew with that boot; what is in the note would be no memory of it.
        remove_note(path)
        return None
    return note


def write_note(path: Path, note: KernelNote) -> None:
    """Put *note* at *path* in one step, on the disk when this returns.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        replace_file(path, _encode(note))
    except OSError as error:
        raise StorageError(f"{path}: the kernel's state cannot be saved: {error.strerror}") from error


def remove_note(path: Path) -> None:
    """Remove the note at *path*, if there is one.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be removed: {error.strerror}") from error


def restore(
    path: Path,
    control: AuditControl,
    *,
    living_supervisor_pid: int | None,
    known: KernelNote | None = None,
    see: Callable[[KernelStatus], None] = lambda _status: None,
) -> tuple[str, ...]:
    """Put the kernel back as the note at *path* says and remove the note; return what could not be put back.

    Our rules go, others' that were taken out come back to their places, the status fields get their old values, and
    the pid of a dead supervisor is cleared. If another living daemon is registered the fields are its own, and are
    left. The note stays only where the kernel permits nothing (locked, or no privilege). *known* is what it says, in
    case it was lost; *see* gets the status before anything is changed.

    Raises:
        KernelError: the kernel did not answer.
        StorageError: the note cannot be read or removed.
    """
    note = _read_or_remember(path, known)
    if note is None:
        return ()
    note = calm_down(note)
    status = control.status()
    see(status)
    is_ours = status.pid in (0, living_supervisor_pid)
    fields = _field_changes(note, status)
    # All at once where that is known to be right, since the kernel may let us wait after each send.
    requests = [*_rule_changes(note, control), *(fields if is_ours else ())]
    codes = _change(control, requests, path, note)
    if not is_ours:
        is_ours = _clear_dead_pid(control, was_ours=status.pid == note.supervisor_pid)
        late = fields if is_ours else ()
        requests += late
        codes += control.change(late)
    if -errno.EPERM in codes:
        return (str(control.refusal(Request(0, b"", "put the kernel's audit state back"), errno.EPERM)),)
    remove_note(path)
    problems = tuple(
        f"put the kernel's audit state back: {request.title}: {explain(request.kind, -code)}"
        for request, code in zip(requests, codes, strict=True)
        if code < 0 and not _is_done_already(request, code)
    )
    return problems if is_ours else (*problems, "another audit daemon is registered: the status fields are left to it")


def calm_down(note: KernelNote) -> KernelNote:
    """Put back the setting that somebody left who was killed while he hurried; return the note without it."""
    if note.rcu_expedited is None:
        return note
    put_back(note.rcu_expedited)
    return replace(note, rcu_expedited=None)


def restore_leftovers(state_directory: Path) -> tuple[str, ...]:
    """Undo what a run that died left in the kernel; return what could not be undone. For a start without `control`.

    Raises:
        KernelError, StorageError: as `restore`.
    """
    path = state_directory / NOTE_FILE
    if read_note(path) is None:
        return ()
    with AuditControl() as control:
        return restore(path, control, living_supervisor_pid=None)


def _change(control: AuditControl, requests: Sequence[Request], path: Path, note: KernelNote) -> list[int]:
    if len(note.rules) < MANY_RULES:
        return control.change(requests)
    with quick_deletions(lambda found: write_note(path, replace(note, rcu_expedited=found))):
        return control.change(requests)


def _clear_dead_pid(control: AuditControl, *, was_ours: bool) -> bool:
    """Unregister a dead daemon; return whether the status is ours to put back: no other living daemon is there."""
    deadline = time.monotonic() + _DEAD_PID_SECONDS
    while not control.clear_dead_pid():
        if not was_ours or time.monotonic() > deadline:
            return was_ours
        time.sleep(_PAUSE_SECONDS)
    return True


def _read_or_remember(path: Path, known: KernelNote | None) -> KernelNote | None:
    try:
        note = read_note(path)
    except StorageError as error:
        if known is None:
            raise
        _log.warning("%s; the kernel is put back from memory", error)
        return known
    if note is None and known is not None:
        _log.warning("%s is gone; the kernel is put back from memory", path)
        return known
    return note


def _rule_changes(note: KernelNote, control: AuditControl) -> list[Request]:
    # One that was taken out and that our files have named since stays: it is theirs again.
    removed = set(note.removed_rules)
    ours = dict.fromkeys(rule for rule in note.rules if rule not in removed)
    listed = map(comparable, control.list_rules()) if removed else ()
    foreign = list(dict.fromkeys(rule for rule in listed if rule not in ours))
    # The first of ours is the one that keeps our own processes from being audited: it goes last.
    return [*_foreign_changes(foreign, note), *(delete_rule(rule) for rule in reversed(ours))]


def _foreign_changes(present: Sequence[bytes], note: KernelNote) -> Iterator[Request]:
    """Yield what brings others' rules, of which *present* are loaded, back, in the order in which they were found.

    The kernel can only append: in each list all those behind the first that is not in its place go to its end.
    """
    loaded = set(present)
    wanted = loaded.union(note.removed_rules)
    found = dict.fromkeys(rule for rule in (*note.found_rules, *note.removed_rules) if rule in wanted)
    for number in sorted({rule[:_LIST_BYTES] for rule in wanted}):
        standing = [rule for rule in present if rule.startswith(number)]
        newer = takewhile(lambda rule: rule not in found, standing)
        target = dict.fromkeys((*newer, *(rule for rule in found if rule.startswith(number)), *standing))
        is_in_place = True
        for rule, other in zip_longest(target, standing, fillvalue=b""):
            is_in_place = is_in_place and rule == other
            if not is_in_place and rule in loaded:
                yield delete_rule(rule)
            if not is_in_place:
                yield add_rule(rule)


def _field_changes(note: KernelNote, status: KernelStatus) -> list[Request]:
    changed = {name: value for name, value in note.fields.items() if getattr(status, name) != value}
    return [set_status(**changed)] if changed else []


def _is_done_already(request: Request, code: int) -> bool:
    return (request.kind, code) in ((AUDIT_DEL_RULE, -errno.ENOENT), (AUDIT_ADD_RULE, -errno.EEXIST))


def _encode(note: KernelNote) -> bytes:
    content = {
        "version": _VERSION,
        "boot_id": note.boot_id,
        "supervisor_pid": note.supervisor_pid,
        "fields": dict(note.fields),
        "rules": [base64.b64encode(rule).decode() for rule in note.rules],
        "removed_rules": [base64.b64encode(rule).decode() for rule in note.removed_rules],
        "found_rules": [base64.b64encode(rule).decode() for rule in note.found_rules],
        "rcu_expedited": note.rcu_expedited,
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def _decode(text: bytes) -> KernelNote:
    """Read what `_encode` wrote; raises one of the errors that `read_note` expects otherwise."""
    content = json.loads(text)
    if content["version"] != _VERSION:
        raise ValueError(f"version must be {_VERSION}, not {content['version']!r}")
    fields = {name: int(value) for name, value in content["fields"].items() if name in _FIELDS}
    if not all(0 <= value < 1 << 32 for value in fields.values()):
        raise ValueError("a field is not a number of 32 bits")
    return KernelNote(
        boot_id=str(content["boot_id"]),
        supervisor_pid=int(content["supervisor_pid"]),
        fields=fields,
        rules=tuple(_decode_rule(rule) for rule in content["rules"]),
        removed_rules=tuple(_decode_rule(rule) for rule in content["removed_rules"]),
        found_rules=tuple(_decode_rule(rule) for rule in content["found_rules"]),
        rcu_expedited=_decode_switch(content["rcu_expedited"]),
    )


def _decode_rule(text: str) -> bytes:
    rule = base64.b64decode(text, validate=True)
    if len(rule) < HEADER_BYTES:
        raise ValueError(f"a rule has {len(rule)} bytes")
    return rule


def _decode_switch(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value in ("0", "1")):
        return value
    raise ValueError(f"rcu_expedited must be 0 or 1, not {value!r}")
