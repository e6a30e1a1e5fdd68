"""`auditline explain`: what is known of one path, what is approved, and why it is watched or not."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditline.workers.common.beneath import Root
from auditline.workers.common.errors import AuditlineError, Exit
from auditline.workers.common.file_state import HASHED, FileState
from auditline.workers.common.hashes import unpack_digests
from auditline.workers.common.own_files import find_own_files
from auditline.workers.common.profiles import ATTRIBUTES
from auditline.workers.common.settings import Settings
from auditline.workers.common.text import make_safe
from auditline.workers.common.timestamps import timestamp_of_ns
from auditline.workers.common.watch_plan import WatchPlan, is_within, plan_watches
from auditline.workers.fim.baseline import BASELINES
from auditline.workers.fim.compare import is_as_known
from auditline.workers.fim.reading import Reading, open_reading
from auditline.workers.fim.scope import Scope
from auditline.workers.router.names import IdNames
from auditline.workers.router.render.file_attributes import Shown, schema_members
from auditline.workers.scan.comparing import Finding
from auditline.workers.scan.differences import find_difference
from auditline.workers.scan.packages import find_packaged
from auditline.workers.scan.profiles import Profiles
from auditline.workers.scan.text_report import attribute_line, show_path
from auditline.workers.status.asking import ask

_WIDTH = 10


def explain_command(settings: Settings, path: Path) -> tuple[Exit, list[str]]:
    """Return how it ends, and what is to be printed, a line each.

    Raises:
        AuditlineError: the baseline cannot be read.
    """
    absolute = _resolve(os.fsencode(path))
    lines = [show_path(absolute)]
    plans = plan_watches(settings.fim.watch).plans
    around = sorted((plan for plan in plans if is_within(absolute, plan.path)), key=lambda plan: -len(plan.path))
    names = IdNames(Path("/etc/passwd"), Path("/etc/group"))
    if not around:
        lines.append(_line("watch", "none: no [[fim.watch]] has it"))
        return Exit.OK, lines
    plan = around[0]
    scope = Scope(plan, find_own_files(settings))
    relative = b"" if absolute == scope.root else scope.relative(absolute)
    lines.append(_line("watch", _why(plan, scope, relative)))
    lines += _describe_profile(Profiles(plan), plan, absolute)
    lines.append(_line("backend", _backend(settings, plan)))
    with open_reading(settings.state.directory / BASELINES / f"{plan.name}.sqlite") as reading:
        if reading is None:
            lines.append(_line("seen", "nothing: there is no baseline yet"))
        else:
            lines += _describe_states(reading, relative, scope, settings, names, plan)
    packaged = find_packaged([absolute]).get(absolute)
    if packaged is not None:
        lines.append(_line("package", make_safe(packaged.label)))
    return Exit.OK, lines


def _resolve(path: bytes) -> bytes:
    """Return *path*, absolute, with symbolic links on its way followed, not the one that it may be."""
    directory, name = os.path.split(os.path.normpath(os.path.abspath(path)))
    return os.path.join(os.path.realpath(directory), name)


def _why(plan: WatchPlan, scope: Scope, relative: bytes) -> str:
    shown = show_path(plan.path)
    if scope.reports(relative):
        return f"{shown}: changes of this path are reported"
    if not scope.enters(relative.rpartition(b"/")[0]):
        return (
            f"{shown}, but not this path: the directory that it is in is not entered (see exclude, max_depth,"
            " recursive, one_filesystem of that watch)"
        )
    return f"{shown}, but not this path: it is left out by include or exclude of that watch, or is ours"


def _describe_profile(profiles: Profiles, plan: WatchPlan, absolute: bytes) -> Iterator[str]:
    profile = profiles.of(absolute)
    attributes = " ".join(name for name in ATTRIBUTES if name in profile.attributes)
    grows = "; it may grow" if profile.may_grow else ""
    yield _line("profile", f"{profiles.name_of(absolute) or plan.profile}{grows}")
    yield _line("compared", attributes)


def _backend(settings: Settings, plan: WatchPlan) -> str:
    try:
        watches: dict[str, Any] = ask([settings.run.directory])["status"].get("watches", {})
    except AuditlineError as error:
        return f"none now: {str(error).splitlines()[0]}"
    watch = watches.get(os.fsdecode(plan.path), {})
    return make_safe(f"{watch.get('backend', 'none')}: {watch.get('reason', 'it is not running')}")


def _describe_states(
    reading: Reading, relative: bytes, scope: Scope, settings: Settings, names: IdNames, plan: WatchPlan
) -> Iterator[str]:
    seen, approved = reading.seen.get(relative), reading.approved.get(relative)
    yield _line("now", _now(scope, relative, seen, settings))
    yield _line("seen", _show(seen, names))
    if seen is not None:
        yield _line("verified", timestamp_of_ns(seen.checked_ns))
    approval = reading.approval
    if approval is None:
        yield _line("approved", "nothing: see `auditline scan --init`")
        return
    yield _line("approved", f"{_show(approved, names)}")
    yield _line("", make_safe(f"last approval: {approval.kind}, {approval.occasion}"))
    difference = find_difference(Finding(relative, approved, seen), names, Profiles(plan).of(scope.absolute(relative)))
    if difference is not None:
        yield _line("", f"{difference.kind} since")
        yield from (f"  {'':{_WIDTH}}{attribute_line(each, len(each.key))}" for each in difference.attributes)


def _now(scope: Scope, relative: bytes, seen: FileState | None, settings: Settings) -> str:
    try:
        root = Root.open(scope.root)
    except OSError as error:
        return f"{show_path(scope.root)}: {error.strerror}"
    try:
        status = root.lstat(relative)
    except OSError as error:
        return make_safe(error.strerror or "cannot be looked at")
    finally:
        root.close()
    if seen is None:
        return "there, and not known"
    return "as it was seen" if is_as_known(seen, status, settings.fim) else "other than it was seen"


def _show(state: FileState | None, names: IdNames) -> str:
    if state is None:
        return "nothing"
    members = schema_members(Shown(state, names, lambda _, raw: os.fsdecode(raw)))
    members |= unpack_digests(state.hashes) if state.hash_state in HASHED else {}
    left_out = ("uid", "gid", "atime", "ctime", "inode")
    return make_safe(" ".join(f"{key}={value}" for key, value in members.items() if key not in left_out))


def _line(key: str, text: str) -> str:
    return f"  {key:<{_WIDTH}}{text}"
